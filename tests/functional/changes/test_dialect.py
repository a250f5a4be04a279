"""What an API forbids beside the rules for all: changes ask its dialect where the rows are at hand, and store nothing that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.api.lbaasv2 import errors, rules
from controller.changes import health_monitors, listeners, pools
from controller.changes.asking import Asking
from controller.resources import health_monitor, listener, pool
from tests.functional.changes.conftest import Site, Tree, plant, wanted

LBAASV2 = rules.Dialect(monitor_delay_over_timeout=True)


def _create_listener(ask: Asking, on: Tree, tcp: str, http: str) -> None:
    fields = {"loadbalancer_id": on.load_balancer.id, "protocol": "TCP", "protocol_port": 81, "default_pool_id": http}
    listeners.create(ask, wanted(listener.SCHEMA, **fields))


def _change_listener(ask: Asking, on: Tree, tcp: str, http: str) -> None:
    listeners.update(ask, tcp, {"default_pool_id": http})


def _create_pool(ask: Asking, on: Tree, tcp: str, http: str) -> None:
    pools.create(ask, wanted(pool.SCHEMA, listener_id=tcp, protocol="HTTP", lb_algorithm="ROUND_ROBIN"))


@pytest.mark.parametrize("change", [_create_listener, _change_listener, _create_pool])
def test_a_pair_that_only_one_api_forbids(site: Site, change: Callable[[Asking, Tree, str, str], None]) -> None:
    """An HTTP pool below a TCP listener is for all, and not for clients of LBaaS v2."""
    on = plant(site.asking(), site)
    below = {"loadbalancer_id": on.load_balancer.id}
    tcp = listeners.create(site.asking(), wanted(listener.SCHEMA, protocol="TCP", protocol_port=90, **below)).id
    http = pools.create(site.asking(), wanted(pool.SCHEMA, protocol="HTTP", lb_algorithm="ROUND_ROBIN", **below)).id
    before = site.rows()
    with pytest.raises(errors.Fault, match="Listener protocol TCP and pool protocol HTTP are not compatible") as refused:
        change(site.asking(dialect=LBAASV2), on, tcp, http)
    assert (refused.value.status, refused.value.kind) == (409, "ListenerPoolProtocolMismatch")
    assert site.rows() == before
    change(site.asking(), on, tcp, http)
    assert site.rows() != before


def test_a_port_that_only_one_api_forbids(site: Site) -> None:
    """A datagram's port is another one than a stream's, but for clients of LBaaS v2."""
    settings = {"refuse_unsupported": False}
    on = plant(site.asking(), site)
    udp = wanted(listener.SCHEMA, loadbalancer_id=on.load_balancer.id, protocol="UDP", protocol_port=80)
    before = site.rows()
    with pytest.raises(errors.Fault, match=f"{on.load_balancer.id} already has a listener with protocol_port of 80") as refused:
        listeners.create(site.asking(settings=settings, dialect=LBAASV2), dict(udp))
    assert (refused.value.status, refused.value.kind) == (409, "LoadBalancerListenerProtocolPortExists")
    assert site.rows() == before
    listeners.create(site.asking(settings=settings), dict(udp))
    assert site.rows() != before


def test_a_monitor_that_asks_again_before_it_has_an_answer_is_forbidden_by_one_api_alone(site: Site) -> None:
    """Where its operator wants it so; of a change, what stays counts, too."""
    on = plant(site.asking(), site)
    pool_id = pools.create(
        site.asking(), wanted(pool.SCHEMA, loadbalancer_id=on.load_balancer.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    ).id
    hasty = wanted(health_monitor.SCHEMA, pool_id=pool_id, type="HTTP", delay=2, timeout=3, max_retries=2)
    before = site.rows()
    asked: tuple[Callable[[Asking], Any], ...] = (
        lambda ask: health_monitors.create(ask, dict(hasty)),
        lambda ask: health_monitors.update(ask, on.health_monitor.id, {"delay": 2}),
        lambda ask: health_monitors.update(ask, on.health_monitor.id, {"timeout": 6}),
    )
    for create_or_change in asked:
        with pytest.raises(errors.Fault, match="must be greater than or equal to its timeout"):
            create_or_change(site.asking(dialect=LBAASV2))
        assert site.rows() == before
        create_or_change(site.asking(dialect=rules.Dialect(monitor_delay_over_timeout=False)))
        before = site.rows()
