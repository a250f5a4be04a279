"""A whole Figlina before a real cloud: our processes on this host, amphorae as VMs of Nova on networks of Neutron."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import openstack
import yaml
from openstack.connection import Connection

from controller.dev import client
from controller.dev.client import eventually
from tests.cloud import catalogue, inventory, proxy, tenant
from tests.ports import free_port

NAMES = {"admin": "testcloud-admin", "service": "testcloud-lb", "tenant": "testcloud-demo"}
BOOT = 240.0
"""Seconds for which a VM may boot by emulation, beside other work."""
ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Users:
    """Three users of the cloud that `OS_CLIENT_CONFIG_FILE` names; `credentials` are the service user's, in the words of clouds.yaml."""

    admin: Connection
    service: Connection
    tenant: Connection
    credentials: dict[str, str]

    @classmethod
    def connect(cls) -> Users | None:
        """None: the environment names no cloud."""
        file = pathlib.Path(os.environ.get("OS_CLIENT_CONFIG_FILE", ""))
        if not file.is_file():
            return None
        names = {who: os.environ.get(f"FIGLINA_TEST_CLOUD_{who.upper()}", name) for who, name in NAMES.items()}
        known = yaml.safe_load(file.read_text())["clouds"]
        return cls(**{who: openstack.connect(cloud=name) for who, name in names.items()}, credentials=known[names["service"]]["auth"])


class Daemon:
    """One process of ours; what it says is in `<name>.log`."""

    def __init__(self, folder: pathlib.Path, name: str, arguments: Sequence[str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, cwd=folder)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for who does not listen."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """As when the power fails."""
        self.process.kill()
        self.process.wait()


class Site:
    """Up between `up()` and `down()`; `down()` asserts that nothing is left in the cloud."""

    def __init__(self, folder: pathlib.Path, users: Users, options: dict[str, dict[str, str]] | None = None) -> None:
        self.folder = folder
        self.users = users
        self._options = options or {}
        self._port = free_port()
        self.daemons: dict[str, Daemon] = {}
        self._machines: list[tenant.Machine] = []
        self._cleanup = contextlib.ExitStack()
        self.management = _named(users.service.network.networks(), os.environ.get("FIGLINA_TEST_MANAGEMENT_NETWORK", "lb-mgmt-net"))
        self.host = next(agent.host for agent in users.admin.network.agents() if agent.binary == "neutron-linuxbridge-agent")
        self.api_url = f"http://127.0.0.1:{self._port}"
        self.before = inventory.of(users.admin)

    # The way up and down

    def up(self) -> None:
        """Start everything, and wait until the API answers."""
        endpoints = {name: self.users.service.session.get_endpoint(service_type=name, interface="public") for name in _SERVICES}
        self.proxy = proxy.Proxy({name: str(address).rstrip("/") for name, address in endpoints.items()})
        self._cleanup.callback(self.proxy.close)
        self.configuration = self.folder / "figlina.conf"
        self.configuration.write_text(self._configuration())
        manage = [_program("figlina-db-manage"), "--config-file", str(self.configuration), "upgrade", "head"]
        subprocess.run(manage, check=True, capture_output=True, cwd=self.folder)
        for name in ("api", "worker", "health-manager", "housekeeping"):
            self.start(name)
        self.api, self.admin_api = self._client(self.users.tenant), self._client(self.users.admin)
        eventually(self._answers, 60, lambda: self.said("api"), 0.2)

    def down(self) -> None:
        """Delete what tests left, end everything; nothing of ours may be left in the cloud."""
        try:
            self._delete_balancers()
        finally:
            for machine in self._machines:
                machine.close()
            for daemon in self.daemons.values():
                daemon.stop()
            self._cleanup.close()
        eventually(lambda: not self._left(), 60, lambda: f"left in the cloud: {self._left()}", 1)

    def start(self, name: str, *, program: Sequence[str] = ()) -> None:
        """Start one of our processes, or something that stands in for it."""
        self.daemons[name] = Daemon(
            self.folder, name, [*(program or [_program(f"figlina-{name}")]), "--config-file", str(self.configuration)]
        )

    def stop(self, name: str) -> None:
        """End one."""
        self.daemons.pop(name).stop()

    def kill(self, name: str) -> None:
        """kill -9."""
        self.daemons.pop(name).kill()

    def alive(self, name: str) -> bool:
        """Does it run?"""
        return name in self.daemons and self.daemons[name].process.poll() is None

    def said(self, name: str, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def asked_of_agents(self, seen: int = 0) -> list[str]:
        """What the worker asked of agents, without ids, after the first `seen` requests; those that no agent followed are left out.

        They are in its log where `[DEFAULT] default_log_levels` lets `controller.drivers.amphora.rest` say what it has to say.
        """
        text = (self.folder / "worker.log").read_text(errors="replace")
        return [f"{method} {proxy.ID.sub('ID', path)}" for method, path in _OF_AGENT.findall(text)][seen:]

    # What tests do

    def machine(self, network_id: str, groups: Sequence[str] | None = None, name: str = "") -> tenant.Machine:
        """A machine of the tenant, in a namespace of this host, that answers HTTP and HTTPS with this name, or its own; gone when the site
        is. Without `groups` it takes everything.
        """
        project_id = str(self.users.tenant.current_project_id)
        made = tenant.Machine(self.users.admin, project_id, network_id, self.host, [self.open_group] if groups is None else groups)
        self._machines.append(made)
        made.serve(name or made.name, self.folder)
        return made

    @functools.cached_property
    def open_group(self) -> str:
        """A security group of the tenant that admits everything, while the site is up."""
        network = self.users.tenant.network
        group = network.create_security_group(name=f"figlina-open-{uuid.uuid4().hex[:8]}")
        self._cleanup.callback(network.delete_security_group, group)
        for version in ("IPv4", "IPv6"):
            network.create_security_group_rule(security_group_id=group.id, direction="ingress", ether_type=version)
        return str(group.id)

    def network(self, name: str) -> str:
        """The id of a network of the tenant."""
        return _named(self.users.tenant.network.networks(), name)

    def create(self, subnet_id: str, members: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Ask for a load balancer with an HTTP listener on port 80; the API's answer."""
        monitor = {"type": "TCP", "delay": 2, "timeout": 2, "max_retries": 1, "max_retries_down": 2}
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": list(members), "healthmonitor": monitor}
        listener = {"name": "l", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        body = {"name": f"figlina-{uuid.uuid4().hex[:6]}", "vip_subnet_id": subnet_id, "listeners": [listener], **more}
        made: dict[str, Any] = self.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        return made

    @functools.cached_property
    def pair(self) -> str:
        """The id of a flavor of ours: ACTIVE_STANDBY."""
        profile = {"name": "pair", "provider_name": "amphora", "flavor_data": '{"loadbalancer_topology": "ACTIVE_STANDBY"}'}
        made = self.admin_api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
        flavor = {"name": "pair", "flavor_profile_id": made["id"], "enabled": True}
        return str(self.admin_api.post("/flavors", {"flavor": flavor})["flavor"]["id"])

    def active(self, load_balancer_id: str, within: float = BOOT) -> dict[str, Any]:
        """Wait until it is ACTIVE; what a configuration has to say is not waited for."""

        def active() -> bool:
            seen = self.show(load_balancer_id)
            assert (seen.get("fault") or {}).get("code") != "misconfigured", seen
            return bool(seen["provisioning_status"] == "ACTIVE")

        eventually(active, within, lambda: str(self.show(load_balancer_id)), 0.1)
        return self.show(load_balancer_id)

    def show(self, load_balancer_id: str) -> dict[str, Any]:
        """As its tenant sees it."""
        found: dict[str, Any] = self.api.get(f"/loadbalancers/{load_balancer_id}")["loadbalancer"]
        return found

    def amphorae(self, load_balancer_id: str) -> list[dict[str, Any]]:
        """As an administrator sees them; those that are gone left out."""
        found = self.admin_api.request("GET", f"/v2/octavia/amphorae?loadbalancer_id={load_balancer_id}")["amphorae"]
        return [one for one in found if one["status"] != "DELETED"]

    def delete(self, load_balancer_id: str, within: float = BOOT) -> None:
        """Delete it with all that is below it, and wait until it is gone."""
        with contextlib.suppress(client.ApiError):
            self.api.delete(f"/loadbalancers/{load_balancer_id}?cascade=true")
        self.api.wait_gone(f"/loadbalancers/{load_balancer_id}", within)

    @contextlib.contextmanager
    def catalogued(self, url: str = "") -> Iterator[None]:
        """The load balancing service stands in the catalog within this block, at its API or at what stands before that."""
        identity = catalogue.identity(self.users.admin)
        service = identity.create_service(name=f"figlina-{uuid.uuid4()}", type="load-balancer")
        region = self.users.admin.config.region_name
        endpoint = identity.create_endpoint(service_id=service.id, interface="public", url=url or self.api_url, region_id=region)
        try:
            yield
        finally:
            identity.delete_endpoint(endpoint)
            identity.delete_service(service)

    # Inside

    def _client(self, user: Connection) -> client.Api:
        return client.Api(self.api_url, caller={"X-Auth-Token": str(user.session.get_token())})

    def _answers(self) -> bool:
        assert self.alive("api"), self.said("api")
        try:
            return self.api.get("/loadbalancers") is not None
        except OSError:
            return False

    def _delete_balancers(self) -> None:
        found = [one["id"] for one in self.admin_api.get("/loadbalancers")["loadbalancers"]]
        for load_balancer_id in found:
            with contextlib.suppress(client.ApiError):
                self.admin_api.delete(f"/loadbalancers/{load_balancer_id}?cascade=true")
        for load_balancer_id in found:
            self.admin_api.wait_gone(f"/loadbalancers/{load_balancer_id}", BOOT)

    def _left(self) -> dict[str, list[str]]:
        return inventory.left(self.before, inventory.of(self.users.admin))

    def _configuration(self) -> str:
        service = self.users.service
        subnet = service.network.get_subnet(service.network.get_network(self.management).subnet_ids[0])
        address = _address_in(subnet.cidr)
        names = os.environ.get("FIGLINA_TEST_SECURITY_GROUPS", "lb-mgmt-sec-grp,lb-health-mgr-sec-grp").split(",")
        own = list(service.network.security_groups(project_id=service.current_project_id))
        groups = [_named(own, name) for name in names]
        login = {"auth_type": "password", **self.users.credentials}
        sections: dict[str, dict[str, str]] = {
            "DEFAULT": {"debug": "false"},
            "database": {"connection": f"sqlite:///{self.folder}/figlina.db"},
            "service_auth": login,
            "keystone_authtoken": {**login, "www_authenticate_uri": login["auth_url"]},
            "nova": {
                "endpoint_override": self.proxy.url("compute"),
                "enable_anti_affinity": "true",
                "anti_affinity_policy": "soft-anti-affinity",
            },
            "neutron": {"endpoint_override": self.proxy.url("network")},
            "glance": {"endpoint_override": self.proxy.url("image")},
            "lbaasv2": {"passthrough_url": self.proxy.url("network")},
            "api_settings": {"bind_port": str(self._port), "auth_strategy": "keystone", "healthcheck_enabled": "true"}
            | {"answer_timeout": "90"},  # guests that boot by emulation leave the cloud little of the processors
            "controller_worker": {
                "deployment": f"figlina-{uuid.uuid4().hex[:8]}",
                "compute_driver": "nova",
                "network_driver": "neutron",
                "amp_flavor_id": _named(service.compute.flavors(), os.environ.get("FIGLINA_TEST_FLAVOR", "lb.tiny")),
                "amp_image_tag": os.environ.get("FIGLINA_TEST_IMAGE_TAG", "amphora"),
                "amp_boot_network_list": self.management,
                "amp_secgroup_list": ",".join(groups),
                "boot_timeout": str(BOOT),
                "claim_expiry": "10",
                "retry_backoff": "1",
                "retry_backoff_max": "10",
            },
            "task_flow": {"wakeup_directory": str(self.folder / "bells"), "shutdown_timeout": "8"},
            "health_manager": {
                "bind_ip": address,
                "bind_port": str(free_port()),
                "heartbeat_key": secrets.token_hex(32),
                "heartbeat_interval": "2",
                "heartbeat_timeout": "16",
                "health_check_interval": "1",
                "boot_timeout": str(BOOT),
            },
            "house_keeping": {"sweep_interval": "2", "orphan_interval": "10", "orphan_grace": "60"},
            "certificates": {"create": "true", "ca_path": str(self.folder / "ca"), "storage_path": str(self.folder / "secrets")},
        }
        for section, values in self._options.items():
            sections.setdefault(section, {}).update(values)
        health = sections["health_manager"]
        health.setdefault("controller_ip_port_list", f"{address}:{health['bind_port']}")
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) for name, values in sections.items()
        )


_OF_AGENT = re.compile(r"amphora [0-9a-f-]{36}: ([A-Z]+) (/\S+): 2\d\d in ")
_SERVICES = ("compute", "network", "image")


def _program(name: str) -> str:
    return str(pathlib.Path(sys.executable).with_name(name))


def _named(found: Any, name: str) -> str:
    ids = [str(one.id) for one in found if one.name == name]
    assert len(ids) == 1, f"there are {len(ids)} of the name {name}"
    return ids[0]


def _address_in(cidr: str) -> str:
    """This host's address on a network."""
    said = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True).stdout)
    addresses = [info["local"] for link in said for info in link["addr_info"]]
    found = [one for one in addresses if ipaddress.ip_address(one) in ipaddress.ip_network(cidr)]
    assert found, f"this host has no address in {cidr}: the agents can't be reached"
    return str(found[0])
