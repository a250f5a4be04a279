"""When things happened that nobody of ours tells: the hypervisor on this host began to run a VM; an amphora was heard, took connections."""

from __future__ import annotations

import collections
import configparser
import dataclasses
import os
import pathlib
import socket
import threading
import time
from typing import Any

from controller.dev.client import eventually
from tests.cloud.proxy import Call
from tests.cloud.site import BOOT, Site

_IPV4, _TCP, _UDP = 0x0800, 6, 17
_SYN = 2
_SHORTEST = 28  # bytes: headers of IPv4 and UDP
_AGENT = 9443
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(slots=True)
class Heard:
    """Of one amphora, by the monotonic clock."""

    beat: float | None = None
    """Its first heartbeat, which it sends before it loads what serves the API."""
    tried: float | None = None
    """Its first answer to somebody who wants its agent, be it a refusal."""
    listens: float | None = None
    """The first connection that its agent took."""
    said: float | None = None
    """The last that its agent answered."""


class Beats:
    """Listens beside the health manager, on whichever interface of this host an amphora reaches it; a context manager."""

    def __init__(self, site: Site) -> None:
        conf = configparser.ConfigParser(interpolation=None)
        conf.read(site.configuration)
        self._port = conf.getint("health_manager", "bind_port")
        self._link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self._link.settimeout(0.2)
        self._heard: dict[str, Heard] = collections.defaultdict(Heard)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Beats:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._link.close()

    def of(self, address: str) -> Heard:
        """What is known of an address by now."""
        return self._heard[address]

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                packet, (interface, *_) = self._link.recvfrom(256)
            except TimeoutError:
                continue
            if interface != "lo" and len(packet) >= _SHORTEST:
                self._note(packet, packet[4 * (packet[0] & 15) :])

    def _note(self, packet: bytes, payload: bytes) -> None:
        from_port, to_port = (int.from_bytes(payload[at : at + 2]) for at in (0, 2))
        heard, now = self._heard[socket.inet_ntoa(packet[12:16])], time.monotonic()
        if packet[9] == _UDP and to_port == self._port:
            heard.beat = heard.beat or now
        elif packet[9] == _TCP and from_port == _AGENT:
            heard.tried = heard.tried or now
            if payload[13] & _SYN:
                heard.listens = heard.listens or now
            elif int.from_bytes(packet[2:4]) > len(packet) - len(payload) + 4 * (payload[12] >> 4):  # more than its headers
                heard.said = now


def started(server_id: str) -> float | None:
    """When the process that is this VM began (proc(5), the 22nd field of stat; monotonic clock); None: there is none on this host."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" in words[0] and server_id.encode() in words:
                return int((folder / "stat").read_text().rpartition(")")[2].split()[19]) / _TICKS - _asleep()
        except OSError:  # it ended meanwhile
            continue
    return None


def _asleep() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Moments of an amphora that came up with its load balancer."""

    server_id: str
    ordered: float
    """The compute service was asked for its server."""
    run: float
    """The hypervisor's process began."""
    heard: float
    tried: float
    listens: float
    said: float


@dataclasses.dataclass(frozen=True, slots=True)
class Creation:
    """A load balancer's way to ACTIVE."""

    load_balancer_id: str
    asked: float
    active: float
    amphorae: list[Way]
    calls: list[Call]

    @property
    def before(self) -> float:
        """Seconds until the first server was ordered; the network service's for the ports are within."""
        return min(one.ordered for one in self.amphorae) - self.asked

    @property
    def after(self) -> float:
        """Seconds from the last answer of an agent until it was ACTIVE."""
        return self.active - max(one.said for one in self.amphorae)

    @property
    def reaction(self) -> float:
        """Seconds from the last amphora's first heartbeat until its agent was asked for something."""
        return max(one.tried for one in self.amphorae) - max(one.heard for one in self.amphorae)

    @property
    def compute_service(self) -> float:
        """Seconds that the compute service took from the first order until the last VM ran."""
        return max(one.run for one in self.amphorae) - min(one.ordered for one in self.amphorae)

    @property
    def boot(self) -> float:
        """Seconds from the last VM's start until every agent takes connections."""
        return max(one.listens for one in self.amphorae) - max(one.run for one in self.amphorae)

    @property
    def agent(self) -> float:
        """Seconds from then on in which agents, on the VMs' processors, took their configuration and started what serves."""
        return max(one.said for one in self.amphorae) - max(one.listens for one in self.amphorae)

    def parts(self) -> dict[str, float]:
        """What it consists of, in seconds; of what is ours, also how much of it went by in calls to the cloud."""
        ordered = min(one.ordered for one in self.amphorae)
        figures = {
            "total": self.active - self.asked,
            "before": self.before,
            "before_in_calls": self._within_calls(self.asked, ordered),
            "compute_service": self.compute_service,
            "boot": self.boot,
            "reaction": self.reaction,
            "agent": self.agent,
            "after": self.after,
        }
        return {name: round(value, 2) for name, value in figures.items()}

    def _within_calls(self, since: float, until: float) -> float:
        """Seconds within a span in which a call to the cloud was under way."""
        spans = sorted((max(call.at, since), min(call.until, until)) for call in self.calls if call.at < until and call.until > since)
        total, end = 0.0, since
        for begin, over in spans:
            total += max(0.0, over - max(begin, end))
            end = max(end, over)
        return total


def creation(site: Site, beats: Beats, **more: Any) -> Creation:
    """Make a load balancer, and wait until it is ACTIVE."""
    return creations(site, beats, 1, **more)[0]


def creations(site: Site, beats: Beats, count: int, **more: Any) -> list[Creation]:
    """Make so many at once, and wait until each is ACTIVE."""
    subnet_id = site.users.tenant.network.get_network(site.network("private")).subnet_ids[0]
    since = time.monotonic()
    asked: dict[str, float] = {}
    active: dict[str, float] = {}
    for _ in range(count):
        began = time.monotonic()
        asked[str(site.create(subnet_id, [{"address": "198.18.2.9", "protocol_port": 80}], **more)["id"])] = began

    def settled() -> bool:
        for one in asked.keys() - active.keys():
            if site.show(one)["provisioning_status"] == "ACTIVE":
                active[one] = time.monotonic()
        return len(active) == count

    eventually(settled, count * BOOT, lambda: f"{len(active)} of {count} are ACTIVE", 0.05)
    calls = site.proxy.calls(since)
    return [Creation(one, began, active[one], _ways(site, beats, one, calls), calls) for one, began in asked.items()]


def _ways(site: Site, beats: Beats, load_balancer_id: str, calls: list[Call]) -> list[Way]:
    found = []
    for amphora in site.amphorae(load_balancer_id):
        server_id = amphora["compute_id"]
        run, heard = started(server_id), beats.of(amphora["lb_network_ip"])
        assert run is not None, f"no hypervisor of this host runs {server_id}"
        assert heard.beat, "no heartbeat of it was seen"
        assert heard.tried, "nobody asked for its agent"
        assert heard.listens, "no connection to its agent was seen"
        assert heard.said, "no answer of its agent was seen"
        found.append(Way(server_id, _ordered(calls, server_id), run, heard.beat, heard.tried, heard.listens, heard.said))
    return found


def _ordered(calls: list[Call], server_id: str) -> float:
    return next(call.at for call in calls if call.made == server_id)
