"""An agent in wrong hands answers as it likes: it costs whoever asks it a bounded time and a bounded memory, and a sentence says why."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amphora_agent.protocol import boot
from amphora_agent.protocol import rest as protocol
from controller import exceptions
from controller.drivers.amphora import interface, rest
from controller.drivers.ca import fake as fake_ca
from controller.model.amphora import Amphora
from controller.tasks import certificates
from tests import builders
from tests.contract import agent_stand_in

MIB = 1024 * 1024
ENDLESS = 64 * MIB
"""Bytes after which what has no end has one here: far more than anybody may take."""
LONG = 20.0
"""Seconds after which what drips has an end here: far more than anybody may wait."""
PATIENCE = 1.0
WANTED = protocol.WantedState(load_balancer_id=builders.an_id("lb"), generation=1, programs={"haproxy": "defaults\n"})
CONFIG = boot.AgentConfig(health_managers=(("192.0.2.3", 5555),), heartbeat_key="11" * 32, heartbeat_interval=3.0)
Call = Callable[[interface.AmphoraDriver, Amphora, boot.Identity], object]

CALLS: dict[str, Call] = {
    "apply": lambda driver, amphora, _: driver.apply(amphora, WANTED, {}),
    "remove": lambda driver, amphora, _: driver.remove(amphora, WANTED.load_balancer_id),
    "configure": lambda driver, amphora, _: driver.configure(amphora, CONFIG),
    "renew": lambda driver, amphora, identity: driver.renew(amphora, identity),
    "info": lambda driver, amphora, _: driver.info(amphora, timeout=PATIENCE),
}


def _packed(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join((*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()))


BOMB = _packed(ENDLESS)
_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def _flood(begin: bytes, part: bytes) -> Callable[[io.BufferedIOBase], None]:
    def write(wire: io.BufferedIOBase) -> None:
        wire.write(begin)
        for _ in range(ENDLESS // len(part)):
            wire.write(part)

    return write


def _drip(begin: bytes, part: bytes) -> Callable[[io.BufferedIOBase], None]:
    def write(wire: io.BufferedIOBase) -> None:
        wire.write(begin)
        pause = threading.Event()
        for _ in range(int(LONG / 0.1)):
            wire.write(part)
            pause.wait(0.1)

    return write


TIME = "no answer in time"
MOST = f"has more than|{TIME}"  # on a machine that is too busy to take so much in that time
WAYS: dict[str, tuple[Callable[[io.BufferedIOBase], None], str]] = {
    "endless chunks": (_flood(_CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), MOST),
    "an endless body": (_flood(_HEAD + b"\r\n", b"x" * 65536), MOST),
    "a huge Content-Length": (_flood(_HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 65536), MOST),
    "a huge Content-Length and a drip": (_drip(_HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x"), TIME),
    "endless trailers": (_flood(_CHUNKED + b"0\r\n", b"X: y\r\n" * 1000), MOST),
    "endless interim answers": (_flood(b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 1000), MOST),
    "a drip of the body": (_drip(_CHUNKED, b"1\r\nx\r\n"), TIME),
    "a drip of headers": (_drip(_HEAD + b"X: ", b"x"), TIME),
    "a drip of interim answers": (_drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), TIME),
    "a drip of trailers": (_drip(_CHUNKED + b"0\r\n", b"X: y\r\n"), TIME),
}


@pytest.fixture
def driver(authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn) -> Iterator[rest.RestAmphora]:
    made = rest.RestAmphora(authority, port=agent.port, retry_time=30.0, read_timeout=PATIENCE, sleep=lambda _: None)
    yield made
    made.close()


def _peak(call: Callable[[], object]) -> int:
    """Bytes that were allocated at any moment of the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_every_method_of_the_driver_is_tried() -> None:
    assert set(CALLS) == interface.AmphoraDriver.__abstractmethods__


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", CALLS)
def test_an_answer_without_an_end_is_given_up(
    authority: fake_ca.FakeCertificateAuthority, driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn, method: str, way: str
) -> None:
    identity = certificates.identity(authority, authority.issue_amphora_certificate(agent.amphora.id))
    agent.fallen, words = WAYS[way]

    def ask() -> None:
        with pytest.raises(exceptions.AmphoraUnreachable, match=words):
            CALLS[method](driver, agent.amphora, identity)

    assert _peak(ask) < 8 * MIB
    assert len(agent.requests) == 1, "it is not asked once more"
    agent.fallen = None
    assert driver.info(agent.amphora).amphora_id == agent.amphora.id
    assert agent.connections == 2, "the connection is not used again"


@pytest.mark.parametrize("method", CALLS)
def test_what_is_packed_is_not_unpacked(
    authority: fake_ca.FakeCertificateAuthority, driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn, method: str
) -> None:
    identity = certificates.identity(authority, authority.issue_amphora_certificate(agent.amphora.id))
    head = _HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
    agent.fallen = lambda wire: wire.writelines([head, BOMB])

    def ask() -> None:
        with pytest.raises(exceptions.AmphoraRefused):
            CALLS[method](driver, agent.amphora, identity)

    assert _peak(ask) < 8 * MIB


def test_a_question_has_an_end_though_other_answers_may_take_long(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    agent.fallen = WAYS["a drip of headers"][0]
    driver = rest.RestAmphora(authority, port=agent.port, read_timeout=60.0)
    with pytest.raises(exceptions.AmphoraUnreachable, match=TIME) as caught:
        driver.info(agent.amphora, timeout=0.5)
    assert caught.value.is_there


@pytest.mark.parametrize("names", [100, 20_000])
def test_an_answer_may_name_every_certificate_that_it_was_to_have(
    driver: rest.RestAmphora, agent: agent_stand_in.AgentStandIn, names: int
) -> None:
    wanted = dataclasses.replace(WANTED, certificates=tuple(f"{number:064x}.pem" for number in range(names)))
    with pytest.raises(exceptions.AmphoraRefused, match="which nobody gave us"):
        driver.apply(agent.amphora, wanted, {})


def test_certificates_that_are_taken_one_by_one_are_not_taken_for_ever(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    contents = [str(number).encode() for number in range(100)]
    sent = {f"{hashlib.sha256(one).hexdigest()}.pem": one for one in contents}
    agent.older = True
    passed = iter(range(0, 100_000, 5))
    driver = rest.RestAmphora(authority, port=agent.port, read_timeout=60.0, clock=lambda: float(next(passed)))
    with pytest.raises(exceptions.AmphoraUnreachable, match="too slowly"):
        driver.apply(agent.amphora, dataclasses.replace(WANTED, certificates=tuple(sent)), sent)
    assert len(agent.requests) < 20
    driver.close()


@pytest.mark.parametrize("status", [200, 204, 400, 409, 422, 428, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"load_balancers": {"x": Infinity}, "amphora_id": "y"}',
        b'{"code": "stale-order", "lease_token": Infinity, "generation": 1}',
        b'{"code": "stale-order", "lease_token": 1e308, "generation": 1}',
        b'{"code": "stale-generation", "generation": %s}' % (b"9" * 4000),
        b'{"load_balancer_id": "x", "generation": Infinity, "hash": "y", "applied": "none"}',
    ],
    ids=["deep lists", "deep objects", "endless info", "endless token", "large token", "large generation", "endless receipt"],
)
@pytest.mark.parametrize("method", ["apply", "info"])
def test_whatever_is_answered_is_a_refusal(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn, method: str, status: int, body: bytes
) -> None:
    agent.answers.extend([(status, b"" if status == 204 else body)] * 5)
    driver = rest.RestAmphora(authority, port=agent.port, retry_time=0.0)
    with pytest.raises((exceptions.AmphoraRefused, exceptions.AmphoraUnreachable)) as caught:
        CALLS[method](driver, agent.amphora, boot.Identity(server_pem="", client_roots="", client_names=()))
    assert getattr(caught.value, "token", 0) < 2**63
    driver.close()


class _TwoFaced(rest.RestAmphora):
    """Each time that it is asked, its agent shows a certificate that has run out; one that it has just been given, it shows once."""

    mended = 0

    def _ask_once(self, amphora: Amphora, *args: Any, **kwargs: Any) -> Any:
        raise _out_of_time(amphora)

    def _mend(self, amphora: Amphora, order: Any) -> None:
        self.mended += 1
        assert self.mended < 10, "for ever"


def _out_of_time(amphora: Amphora) -> exceptions.AmphoraDistrusted:
    cause = ssl.SSLCertVerificationError("certificate has expired")
    cause.verify_code = 10
    error = exceptions.AmphoraDistrusted(amphora.id, "certificate has expired")
    error.__cause__ = cause
    return error


def test_a_certificate_that_runs_out_again_is_not_mended_for_ever(
    authority: fake_ca.FakeCertificateAuthority, agent: agent_stand_in.AgentStandIn
) -> None:
    driver = _TwoFaced(authority, port=agent.port)
    with pytest.raises(exceptions.AmphoraDistrusted):
        driver.apply(agent.amphora, WANTED, {})
    assert driver.mended == 1
