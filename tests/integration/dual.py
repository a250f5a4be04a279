"""A site with tenants' networks of both versions of IP, and machines on them with addresses of each."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import pathlib
import subprocess
from typing import Any

from amphora_agent import system
from controller.dev import processes
from controller.dev.client import eventually
from controller.embedded import linux, networking
from controller.model.network import Port
from tests.integration.site import Site

_RANGES = {"front": ("198.19.200.0/24", "fd00:f161:1::/64"), "back": ("198.19.201.0/24", "fd00:f161:2::/64")}
MONITOR = {"type": "HTTP", "url_path": "/health", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}


@dataclasses.dataclass
class Dual:
    """A site with two networks of both versions, `front` with clients and servers, `back` with servers."""

    site: Site
    subnets: dict[str, dict[int, str]] = dataclasses.field(default_factory=dict)
    addresses: dict[str, dict[int, str]] = dataclasses.field(default_factory=dict)
    flavors: dict[str, str] = dataclasses.field(default_factory=dict)
    _running: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)

    def build(self) -> None:
        for name, ranges in _RANGES.items():
            values = {"name": name, "project_id": "demo", "shared": False, "router:external": False, "mtu": 1500}
            network = self.network.tenants.create(networking.NETWORK, values)["id"]
            place = {"name": name, "network_id": network, "project_id": "demo"}
            made = [self.network.tenants.create(networking.SUBNET, {**place, "cidr": cidr})["id"] for cidr in ranges]
            self.subnets[name] = {4: made[0], 6: made[1]}
        for name in ("client", "stranger", "front-web"):
            self.machine(name, "front")
        self.machine("back-web", "back")
        for name in ("front-web", "back-web"):
            for version in (4, 6):
                self.serve(name, version)
        for topology in ("SINGLE", "ACTIVE_STANDBY"):
            self.add_flavor(topology, loadbalancer_topology=topology)

    def add_flavor(self, name: str, **data: Any) -> None:
        """A flavor that a load balancer of a test can have; its id is in `flavors`."""
        profile = {"name": name, "provider_name": "amphora", "flavor_data": json.dumps(data)}
        made_profile = self.site.api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]["id"]
        made = self.site.api.post("/flavors", {"flavor": {"name": name, "flavor_profile_id": made_profile}})
        self.flavors[name] = made["flavor"]["id"]

    @property
    def network(self) -> Any:
        return self.site.machine.network

    def namespace(self, name: str) -> str:
        return f"{self.site.machine.settings.prefix}-six-{name}"

    def machine(self, name: str, where: str) -> None:
        """A namespace with an address of each version."""
        subnets = self.subnets[where]
        values = {"name": name, "network_id": self.network.get_subnet(subnets[4]).network_id, "project_id": "demo"}
        wanted = [{"subnet_id": subnet} for subnet in subnets.values()]
        port: Port = self.network.get_port(
            self.network.tenants.create(networking.PORT, {**values, "fixed_ips": wanted, "port_security_enabled": False})["id"]
        )
        host, namespace = linux.Host(), self.namespace(name)
        linux.ensure_namespace(host, namespace)
        host.ip_batch(self.network.namespace, linux.cable_lines(port, namespace, "eth0"))
        lines = ["link set eth0 up"]
        for fixed in port.fixed_ips:
            version = ipaddress.ip_address(fixed.ip_address).version
            self.addresses.setdefault(name, {})[version] = fixed.ip_address
            prefix = ipaddress.ip_network(self.network.get_subnet(fixed.subnet_id).cidr).prefixlen
            lines.append(f"address add {fixed.ip_address}/{prefix} dev eth0" + (" nodad" if version == 6 else ""))
        host.ip_batch(namespace, lines)

    def serve(self, name: str, version: int) -> None:
        """A web server that answers with its name and its version of IP."""
        program = processes.python("controller.dev.web", f"{name}-{version}", "--address", self.addresses[name][version])
        self.run(name, program)

    def run(self, name: str, program: list[str]) -> subprocess.Popen[bytes]:
        """A program on a machine; it ends with the site."""
        self._running.append(subprocess.Popen([*linux.enter(self.namespace(name)), *program]))
        return self._running[-1]

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        for namespace in linux.namespaces(f"{self.site.machine.settings.prefix}-six-"):
            linux.delete_namespace(linux.Host(), namespace)

    # What tests do

    def balancer(
        self, version: int, topology: str, members: dict[str, str], monitor: dict[str, Any] = MONITOR, **listener: Any
    ) -> dict[str, Any]:
        """A load balancer on `front` with a VIP of one version; members by name of server and version, on the network where they are."""
        own = [
            {
                "name": word,
                "address": self.addresses[word.rpartition("-")[0]][int(word[-1])],
                "protocol_port": 80,
                "subnet_id": self.subnets[where][int(word[-1])],
            }
            for word, where in members.items()
        ]
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": own, "healthmonitor": monitor}
        body = {
            "name": "six",
            "vip_subnet_id": self.subnets["front"][version],
            "flavor_id": self.flavors[topology],
            "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, **listener}],
        }
        made: dict[str, Any] = self.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        self.site.api.wait_active(made["id"])
        return made

    def fetch(self, vip: str, client: str = "client") -> str:
        """The server that answers one request, or nothing."""
        url = f"http://[{vip}]/" if ":" in vip else f"http://{vip}/"
        words = ["curl", "--silent", "--globoff", "--connect-timeout", "1", "--max-time", "10", url]  # see `Site.fetch`
        command = [*linux.enter(self.namespace(client)), *words]
        return (subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines() or [""])[0]

    def all_answer(self, vip: str, wanted: set[str], within: float = 60) -> None:
        seen: set[str] = set()

        def they_do() -> bool:
            seen.clear()
            seen.update(self.fetch(vip) for _ in range(3 * len(wanted)))
            return seen == wanted

        eventually(they_do, within, lambda: f"{sorted(seen)} answer, not {sorted(wanted)}")

    def statuses(self, load_balancer: dict[str, Any]) -> dict[str, str]:
        """Of the members, by name."""
        path = f"/pools/{load_balancer['pools'][0]['id']}/members"
        return {one["name"]: one["operating_status"] for one in self.site.api.get(path)["members"]}

    def amphorae(self, load_balancer: dict[str, Any]) -> list[dict[str, Any]]:
        return [one for one in self.site.machine.status()["amphorae"] if one["load_balancer_id"] == load_balancer["id"]]

    def holders(self, load_balancer: dict[str, Any]) -> list[dict[str, Any]]:
        """The amphorae that have the VIP."""
        return [one for one in self.amphorae(load_balancer) if self._has(one["id"], load_balancer["vip_address"])]

    def _has(self, amphora_id: str, address: str) -> bool:
        inside = ["ip", "netns", "exec", "haproxy", "ip", "-brief", "address"]
        try:
            entrance = self.site.machine.entrance(amphora_id)
        except processes.DevError:  # it runs no more, or not yet
            return False
        return f" {address}/" in subprocess.run([*entrance, *inside], capture_output=True, text=True, check=False).stdout

    def believe_neighbours(self, *namespaces: str) -> None:
        """Let these go by what they know of their neighbours for minutes, unless they are told of something else.

        They would ask again by themselves after less than a minute (RFC 4861: reachable, delayed, probed), however nobody tells them.
        """

        def believe() -> None:
            for setting in pathlib.Path("/proc/sys/net").glob("ipv[46]/neigh/*/base_reachable_time_ms"):
                setting.write_text("1200000")

        for namespace in namespaces:
            system.inside_namespace(namespace, believe)

    def kill(self, amphora: dict[str, Any], load_balancer: dict[str, Any]) -> None:
        """kill -9 to all that runs in the amphora that has the VIP, and wait until the other one has it.

        Until then the kernel of the dead one may go on with datagrams: an answer alone does not say who was asked.
        """
        self.site.kill(amphora["pids"])
        eventually(lambda: [one["id"] != amphora["id"] for one in self.holders(load_balancer)] == [True], 60)

    def delete(self, load_balancer: dict[str, Any]) -> None:
        self.site.api.delete(f"/loadbalancers/{load_balancer['id']}?cascade=true")
        self.site.api.wait_gone(f"/loadbalancers/{load_balancer['id']}")
