"""Who has the VIP of a load balancer, as its machines, its client's neighbours and its events say."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from amphora_agent import system
from controller.dev.client import eventually
from tests.integration.site import Balancer, Site

BOUND = 90.0
"""Seconds of patience until all is well again: six load balancers are hit at once, on a machine that has other things to do. Alone it takes
three to ten."""


def is_well(site: Site, balancer: Balancer, within: float = BOUND) -> None:
    """It serves, says so, and one machine answers for its VIP."""

    def found() -> tuple[Any, ...]:
        shown = balancer.show()
        holders = sum(holds(balancer, amphora) for amphora in balancer.amphorae())
        answer = site.fetch(balancer.vip)
        return (shown["provisioning_status"], shown["operating_status"], answer, holders, len(answer_arp(site, balancer.vip)))

    eventually(lambda: found() == ("ACTIVE", "ONLINE", "web-1", 1, 1), within, lambda: f"it is not well: {found()}")


def ids(balancer: Balancer) -> set[str]:
    return {amphora["id"] for amphora in balancer.amphorae()}


def events(site: Site, balancer: Balancer) -> list[str]:
    """What was told until now, in order."""
    found = site.api.get(f"/loadbalancers/{balancer.id}/events?limit=1000")["events"]
    return [event["message"] for event in reversed(found)]


def holds(balancer: Balancer, amphora: dict[str, Any]) -> bool:
    command = [*balancer.site.machine.entrance(amphora["id"]), "ip", "netns", "exec", "haproxy", "ip", "-brief", "address"]
    return f" {balancer.vip}/" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def answer_arp(site: Site, address: str) -> set[bytes]:
    """The MACs that answer a client who asks for an address (RFC 826)."""
    return answer_arp_in(site.machine.settings.namespace("client"), address)


def answer_arp_in(namespace: str, address: str) -> set[bytes]:
    """The same of a client in any network namespace with one interface."""
    return system.inside_namespace(namespace, lambda: _ask_arp(address))


@contextlib.contextmanager
def announcements(namespace: str, address: str) -> Iterator[list[bytes]]:
    """The MACs that announce an address to a client in a network namespace (RFC 5227, gratuitous ARP), as they do it, one after another."""
    told: list[bytes] = []
    with system.inside_namespace(namespace, _arp_socket) as link:
        over = threading.Event()
        listener = threading.Thread(target=_hear, args=(link, socket.inet_aton(address), told, over))
        listener.start()
        try:
            yield told
        finally:
            over.set()
            listener.join()


def _arp_socket() -> socket.socket:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    link.settimeout(0.1)
    return link


def _hear(link: socket.socket, address: bytes, told: list[bytes], over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            frame = link.recv(100)
            if frame[28:32] == frame[38:42] == address and told[-1:] != [frame[22:28]]:
                told.append(frame[22:28])


def _ask_arp(address: str) -> set[bytes]:
    name = next(name for _, name in socket.if_nameindex() if name != "lo")
    packed, found = socket.inet_aton(address), set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as link:
        link.bind((name, 0x0806))
        mac = link.getsockname()[4]
        own = next(iter(_own_addresses(name)))
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + socket.inet_aton(own) + bytes(6) + packed
        link.settimeout(0.1)
        for _ in range(2):
            link.send(b"\xff" * 6 + mac + b"\x08\x06" + body)
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    frame = link.recv(100)
                    if frame[20:22] == b"\0\2" and frame[28:32] == packed:
                        found.add(frame[22:28])
    return found


def _own_addresses(name: str) -> Iterator[str]:
    words = subprocess.run(
        ["ip", "-4", "-brief", "address", "show", "dev", name], capture_output=True, text=True, check=True
    ).stdout.split()
    return (word.partition("/")[0] for word in words if "/" in word)
