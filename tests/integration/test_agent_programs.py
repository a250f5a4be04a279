"""Every program of an amphora that stands still or dies: the agent notices, says so, starts it again, and says that, too."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amphora_agent import programs
from amphora_agent.protocol import heartbeat
from tests.integration import agent_amphora
from tests.integration.agent_amphora import VIP, Amphora, Beats, config, eventually
from tests.integration.test_agent_life import PAIR

pytestmark = pytest.mark.integration

Victims = Callable[[Amphora], list[int]]
PROCESSES: dict[str, tuple[str, Victims]] = {
    "keepalived's parent": (programs.KEEPALIVED, lambda amphora: amphora.keepalived()[:1]),
    "keepalived's child": (programs.KEEPALIVED, lambda amphora: amphora.keepalived()[1:]),
    "both of keepalived": (programs.KEEPALIVED, Amphora.keepalived),
    "HAProxy's master": (programs.HAPROXY, lambda amphora: sorted(set(amphora.pids("haproxy")) - amphora.workers())),
    "HAProxy's worker": (programs.HAPROXY, lambda amphora: sorted(amphora.workers())),
    "both of HAProxy": (programs.HAPROXY, lambda amphora: amphora.pids("haproxy")),
}
BOUND = 60.0
"""Seconds of patience: how soon things are noticed is measured by benchmarks."""


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Amphora, Beats]]:
    """The half of a pair whose partner is away: it holds the VIP."""
    with agent_amphora.running(tmp_path_factory.mktemp("half") / "amphora") as amphora:
        nic = dataclasses.replace(amphora.wanted(1, None).interfaces[0], vips=())
        beats = amphora.beats()
        amphora.apply(1, config(f"m1 {amphora.web(9001)} weight 1"), keepalived_config=PAIR, interfaces=(nic,))
        yield amphora, beats


def _whole(report: dict[str, Any]) -> bool:
    return _states(report) == {programs.RUNS} and report["vrrp"] == {"state": "MASTER", "holds_vip": True}


def _states(report: dict[str, Any]) -> set[str]:
    return {program["state"] for program in report["programs"].values()}


def _counts(report: dict[str, Any], program: str) -> dict[str, int]:
    return {cause: report["programs"][program][cause] for cause in (programs.DIED, programs.HUNG)}


CASES = [(process, signal.SIGSTOP) for process in PROCESSES]
CASES += [(process, signal.SIGKILL) for process in PROCESSES if "both" not in process]


@pytest.mark.parametrize(("process", "number"), CASES, ids=[f"{process} {number.name}" for process, number in CASES])
def test_a_program_that_hangs_or_dies_is_told_and_started_again(half: tuple[Amphora, Beats], process: str, number: signal.Signals) -> None:
    amphora, beats = half
    program, victims = PROCESSES[process]
    before = _now(amphora, beats, _whole)
    beats.drain()
    hit = victims(amphora)
    assert hit
    for pid in hit:
        os.kill(pid, number)
    cause = programs.HUNG if number is signal.SIGSTOP else programs.DIED
    expected = {**_counts(before, program), cause: _counts(before, program)[cause] + 1}
    after = beats.report(lambda report: _counts(report, program) == expected, BOUND)
    assert all(_counts(after, other) == _counts(before, other) for other in before["programs"] if other != program), "one told of another"
    _now(amphora, beats, lambda report: _whole(report) and _counts(report, program) == expected)
    assert amphora.fetch() == "9001"
    if number is signal.SIGSTOP:  # a master that stood still is ended as soon as its worker has no connections any more
        eventually(lambda: not set(hit) & set(amphora.pids("keepalived") + amphora.pids("haproxy")), BOUND)


def test_while_a_program_does_not_answer_no_heartbeat_claims_that_all_is_well(half: tuple[Amphora, Beats]) -> None:
    amphora, beats = half
    for program, pids in (PROCESSES["both of keepalived"], PROCESSES["both of HAProxy"]):
        _now(amphora, beats, _whole)
        time.sleep(1.5)  # the question was answered by that report or by one that comes within a second: a beat repeats its number
        beats.drain()
        for pid in pids(amphora):
            os.kill(pid, signal.SIGSTOP)
        beats.report(lambda report, program=program: report["programs"][program]["state"] == programs.SILENT, BOUND)  # type: ignore[misc]
        header, report = beats.next(BOUND)
        while report is not None and _states(report) != {programs.RUNS}:
            header, report = beats.next(BOUND)
        assert header.kind == heartbeat.REPORT, "a beat came before the report which says that it runs again"
        assert f" {VIP}/" not in amphora.tenant("ip", "-brief", "address"), "who was killed has left the VIP behind"


def test_a_new_configuration_reaches_a_keepalived_that_hangs(half: tuple[Amphora, Beats]) -> None:
    amphora, beats = half
    before = _now(amphora, beats, _whole)
    nic = dataclasses.replace(amphora.wanted(1, None).interfaces[0], vips=())
    (worker,) = amphora.workers()
    for pid in amphora.keepalived():
        os.kill(pid, signal.SIGSTOP)
    haproxy = (amphora.folder / "state" / "haproxy.cfg").read_text()
    amphora.apply(before["generation"] + 1, haproxy, keepalived_config=PAIR.replace("priority 100", "priority 90"), interfaces=(nic,))
    after = _now(amphora, beats, _whole)
    assert _counts(after, programs.KEEPALIVED)[programs.HUNG] == _counts(before, programs.KEEPALIVED)[programs.HUNG] + 1
    assert amphora.workers() == {worker}, "HAProxy had nothing to do with it"


def test_connections_outlive_a_haproxy_master_that_hangs(half: tuple[Amphora, Beats]) -> None:
    amphora, beats = half
    before = _now(amphora, beats, _whole)
    slow = amphora.connect(timeout=30)
    slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    (master,) = set(amphora.pids("haproxy")) - amphora.workers()
    os.kill(master, signal.SIGSTOP)
    hung = _counts(before, programs.HAPROXY)[programs.HUNG]
    beats.report(lambda report: _counts(report, programs.HAPROXY)[programs.HUNG] > hung, BOUND)
    amphora.release(9001)
    assert slow.recv(1000).startswith(b"HTTP/1.1 200")
    slow.close()
    eventually(lambda: master not in amphora.pids("haproxy"), BOUND)


def test_the_agents_own_death_is_counted_and_its_orderly_end_is_not(half: tuple[Amphora, Beats]) -> None:
    amphora, beats = half
    before = _now(amphora, beats, _whole)
    os.kill(ending := amphora.agent_pid(), signal.SIGTERM)
    again = beats.report(lambda report: report["programs"]["agent"]["died"] == before["programs"]["agent"]["died"], BOUND)
    assert again["programs"].keys() == before["programs"].keys()
    eventually(lambda: amphora.agents() not in ([], [ending]))
    eventually(lambda: amphora.call("GET", "/")[0] == 200)
    beats.drain()
    agent_amphora.kill(amphora.agent_pid())
    beats.report(lambda report: report["programs"]["agent"]["died"] == before["programs"]["agent"]["died"] + 1, BOUND)


def _now(amphora: Amphora, beats: Beats, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first report of now that fits; the amphora is asked for one, because a steady one sends none."""
    beats.drain()
    asked_at, until = float("-inf"), time.monotonic() + 2 * BOUND
    while time.monotonic() < until:
        header, report = beats.next()
        if report is not None and condition(report):
            return report
        if time.monotonic() - asked_at < 1.2:
            continue
        asked_at = time.monotonic()
        wanted = heartbeat.REPORT_WANTED
        request = heartbeat.Header(wanted, header.amphora_id, header.boot_id, 1, time.time(), os.urandom(16))
        beats.sock.sendto(heartbeat.pack(request, b"", amphora.key), beats.sender)
    raise AssertionError("no such report")
