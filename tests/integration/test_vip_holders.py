"""Two holders of a VIP, or none, in a real pair: told within seconds, mended where it is wrong, and no amphora replaced for it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration import vip_holders
from tests.integration.site import Balancer, Site, keepalived_pids

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPOLOGY = "ACTIVE_STANDBY"
TOLD_WITHIN = 60.0
"""Seconds of patience: three are the grace for a take-over, up to three each until it is looked at, and looked at again; on a busy machine
all of it takes longer."""
NO_VRRP = "table inet vrrp { chain input { type filter hook input priority 0; ip protocol 112 drop; }; }"
NETLINK_FLOOD = 4000
"""Pairs of messages, more than keepalived's buffer takes (kernel's default, 208 KiB)."""


@pytest.fixture
def pair(site: Site) -> Iterator[Balancer]:
    """One of its own for each test: an amphora that is wrong a second time within ten minutes is replaced."""
    made = site.balancer(("web-1",))
    yield made
    made.delete()


@pytest.fixture(autouse=True)
def nobody_is_replaced(site: Site, pair: Balancer) -> Iterator[list[str]]:
    """Before and afterwards the pair is well and made of the same amphorae; the test gets what had been told before."""
    vip_holders.is_well(site, pair)
    before = vip_holders.ids(pair)
    yield vip_holders.events(site, pair)
    vip_holders.is_well(site, pair)
    time.sleep(1)
    assert vip_holders.ids(pair) == before, "an amphora was replaced"


def test_while_no_vrrp_passes_both_answer_and_that_is_told(site: Site, pair: Balancer, nobody_is_replaced: list[str]) -> None:
    try:
        for amphora in pair.amphorae():
            _tenant(pair, amphora, "nft", NO_VRRP)
        eventually(lambda: len(vip_holders.answer_arp(site, pair.vip)) == 2, 60, "only one half answers")
        _is_told(site, pair, nobody_is_replaced)
    finally:
        for amphora in pair.amphorae():
            with contextlib.suppress(subprocess.CalledProcessError):
                _tenant(pair, amphora, "nft", "delete table inet vrrp")


def test_a_keepalived_that_goes_by_something_else_is_mended_by_a_repair(site: Site, pair: Balancer, nobody_is_replaced: list[str]) -> None:
    """It was told to read a file, and not that there is another one: it speaks as another virtual router, so both are masters."""
    backup = _half(pair, holds=False)
    _read_for_a_moment(site, backup, lambda text: text.replace("virtual_router_id 1\n", "virtual_router_id 2\n"))
    _is_told(site, pair, nobody_is_replaced)


def test_a_vip_that_was_left_with_the_backup_is_taken_away(site: Site, pair: Balancer, nobody_is_replaced: list[str]) -> None:
    backup = _half(pair, holds=False)
    _tenant(pair, backup, "ip", "address", "add", _address(pair, _half(pair, holds=True)), "dev", "eth1")
    eventually(lambda: not vip_holders.holds(pair, backup), 60, "the backup has kept it")
    assert len(vip_holders.answer_arp(site, pair.vip)) == 1
    time.sleep(4)
    assert vip_holders.events(site, pair) == nobody_is_replaced, "the amphora itself was to see to it"


@pytest.mark.parametrize("heard", [True, False], ids=["keepalived hears of it", "the kernel's message is lost"])
def test_a_vip_that_the_master_lost_comes_back(site: Site, pair: Balancer, nobody_is_replaced: list[str], heard: bool) -> None:
    master = _half(pair, holds=True)
    address = _address(pair, master)
    _, child = keepalived_pids(master)
    if heard:
        _tenant(pair, master, "ip", "address", "delete", address, "dev", "eth1")
    else:
        os.kill(child, signal.SIGSTOP)
        try:
            flood = "address add 198.51.100.1/32 dev lo\naddress delete 198.51.100.1/32 dev lo\n" * NETLINK_FLOOD
            _tenant(pair, master, "ip", "-batch", "-", stdin=f"{flood}address delete {address} dev eth1\n")
        finally:
            os.kill(child, signal.SIGCONT)
    eventually(lambda: len(_holders(pair)) == 1, 60, lambda: f"{len(_holders(pair))} halves hold the VIP")
    eventually(lambda: len(vip_holders.answer_arp(site, pair.vip)) == 1, 60, "nobody answers")
    assert not [one for one in vip_holders.events(site, pair)[len(nobody_is_replaced) :] if "failed over" in one]


def _is_told(site: Site, pair: Balancer, before: list[str]) -> None:
    """Of two holders: by its status and by an event."""
    eventually(lambda: pair.show()["operating_status"] == "DEGRADED", TOLD_WITHIN, lambda: pair.show()["operating_status"])
    told: Callable[[], list[str]] = lambda: vip_holders.events(site, pair)[len(before) :]  # noqa: E731
    eventually(lambda: any("both halves of the pair hold the VIP address" in one for one in told()), TOLD_WITHIN, lambda: str(told()))


def _holders(pair: Balancer) -> list[dict[str, Any]]:
    return [amphora for amphora in pair.amphorae() if vip_holders.holds(pair, amphora)]


def _half(pair: Balancer, holds: bool) -> dict[str, Any]:
    (found,) = [amphora for amphora in pair.amphorae() if vip_holders.holds(pair, amphora) is holds]
    return found


def _tenant(pair: Balancer, amphora: dict[str, Any], *command: str, stdin: str = "") -> str:
    """Run a command in an amphora's namespace of its tenant; what it said."""
    words = [*pair.site.machine.entrance(amphora["id"]), "ip", "netns", "exec", "haproxy", *command]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, check=True).stdout


def _address(pair: Balancer, holder: dict[str, Any]) -> str:
    """The VIP with the prefix with which it is on the interface."""
    words = _tenant(pair, holder, "ip", "-4", "-brief", "address", "show", "dev", "eth1").split()
    return next(word for word in words if word.startswith(f"{pair.vip}/"))


def _read_for_a_moment(site: Site, amphora: dict[str, Any], change: Callable[[str], str]) -> None:
    """Have keepalived read another file, and put the former one back without a word."""
    parent, _ = keepalived_pids(amphora)
    (name,) = [word for word in pathlib.Path(f"/proc/{parent}/cmdline").read_text().split("\0") if word.endswith("keepalived.conf")]
    path = pathlib.Path(f"/proc/{parent}/root{name}")
    former = path.read_text()
    assert change(former) != former
    path.write_text(change(former))
    try:
        os.kill(parent, signal.SIGHUP)
        time.sleep(1)
    finally:
        path.write_text(former)
