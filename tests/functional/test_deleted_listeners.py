"""What was counted on a listener stays with its load balancer when it is deleted: bills and rates are made of differences."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from controller.db import tables
from controller.db.repositories import statistics
from controller.model.status import Topology
from tests.functional import flow_site

HUGE = 2**63 - 1  # the most that an amphora can claim


def report(site: flow_site.Site, load_balancer_id: str, listener_ids: Sequence[str], counted: int) -> None:
    """Each amphora tells that it counted so much on each of these listeners, as a health manager writes it."""
    told = [
        {
            "key_listener": listener_id,
            "key_amphora": amphora_id,
            "key_load_balancer": load_balancer_id,
            "active_connections": 2,
            **dict.fromkeys(statistics.GROWING, counted),
        }
        for listener_id in listener_ids
        for amphora_id in site.amphorae(load_balancer_id).values()
    ]
    with site.db.begin() as tx:
        tx.health.count([], told)


def told(site: flow_site.Site, load_balancer_id: str) -> tuple[int, int]:
    """What all counted together, and what is open; all counters rise alike here."""
    with site.db.read() as tx:
        found = tx.statistics.of_load_balancer(load_balancer_id)
    assert found.bytes_in == found.bytes_out == found.request_errors == found.total_connections
    return found.bytes_in, found.active_connections


def rows(site: flow_site.Site) -> int:
    with site.db.read() as tx:
        return int(tx.connection.execute(sa.select(sa.func.count()).select_from(tables.listener_statistics)).scalar_one())


def with_listeners(site: flow_site.Site, topology: Topology, *ports: int) -> tuple[str, list[str]]:
    """A load balancer that has these listeners besides the first, and the ids of all in the order of their ports."""
    load_balancer_id = site.built(topology)
    site.accept(load_balancer_id, *(flow_site.a_listener(port) for port in ports))
    site.succeed(flow_site.an_update(load_balancer_id))
    listeners = sorted(site.snapshot(load_balancer_id).listeners, key=lambda one: one.protocol_port)
    return load_balancer_id, [one.id for one in listeners]


def delete(site: flow_site.Site, load_balancer_id: str, *listener_ids: str) -> None:
    """By one change, as by an update of the whole tree."""
    site.accept(load_balancer_id, *(flow_site.gone(tables.listeners, one) for one in listener_ids))
    site.succeed(flow_site.an_update(load_balancer_id))


@pytest.mark.parametrize("topology", Topology)
def test_a_load_balancers_statistics_do_not_fall_with_its_listeners(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id, listeners = with_listeners(site, topology, 81, 82, 83)
    amphorae = len(topology.roles)
    report(site, load_balancer_id, listeners, 100)
    assert told(site, load_balancer_id) == (400 * amphorae, 8 * amphorae)
    delete(site, load_balancer_id, listeners[1], listeners[2])
    assert told(site, load_balancer_id) == (400 * amphorae, 4 * amphorae)
    delete(site, load_balancer_id, listeners[3])
    assert told(site, load_balancer_id) == (400 * amphorae, 2 * amphorae)
    report(site, load_balancer_id, listeners[:1], 150)
    with site.db.read() as tx:
        assert tx.statistics.of_listener(listeners[0]).bytes_in == 150 * amphorae
    assert told(site, load_balancer_id) == (450 * amphorae, 2 * amphorae)
    delete(site, load_balancer_id, listeners[0])
    assert told(site, load_balancer_id) == (450 * amphorae, 0)


@pytest.mark.parametrize("topology", Topology)
def test_a_report_that_waited_while_its_listener_was_deleted_is_counted_once(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id, listeners = with_listeners(site, topology, 81, 82)
    amphorae = len(topology.roles)
    report(site, load_balancer_id, listeners, 100)
    delete(site, load_balancer_id, listeners[1])
    for _ in range(2):  # by two health managers
        report(site, load_balancer_id, listeners[1:2], 120)
        assert told(site, load_balancer_id) == (320 * amphorae, 4 * amphorae)
    delete(site, load_balancer_id, listeners[2])
    report(site, load_balancer_id, listeners[1:2], 120)
    assert told(site, load_balancer_id) == (320 * amphorae, 2 * amphorae)
    assert [one.id for one in site.snapshot(load_balancer_id).listeners] == listeners[:1]


def test_listeners_that_come_and_go_leave_one_row_of_them_all(site: flow_site.Site) -> None:
    load_balancer_id, listeners = with_listeners(site, Topology.ACTIVE_STANDBY)
    for number in range(1, 5):
        site.accept(load_balancer_id, flow_site.a_listener(81))
        site.succeed(flow_site.an_update(load_balancer_id))
        (new,) = [one.id for one in site.snapshot(load_balancer_id).listeners if one.id not in listeners]
        report(site, load_balancer_id, [new], 10)
        delete(site, load_balancer_id, new)
        assert told(site, load_balancer_id) == (20 * number, 0)
        assert rows(site) <= 3, "one of all before, and those of the last one"


def test_what_no_number_could_hold_together_stays_apart_and_stops_no_deletion(site: flow_site.Site) -> None:
    """An amphora may claim what it likes."""
    load_balancer_id, listeners = with_listeners(site, Topology.SINGLE, 81, 82, 83, 84)
    for listener_id, claimed in zip(listeners, (7, HUGE, 8, HUGE, 9), strict=True):
        report(site, load_balancer_id, [listener_id], claimed)
    for listener_id in reversed(listeners):
        delete(site, load_balancer_id, listener_id)
    assert told(site, load_balancer_id) == (2 * HUGE + 24, 0)


def test_they_are_kept_over_a_failover_and_go_with_the_load_balancer(site: flow_site.Site) -> None:
    load_balancer_id, listeners = with_listeners(site, Topology.SINGLE, 81, 82)
    other, of_other = with_listeners(site, Topology.SINGLE, 81)
    report(site, load_balancer_id, listeners, 100)
    report(site, other, of_other, 5)
    for listener_id in listeners[1:]:
        delete(site, load_balancer_id, listener_id)
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    with site.db.begin() as tx:  # it fell and was purged
        tx.statistics.add_up([amphora_id], [load_balancer_id])
    assert told(site, load_balancer_id)[0] == 300
    delete(site, load_balancer_id, listeners[0])
    assert told(site, load_balancer_id)[0] == 300
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    report(site, load_balancer_id, listeners, 100)
    assert told(site, load_balancer_id) == (0, 0)
    assert told(site, other)[0] == 10
    assert rows(site) == len(of_other)
