"""What every way to an amphora promises: the fake; the `rest` driver before a stand-in with the fake behind it, and before a real agent."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping

import pytest

from amphora_agent.protocol import boot
from amphora_agent.protocol import rest as protocol
from controller import exceptions, render
from controller.drivers.amphora import fake, interface, rest
from controller.drivers.ca import fake as fake_ca
from controller.drivers.ca import interface as ca
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from controller.model.order import Order
from controller.tasks import certificates
from tests import builders, recorded
from tests.contract import agent_stand_in
from tests.integration import agent_amphora

NETWORKS = render.Networks(vips=(render.VipSubnet(cidr=f"{agent_amphora.VRRP}/24", gateway_ip=None, mtu=1400),))
BROKEN = recorded.refusal()


@dataclasses.dataclass
class Case:
    """A driver, an amphora that it reaches, a way to have HAProxy refuse a state with words that name `frob`, and new certificates."""

    driver: interface.AmphoraDriver
    amphora: Amphora
    spoil: Callable[[protocol.WantedState], protocol.WantedState]
    identity: Callable[[], boot.Identity]


class _Outdoors(interface.AmphoraDriver):
    """The `rest` driver, with its sockets in the namespace from which a real agent of a test is reached."""

    def __init__(self, machine: agent_amphora.Amphora, driver: rest.RestAmphora) -> None:
        self._machine = machine
        self._driver = driver

    def apply(
        self, amphora: Amphora, wanted: protocol.WantedState, certificates: Mapping[str, bytes], order: Order | None = None
    ) -> interface.Applied:
        return self._machine.outdoors(lambda: self._driver.apply(amphora, wanted, certificates, order))

    def remove(self, amphora: Amphora, load_balancer_id: str, order: Order | None = None) -> None:
        self._machine.outdoors(lambda: self._driver.remove(amphora, load_balancer_id, order))

    def configure(self, amphora: Amphora, config: boot.AgentConfig, order: Order | None = None) -> None:
        self._machine.outdoors(lambda: self._driver.configure(amphora, config, order))

    def renew(self, amphora: Amphora, identity: boot.Identity, order: Order | None = None) -> None:
        self._machine.outdoors(lambda: self._driver.renew(amphora, identity, order))

    def info(self, amphora: Amphora, timeout: float | None = None) -> interface.AgentInfo:
        return self._machine.outdoors(lambda: self._driver.info(amphora, timeout))


class _MachinesAuthority(fake_ca.FakeCertificateAuthority):
    """The roots and the client certificate of a real agent of a test."""

    def __init__(self, machine: agent_amphora.Amphora) -> None:
        super().__init__()
        self._machine = machine

    def server_roots(self) -> bytes:
        return self._machine.servers.root

    def client_certificate_path(self) -> str:
        return str(self._machine.folder / "client.pem")


@pytest.fixture(params=["fake", "rest", pytest.param("agent", marks=pytest.mark.integration)])
def case(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Case]:
    makers = {"fake": _fake_case, "rest": _rest_case, "agent": _agent_case}
    yield from makers[request.param](tmp_path)


def _fake_case(folder: pathlib.Path) -> Iterator[Case]:
    agent = fake.FakeAmphora()
    amphora = _amphora("127.0.0.1")
    yield Case(agent, amphora, _told_to_refuse(agent), lambda: _issued(fake_ca.FakeCertificateAuthority(), amphora))


def _rest_case(folder: pathlib.Path) -> Iterator[Case]:
    authority: ca.CertificateAuthority = fake_ca.FakeCertificateAuthority()
    agent, amphora = fake.FakeAmphora(), _amphora("127.0.0.1")
    server = agent_stand_in.AgentStandIn(authority, amphora, agent, folder)
    server.start()
    driver = rest.RestAmphora(authority, port=server.port, retry_time=0.0, read_timeout=10.0)
    yield Case(driver, amphora, _told_to_refuse(agent), lambda: _issued(authority, amphora))
    driver.close()
    server.stop()


def _agent_case(folder: pathlib.Path) -> Iterator[Case]:
    if os.geteuid() != 0 or shutil.which("haproxy") is None:
        pytest.skip("a real agent needs root, to make network namespaces, and HAProxy")
    with agent_amphora.running(folder / "amphora") as machine:
        driver = rest.RestAmphora(_MachinesAuthority(machine), retry_time=20.0)
        amphora = dataclasses.replace(_amphora(agent_amphora.AGENT), id=machine.id)
        pem, roots = machine.servers.issue(machine.id).decode(), machine.clients.root.decode()
        made = boot.Identity(server_pem=pem, client_roots=roots, client_names=("controller",))
        yield Case(_Outdoors(machine, driver), amphora, _with_nonsense, lambda: made)
        driver.close()


def _amphora(address: str) -> Amphora:
    return builders.an_amphora(management_address=address, vrrp_ip=agent_amphora.VRRP, vrrp_mac=agent_amphora.TENANT_MAC)


def _issued(authority: ca.CertificateAuthority, amphora: Amphora) -> boot.Identity:
    return certificates.identity(authority, authority.issue_amphora_certificate(amphora.id))


def _told_to_refuse(agent: fake.FakeAmphora) -> Callable[[protocol.WantedState], protocol.WantedState]:
    def spoil(wanted: protocol.WantedState) -> protocol.WantedState:
        agent.refuse(BROKEN)
        return wanted

    return spoil


def _with_nonsense(wanted: protocol.WantedState) -> protocol.WantedState:
    text = re.sub("default_backend .*", "default_backend frob", wanted.programs.get("haproxy") or "", count=1)
    return dataclasses.replace(wanted, programs={**wanted.programs, "haproxy": text})


def _snapshot(case: Case, **fields: int) -> model.Snapshot:
    vip = builders.a_vip(address=agent_amphora.VIP)
    snapshot = builders.a_serving_snapshot(members=fields.get("members", 2), vip=vip)
    return dataclasses.replace(snapshot, amphorae=(case.amphora,))


def _wanted(snapshot: model.Snapshot, *, generation: int = 1) -> protocol.WantedState:
    return dataclasses.replace(render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS), generation=generation)


def _certificate(word: str) -> tuple[str, bytes]:
    content = f"-----{word}-----".encode()
    return f"{hashlib.sha256(content).hexdigest()}.pem", content


def test_a_wanted_state_runs_when_its_receipt_comes(case: Case) -> None:
    wanted = _wanted(_snapshot(case), generation=7)
    applied = case.driver.apply(case.amphora, wanted, {})
    assert applied == interface.Applied(7, wanted.hash, interface.How.RELOAD)
    assert case.driver.info(case.amphora).load_balancers == {wanted.load_balancer_id: 7}


def test_the_same_state_again_costs_nothing(case: Case) -> None:
    wanted = _wanted(_snapshot(case))
    case.driver.apply(case.amphora, wanted, {})
    assert case.driver.apply(case.amphora, dataclasses.replace(wanted, generation=2), {}).how is interface.How.NONE
    assert case.driver.info(case.amphora).load_balancers == {wanted.load_balancer_id: 2}


def test_a_change_of_members_needs_no_reload_and_another_change_does(case: Case) -> None:
    snapshot = _snapshot(case, members=3)
    case.driver.apply(case.amphora, _wanted(snapshot), {})
    fewer = dataclasses.replace(snapshot, members=snapshot.members[1:])
    assert case.driver.apply(case.amphora, _wanted(fewer, generation=2), {}).how is interface.How.RUNTIME
    assert case.driver.apply(case.amphora, _wanted(snapshot, generation=3), {}).how is interface.How.RUNTIME
    other_port = dataclasses.replace(fewer, listeners=(dataclasses.replace(snapshot.listeners[0], protocol_port=8080),))
    assert case.driver.apply(case.amphora, _wanted(other_port, generation=4), {}).how is interface.How.RELOAD


def test_an_older_generation_is_refused_and_the_newer_one_runs_on(case: Case) -> None:
    newer = _wanted(_snapshot(case), generation=5)
    case.driver.apply(case.amphora, newer, {})
    with pytest.raises(exceptions.AmphoraRefused) as refusal:
        case.driver.apply(case.amphora, dataclasses.replace(newer, generation=4, programs={}), {})
    assert not isinstance(refusal.value, exceptions.ConfigRefused)
    assert case.driver.info(case.amphora).load_balancers == {newer.load_balancer_id: 5}
    assert case.driver.apply(case.amphora, dataclasses.replace(newer, generation=6), {}).how is interface.How.NONE


def test_haproxys_words_come_back_and_the_old_state_runs_on(case: Case) -> None:
    old = _wanted(_snapshot(case))
    case.driver.apply(case.amphora, old, {})
    with pytest.raises(exceptions.ConfigRefused, match=r"unknown keyword 'frob'|default_backend: 'frob'") as refusal:
        case.driver.apply(case.amphora, case.spoil(dataclasses.replace(old, generation=2)), {})
    assert case.amphora.id in str(refusal.value)
    assert case.driver.info(case.amphora).load_balancers == {old.load_balancer_id: 1}
    assert case.driver.apply(case.amphora, dataclasses.replace(old, generation=3), {}).how is interface.How.NONE


def test_certificates_reach_an_agent_that_lacks_them(case: Case) -> None:
    one, two = _certificate("one"), _certificate("two")
    wanted = dataclasses.replace(_wanted(_snapshot(case)), certificates=(one[0], two[0]))
    case.driver.apply(case.amphora, wanted, dict([one, two]))
    assert case.driver.apply(case.amphora, dataclasses.replace(wanted, generation=2), {}).how is interface.How.NONE


def test_a_certificate_that_nobody_has_is_named(case: Case) -> None:
    name, _ = _certificate("lost")
    wanted = dataclasses.replace(_wanted(_snapshot(case)), certificates=(name,))
    with pytest.raises(exceptions.AmphoraRefused, match=name):
        case.driver.apply(case.amphora, wanted, {})


def test_a_removed_load_balancer_is_gone_and_may_be_removed_again(case: Case) -> None:
    wanted = _wanted(_snapshot(case), generation=3)
    case.driver.apply(case.amphora, wanted, {})
    for _ in range(2):
        case.driver.remove(case.amphora, wanted.load_balancer_id)
        assert case.driver.info(case.amphora).load_balancers == {}
    again = dataclasses.replace(wanted, generation=1)
    assert case.driver.apply(case.amphora, again, {}).how is interface.How.RELOAD


def test_an_agent_says_who_it_is(case: Case) -> None:
    info = case.driver.info(case.amphora, timeout=10.0)
    assert (info.amphora_id, info.load_balancers) == (case.amphora.id, {})


def test_an_amphora_without_an_address_is_unreachable(case: Case) -> None:
    nowhere = dataclasses.replace(case.amphora, management_address=None)
    with pytest.raises(exceptions.AmphoraUnreachable):
        case.driver.info(nowhere)


def test_an_agent_takes_another_configuration_of_its_own_while_it_serves(case: Case) -> None:
    wanted = _wanted(_snapshot(case), generation=3)
    case.driver.apply(case.amphora, wanted, {})
    config = boot.AgentConfig(health_managers=((agent_amphora.MANAGER, 5555),), heartbeat_key="11" * 32, heartbeat_interval=3.0)
    for _ in range(2):
        case.driver.configure(case.amphora, config)
    assert case.driver.info(case.amphora).load_balancers == {wanted.load_balancer_id: 3}
    with pytest.raises(exceptions.AmphoraUnreachable):
        case.driver.configure(dataclasses.replace(case.amphora, management_address=None), config)


def test_an_order_by_a_lost_lease_is_refused_whatever_it_asks_for(case: Case) -> None:
    newest = _wanted(_snapshot(case), generation=7)
    case.driver.apply(case.amphora, newest, {}, _by(12))
    config = boot.AgentConfig(health_managers=((agent_amphora.MANAGER, 5555),), heartbeat_key="11" * 32, heartbeat_interval=3.0)
    late: list[Callable[[], object]] = [
        lambda: case.driver.apply(case.amphora, dataclasses.replace(newest, programs={}), {}, _by(11)),
        lambda: case.driver.remove(case.amphora, newest.load_balancer_id, _by(11)),
        lambda: case.driver.configure(case.amphora, config, _by(11)),
    ]
    for write in late:
        with pytest.raises(exceptions.AmphoraAhead) as refusal:
            write()
        assert (refusal.value.token, refusal.value.code) == (12, "stale_order")
    assert case.driver.info(case.amphora).load_balancers == {newest.load_balancer_id: 7}
    assert case.driver.apply(case.amphora, newest, {}, _by(12)).how is interface.How.NONE


def test_an_order_counts_though_what_it_asked_for_was_refused(case: Case) -> None:
    old = _wanted(_snapshot(case))
    case.driver.apply(case.amphora, old, {}, _by(3))
    with pytest.raises(exceptions.ConfigRefused):
        case.driver.apply(case.amphora, case.spoil(dataclasses.replace(old, generation=2)), {}, _by(4))
    with pytest.raises(exceptions.AmphoraAhead):
        case.driver.apply(case.amphora, old, {}, _by(3))
    assert case.driver.apply(case.amphora, dataclasses.replace(old, generation=3), {}, _by(4)).how is interface.How.NONE


def test_a_late_order_does_not_bring_back_what_was_removed(case: Case) -> None:
    wanted = _wanted(_snapshot(case), generation=3)
    case.driver.apply(case.amphora, wanted, {}, _by(5))
    case.driver.remove(case.amphora, wanted.load_balancer_id, _by(6))
    with pytest.raises(exceptions.AmphoraAhead):
        case.driver.apply(case.amphora, wanted, {}, _by(5))
    assert case.driver.info(case.amphora).load_balancers == {}


def test_an_amphora_that_is_ahead_of_the_database_says_by_how_much(case: Case) -> None:
    newer = _wanted(_snapshot(case), generation=5)
    case.driver.apply(case.amphora, newer, {}, _by(2))
    with pytest.raises(exceptions.AmphoraAhead) as refusal:
        case.driver.apply(case.amphora, dataclasses.replace(newer, generation=4), {}, _by(2))
    assert refusal.value.generation == 5


def _by(token: int) -> Order:
    return Order(builders.an_id("lb"), token)


def test_an_agent_takes_another_certificate_while_it_serves(case: Case) -> None:
    wanted = _wanted(_snapshot(case), generation=3)
    case.driver.apply(case.amphora, wanted, {})
    for _ in range(2):
        case.driver.renew(case.amphora, case.identity())
    assert case.driver.info(case.amphora).load_balancers == {wanted.load_balancer_id: 3}
    assert case.driver.apply(case.amphora, dataclasses.replace(wanted, generation=4), {}).how is interface.How.NONE
    with pytest.raises(exceptions.AmphoraUnreachable):
        case.driver.renew(dataclasses.replace(case.amphora, management_address=None), case.identity())
