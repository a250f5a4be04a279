"""Clouds with the services of OpenStack, a real and a simulated one, and an administrator and a tenant beside their drivers."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from controller import conf as options
from controller.drivers.compute import nova
from controller.model.network import AccessRule, FixedIp, Network, Port
from controller.openstack import cloud as openstack
from tests.contract import cloud, simulated
from tests.contract.simulated import compute as simulated_compute
from tests.contract.simulated import identity

REAL = pathlib.Path("/var/lib/testcloud")
"""Where `up` of the test cloud leaves `clouds.yaml`, and the ids of what it made."""


AFFINITY = "[nova]\nenable_anti_affinity = true\nanti_affinity_policy = soft-anti-affinity\n"


def why_not() -> str | None:
    """The reason why there is no real cloud to test on; None: there is one."""
    file = pathlib.Path(os.environ.get("OS_CLIENT_CONFIG_FILE", REAL / "clouds.yaml"))
    if not file.is_file():
        return f"no cloud: {file} is not there (OS_CLIENT_CONFIG_FILE names a clouds.yaml)"
    return None if (REAL / "testcloud.env").is_file() else f"no cloud: {REAL}/testcloud.env is not there"


def ids() -> dict[str, str]:
    """What the test cloud made at its start, by the names that it has for them."""
    lines = (REAL / "testcloud.env").read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)  # type: ignore[misc]


def configuration(text: str) -> cfg.ConfigOpts:
    """As a process of ours reads it."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        return options.load(["--config-file", file.name])


class OpenstackCloud(cloud.Cloud):
    """`admin` and `tenant` are the services as an administrator and a tenant see them."""

    keeps_orders = False
    image_tag = "amphora"

    def __init__(self, conf: cfg.ConfigOpts, admin: openstack.Cloud, tenant: openstack.Cloud) -> None:
        self.conf, self.admin, self.tenant = conf, admin, tenant
        self.ends = contextlib.ExitStack()
        self.compute = nova.NovaCompute.from_conf(conf)
        self._ports = Ports(openstack.Cloud.from_conf(conf).service("network"), conf.controller_worker.amp_boot_network_list[0])
        self.network = self._ports  # type: ignore[assignment]
        self._booted: set[str] = set()

    def a_request(self, amphora_id: str) -> Any:
        self._booted.add(amphora_id)
        return super().a_request(amphora_id)

    def delete_machine(self, amphora_id: str) -> None:
        for server in self.admin.service("compute").get("/servers/detail", {"name": f"^amphora-{amphora_id}$", "all_tenants": 1})[
            "servers"
        ]:
            self.admin.service("compute").delete(f"/servers/{server['id']}")

    def close(self) -> None:
        try:
            for amphora_id in self._booted:
                self.compute.delete(amphora_id)
            self.eventually(lambda: not any(map(self.compute.find, self._booted)))
            self._ports.remove()
        finally:
            self.ends.close()

    # The network's half

    def create_network(self, mtu: int = 1500) -> str:
        return self._ports.create("network", name="n-contract", mtu=mtu)

    def create_subnet(self, network_id: str, cidr: str) -> str:
        return self._ports.create("subnet", network_id=network_id, cidr=cidr, ip_version=4, enable_dhcp=False)

    def create_port(
        self, network_id: str, *, security_groups: Sequence[str] = (), device_id: str = "", project_id: str | None = None
    ) -> Port:
        raise NotImplementedError

    def delete_port(self, port_id: str) -> None:
        raise NotImplementedError

    def create_security_group(self, name: str) -> str:
        raise NotImplementedError

    def groups_of(self, port_id: str) -> set[str]:
        raise NotImplementedError

    def set_groups_of(self, port_id: str, group_ids: Sequence[str]) -> None:
        raise NotImplementedError

    def admit(self, load_balancer_id: str, rule: AccessRule) -> None:
        raise NotImplementedError

    def refuse(self, load_balancer_id: str, rule: AccessRule) -> None:
        raise NotImplementedError


class Real(OpenstackCloud):
    """The test cloud on this machine, as its users `testcloud-lb`, `-admin` and `-demo`. Guests are emulated: everything takes its time."""

    patience = 300.0
    zone = "nova"

    def __init__(self) -> None:
        made = ids()
        self.flavor, self.project_id = made["LB_FLAVOR_ID"], made["DEMO_PROJECT_ID"]
        worker = f"[controller_worker]\namp_boot_network_list = {made['MGMT_NET_ID']}\namp_secgroup_list = {made['MGMT_SG_ID']}\n"
        conf, admin, tenant = (
            configuration(f"[service_auth]\ncloud = testcloud-{who}\n{worker}{AFFINITY}") for who in ("lb", "admin", "demo")
        )
        os.environ.setdefault("OS_CLIENT_CONFIG_FILE", str(REAL / "clouds.yaml"))
        super().__init__(conf, openstack.Cloud.from_conf(admin), openstack.Cloud.from_conf(tenant))


class Simulated(OpenstackCloud):
    """The simulated cloud, `services`. `more` is appended to the configuration."""

    project_id = identity.TENANT
    flavor, zone = simulated_compute.FLAVOR, simulated_compute.ZONE

    def __init__(self, more: str = "") -> None:
        ends = contextlib.ExitStack()
        self.services = ends.enter_context(simulated.running())
        network = f"[controller_worker]\namp_boot_network_list = {self.services.network.management_network}\n"
        conf = configuration(simulated.access(self.services) + network + AFFINITY + more)
        ours = openstack.Cloud.from_conf(conf)
        super().__init__(conf, ours, ours)
        self.ends.push(ends)


class Ports:
    """Ports as the compute driver needs them."""

    def __init__(self, service: openstack.Service, management_network: str) -> None:
        self._service = service
        self._management_network = management_network
        self._made: list[tuple[str, str]] = []

    def create(self, word: str, **values: Any) -> str:
        found = self._service.post(f"/{word}s", {word: values})[word]
        self._made.append((word, found["id"]))
        return str(found["id"])

    def remove(self) -> None:
        for word, object_id in reversed(self._made):
            self._service.delete(f"/{word}s/{object_id}")

    def get_network(self, network_id: str) -> Network:
        found = self._service.get(f"/networks/{network_id}")["network"]
        return Network(id=network_id, name=found["name"], mtu=found["mtu"], subnet_ids=tuple(found["subnets"]))

    def ensure_management_port(self, amphora_id: str) -> Port:
        return self.get_port(self.create("port", name=f"n-mgmt-{amphora_id}", network_id=self._management_network))

    def ensure_member_port(self, amphora_id: str, network_id: str, subnet_ids: Sequence[str]) -> Port:
        fixed = [{"subnet_id": one} for one in subnet_ids]
        return self.get_port(self.create("port", name=f"n-member-{amphora_id}", network_id=network_id, fixed_ips=fixed))

    def get_port(self, port_id: str) -> Port:
        found = self._service.get(f"/ports/{port_id}")["port"]
        fixed = tuple(FixedIp(one["subnet_id"], one["ip_address"]) for one in found["fixed_ips"])
        about = {name: found[name] for name in ("name", "network_id", "mac_address", "device_id", "device_owner", "project_id")}
        return Port(id=port_id, mtu=1500, fixed_ips=fixed, **about)
