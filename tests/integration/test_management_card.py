"""The card on the management network, as the boot configuration has it."""

from __future__ import annotations

import dataclasses
import ipaddress
import secrets
import subprocess
import sys
from collections.abc import Iterator

import pytest

from amphora_agent import system
from amphora_agent.protocol import boot

pytestmark = pytest.mark.integration

_MAC = "02:f1:00:00:00:01"
_CONFIG = boot.BootConfig(
    amphora_id="6f0e7b0a-4a44-4b62-9f2e-0a3a6a9d6f11",
    management_address="198.19.250.2/24",
    management_mac=_MAC,
    management_mtu=1400,
    health_managers=(("198.19.250.1", 5555),),
    heartbeat_key="ab" * 32,
)
_AGENT = """
import sys
from amphora_agent import management, privileges
from amphora_agent.protocol import boot
config = boot.BootConfig.parse(sys.stdin.buffer.read())
management.configure(config)
privileges.Sockets((config.management_address.partition("/")[0], config.agent_port))
"""


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """An amphora's, and the one that its card leads to."""
    tag = secrets.token_hex(3)
    inside, outside = f"figlina-t{tag}a", f"figlina-t{tag}o"
    try:
        for one in (inside, outside):
            system.run(["ip", "netns", "add", one])
        system.run(
            ["ip", "-n", inside, "link", "add", "dev", "card", "address", _MAC, "type", "veth", "peer", "name", "end", "netns", outside]
        )
        system.run(["ip", "-n", outside, "link", "set", "end", "up"])
        yield inside, outside
    finally:
        for one in (inside, outside):
            subprocess.run(["ip", "netns", "delete", one], check=False)


@pytest.mark.parametrize(
    ("address", "gateway"),
    [
        ("198.19.250.2/24", None),
        ("198.19.250.2/24", "198.19.250.1"),
        ("198.19.250.2/24", "198.19.251.1"),  # networks may have one that is not on their subnet
        ("fd00:f1:1::2/64", None),
        ("fd00:f1:1::2/64", "fd00:f1:1::1"),
        ("fd00:f1:1::2/64", "fe80::1"),
    ],
)
def test_an_agent_has_its_address_and_its_route_at_once(namespaces: tuple[str, str], address: str, gateway: str | None) -> None:
    """An address of IPv6 that nobody may use yet sends no heartbeat; outside of our own image, nobody can listen there either."""
    inside, _ = namespaces
    config = dataclasses.replace(_CONFIG, management_address=address, management_gateway=gateway)
    done = subprocess.run(
        ["ip", "netns", "exec", inside, sys.executable, "-c", _AGENT], input=config.dump(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    version = f"-{ipaddress.ip_interface(address).version}"
    routes = system.run(["ip", "-n", inside, version, "route", "show", "default"])
    assert (gateway or "") in routes
    assert bool(routes.strip()) is (gateway is not None)
