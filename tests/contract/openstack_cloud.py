"""Clouds with the services of OpenStack, a real and a simulated one, and an administrator and a tenant beside their drivers."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from typing import Any

from oslo_config import cfg

from controller import conf as options
from controller.drivers.compute import nova
from controller.openstack import cloud as openstack
from tests import simulated
from tests.contract import openstack_network
from tests.simulated import compute as simulated_compute
from tests.simulated import identity


def _clouds() -> pathlib.Path | None:
    """The clouds.yaml that the environment names; the ids of what the cloud made at its start stand in testcloud.env beside it."""
    named = os.environ.get("OS_CLIENT_CONFIG_FILE")
    return pathlib.Path(named) if named else None


AFFINITY = "[nova]\nenable_anti_affinity = true\nanti_affinity_policy = soft-anti-affinity\n"


def why_not() -> str | None:
    """The reason why there is no real cloud to test on; None: there is one."""
    file = _clouds()
    if file is None:
        return "no cloud: OS_CLIENT_CONFIG_FILE names no clouds.yaml"
    missing = [one for one in (file, file.with_name("testcloud.env")) if not one.is_file()]
    return f"no cloud: {missing[0]} is not there" if missing else None


def ids() -> dict[str, str]:
    """What the cloud made at its start, by the names that it has for them."""
    file = _clouds()
    assert file is not None
    lines = file.with_name("testcloud.env").read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


def configuration(text: str) -> cfg.ConfigOpts:
    """As a process of ours reads it."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        return options.load(["--config-file", file.name])


class OpenstackCloud(openstack_network.NetworkHalf):
    """`admin` and `tenant` are the services as an administrator and a tenant see them."""

    image_tag = "amphora"

    def __init__(self, conf: cfg.ConfigOpts, admin: openstack.Cloud, tenant: openstack.Cloud) -> None:
        super().__init__(conf, admin, tenant)
        self.conf = conf
        self.ends = contextlib.ExitStack()
        for one in (admin, tenant, openstack.Cloud.from_conf(conf)):
            self.ends.callback(one.close)
        self.compute = nova.NovaCompute.from_conf(conf)
        self._booted: set[str] = set()

    def a_request(self, amphora_id: str) -> Any:
        self._booted.add(amphora_id)
        return super().a_request(amphora_id)

    def stop_machine(self, amphora_id: str) -> None:
        for server_id in self._servers(amphora_id):
            self.admin.service("compute").post(f"/servers/{server_id}/action", {"os-stop": None})

    def delete_machine(self, amphora_id: str) -> None:
        for server_id in self._servers(amphora_id):
            self.admin.service("compute").delete(f"/servers/{server_id}")

    def _servers(self, amphora_id: str) -> list[str]:
        wanted = {"name": f"^amphora-{amphora_id}$", "all_tenants": 1}
        return [one["id"] for one in self.admin.service("compute").get("/servers/detail", wanted)["servers"]]

    def close(self) -> None:
        try:
            for amphora_id in self._booted:
                self.compute.delete(amphora_id)
            self.eventually(lambda: not any(map(self.compute.find, self._booted)))
            super().close()
        finally:
            self.ends.close()


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
        tenant = configuration(simulated.access(self.services, "tenants"))
        super().__init__(conf, openstack.Cloud.from_conf(conf), openstack.Cloud.from_conf(tenant))
        self.ends.push(ends)
