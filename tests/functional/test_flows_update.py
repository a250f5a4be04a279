"""Changing what is below a load balancer: applied, refused, interrupted, coalesced."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs, services
from controller.db import tables
from controller.flows import catalog
from controller.health_manager import watcher
from controller.model import access
from controller.model import amphora as amphora_model
from controller.model.network import QosPolicy
from controller.model.status import SERVING, AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.tasks import push
from controller.tasks import status as status_tasks
from controller.worker import engine
from controller.worker.engine import Outcome
from tests import recorded
from tests.functional import flow_site, small_flows
from tests.functional.test_comparison import posted

STEPS = flow_site.step_names(flow_site.an_update("any"))
HAPROXY = recorded.refusal()


def a_new_member(site: flow_site.Site, load_balancer_id: str) -> None:
    pool = site.snapshot(load_balancer_id).pools[0]
    site.accept(load_balancer_id, flow_site.a_member(pool.id, "198.19.10.150"))


def configuration(site: flow_site.Site, load_balancer_id: str) -> list[str]:
    running = [site.amphora.running(one, load_balancer_id) for one in site.amphorae(load_balancer_id).values()]
    return [one.programs.get("haproxy") or "" for one in running if one is not None]


@pytest.mark.parametrize("topology", Topology)
def test_a_change_reaches_every_amphora_with_one_request_each(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    site.amphora.pushes.clear()
    a_new_member(site, load_balancer_id)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.is_whole(load_balancer_id)
    assert dict(site.amphora.pushes) == dict.fromkeys(site.amphorae(load_balancer_id).values(), 1)
    assert all("198.19.10.150" in text for text in configuration(site, load_balancer_id))


def test_what_was_to_go_is_gone_with_all_that_hung_on_it(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    snapshot = site.snapshot(load_balancer_id)
    pool, listener = snapshot.pools[0], snapshot.listeners[0]
    with site.db.begin() as tx:
        tx.connection.execute(tables.tags.insert().values(resource_id=pool.id, tag="blue"))
    site.accept(load_balancer_id, flow_site.gone(tables.pools, pool.id))
    site.succeed(flow_site.an_update(load_balancer_id))
    after = site.snapshot(load_balancer_id)
    assert (after.pools, after.members) == ((), ())
    assert next(one for one in after.listeners if one.id == listener.id).default_pool_id is None
    with site.db.read() as tx:
        assert tx.connection.execute(tables.tags.select()).first() is None
    site.accept(load_balancer_id, flow_site.gone(tables.listeners, listener.id))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert [one.protocol_port for one in site.snapshot(load_balancer_id).listeners] == [8080]
    assert site.is_whole(load_balancer_id)


def a_failover(load_balancer_id: str, *amphora_ids: str) -> jobs.FailoverLoadBalancer:
    """Asked for by an operator."""
    return jobs.FailoverLoadBalancer(
        load_balancer_id=load_balancer_id, topology=Topology.SINGLE, replacement_ids=(str(uuid.uuid4()),), amphora_ids=amphora_ids
    )


@pytest.mark.parametrize("ends", ["found silent", "failed over", "deleted"])
def test_an_amphora_that_hangs_does_not_keep_its_own_end_waiting(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    load_balancer_id = site.built()
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    thawed, apply = threading.Event(), site.amphora.apply

    def hang(amphora: amphora_model.Amphora, *rest: Any, **named: Any) -> Any:
        with site.db.begin() as tx:
            match ends:
                case "found silent":
                    long_ago = sa.update(tables.amphora_health).values(last_heartbeat_at=time.time() - 120)
                    tx.connection.execute(long_ago.where(tables.amphora_health.c.amphora_id == amphora_id))
                    assert watcher.post_failover(tx, amphora_id, "failed over")
                case "failed over":
                    tx.jobs.post(a_failover(load_balancer_id, amphora_id))
                case "deleted":
                    tx.jobs.post(flow_site.a_deletion(load_balancer_id))
        assert thawed.wait(30)
        return apply(amphora, *rest, **named)

    def impatient(step: Any) -> None:
        if step.name == "Push":
            step.sender = dataclasses.replace(step.sender, slow=0.05)

    monkeypatch.setattr(site.amphora, "apply", hang)
    if ends == "failed over":  # by somebody who sees what heartbeats do not say
        monkeypatch.setattr(push, "_TOO_SLOW", 0.2)
    a_new_member(site, load_balancer_id)
    result = site.work(flow_site.an_update(load_balancer_id), spoil=impatient)
    assert result is not None
    assert (result.outcome, result.step) == (Outcome.FAILED, "Push")
    assert "its failover or deletion waits" in result.words
    thawed.set()


def test_one_that_is_only_slow_is_waited_for(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while its own failover waits, as long as it beats, or that of others, or one that brought it here is under way."""
    load_balancer_id = site.built()
    with site.db.begin() as tx:
        mine = tx.jobs.post(a_failover(load_balancer_id, *site.amphorae(load_balancer_id).values()))
        assert tx.jobs.claim(mine, "worker", 30.0)
        assert tx.jobs.post(a_failover(load_balancer_id, *site.amphorae(load_balancer_id).values())) != mine
        tx.jobs.post(a_failover(load_balancer_id, str(uuid.uuid4())))
        small_flows.put_job(tx, jobs.FailoverAmphora.kind, {"unheard": "of"}, load_balancer_id, "of a newer version")
    apply = site.amphora.apply

    def dawdle(amphora: amphora_model.Amphora, *rest: Any, **named: Any) -> Any:
        time.sleep(0.3)
        return apply(amphora, *rest, **named)

    def impatient(step: Any) -> None:
        if step.name == "Push":
            step.sender = dataclasses.replace(step.sender, slow=0.05)

    monkeypatch.setattr(site.amphora, "apply", dawdle)
    a_new_member(site, load_balancer_id)
    result = site.work(flow_site.an_update(load_balancer_id), spoil=impatient)
    assert result is not None
    assert result.outcome is Outcome.SUCCEEDED


def test_the_network_service_is_asked_only_if_a_listener_changed(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    asked = len(site.network.script.calls_of("set_vip_access"))
    a_new_member(site, load_balancer_id)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert len(site.network.script.calls_of("set_vip_access")) == asked
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    site.succeed(flow_site.an_update(load_balancer_id))
    rules = site.network.script.calls_of("set_vip_access")[-1][2]
    assert {rule.port for rule in rules} == {80, 8443}


def _a_new_member_as_the_api_accepts_it(site: flow_site.Site, load_balancer_id: str) -> None:
    """The listeners that use the pool are stamped as well, for clients look at their states."""
    a_new_member(site, load_balancer_id)
    with site.db.begin() as tx:
        generation = tx.load_balancers.advance(load_balancer_id)
        tx.listeners.touch_users(site.snapshot(load_balancer_id).pools[0].id, generation)


def test_the_network_service_is_not_asked_for_members_whose_listeners_are_stamped(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    asked = len(site.network.script.calls_of("set_vip_access"))
    _a_new_member_as_the_api_accepts_it(site, load_balancer_id)
    assert any(
        one.generation > site.snapshot(load_balancer_id).load_balancer.applied_generation
        for one in site.snapshot(load_balancer_id).listeners
    )
    site.succeed(flow_site.an_update(load_balancer_id))
    assert len(site.network.script.calls_of("set_vip_access")) == asked


@pytest.mark.parametrize("topology", list(Topology))
def test_another_worker_does_not_ask_for_members_either(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    asked = len(site.network.script.calls_of("set_vip_access"))
    for _ in range(2):  # it is known to the next one, too
        _a_new_member_as_the_api_accepts_it(site, load_balancer_id)
        _another_worker_does(site, load_balancer_id)
    assert len(site.network.script.calls_of("set_vip_access")) == asked


def _another_worker_does(site: flow_site.Site, load_balancer_id: str) -> None:
    one = site.services
    another = services.Services(one.db, one.compute, one.network, one.amphora, one.ca, settings=one.settings)
    site.work(flow_site.an_update(load_balancer_id), services=another)
    another.close()
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE, site.faults(load_balancer_id)


def opened(site: flow_site.Site, load_balancer_id: str) -> set[int | None]:
    return {rule.port for rule in site.network.vip_access(load_balancer_id)}


def test_what_a_worker_that_died_may_have_opened_is_set_again(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is opened, nobody hears of it, and it is to be closed by the next change."""
    load_balancer_id = site.built()
    real = site.network.set_vip_access

    def opens_and_dies(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        raise exceptions.StaleLease("(the worker died here)")

    site.accept(load_balancer_id, flow_site.a_listener(8443))
    with monkeypatch.context() as patch:
        patch.setattr(site.network, "set_vip_access", opens_and_dies)
        site.work(flow_site.an_update(load_balancer_id))
    assert opened(site, load_balancer_id) == {80, 8443}
    (new,) = [one.id for one in site.snapshot(load_balancer_id).listeners if one.protocol_port == 8443]
    site.accept(load_balancer_id, flow_site.gone(tables.listeners, new))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert opened(site, load_balancer_id) == {80}


def test_what_a_paused_worker_opens_late_is_closed_though_the_repair_fails(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease is another's by then, and what that one wrote down is not so any more."""
    load_balancer_id = site.built()
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    late = site.snapshot(load_balancer_id)
    site.succeed(flow_site.an_update(load_balancer_id))
    (new,) = [one.id for one in site.snapshot(load_balancer_id).listeners if one.protocol_port == 8443]
    with site.db.begin() as tx:
        paused = tx.leases.take(load_balancer_id, "paused", -1.0)
    assert paused is not None

    def is_paused_and_writes_late() -> None:
        with site.services.fence.writing(paused):
            site.accept(load_balancer_id, flow_site.gone(tables.listeners, new))
            site.succeed(flow_site.an_update(load_balancer_id))
            assert opened(site, load_balancer_id) == {80}
            rules = access.rules(late, site.services.settings.render.peer_port)
            site.network.set_vip_access(load_balancer_id, late.load_balancer.vip, rules)

    with pytest.raises(exceptions.StaleLease):
        is_paused_and_writes_late()
    assert opened(site, load_balancer_id) == {80, 8443}
    (repair,) = posted(site)
    with monkeypatch.context() as patch:
        patch.setattr(site.network, "mend_ports", _refuses)
        site.work(repair)
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    site.succeed(flow_site.an_update(load_balancer_id))
    assert opened(site, load_balancer_id) == {80}


def _refuses(*_: Any, **__: Any) -> None:
    raise exceptions.InvalidRequest("The network service refuses it")


def test_what_a_worker_of_an_older_release_opened_is_looked_at_again(site: flow_site.Site) -> None:
    """While an upgrade goes on it works, and writes down nothing."""
    load_balancer_id = site.built()
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    with site.db.read() as tx:
        row = tx.connection.execute(sa.select(tables.load_balancers)).mappings().one()
    site.succeed(flow_site.an_update(load_balancer_id))
    with site.db.begin() as tx:
        known = {name: row[name] for name in ("access_hash", "access_generation")}
        tx.connection.execute(tables.load_balancers.update().values(known))
    (new,) = [one.id for one in site.snapshot(load_balancer_id).listeners if one.protocol_port == 8443]
    site.accept(load_balancer_id, flow_site.gone(tables.listeners, new))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert opened(site, load_balancer_id) == {80}


def test_security_groups_of_the_tenant_take_the_place_of_the_load_balancers_own_and_give_it_back(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    group = site.network.create_security_group("web", "b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d")
    opened, own = site.network.vip_access(load_balancer_id), site.network.groups_of(vip.port_id)
    assert opened
    for groups in ([group], []):
        with site.db.begin() as tx:
            generation = tx.load_balancers.advance(load_balancer_id)
            tx.load_balancers.change(load_balancer_id, {"vip_sg_ids": groups, "vip_generation": generation}, generation)
        site.succeed(flow_site.an_update(load_balancer_id))
        assert site.network.groups_of(vip.port_id) == (groups or own)
        assert site.network.vip_access(load_balancer_id) == opened


def test_groups_that_a_tenant_put_on_the_vip_port_himself_stay(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    group = site.network.create_security_group("web", "b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d")
    with site.db.begin() as tx:
        generation = tx.load_balancers.advance(load_balancer_id)
        tx.load_balancers.change(load_balancer_id, {"vip_generation": generation}, generation)
    site.succeed(flow_site.an_update(load_balancer_id))
    site.network.set_groups_of(vip.port_id, [group])
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.network.groups_of(vip.port_id) == [group]
    assert 8443 in {rule.port for rule in site.network.vip_access(load_balancer_id)}


@pytest.mark.parametrize("topology", Topology)
def test_a_qos_policy_is_put_on_every_port_that_bears_the_vip_changed_and_cleared(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    first, second = QosPolicy(str(uuid.uuid4()), "slow"), QosPolicy(str(uuid.uuid4()), "fast")
    for policy in (first, second):
        site.network.create_qos_policy(policy)
    for wanted in (first.id, second.id, None):
        site.accept_qos(load_balancer_id, wanted)
        site.succeed(flow_site.an_update(load_balancer_id))
        assert bearers(site, load_balancer_id) == [wanted] * (1 + len(topology.roles))
    site.accept_qos(load_balancer_id, second.id)
    fresh = tuple(str(uuid.uuid4()) for _ in topology.roles)
    site.succeed(jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=fresh))
    assert {one.id for one in site.snapshot(load_balancer_id).amphorae if one.status in SERVING} == set(fresh)
    assert bearers(site, load_balancer_id) == [second.id] * (1 + len(topology.roles))


def test_the_network_service_is_not_asked_for_a_qos_policy_that_is_applied(site: flow_site.Site) -> None:
    load_balancer_id, policy = site.built(), QosPolicy(str(uuid.uuid4()), "slow")
    site.network.create_qos_policy(policy)
    site.accept_qos(load_balancer_id, policy.id)
    site.succeed(flow_site.an_update(load_balancer_id))
    site.network.limit_port(site.snapshot(load_balancer_id).load_balancer.vip.port_id, None)
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert bearers(site, load_balancer_id) == [None, policy.id]


def bearers(site: flow_site.Site, load_balancer_id: str) -> list[str | None]:
    """The QoS policies of the ports that bear the VIP."""
    snapshot = site.snapshot(load_balancer_id)
    vrrp = [one.vrrp_port_id for one in snapshot.amphorae if one.status in SERVING]
    return [site.network.get_port(one).qos_policy_id for one in (snapshot.load_balancer.vip.port_id, *vrrp) if one is not None]


@pytest.mark.parametrize("topology", Topology)
def test_a_member_that_asks_for_sriov_gets_a_part_of_a_card_that_lets_in_answers_alone(site: flow_site.Site, topology: Topology) -> None:
    """The port of a network is made for who comes first; what comes later is heeded by the next amphora."""
    load_balancer_id = site.built(topology)
    pool_id, fresh = site.snapshot(load_balancer_id).pools[0].id, tuple(str(uuid.uuid4()) for _ in topology.roles)
    site.network.create_network("storage")
    subnet_id = site.network.create_subnet("storage", "storage-subnet", "10.99.0.0/24")
    for address, wanted, expected in (("10.99.0.7", "normal", "normal"), ("10.99.0.8", "direct", "normal"), ("", "", "direct")):
        if wanted:
            site.accept(load_balancer_id, flow_site.a_member(pool_id, address, subnet_id=subnet_id, vnic_type=wanted))
            site.succeed(flow_site.an_update(load_balancer_id))
        else:
            job = jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=fresh)
            site.succeed(job)
        serving = [one for one in site.snapshot(load_balancer_id).amphorae if one.status in SERVING]
        assert len(serving) == len(topology.roles)
        for amphora in serving:
            running = site.amphora.running(amphora.id, load_balancer_id)
            assert running is not None
            assert [nic.admits for nic in running.interfaces] == [None, () if expected == "direct" else None]
            assert [port.vnic_type for port in site.network.member_ports(amphora.id)] == [expected]
            assert [port.vnic_type for port in amphora.member_ports or ()] == [expected]
    assert set(fresh) == {one.id for one in serving}


@pytest.mark.parametrize("topology", Topology)
def test_members_on_another_network_get_a_way_to_it_on_every_amphora(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    site.network.create_network("storage")
    subnet_id = site.network.create_subnet("storage", "storage-subnet", "10.99.0.0/24")
    pool = site.snapshot(load_balancer_id).pools[0]
    site.accept(load_balancer_id, flow_site.a_member(pool.id, "10.99.0.7", subnet_id=subnet_id))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    for amphora in site.snapshot(load_balancer_id).amphorae:
        running = site.amphora.running(amphora.id, load_balancer_id)
        assert running is not None
        assert [nic.name for nic in running.interfaces] == ["eth1", "eth2"]
        assert running.interfaces[1].addresses[0].startswith("10.99.0.")
        assert amphora.compute_id is not None
        assert running.interfaces[1].mac in {port.mac_address for port in site.compute.plugged(amphora.compute_id)}


def test_a_subnet_that_was_deleted_under_its_members_stops_nobody(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    pool = site.snapshot(load_balancer_id).pools[0]
    site.accept(load_balancer_id, flow_site.a_member(pool.id, "10.98.0.7", subnet_id="11111111-2222-4333-8444-555555555555"))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.is_whole(load_balancer_id)


@pytest.mark.parametrize("after", [False, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_error_and_a_reason_and_is_made_good(site: flow_site.Site, step: str, after: bool) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    a_new_member(site, load_balancer_id)
    error = exceptions.Transient("the service did not answer")
    result = site.work(flow_site.an_update(load_balancer_id), spoil=flow_site.failing([step], error, after))
    assert result is not None
    assert result.outcome is Outcome.FAILED
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    fault = site.faults(load_balancer_id)[load_balancer_id]
    assert (fault.step, fault.message) == (step, "the service did not answer")
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


@pytest.mark.parametrize("in_the_middle", [False, True], ids=["before the step", "before its record"])
@pytest.mark.parametrize("step", STEPS)
def test_after_a_death_another_worker_goes_on(site: flow_site.Site, step: str, in_the_middle: bool) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    a_new_member(site, load_balancer_id)
    site.work(flow_site.an_update(load_balancer_id), "job-1", flow_site.dying(step, in_the_middle))
    site.work(flow_site.an_update(load_balancer_id), "job-1")
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


def test_a_refused_configuration_leaves_the_old_one_and_haproxy_s_words(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    served = configuration(site, load_balancer_id)
    kept = {one.id for one in site.snapshot(load_balancer_id).members}
    a_new_member(site, load_balancer_id)
    site.amphora.refuse(HAPROXY)
    site.work(flow_site.an_update(load_balancer_id))
    snapshot = site.snapshot(load_balancer_id)
    states = {one.id: one.provisioning_status for one in snapshot.members}
    assert configuration(site, load_balancer_id) == served
    assert snapshot.load_balancer.provisioning_status is ProvisioningStatus.ERROR
    assert {states[one] for one in kept} == {ProvisioningStatus.ACTIVE}
    refused = next(one for one in states if one not in kept)
    assert states[refused] is ProvisioningStatus.ERROR
    faults = site.faults(load_balancer_id)
    assert faults.keys() == {refused, load_balancer_id}
    assert all(fault.code == "config_refused" and HAPROXY in fault.message for fault in faults.values())


def test_the_next_change_that_is_accepted_clears_the_fault(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)
    site.amphora.refuse(HAPROXY)
    site.work(flow_site.an_update(load_balancer_id))
    refused = next(one for one in site.snapshot(load_balancer_id).members if one.provisioning_status is ProvisioningStatus.ERROR)
    site.accept(load_balancer_id, flow_site.gone(tables.members, refused.id))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.is_whole(load_balancer_id)


def test_a_refused_first_configuration_keeps_the_amphora_for_the_next(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.accept_tree(load_balancer_id)
    site.amphora.refuse(HAPROXY)
    site.work(flow_site.a_create(load_balancer_id, Topology.SINGLE))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.is_whole(load_balancer_id)
    assert len(site.compute.script.calls_of("boot")) == 1


def test_an_unreachable_half_is_no_active_load_balancer(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    a_new_member(site, load_balancer_id)
    halves = site.amphorae(load_balancer_id)
    site.amphora.be_silent(amphora_id=halves[Role.BACKUP], calls=100)
    site.work(flow_site.an_update(load_balancer_id))
    generation = site.snapshot(load_balancer_id).generation
    assert site.runs_generation(halves[Role.MASTER], load_balancer_id) == generation
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    assert site.faults(load_balancer_id)[load_balancer_id].code == "amphora_unreachable"
    site.amphora.recover()
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


def test_a_change_that_came_during_the_push_is_not_taken_for_applied(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)

    pool_id = site.snapshot(load_balancer_id).pools[0].id
    result = site.work(
        flow_site.an_update(load_balancer_id),
        spoil=flow_site.before("Settle", lambda: site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.19.10.151"))),
    )
    assert result is not None
    assert result.outcome is Outcome.SUCCEEDED
    states = {one.address: one.provisioning_status for one in site.snapshot(load_balancer_id).members}
    assert states["198.19.10.150"] is ProvisioningStatus.ACTIVE
    assert states["198.19.10.151"] is ProvisioningStatus.PENDING_CREATE
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_UPDATE
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


def test_a_failure_leaves_newer_changes_pending(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)
    site.amphora.refuse(HAPROXY)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.work(
        flow_site.an_update(load_balancer_id),
        spoil=flow_site.before("Push", lambda: site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.19.10.151"))),
    )
    states = {one.address: one.provisioning_status for one in site.snapshot(load_balancer_id).members}
    assert states["198.19.10.150"] is ProvisioningStatus.ERROR
    assert states["198.19.10.151"] is ProvisioningStatus.PENDING_CREATE
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_UPDATE


def test_a_deletion_that_fails_is_still_a_deletion(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    member = site.snapshot(load_balancer_id).members[0]
    site.accept(load_balancer_id, flow_site.gone(tables.members, member.id))
    site.amphora.be_silent()
    site.work(flow_site.an_update(load_balancer_id))
    states = {one.id: one.provisioning_status for one in site.snapshot(load_balancer_id).members}
    assert states[member.id] is ProvisioningStatus.PENDING_DELETE
    assert member.id in site.faults(load_balancer_id)
    site.settle(load_balancer_id)
    assert member.id not in {one.id for one in site.snapshot(load_balancer_id).members}
    assert site.is_whole(load_balancer_id)


def test_a_worker_that_lost_its_lease_settles_nothing(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)

    def somebody_else_takes_over() -> None:
        with site.db.begin() as tx:
            tx.connection.execute(tables.load_balancers.update().values(lease_expires_at=0.0))
            assert tx.leases.take(load_balancer_id, "another worker", 30.0) is not None

    result = site.work(flow_site.an_update(load_balancer_id), spoil=flow_site.before("Settle", somebody_else_takes_over))
    assert result is not None
    assert result.outcome is Outcome.LOST
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_UPDATE


def test_nothing_is_admitted_when_nothing_is_owed(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    assert site.work(flow_site.an_update(load_balancer_id)) is None
    assert catalog.admit(site.snapshot(load_balancer_id), flow_site.a_create(load_balancer_id, Topology.SINGLE)) is None


def test_an_amphora_that_is_stopped_for_failover_still_takes_changes(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    with site.db.begin() as tx:
        tx.connection.execute(tables.amphorae.update().values(status=AmphoraStatus.FAILOVER_STOPPED))  # by hand: nothing of ours does it
    a_new_member(site, load_balancer_id)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    assert [one.status for one in site.snapshot(load_balancer_id).amphorae] == [AmphoraStatus.FAILOVER_STOPPED]


@pytest.mark.parametrize("in_the_middle", [False, True], ids=["before the step", "before its record"])
@pytest.mark.parametrize("step", flow_site.step_names(flow_site.an_update("lb-1")))
def test_who_goes_on_after_a_death_reads_again(site: flow_site.Site, step: str, in_the_middle: bool) -> None:
    """Nothing of what the dead worker had read is left, neither in a record nor in what is pushed."""
    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)
    site.work(flow_site.an_update(load_balancer_id), "job-1", flow_site.dying(step, in_the_middle))
    with site.db.read() as tx:
        assert tx.flow_records.get("job-1") is None
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    newest = site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.19.10.152"))
    site.work(flow_site.an_update(load_balancer_id), "job-1")
    assert site.is_whole(load_balancer_id)
    assert site.snapshot(load_balancer_id).load_balancer.applied_generation == newest


def test_what_was_pushed_is_known_although_a_later_step_fails(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)
    newest = site.snapshot(load_balancer_id).generation
    error = exceptions.ComputeFault("no valid host was found")
    site.work(flow_site.an_update(load_balancer_id), spoil=flow_site.failing(["ReleaseMemberNetworks"], error))
    (amphora,) = site.snapshot(load_balancer_id).amphorae
    running = site.amphora.running(amphora.id, load_balancer_id)
    assert running is not None
    assert (amphora.applied_generation, amphora.confirmed_hash) == (newest, running.hash)
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR


def test_what_the_database_never_takes_is_told_in_the_end(
    site: flow_site.Site, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded of the flow, and each look begins it anew; its patience does not."""

    def execute(_self: Any, load_balancer_id: str, generation: int, lease: Any, ending: Any = None) -> None:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("that is too much at once"))

    load_balancer_id = site.built()
    a_new_member(site, load_balancer_id)
    monkeypatch.setattr(engine, "_DEFAULT_PATIENCE", 0.5)
    monkeypatch.setattr(status_tasks.Settle, "execute", execute)
    with flow_site.working(site, tmp_path) as post:
        post(flow_site.an_update(load_balancer_id))
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ERROR, within=20)
    fault = site.faults(load_balancer_id)[load_balancer_id]
    assert (fault.code, fault.step) == (exceptions.TimedOut.code, "Settle")
    assert "that is too much at once" in fault.message
