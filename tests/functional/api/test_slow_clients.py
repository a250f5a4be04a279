"""Clients that begin a request and don't end it, against the real process: nobody else waits, and each of them has an end."""

from __future__ import annotations

import dataclasses
import http.client
import json
import select
import socket
import time
from collections.abc import Iterator

import pytest

from benchmarks import api_http
from controller.embedded import linux
from tests import siege

pytestmark = pytest.mark.lengthy

TIMEOUT = 3
"""Seconds within which a request must be whole in these tests."""
MORE = f"request_timeout = {TIMEOUT}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[api_http.Server]:
    """A process with eight threads, as by default."""
    with api_http.running(more=MORE) as made:
        yield made


@dataclasses.dataclass
class Siege:
    """What forty clients of each kind saw, all at once, and how long others waited meanwhile, in seconds."""

    outcomes: dict[str, list[siege.Outcome]]
    others: list[float]


@pytest.fixture(scope="module")
def past(server: api_http.Server) -> Siege:
    """A siege that is over."""
    others = []
    with siege.besieged(server.port, siege.KINDS, 40) as sieges:
        for _ in range(40):
            started = time.monotonic()
            api_http.Client(server.port)("GET", "/")
            others.append(time.monotonic() - started)
        for name, one in sieges.items():
            assert one.wait(TIMEOUT + 15), f"some connections have no end: {name}"
        return Siege({name: one.outcomes for name, one in sieges.items()}, others)


def test_slow_clients_hold_up_nobody(past: Siege) -> None:
    """Were they held up, each would wait for the end of a siege's time. A busy machine may hold up one or two by itself."""
    assert sorted(past.others)[-3] < TIMEOUT - 1


@pytest.mark.parametrize("name", siege.KINDS)
def test_what_a_client_begins_has_an_end(past: Siege, name: str) -> None:
    outcomes = past.outcomes[name]
    assert len(outcomes) == 40
    assert all(outcome.ended_after is not None and outcome.ended_after > TIMEOUT - 0.5 for outcome in outcomes)
    assert {outcome.status for outcome in outcomes} == ({408} if siege.KINDS[name].may_be_answered else {None})


def test_a_refusal_says_what_to_do_and_names_its_request(server: api_http.Server) -> None:
    kind = siege.KINDS["unfinished headers"]
    with siege.besieged(server.port, {"it": kind}, 1) as sieges:
        assert sieges["it"].wait(TIMEOUT + 15)
        (outcome,) = sieges["it"].outcomes
    head, _, body = outcome.heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"\r\nx-openstack-request-id: req-" in head
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["faultstring"] == f"The request was not whole after {TIMEOUT} seconds. Please repeat it, and send it in one go."


def test_a_client_that_does_not_read_its_answers_is_left(server: api_http.Server) -> None:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: slow\r\n\r\n" * 200)
    ended = select.poll()
    ended.register(client, 0)  # an end, and nothing else
    assert not ended.poll((TIMEOUT - 1) * 1000)
    assert ended.poll((2 * TIMEOUT + 30) * 1000), "the answer is kept for ever"
    client.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 70_000, 431),
        (b"GET /" + b"a" * 70_000, 431),
        (b"POST /v2/lbaas/loadbalancers HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
    ],
    ids=lambda value: str(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_what_can_not_become_a_request_is_refused_at_once(server: api_http.Server, sent: bytes, status: int) -> None:
    with siege.besieged(server.port, {"it": siege.Kind(sent)}, 1) as sieges:
        assert sieges["it"].wait(TIMEOUT + 15)
        (outcome,) = sieges["it"].outcomes
    assert outcome.status == status, "408 would be the time-out's"
    assert b"faultstring" in outcome.heard


def test_a_body_without_an_end_is_refused_where_it_becomes_too_large(server: api_http.Server) -> None:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(siege.KINDS["chunked body that never ends"].first)
    part = b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent = 0
    try:
        while sent < 64 * 1024 * 1024:
            client.sendall(part)
            sent += len(part)
    except OSError:
        pass
    assert sent < 40 * 1024 * 1024
    client.close()


def test_who_asks_before_he_sends_too_much_is_told_before_he_sends_it(server: api_http.Server) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    client.putrequest("POST", "/v2/lbaas/loadbalancers")
    client.putheader("Content-Length", "3000000")
    client.putheader("Expect", "100-continue")
    client.endheaders()
    answer = client.getresponse()
    assert answer.status == 413
    client.close()


def test_a_header_with_an_underscore_is_not_taken_for_one_with_a_dash(server: api_http.Server) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    body = json.dumps({"loadbalancer": {"vip_subnet_id": api_http.SUBNET}})
    client.request("POST", "/v2/lbaas/loadbalancers", body, {"Content-Type": "application/json", "X_Project_Id": "forged"})
    assert json.loads(client.getresponse().read())["loadbalancer"]["project_id"] == "bench"
    client.close()


@pytest.mark.slow
def test_a_full_house_closes_the_one_that_waits_for_longest() -> None:
    """Their time is long enough for all of them to come before the first one's is over, on a busy machine too."""
    patience = 15
    with api_http.running(more=f"request_timeout = {patience}\nmax_connections = 30\n") as server:
        idle = api_http.Client(server.port)
        idle("GET", "/")
        with siege.besieged(server.port, {"it": siege.KINDS["unfinished headers"]}, 100) as sieges:
            for _ in range(10):
                api_http.Client(server.port)("GET", "/")
            idle("GET", "/")
            assert sieges["it"].wait(patience + 15)
            ends = sorted((outcome.ended_after, outcome.status) for outcome in sieges["it"].outcomes)
    assert {status for _, status in ends} == {503, 408}
    assert [status for _, status in ends].count(503) >= 70


def test_several_processes_answer_and_end_together() -> None:
    with api_http.running(workers=3, more=MORE) as server:
        workers = _workers(server, 3)
        for _ in range(30):
            api_http.Client(server.port)("GET", "/")
        marks = [linux.ProcessMark.of(pid) for pid in workers]
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert not any(mark and mark.alive for mark in marks)


def _workers(server: api_http.Server, count: int) -> list[int]:
    """The processes that answer, once all of them are there: the first one answers before the last one was started."""
    deadline = time.monotonic() + 30
    while True:
        found = [pid for pid in linux.descendants(server.process.pid) if pid != server.process.pid]
        if len(found) == count:
            return found
        assert time.monotonic() < deadline, f"{len(found)} processes"
        time.sleep(0.05)
