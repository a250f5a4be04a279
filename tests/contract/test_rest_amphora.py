"""What the `rest` driver alone promises: identity, patience, and connections that are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from amphora_agent.protocol import rest as protocol
from controller import conf as configuration
from controller import exceptions
from controller.drivers.amphora import rest
from controller.drivers.ca import fake as fake_ca
from controller.drivers.ca import local as local_ca
from tests import builders, descriptors
from tests.contract import agent_stand_in

WANTED = protocol.WantedState(load_balancer_id=builders.an_id("lb"), generation=1, programs={"haproxy": "defaults\n"})


@pytest.fixture
def driver(authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn) -> Iterator[rest.RestAmphora]:
    made = rest.RestAmphora(authority, port=agent.port, retry_time=0.0, read_timeout=10.0)
    yield made
    made.close()


def test_ten_requests_go_over_one_connection(driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn) -> None:
    for _ in range(10):
        driver.apply(agent.amphora, WANTED, {})
    assert (len(agent.requests), agent.connections) == (10, 1)


def test_threads_may_ask_at_once(driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn) -> None:
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(driver.info(agent.amphora).amphora_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [agent.amphora.id] * 8


def test_another_amphora_at_the_same_address_is_not_believed(driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn) -> None:
    meant = dataclasses.replace(agent.amphora, id=builders.an_id())
    with pytest.raises(exceptions.AmphoraUnreachable, match="mismatch"):
        driver.apply(meant, WANTED, {})
    assert agent.requests == []
    assert driver.info(agent.amphora).amphora_id == agent.amphora.id


def test_an_agent_of_another_deployment_is_not_believed(agent: agent_stand_in.AgentStandIn, tmp_path: pathlib.Path) -> None:
    stranger = local_ca.LocalCertificateAuthority(tmp_path / "ca", create=True)
    driver = rest.RestAmphora(stranger, port=agent.port, retry_time=0.0)
    with pytest.raises(exceptions.AmphoraUnreachable, match="certificate verify failed"):
        driver.info(agent.amphora)
    assert agent.requests == []


def test_an_agent_that_starts_late_is_waited_for(authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn) -> None:
    port = agent.port
    agent.stop()
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            agent.start(port)

    driver = rest.RestAmphora(authority, port=port, retry_time=30.0, retry_interval=0.25, sleep=nap)
    assert driver.info(agent.amphora).amphora_id == agent.amphora.id
    assert naps == [0.25] * 3


def test_an_agent_that_does_not_come_is_given_up_in_time(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    agent.stop()
    now = [0.0]

    def nap(seconds: float) -> None:
        now[0] += seconds

    driver = rest.RestAmphora(authority, port=agent.port, retry_time=5.0, retry_interval=0.5, sleep=nap, clock=lambda: now[0])
    with pytest.raises(exceptions.AmphoraUnreachable, match="refused"):
        driver.info(agent.amphora)
    assert now[0] == 5.0


def test_one_that_served_before_is_given_up_sooner_because_its_replacement_waits(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    agent.stop()
    now = [0.0]

    def nap(seconds: float) -> None:
        now[0] += seconds

    driver = rest.RestAmphora(authority, port=agent.port, retry_time=60.0, retry_interval=0.5, sleep=nap, clock=lambda: now[0])
    with pytest.raises(exceptions.AmphoraUnreachable, match="refused"):
        driver.apply(dataclasses.replace(agent.amphora, applied_generation=3), WANTED, {})
    assert now[0] == 2.0


def test_the_second_question_is_asked_once(authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn) -> None:
    agent.stop()
    naps: list[float] = []
    driver = rest.RestAmphora(authority, port=agent.port, retry_time=5.0, sleep=naps.append)
    with pytest.raises(exceptions.AmphoraUnreachable):
        driver.info(agent.amphora, timeout=0.5)
    assert naps == []


def test_an_agent_that_was_restarted_is_asked_again(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    driver = rest.RestAmphora(authority, port=agent.port, retry_time=10.0, retry_interval=0.01)
    driver.info(agent.amphora)
    port = agent.port
    agent.stop()
    agent.start(port)
    assert driver.apply(agent.amphora, WANTED, {}).generation == 1


def test_a_server_that_accepts_and_says_nothing_is_given_up(authority: fake_ca.FakeCertificateAuthority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        driver = rest.RestAmphora(authority, port=mute.getsockname()[1], retry_time=0.0)
        began = time.monotonic()
        with pytest.raises(exceptions.AmphoraUnreachable) as caught:
            driver.info(agent_stand_in.an_amphora_here(), timeout=0.2)
        assert caught.value.is_there, "its machine took the connection"
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, b'{"code": "malformed", "message": "generation is not a whole number", "details": null}', "generation is not a whole number"),
        (500, b"<html>oops", "oops"),
        (500, b"", "without a word"),
        (404, b"[]", "404"),
        (200, b"surprise", "receipt"),
        (200, b'{"load_balancer_id": "x", "generation": 1, "hash": "y", "applied": "magic"}', "magic"),
        (428, b"{}", "missing"),
    ],
)
def test_every_other_answer_is_a_refusal_with_its_words(
    driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn, status: int, body: bytes, words: str
) -> None:
    agent.answers.append((status, body))
    with pytest.raises(exceptions.AmphoraRefused, match=words):
        driver.apply(agent.amphora, WANTED, {})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(404, "interface-missing", exceptions.CardMissing), (500, "program-failed", exceptions.ProgramFailed)],
)
def test_what_an_amphora_lacks_is_told_apart(
    driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn, status: int, code: str, kind: type[exceptions.AmphoraRefused]
) -> None:
    agent.answers.append((status, json.dumps({"code": code, "message": "its own words", "details": None}).encode()))
    with pytest.raises(kind, match="its own words"):
        driver.apply(agent.amphora, WANTED, {})


def test_an_agent_that_is_not_ready_yet_is_asked_again(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    agent.answers.extend([(503, b'{"code": "starting", "message": "a moment", "details": null}')] * 2)
    driver = rest.RestAmphora(authority, port=agent.port, retry_time=30.0, sleep=lambda _: None)
    assert driver.info(agent.amphora).amphora_id == agent.amphora.id


def test_an_agent_that_forgets_every_certificate_is_refused_in_the_end(
    driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn
) -> None:
    agent.answers.extend([(428, b'{"missing": []}')] * 10)
    with pytest.raises(exceptions.AmphoraRefused, match="428"):
        driver.apply(agent.amphora, WANTED, {})


@pytest.mark.parametrize(("older", "requests"), [(False, 1 + 2 + 1), (True, 1 + 2 + 3 + 1)])
def test_certificates_go_many_at_a_time_to_whoever_takes_them_so(
    driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn, older: bool, requests: int
) -> None:
    agent.older = older
    contents = [character * size for character, size in ((b"a", 600_000), (b"b", 600_000), (b"c", 10))]
    certificates = {f"{hashlib.sha256(one).hexdigest()}.pem": one for one in contents}
    driver.apply(agent.amphora, dataclasses.replace(WANTED, certificates=tuple(certificates)), certificates)
    assert agent.certificates == certificates
    assert len(agent.requests) == requests


def test_connections_to_the_amphorae_asked_least_recently_are_closed(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    driver = rest.RestAmphora(authority, port=agent.port, retry_time=0.0, pool_size=1)
    other = dataclasses.replace(agent.amphora, id=builders.an_id())
    for _ in range(2):
        driver.info(agent.amphora)
        with pytest.raises(exceptions.AmphoraUnreachable):
            driver.info(other)
    assert agent.connections == 4


def test_who_has_no_descriptor_left_says_nothing_of_the_amphora(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    driver = rest.RestAmphora(authority, port=agent.port, retry_time=60.0)
    with descriptors.none_left():
        for ask in (lambda: driver.info(agent.amphora, 5.0), lambda: driver.apply(agent.amphora, WANTED, {})):
            with pytest.raises(exceptions.HostFault, match="own machine refused: Too many open files"):
                ask()
    driver.apply(agent.amphora, WANTED, {})
    driver.close()


def test_it_is_made_from_the_configuration_with_the_authority_named_there(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "figlina.conf"
    file.write_text(
        f"[certificates]\ncreate = true\nca_path = {tmp_path}/ca\n[haproxy_amphora]\nconnection_retry_time = 0\nbind_port = 1\n"
    )
    driver = rest.RestAmphora.from_conf(configuration.load([], [str(file)]))
    with pytest.raises(exceptions.AmphoraUnreachable, match="refused"):
        driver.info(agent_stand_in.an_amphora_here())
