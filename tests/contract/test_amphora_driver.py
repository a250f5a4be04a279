"""What every way to an amphora promises: the fake itself, and the `rest` driver against a real TLS server with the fake behind it."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator

import pytest

from amphora_agent.protocol import rest as protocol
from controller import exceptions, render
from controller.drivers.amphora import fake, interface, rest
from controller.drivers.ca import fake as fake_ca
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from tests import builders
from tests.contract import agent_stand_in

NETWORKS = render.Networks(vip=render.VipSubnet(cidr=builders.VIP_SUBNET_CIDR, gateway_ip=builders.VIP_GATEWAY, mtu=1450))


@dataclasses.dataclass
class Case:
    """A driver, an amphora that it reaches, and the fake that answers in the end."""

    driver: interface.AmphoraDriver
    amphora: Amphora
    agent: fake.FakeAmphora


@pytest.fixture(params=["fake", "rest"])
def case(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Case]:
    amphora, agent = agent_stand_in.an_amphora_here(), fake.FakeAmphora()
    if request.param == "fake":
        yield Case(agent, amphora, agent)
        return
    authority = fake_ca.FakeCertificateAuthority()
    server = agent_stand_in.AgentStandIn(authority, amphora, agent, tmp_path)
    server.start()
    driver = rest.RestAmphora(authority, port=server.port, retry_time=0.0, read_timeout=10.0)
    yield Case(driver, amphora, agent)
    driver.close()
    server.stop()


def _wanted(snapshot: model.Snapshot, *, generation: int = 1) -> protocol.WantedState:
    return dataclasses.replace(render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS), generation=generation)


def _certificate(word: str) -> tuple[str, bytes]:
    content = f"-----{word}-----".encode()
    return f"{hashlib.sha256(content).hexdigest()}.pem", content


def test_a_wanted_state_runs_when_its_receipt_comes(case: Case) -> None:
    wanted = _wanted(builders.a_serving_snapshot(), generation=7)
    applied = case.driver.apply(case.amphora, wanted, {})
    assert applied == interface.Applied(7, wanted.hash, interface.How.RELOAD)
    assert case.agent.running(case.amphora.id, wanted.load_balancer_id) == wanted
    assert case.driver.info(case.amphora).load_balancers == {wanted.load_balancer_id: 7}


def test_the_same_state_again_costs_nothing(case: Case) -> None:
    wanted = _wanted(builders.a_serving_snapshot())
    case.driver.apply(case.amphora, wanted, {})
    assert case.driver.apply(case.amphora, dataclasses.replace(wanted, generation=2), {}).how is interface.How.NONE
    assert case.driver.info(case.amphora).load_balancers == {wanted.load_balancer_id: 2}


def test_a_change_of_members_needs_no_reload_and_another_change_does(case: Case) -> None:
    snapshot = builders.a_serving_snapshot(members=3)
    case.driver.apply(case.amphora, _wanted(snapshot), {})
    fewer = dataclasses.replace(snapshot, members=snapshot.members[1:])
    assert case.driver.apply(case.amphora, _wanted(fewer, generation=2), {}).how is interface.How.RUNTIME
    other_port = dataclasses.replace(fewer, listeners=(dataclasses.replace(snapshot.listeners[0], protocol_port=8080),))
    assert case.driver.apply(case.amphora, _wanted(other_port, generation=3), {}).how is interface.How.RELOAD


def test_an_older_generation_is_refused_and_the_newer_one_runs_on(case: Case) -> None:
    newer = _wanted(builders.a_serving_snapshot(), generation=5)
    case.driver.apply(case.amphora, newer, {})
    with pytest.raises(exceptions.AmphoraRefused, match="older"):
        case.driver.apply(case.amphora, dataclasses.replace(newer, generation=4), {})
    assert case.agent.running(case.amphora.id, newer.load_balancer_id) == newer


def test_haproxys_words_come_back_and_the_old_state_runs_on(case: Case) -> None:
    snapshot = builders.a_serving_snapshot()
    old = _wanted(snapshot)
    case.driver.apply(case.amphora, old, {})
    case.agent.refuse("[ALERT] parsing [haproxy.cfg:12]: unknown keyword 'frob'")
    with pytest.raises(exceptions.ConfigRefused) as refusal:
        case.driver.apply(case.amphora, _wanted(builders.a_snapshot(snapshot.load_balancer), generation=2), {})
    assert refusal.value.words == "[ALERT] parsing [haproxy.cfg:12]: unknown keyword 'frob'"
    assert refusal.value.amphora_id == case.amphora.id
    assert case.agent.running(case.amphora.id, old.load_balancer_id) == old


def test_certificates_reach_an_agent_that_lacks_them(case: Case) -> None:
    one, two = _certificate("one"), _certificate("two")
    wanted = dataclasses.replace(_wanted(builders.a_serving_snapshot()), certificates=(one[0], two[0]))
    case.driver.apply(case.amphora, wanted, dict([one, two]))
    assert case.agent.certificates(case.amphora.id) == dict([one, two])
    assert case.driver.apply(case.amphora, dataclasses.replace(wanted, generation=2), {}).how is interface.How.NONE


def test_a_certificate_that_nobody_has_is_named(case: Case) -> None:
    name, _ = _certificate("lost")
    wanted = dataclasses.replace(_wanted(builders.a_serving_snapshot()), certificates=(name,))
    with pytest.raises(exceptions.AmphoraRefused, match=name):
        case.driver.apply(case.amphora, wanted, {})


def test_a_removed_load_balancer_is_gone_and_may_be_removed_again(case: Case) -> None:
    wanted = _wanted(builders.a_serving_snapshot(), generation=3)
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
