"""Whoever was never checked gets no traffic, and need not wait for long; whoever is known to be down stays down."""

from __future__ import annotations

import contextlib
import http.client
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import Any

import pytest

from tests.integration import agent_amphora
from tests.integration.agent_amphora import Amphora, config, eventually

pytestmark = pytest.mark.integration
HTTPCHK = "    timeout check 5s\n    option httpchk GET /health\n    http-check expect status 200"
PING = '    timeout check 5s\n    option external-check\n    external-check command "${FIGLINA_CHECKS}/ping"'
RARELY = "check inter 30s fall 3 rise 3"
OFTEN = "check inter 300 fall 3 rise 3"
FIT, SICK, OTHER, SECURE = 9001, 9002, 9003, 9004
STICKING = "\n    stick-table type ip size 1k expire 5m\n    stick on src"
ANOTHER_LINE = "\n    option forwardfor"
SWITCHED_ON = f"m2 {SICK} disabled"
NOBODY = f"{agent_amphora.WEB.rpartition('.')[0]}.77"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amphora]:
    """One amphora for all; whoever needs one that knows nothing takes another load balancer's place in it."""
    with agent_amphora.running(tmp_path_factory.mktemp("first") / "amphora") as amphora:
        amphora.web(FIT)
        amphora.web(SICK, fit=False)
        amphora.web(OTHER)
        yield amphora


@pytest.fixture
def amphora(machine: Amphora) -> Iterator[Amphora]:
    machine.set_fit(FIT, True)
    machine.set_fit(SICK, False)
    for port in (FIT, SICK):
        machine.set_thinking(port, 0.0)
    yield machine
    machine.call("DELETE", f"/1/load-balancers/{machine.load_balancer_id}")


def checked(*servers: str, words: str = RARELY, extra: str = "", lines: str = HTTPCHK) -> str:
    """A configuration whose servers are checked over HTTP; `servers` are name, port and further words."""
    parts = (server.split(" ", 2) for server in servers)
    named = (f"{name} {agent_amphora.WEB}:{port} weight 1 {words} {' '.join(more)}" for name, port, *more in parts)
    return config(*named, extra=lines + extra)


def answers(amphora: Amphora, seconds: float) -> set[str]:
    """Who answers meanwhile; a request that nobody answers is none."""
    until = time.monotonic() + seconds
    return answers_until(amphora, lambda: time.monotonic() >= until)


def answers_until(amphora: Amphora, over: Callable[[], bool]) -> set[str]:
    """The same, until something is over."""
    found = set()
    while not over():
        with contextlib.suppress(OSError, AssertionError, http.client.HTTPException):
            found.add(amphora.fetch())
    return found


def test_a_new_member_whose_health_page_fails_gets_no_request(amphora: Amphora) -> None:
    amphora.apply(1, checked(f"m1 {FIT}"))
    assert amphora.apply(2, checked(f"m1 {FIT}", f"m2 {SICK}")) == "runtime"
    assert answers(amphora, 1.5) == {str(FIT)}
    assert amphora.apply(3, checked(f"m1 {FIT}", f"m2 {SICK}", f"m3 {SICK}", extra="\n    option forwardfor")) == "reload"
    assert answers(amphora, 1.5) == {str(FIT)}


def test_a_new_member_that_is_fit_serves_at_once_however_rare_its_checks_are(amphora: Amphora) -> None:
    amphora.set_fit(SICK, True)
    amphora.apply(1, checked(f"m1 {FIT}"))
    assert amphora.apply(2, checked(f"m1 {FIT}", f"m2 {SICK}")) == "runtime"
    eventually(lambda: amphora.fetch_all() == {str(FIT), str(SICK)}, within=15)


def test_a_new_load_balancer_serves_when_the_push_is_confirmed(amphora: Amphora) -> None:
    for generation in (1, 3, 5):
        amphora.apply(generation, checked(f"m1 {FIT}", f"m2 {SICK}"))
        assert amphora.fetch() == str(FIT)
        assert answers(amphora, 0.5) == {str(FIT)}
        amphora.apply(generation + 1, None)


def test_a_dead_member_does_not_hold_a_push_up(amphora: Amphora) -> None:
    silent = f"m1 {NOBODY}:9001 weight 1 {RARELY}"
    begun = time.monotonic()
    amphora.apply(1, config(silent, extra=HTTPCHK))
    assert time.monotonic() - begun < 10  # not the 30 s of the interval, nor three times that; the figure is the benchmark's


def test_a_member_that_is_switched_on_again_is_checked_first(amphora: Amphora) -> None:
    amphora.apply(1, checked(f"m1 {FIT}", f"m2 {SICK} disabled"))
    assert amphora.apply(2, checked(f"m1 {FIT}", f"m2 {SICK}")) == "runtime"
    assert answers(amphora, 1.5) == {str(FIT)}
    amphora.set_fit(SICK, True)
    assert amphora.apply(3, checked(f"m1 {FIT}", f"m2 {SICK} disabled")) == "runtime"
    assert amphora.apply(4, checked(f"m1 {FIT}", f"m2 {SICK}")) == "runtime"
    eventually(lambda: amphora.fetch_all() == {str(FIT), str(SICK)}, within=15)


@pytest.mark.parametrize("held", ["idle", "open"])
def test_a_member_that_is_switched_off_and_on_serves_at_once_whoever_was_with_it(amphora: Amphora, held: str) -> None:
    """It has connections of before, however rare its checks are."""
    amphora.apply(1, checked(f"m1 {FIT}"))
    with contextlib.closing(amphora.connect()) as socket:
        if held == "open":
            socket.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
            socket.recv(100)
        amphora.fetch()
        amphora.apply(2, checked(f"m1 {FIT} disabled"))
        amphora.apply(3, checked(f"m1 {FIT}"))
        assert amphora.fetch_all() == {str(FIT)}


def checked_below(pool: str, *servers: str, lines: str = HTTPCHK) -> str:
    """A configuration with a pool of another name."""
    return checked(*servers, lines=lines).replace("p1:l1", f"{pool}:l1")


REPLACED = {
    "the members": (checked(f"m1 {FIT}"), checked(f"m2 {SICK}"), "runtime"),
    "the members, by a reload": (checked(f"m1 {FIT}"), checked(f"m2 {SICK}", extra=ANOTHER_LINE), "reload"),
    "the member that serves": (checked(f"m1 {FIT}", SWITCHED_ON), checked(f"m1 {FIT} disabled", f"m2 {SICK}"), "runtime"),
    "the member that serves, by a reload": (
        checked(f"m1 {FIT}", SWITCHED_ON),
        checked(f"m1 {FIT} disabled", f"m2 {SICK}", extra=ANOTHER_LINE),
        "reload",
    ),
    "the members of a ping": (checked(f"m1 {FIT}", lines=PING), checked(f"m2 {SICK}", lines=PING), "reload"),
    "the members, and what checks them": (checked(f"m1 {FIT}", lines=PING), checked(f"m2 {SICK}"), "reload"),
    "the pool": (checked(f"m1 {FIT}"), checked_below("p2", f"m2 {SICK}"), "reload"),
    "the pool, by one that is pinged": (checked(f"m1 {FIT}"), checked_below("p2", f"m2 {SICK}", lines=PING), "reload"),
    "the pinged pool, by another": (checked(f"m1 {FIT}", lines=PING), checked_below("p2", f"m2 {SICK}", lines=PING), "reload"),
}


@pytest.mark.parametrize("what", REPLACED)
def test_no_request_fails_when_others_take_over_who_are_yet_to_be_checked(amphora: Amphora, what: str) -> None:
    """Their health page takes a while: nobody is sent there before it has answered, and nobody is told that there is no service."""
    amphora.set_fit(SICK, True)
    before, after, how = REPLACED[what]
    amphora.apply(1, before)
    amphora.set_thinking(SICK, 0.25)
    assert how == applied_under_requests(amphora, after, str(SICK))


@pytest.mark.parametrize(("pool", "how"), [("p1", "runtime"), ("p2", "reload")])
def test_no_request_fails_while_those_who_come_are_slow_to_say_that_they_are_fit(amphora: Amphora, pool: str, how: str) -> None:
    """The former ones serve until then, so there is more time than where nobody does."""
    amphora.set_fit(SICK, True)
    amphora.apply(1, checked(f"m1 {FIT}"))
    amphora.set_thinking(SICK, 1.2)
    assert applied_under_requests(amphora, checked_below(pool, f"m2 {SICK}"), str(SICK)) == how


def test_no_request_fails_when_a_pool_and_a_certificate_come_together(amphora: Amphora) -> None:
    amphora.set_fit(SICK, True)
    amphora.apply(1, checked(f"m1 {FIT}"))
    amphora.set_thinking(SICK, 0.25)
    of_listener = with_certificates(amphora, {"l1.pem": agent_amphora.Authority("any").issue("web.example")})
    assert applied_under_requests(amphora, checked_below("p2", f"m2 {SICK}"), str(SICK), **of_listener) == "reload"


@pytest.mark.parametrize("known", [False, True])
def test_no_request_fails_when_a_pool_comes_that_verifies_its_members(amphora: Amphora, known: bool) -> None:
    """Its authority comes with it, or is another one than that of its name before, by which nobody would be found fit."""
    authority, other = agent_amphora.Authority("members"), agent_amphora.Authority("others")
    amphora.web(SECURE, pem=authority.issue("member"))
    try:
        amphora.apply(1, checked(f"m1 {FIT}"), **(with_certificates(amphora, {"p2-ca.pem": other.root}) if known else {}))
        amphora.set_thinking(SECURE, 0.25)
        after = checked_below("p2", f"m2 {SECURE} ssl verify required ca-file p2-ca.pem")
        assert applied_under_requests(amphora, after, str(SECURE), **with_certificates(amphora, {"p2-ca.pem": authority.root})) == "reload"
    finally:
        amphora.stop_web(SECURE)


def test_who_takes_over_is_pinged_where_it_is_to_be_monitored(amphora: Amphora) -> None:
    """Not at its own address, where somebody answers."""
    amphora.set_fit(SICK, True)
    amphora.apply(1, checked(f"m1 {FIT}"))
    amphora.apply(2, checked_below("p2", f"m2 {SICK}", f"m3 {OTHER} addr {NOBODY}", lines=PING))
    assert answers(amphora, 1.5) == {str(SICK)}


@pytest.mark.parametrize("further", ["", ANOTHER_LINE, STICKING], ids=["runtime", "reload", "numbered"])
def test_nobody_takes_over_who_is_found_sick(amphora: Amphora, further: str) -> None:
    amphora.apply(1, checked(f"m1 {FIT}"))
    amphora.set_thinking(SICK, 0.25)
    applied = threading.Event()
    with futures.ThreadPoolExecutor(1) as client:
        asked = client.submit(answers_until, amphora, applied.is_set)
        try:
            amphora.apply(2, checked(f"m2 {SICK}", f"m3 {OTHER}", extra=further))
        finally:
            applied.set()
    assert asked.result() | answers(amphora, 1.0) == {str(FIT), str(OTHER)}


@pytest.mark.parametrize("off", [" weight 0", " weight 1 disabled"])
def test_no_request_fails_while_members_take_turns_whom_nobody_checks(amphora: Amphora, off: str) -> None:
    texts = [config(f"m1 {agent_amphora.WEB}:{FIT}{one}", f"m2 {agent_amphora.WEB}:{OTHER}{two}") for one, two in _turns(off)]
    amphora.apply(1, texts[1])
    over = threading.Event()
    with futures.ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(asked_all_the_time, amphora, over) for _ in range(3)]
        try:
            assert {amphora.apply(generation, texts[generation % 2]) for generation in range(2, 22)} == {"runtime"}
        finally:
            over.set()
    assert set().union(*(one.result() for one in asked)) == {200}


def _turns(off: str) -> list[tuple[str, str]]:
    return [(" weight 1", off), (off, " weight 1")]


def asked_all_the_time(amphora: Amphora, over: threading.Event) -> set[int]:
    """The statuses of answers to requests on one connection after the other."""
    found = set()
    while not over.is_set():
        with contextlib.closing(http.client.HTTPConnection(agent_amphora.VIP)) as connection:
            connection.sock = amphora.connect()
            for _ in range(20):
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                found.add(answer.status)
    return found


def applied_under_requests(amphora: Amphora, after: str, last: str, **certificates: Any) -> str:
    """How a change was applied that leads clients from the fit one to another, each of whose requests was answered."""
    with futures.ThreadPoolExecutor(1) as client:
        asked = client.submit(asked_until, amphora, last)
        how = amphora.apply(2, after, **certificates)
        assert asked.result() == {str(FIT), last}
    return how


def with_certificates(amphora: Amphora, named: Mapping[str, bytes]) -> dict[str, Any]:
    """What a wanted state says of certificates, which are sent first."""
    names = {name: amphora.send_certificate(pem) for name, pem in named.items()}
    return {"certificates": tuple(names.values()), "names": names}


def asked_until(amphora: Amphora, last: str) -> set[str]:
    """Who answered until somebody did; each request has to be answered."""
    found: set[str] = set()
    until = time.monotonic() + 15
    while last not in found and time.monotonic() < until:
        found.add(amphora.fetch())
    return found


def test_a_member_that_is_down_by_an_unchanged_check_stays_down_over_a_reload(amphora: Amphora) -> None:
    amphora.apply(1, checked(f"m1 {FIT}", f"m2 {SICK}", words=OFTEN))
    assert amphora.apply(2, checked(f"m1 {FIT}", f"m2 {SICK}", words=OFTEN, extra="\n    option forwardfor")) == "reload"
    assert answers(amphora, 1.5) == {str(FIT)}


def test_members_that_serve_go_on_while_a_changed_check_has_its_first_look(amphora: Amphora) -> None:
    amphora.apply(1, checked(f"m1 {FIT}"))
    for generation, words in enumerate(("check inter 29s fall 3 rise 3", "check inter 28s fall 3 rise 2", ""), start=2):
        assert amphora.apply(generation, checked(f"m1 {FIT}", words=words)) == "reload"
        assert amphora.fetch() == str(FIT)


def test_what_is_known_to_be_down_stays_down_when_haproxy_is_started_again(amphora: Amphora) -> None:
    beats = amphora.beats()
    amphora.apply(1, checked(f"m1 {FIT}", f"m2 {SICK}", words="check inter 30s fall 3 rise 1"))
    amphora.set_fit(SICK, True)  # so that a check would bring it up: none is due for half a minute
    beats.report(lambda report: report["pools"].get("p1:l1", {}).get("members") == {"m1": "UP", "m2": "DOWN"})  # the agent has looked
    beats.sock.close()
    for pid in amphora.pids("haproxy"):
        agent_amphora.kill(pid)
    eventually(lambda: amphora.fetch() == str(FIT))
    table = amphora.exec("python3", "-c", _STATES).splitlines()
    [row] = [line.split() for line in table if " m2 " in line]
    assert row[5] == "0" or row[11] == "3"  # DOWN, or a check has found it fit since; not UP on trust


_TALK = "s.connect('/run/figlina/haproxy.sock');s.sendall(b'show servers state\\n');print(s.makefile().read())"
_STATES = f"import socket;s=socket.socket(1);{_TALK}"


def test_an_agent_that_is_killed_with_its_haproxy_trusts_nobody(amphora: Amphora) -> None:
    amphora.apply(1, checked(f"m1 {FIT}", f"m2 {SICK}"))
    for pid in (*amphora.pids("haproxy"), amphora.agent_pid()):
        agent_amphora.kill(pid)
    eventually(lambda: amphora.fetch() == str(FIT))
    assert answers(amphora, 1.5) == {str(FIT)}


def test_reports_say_of_whom_nothing_is_known_yet(tmp_path: pathlib.Path) -> None:
    with agent_amphora.running(tmp_path / "amphora", full_report_interval=1.0) as amphora:
        amphora.web(FIT)
        beats = amphora.beats()
        silent = f"m2 {NOBODY}:9001 weight 1 check inter 20s fall 1 rise 3"
        patient = config(f"m1 {agent_amphora.WEB}:{FIT} weight 1 {RARELY}", silent).replace("timeout connect 2s", "timeout connect 8s")
        amphora.apply(1, patient)
        report = beats.report(lambda report: report["generation"] == 1 and report["pools"]["p1:l1"]["members"]["m1"] == "UP")
        assert report["pools"]["p1:l1"] == {"status": "UP", "members": {"m1": "UP", "m2": "unchecked"}}
        beats.report(lambda report: report["pools"]["p1:l1"]["members"]["m2"] == "DOWN")
