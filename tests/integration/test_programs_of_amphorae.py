"""Every process that an amphora runs is stopped and killed: in the half that has the VIP, in the other one, in an amphora that is alone.

Within a bound the load balancer serves again and is ONLINE, exactly one machine answers for its VIP, an event says what happened, and no
amphora is replaced that need not be. What processes there are is read from real amphorae: a new one fails the first test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import signal
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration import vip_holders
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPOLOGY = "ACTIVE_STANDBY"
BOUND = vip_holders.BOUND
QUIET = 7.0
"""Seconds in which nothing is to happen: longer than the heartbeat time-out and a question over TLS."""
STOP, KILL = signal.SIGSTOP, signal.SIGKILL
REPLACED = ("failed over", "it is replaced")
"""The health manager misses its heartbeats, or a comparison with the cloud finds its machine stopped first."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """What an event says, and whether the amphora is replaced."""

    words: tuple[str, ...] = ()
    """One of them is told."""
    replaced: bool = False

    @property
    def quiet(self) -> bool:
        """Whether nobody is to notice."""
        return not self.words

    def among(self, events: list[str]) -> list[str]:
        """Which events tell of it."""
        return [one for one in events if any(words in one for words in self.words)]


EXPECTED: Mapping[str, Mapping[signal.Signals, Expected]] = {
    "machine": {STOP: Expected(), KILL: Expected(REPLACED, True)},  # what made process 1, and waits for it
    "process 1": {STOP: Expected(), KILL: Expected(REPLACED, True)},
    "agent": {STOP: Expected(REPLACED, True), KILL: Expected(("its agent died",))},
    "HAProxy's master": {STOP: Expected(("HAProxy hung",)), KILL: Expected(("HAProxy died",))},
    "HAProxy's worker": {STOP: Expected(("HAProxy hung",)), KILL: Expected(("HAProxy died",))},
    "keepalived": {STOP: Expected(("keepalived hung",)), KILL: Expected(("keepalived died",))},
    "keepalived's child": {STOP: Expected(("keepalived hung",)), KILL: Expected(("keepalived died",))},
}
NOT_ONLINE_MEANWHILE = {"HAProxy's worker", "keepalived", "keepalived's child"}
"""While one of these stands still, the load balancer is not ONLINE. Without an agent or a master of HAProxy it serves on."""
ONLY_IN_PAIRS = {"keepalived", "keepalived's child"}


@dataclasses.dataclass
class Scene:
    """A load balancer to which one signal is given, in the half that has the VIP or in the other one."""

    balancer: Balancer
    number: signal.Signals
    place: str  # holder, other, alone

    @property
    def name(self) -> str:
        return f"{self.number.name} {self.place}"

    def victim(self) -> dict[str, Any]:
        holding: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for amphora in self.balancer.amphorae():
            (holding if vip_holders.holds(self.balancer, amphora) else others).append(amphora)
        assert len(holding) == 1, f"{len(holding)} amphorae hold the VIP"
        return others[0] if self.place == "other" else holding[0]


@pytest.fixture(scope="module")
def scenes(site: Site) -> list[Scene]:
    """Six load balancers: both signals, three places."""
    profile = {"name": "alone", "provider_name": "amphora", "flavor_data": '{"loadbalancer_topology": "SINGLE"}'}
    made = site.api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
    flavor = {"name": "alone", "flavor_profile_id": made["id"], "enabled": True}
    alone = site.api.post("/flavors", {"flavor": flavor})["flavor"]["id"]
    return [
        Scene(site.balancer(("web-1",), flavor_id=alone if place == "alone" else None), number, place)
        for number in (STOP, KILL)
        for place in ("holder", "other", "alone")
    ]


def test_the_processes_of_an_amphora_are_these(scenes: list[Scene]) -> None:
    for scene in scenes:
        for amphora in scene.balancer.amphorae():
            expected = EXPECTED.keys() - (ONLY_IN_PAIRS if scene.place == "alone" else set())
            eventually(functools.partial(_are, amphora, expected), 60, functools.partial(_words, amphora))


@pytest.mark.parametrize("process", EXPECTED)
def test_an_amphora_outlives_each_of_its_processes(site: Site, scenes: list[Scene], process: str) -> None:
    played = [scene for scene in scenes if not (scene.place == "alone" and process in ONLY_IN_PAIRS)]
    for scene in scenes:
        vip_holders.is_well(site, scene.balancer)
    wrong: dict[str, str] = {}

    def play(scene: Scene) -> None:
        try:
            _play(site, scene, process)
        except Exception as exc:
            wrong[scene.name] = f"{type(exc).__name__}: {exc}"

    threads = [threading.Thread(target=play, args=(scene,)) for scene in played]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == {}


def _play(site: Site, scene: Scene, process: str) -> None:
    balancer, expected = scene.balancer, EXPECTED[process][scene.number]
    before, told = vip_holders.ids(balancer), vip_holders.events(site, balancer)
    victim = scene.victim()
    (pid,) = _processes(victim)[process]
    os.kill(pid, scene.number)
    statuses = set()
    try:
        until = time.monotonic() + (QUIET if expected.quiet else BOUND)
        while time.monotonic() < until and not (news := vip_holders.events(site, balancer)[len(told) :]):
            statuses.add(balancer.show()["operating_status"])
            time.sleep(0.2)
        if expected.quiet:
            assert (news, vip_holders.ids(balancer)) == ([], before), "nobody was to notice"
        else:
            eventually(
                lambda: expected.among(vip_holders.events(site, balancer)[len(told) :]) != [],
                BOUND,
                lambda: f"told: {news}",
            )
            if scene.number is STOP and process in NOT_ONLINE_MEANWHILE:
                assert statuses - {"ONLINE"}, "it was ONLINE all the while"
        if expected.replaced:
            eventually(
                lambda: victim["id"] not in vip_holders.ids(balancer) and len(vip_holders.ids(balancer)) == len(before),
                BOUND,
                "it was not replaced",
            )
        vip_holders.is_well(site, balancer)
        gone = before - vip_holders.ids(balancer)
        assert gone == ({victim["id"]} if expected.replaced else set()), f"replaced: {gone}"
        if not expected.quiet:
            again = expected.among(vip_holders.events(site, balancer)[len(told) :])
            assert len(again) == 1, f"told {len(again)} times: {again}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _are(amphora: dict[str, Any], kinds: Collection[str]) -> bool:
    return _processes(amphora).keys() == kinds


def _words(amphora: dict[str, Any]) -> str:
    return str(_processes(amphora))


def _processes(amphora: dict[str, Any]) -> dict[str, list[int]]:
    """What runs in an amphora, but for what comes and goes within a second (scripts of keepalived, pauses of process 1)."""
    found: dict[str, list[int]] = {}
    for pid in amphora["pids"]:
        if (kind := _kind(pid)) is not None:
            found.setdefault(kind, []).append(pid)
    return found


def _kind(pid: int) -> str | None:
    try:
        words = [word for word in pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0") if word]
        fields = _stat(pid)
    except OSError:
        return None
    parent, age = int(fields[1]), time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    if not words or fields[0] == "Z":
        return None
    program = pathlib.Path(words[0]).name
    if program in ("haproxy", "keepalived"):
        child = program in _command(parent)
        if program == "keepalived" and child and program in _command(_parent(parent)):  # a script's process, before it is the script's
            return None
        return {"haproxy": ("HAProxy's master", "HAProxy's worker"), "keepalived": ("keepalived", "keepalived's child")}[program][child]
    if any("figlina-agent" in word for word in words[:2]):
        return "agent"
    if program == "unshare":
        return "machine"
    if program == "sh" and "unshare" in _command(parent):
        return "process 1"
    return None if age < 1.5 else " ".join(words)


def _stat(pid: int) -> list[str]:
    """What /proc/PID/stat says behind the program's name: its state, its parent, and so on."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(_stat(pid)[1])
    return 0


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    return ""
