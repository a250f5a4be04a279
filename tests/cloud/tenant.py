"""Machines of a tenant in a real cloud, without VMs: network namespaces of this host, on ports that Neutron's agent here plugs in."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

from openstack.connection import Connection

from controller.dev import certificates
from controller.dev.client import eventually

_ROOT = pathlib.Path(__file__).parents[2]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Machine:
    """A network namespace with one port. The cloud's Linux bridge agent on this host finds the port's interface by its name."""

    def __init__(self, admin: Connection, project_id: str, network_id: str, host: str, groups: Sequence[str]) -> None:
        self._admin = admin
        self.name = f"figlina-c{uuid.uuid4().hex[:8]}"
        self._processes: list[subprocess.Popen[Any]] = []
        self.port = admin.network.create_port(
            name=self.name,
            network_id=network_id,
            project_id=project_id,
            device_owner="figlina:test",
            device_id=self.name,
            binding_host_id=host,
            security_group_ids=list(groups),
        )
        try:
            self._plug()
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> list[str]:
        """In the order of the port's."""
        return [fixed["ip_address"] for fixed in self.port.fixed_ips]

    def _plug(self) -> None:
        tap = f"tap{self.port.id[:11]}"
        _ip("netns", "add", self.name)
        _ip("link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("-n", self.name, "link", "set", "eth0", "address", self.port.mac_address, "up")
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("link", "set", tap, "up")
        for fixed in self.port.fixed_ips:
            subnet = self._admin.network.get_subnet(fixed["subnet_id"])
            length = subnet.cidr.partition("/")[2]
            _ip("-n", self.name, "address", "add", f"{fixed['ip_address']}/{length}", "dev", "eth0", "nodad")
            if subnet.gateway_ip:
                _ip("-n", self.name, "route", "replace", "default", "via", subnet.gateway_ip)
        eventually(lambda: self._admin.network.get_port(self.port.id).status == "ACTIVE", 90, f"port {self.port.id} was never plugged", 0.3)

    def serve(self, name: str, folder: pathlib.Path) -> None:
        """Answer HTTP on port 80, and HTTPS on 443, with this name; its certificate is made in the folder."""
        pem = certificates.ensure_self_signed(folder / f"{self.name}.pem", name, self.addresses[0])
        server = ["controller.dev.web", name, "--address", self.addresses[0], "--https-port", "443", "--pem", str(pem)]
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", *server]
        self._processes.append(subprocess.Popen(command, cwd=_ROOT))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in here."""
        return subprocess.run(["ip", "netns", "exec", self.name, *command], capture_output=True, text=True, check=False)

    def fetch(self, address: str, port: int = 80) -> str:
        """Who answers a request; an empty string: nobody."""
        host = f"[{address}]" if ":" in address else address
        said = self.run("curl", "--silent", "--noproxy", "*", "--max-time", "3", f"http://{host}:{port}/")
        return (said.stdout.splitlines() or [""])[0]

    def traffic(self, address: str, rate: float = 5, seconds: float = 300) -> Traffic:
        """Requests at a steady rate until `stop()`."""
        return Traffic(self, address, rate, seconds)

    def close(self) -> None:
        """Leave the network."""
        for process in self._processes:
            process.kill()
            process.wait()
        for words in (["link", "delete", f"tap{self.port.id[:11]}"], ["netns", "delete", self.name]):
            subprocess.run(["ip", *words], check=False, capture_output=True)
        self._admin.network.delete_port(self.port, ignore_missing=True)


class Traffic:
    """See `controller.dev.traffic`."""

    def __init__(self, machine: Machine, address: str, rate: float, seconds: float) -> None:
        words = [f"http://{address}/", "--rate", str(rate), "--seconds", str(seconds)]
        command = ["ip", "netns", "exec", machine.name, sys.executable, "-m", "controller.dev.traffic", *words]
        self._asking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
        time.sleep(0.5)

    def stop(self) -> dict[str, Any]:
        """What was seen."""
        out, _ = self._asking.communicate(timeout=60)
        found: dict[str, Any] = json.loads(out)
        return found
