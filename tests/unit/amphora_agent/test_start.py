"""What the first heartbeat of a machine waits for."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
from typing import Any

import pytest

from amphora_agent import config_drive, interfaces, load_balancer, machine, management, programs, report, system
from amphora_agent.protocol import boot

ROOT = pathlib.Path(__file__).parents[3]
LATER = {"argparse", "cryptography", "csv", "ctypes", "flask", "runpy", "ssl"}
LATER |= {f"amphora_agent.{name}" for name in ("api", "haproxy", "identity", "keepalived", "load_balancer", "privileges")}
"""Each costs a machine of its own processor seconds, most of all where it is emulated."""


def test_a_machine_loads_neither_web_application_nor_programs_before_its_first_heartbeat() -> None:
    start = "import sys; from amphora_agent import machine; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-S", "-c", start], capture_output=True, text=True, check=True).stdout.split())
    assert "amphora_agent.heartbeat" in loaded
    assert loaded.isdisjoint(LATER), loaded & LATER


def test_what_is_said_before_all_is_loaded_is_what_is_said_afterwards(tmp_path: pathlib.Path) -> None:
    balancer = load_balancer.LoadBalancer(CONFIG, tmp_path, tmp_path / "run", interfaces.Interfaces(""))
    assert report.idle(programs.Record(tmp_path / "programs.json")) == balancer.look()


CONFIG = boot.BootConfig(
    amphora_id="6f0e7b0a-4a44-4b62-9f2e-0a3a6a9d6f11",
    management_address="192.0.2.5/24",
    management_mac="02:f1:00:00:00:01",
    management_mtu=1400,
    management_gateway="192.0.2.1",
    health_managers=(("192.0.2.1", 5555),),
    heartbeat_key="ab" * 32,
)


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, False),
        ({"mtu": None}, False),
        ({"routes": ()}, False),
        ({"mtu": 1500}, True),
        ({"addresses": ()}, True),
        ({"addresses": ("192.0.2.5/24", "192.0.2.6/24")}, True),
        ({"addresses": ("192.0.2.5/25",)}, True),
        ({"routes": (("0.0.0.0/0", "192.0.2.9"),)}, True),
        ({"routes": (("0.0.0.0/0", "192.0.2.1"), ("169.254.169.254/32", "192.0.2.2"))}, True),
        ({"dhcp": True}, True),
    ],
)
def test_a_drive_is_heeded_where_it_says_more_of_the_management_network(fields: dict[str, Any], more: bool) -> None:
    usual = {"mac": CONFIG.management_mac, "mtu": 1400, "addresses": ("192.0.2.5/24",), "routes": (("0.0.0.0/0", "192.0.2.1"),)}
    assert machine._says_more(config_drive.Link(**{**usual, **fields}), CONFIG) is more


@pytest.mark.parametrize("broken", ["dropbearconvert", "dropbear"])
def test_a_machine_starts_though_its_ssh_server_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path, broken: str
) -> None:
    """One of a start that was broken off may have the port."""
    files = {boot.CONFIG_PATH: CONFIG.dump(), boot.SSH_HOST_KEY_PATH: b"a key"}
    written: dict[str, bytes] = {}

    def run(command: list[str], **_: Any) -> str:
        if command[0] == broken:
            raise system.CommandFailed(command, 1, "Address already in use")
        return ""

    monkeypatch.setattr(system, "run", run)
    monkeypatch.setattr(system, "write_file", lambda path, content: written.update({str(path): content}))
    monkeypatch.setattr(management, "configure", lambda config: None)
    monkeypatch.setattr(machine, "_SSH", tmp_path)
    monkeypatch.setattr("socket.sethostname", lambda name: None)
    machine._take(config_drive.Drive("amphora-1", files, keys=("ssh-ed25519 AAAA",)))
    assert boot.CONFIG_PATH in written
    assert "Address already in use" in caplog.text


DRIVE = config_drive.Drive(
    "amphora-1", {boot.CONFIG_PATH: CONFIG.dump()}, (config_drive.Link(mac=CONFIG.management_mac, mtu=1400, networks=("M",), dhcp=True),)
)


def test_a_machine_starts_though_nobody_answers_by_dhcp(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The boot configuration has its address. Neutron's agent for DHCP may be away just then."""
    written: dict[str, bytes] = {}

    def run(command: list[str], **_: Any) -> str:
        if "udhcpc" in command:
            raise system.CommandFailed(command, 1, "udhcpc: no lease, failing")
        return ""

    monkeypatch.setattr(system, "run", run)
    monkeypatch.setattr(system, "write_file", lambda path, content: written.update({str(path): content}))
    monkeypatch.setattr(management, "wait_for", lambda mac: management.Card(2, "eth0"))
    monkeypatch.setattr(socket, "sethostname", lambda name: None)
    machine._take(DRIVE)
    assert written == DRIVE.files
    assert "no lease" in caplog.text


def test_a_card_with_an_address_of_ipv6_asks_for_its_other_one_by_dhcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network of both versions; with the lease come the subnet's routes, by which health managers may be found."""
    commands: list[list[str]] = []

    def run(command: list[str], stdin: str = "") -> str:
        commands.append([*command, *stdin.splitlines()])
        return ""

    monkeypatch.setattr(system, "run", run)
    monkeypatch.setattr(management, "wait_for", lambda mac: management.Card(2, "eth0"))
    machine._bring_up(config_drive.Link(mac="02:f1:00:00:00:01", mtu=1400, addresses=("2001:db8::5/64",), dhcp=True))
    batch, asked = commands
    assert batch[-1] == "address replace 2001:db8::5/64 dev eth0 nodad"
    assert asked == ["busybox", "env", "default=yes", *machine._DHCP, "-i", "eth0"]


@pytest.mark.parametrize(
    ("given", "default", "routes"),
    [
        ({}, "yes", []),
        ({"router": "192.0.2.1 192.0.2.2"}, "yes", ["0.0.0.0/0 via 192.0.2.1"]),
        ({"router": "192.0.2.1"}, "no", []),
        ({"staticroutes": "198.51.100.0/24 192.0.2.9", "router": "192.0.2.1"}, "yes", ["198.51.100.0/24 via 192.0.2.9"]),
        (
            {"staticroutes": "198.51.100.0/24 0.0.0.0 203.0.113.0/24 192.0.2.9 0.0.0.0/0 192.0.2.1"},
            "yes",
            ["198.51.100.0/24", "203.0.113.0/24 via 192.0.2.9", "0.0.0.0/0 via 192.0.2.1"],
        ),
        ({"staticroutes": "0.0.0.0/0 192.0.2.1 203.0.113.0/24 192.0.2.9"}, "no", ["203.0.113.0/24 via 192.0.2.9"]),
    ],
)
def test_routes_come_by_dhcp_as_the_subnet_has_them(given: dict[str, str], default: str, routes: list[str]) -> None:
    """A subnet's routes are how amphorae find health managers that are not on their network, where it has no gateway."""
    script = (ROOT / "images" / "root" / "usr" / "lib" / "figlina" / "dhcp").read_text().replace("/bin/busybox ip", "echo ip")
    known = {"interface": "eth0", "ip": "192.0.2.5", "mask": "24", "default": default, **given}
    told = subprocess.run(["sh", "-c", script, "dhcp", "bound"], env=known, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == ["ip address replace 192.0.2.5/24 dev eth0", *(f"ip route replace {one} dev eth0" for one in routes)]
    assert "staticroutes" in machine._DHCP, "nobody is given what they do not ask for"
