"""A pair of virtual machines: its master is lost in the ways that a host has, both halves are replaced, and clients stay where they are.

Its VIPs are of both versions of IP. One member is next to them; the other one is on a network that is plugged while the machines run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import random
import signal
import subprocess
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.embedded import linux
from tests.integration import vip_holders
from tests.integration.conftest import dual, site  # noqa: F401
from tests.integration.dual import Dual

COMPUTE = "qemu"
OPTIONS = {
    "health_manager.heartbeat_timeout": "15",
    "health_manager.question_timeout": "5",
    "keepalived_vrrp.vrrp_advert_int": "1",
}
"""An emulated half whose host is busy is no dead one. One that was to say each 0.2 s that it is there said nothing for up to 1.5 s."""
pytestmark = [pytest.mark.vm, pytest.mark.matrix, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("image_folder")]
NEAR, FAR = "front-web-4", "back-web-6"
BROWSERS = 12
BOOT = 300
"""Seconds of patience for machines that boot by emulation: a quiet host takes a fifteenth of it."""
LOST = {"killed": signal.SIGKILL, "paused": signal.SIGSTOP}
"""What happens to the process of a machine."""


@dataclasses.dataclass
class Pair:
    """A load balancer of two machines. `folder` has the cookies of its clients' browsers, `before` is what there was without it."""

    dual: Dual
    folder: pathlib.Path
    before: list[str]
    made: dict[str, Any]

    @property
    def api(self) -> Any:
        return self.dual.site.api

    @property
    def client(self) -> str:
        return self.dual.namespace("client")

    @property
    def vip(self) -> str:
        """That of version 4."""
        return str(self.made["vip_address"])

    def wait_active(self) -> None:
        self.api.wait_active(self.made["id"])

    # Halves

    def halves(self) -> dict[str, dict[str, Any]]:
        """The amphorae as the API has them, by their ids."""
        found = self.api.get(f"/v2/octavia/amphorae?loadbalancer_id={self.made['id']}")["amphorae"]
        return {half["id"]: half for half in found}

    def holder(self) -> str:
        """The half whose network card answers for the VIP; nothing while that is none of them, or both."""
        answered = vip_holders.answer_arp_in(self.client, self.vip)
        addresses = {half["id"]: half["vrrp_ip"] for half in self.halves().values() if half["vrrp_ip"]}
        cards = {name: vip_holders.answer_arp_in(self.client, address) for name, address in addresses.items()}
        return next((name for name, card in cards.items() if len(answered) == 1 and card == answered), "")

    def lose(self, half: str, how: signal.Signals) -> None:
        (machine,) = [pid for pid in self.dual.site.machine.compute.pids(half) if _name(pid).startswith("qemu-system")]
        os.kill(machine, how)

    def is_replaced(self, *lost: str) -> bool:
        """Whether it is two other halves again, or one other."""
        halves = self.halves()
        whole = len(halves) == 2 and {half["status"] for half in halves.values()} == {"ALLOCATED"}
        shown = self.api.get(f"/loadbalancers/{self.made['id']}")["loadbalancer"]
        return whole and not set(lost) & halves.keys() and shown["provisioning_status"] == "ACTIVE"

    # Clients

    def traffic(self) -> contextlib.AbstractContextManager[dict[str, Any]]:
        """Requests all the while."""
        return self.dual.site.traffic(self.vip, rate=20, seconds=600, timeout=5, inside=linux.enter(self.client))

    def homes(self, path: str = "/") -> list[str]:
        """Who answers each browser, which asks until somebody does; in an order by chance, so that members that take turns are no homes."""
        answers: dict[int, str] = {}

        def is_answered(number: int) -> bool:
            answers[number] = self._browse(number, path)
            return bool(answers[number])

        for number in random.sample(range(BROWSERS), BROWSERS):
            eventually(functools.partial(is_answered, number), 120, f"nobody answers browser {number}")
        return [answers[number] for number in range(BROWSERS)]

    def _browse(self, number: int, path: str) -> str:
        jar = str(self.folder / f"jar-{number}")
        words = ["curl", "--silent", "--max-time", "20", "--cookie-jar", jar, "--cookie", jar, f"http://{self.vip}{path}"]
        return subprocess.run([*linux.enter(self.client), *words], capture_output=True, text=True, check=False).stdout.strip()


def there_is(dual: Dual) -> list[str]:  # noqa: F811
    """What machines are made of: their folders and processes, their taps, and ports."""
    machine = dual.site.machine
    root = machine.state / "embedded" / "amphorae"
    folders = [path.name for path in root.iterdir()] if root.is_dir() else []
    processes = [path.name for path in pathlib.Path("/proc").glob("[0-9]*") if _lives_in(path, root)]
    taps = json.loads(linux.Host().run(["ip", "-n", machine.network.namespace, "-json", "link", "show", "type", "tun"]) or "[]")
    ports = [f"{port.device_id} {port.id}" for port in machine.network.list_ours()]
    return sorted([*folders, *processes, *(tap["ifname"] for tap in taps if tap), *ports])


def _lives_in(process: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether it works there, or did before that was removed."""
    with contextlib.suppress(OSError):
        return os.readlink(process / "cwd").startswith(f"{folder}/")
    return False


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _member(dual: Dual, name: str, network: str) -> dict[str, Any]:  # noqa: F811
    server, _, version = name.rpartition("-")
    place = {"address": dual.addresses[server][int(version)], "subnet_id": dual.subnets[network][int(version)]}
    return {"name": name, "protocol_port": 80, **place}


@pytest.fixture(scope="module")
def pair(dual: Dual, tmp_path_factory: pytest.TempPathFactory) -> Pair:  # noqa: F811
    before = there_is(dual)
    persistence = {"type": "APP_COOKIE", "cookie_name": "session"}
    pool = {
        "name": "p",
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
        "session_persistence": persistence,
        "members": [_member(dual, NEAR, "front")],
    }
    body = {
        "vip_subnet_id": dual.subnets["front"][4],
        "additional_vips": [{"subnet_id": dual.subnets["front"][6]}],
        "flavor_id": dual.flavors["ACTIVE_STANDBY"],
        "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}],
    }
    made = Pair(dual, tmp_path_factory.mktemp("jars"), before, dual.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"])
    made.wait_active()
    return made


def test_it_serves_on_both_versions_of_ip_and_a_network_that_is_plugged_while_it_runs(pair: Pair) -> None:
    pair.dual.all_answer(pair.vip, {NEAR})
    pair.api.post(f"/pools/{pair.made['pools'][0]['id']}/members", {"member": _member(pair.dual, FAR, "back")})
    pair.wait_active()
    for vip in (pair.vip, pair.made["additional_vips"][0]["ip_address"]):
        pair.dual.all_answer(vip, {NEAR, FAR})
    assert {half["role"] for half in pair.halves().values()} == {"MASTER", "BACKUP"}


@pytest.mark.parametrize("how", LOST)
def test_the_other_half_knows_all_clients_when_the_master_is_lost(pair: Pair, how: str) -> None:
    """What nobody else could have answered: a half that comes in its place boots for longer than the other one needs."""
    homes = pair.homes("/login")
    assert set(homes) == {NEAR, FAR}
    eventually(lambda: bool(pair.holder()), 60, "nobody has the VIP")
    master = pair.holder()
    (other,) = pair.halves().keys() - {master}
    with pair.traffic() as traffic:
        pair.lose(master, LOST[how])
        eventually(lambda: pair.holder() == other, 60, "the other half did not take over")
        assert pair.homes() == homes
        eventually(lambda: pair.is_replaced(master), BOOT, "the lost half was not replaced")
        assert other in pair.halves()
    print(f"the master {how}: {traffic}")
    assert traffic["longest_silence"] < 30, traffic  # the other half's work; the figure is the benchmark's
    assert pair.homes() == homes
    pair.dual.all_answer(pair.vip, {NEAR, FAR})


def test_a_planned_failover_replaces_both_halves_and_keeps_all_clients(pair: Pair) -> None:
    homes, before = pair.homes("/login"), pair.halves().keys()
    with pair.traffic() as traffic:
        pair.api.put(f"/loadbalancers/{pair.made['id']}/failover")
        eventually(lambda: pair.is_replaced(*before), BOOT, "an old half is left")
    print(f"a planned failover: {traffic}")
    assert traffic["longest_silence"] < 30, traffic
    assert pair.homes() == homes
    for vip in (pair.vip, pair.made["additional_vips"][0]["ip_address"]):
        pair.dual.all_answer(vip, {NEAR, FAR})


def test_nothing_of_it_is_left(pair: Pair) -> None:
    assert there_is(pair.dual) != pair.before
    pair.dual.delete(pair.made)
    eventually(lambda: there_is(pair.dual) == pair.before, 60, lambda: f"{there_is(pair.dual)}, and before {pair.before}")
