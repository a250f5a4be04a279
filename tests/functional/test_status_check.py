"""`figlina-status check` before a small cloud in this process: every word for something wrong is provoked, and told with what mends it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import pathlib
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from oslo_config import cfg

from controller import conf as configuration
from controller.cmd import figlina, status
from controller.db import migration
from controller.deployment import checks, identity, report
from controller.deployment.site import Host, Site
from controller.drivers.network import neutron_shapes as shapes
from controller.openstack import cloud
from tests import simulated
from tests.simulated import identity as keystone

_FOLDER = pathlib.Path(identity.__file__).parent
_MANAGEMENT = "198.51.100.0/24"
_CONTROLLER = "198.51.100.2"
_CONF = """
[database]
connection = sqlite:///{folder}/figlina.db
[controller_worker]
compute_driver = nova
network_driver = neutron
loadbalancer_topology = ACTIVE_STANDBY
amp_flavor_id = {flavor}
amp_image_owner_id = {owner}
amp_boot_network_list = {network}
amp_secgroup_list = {group}
amp_ssh_key_name = night-shift
[nova]
enable_anti_affinity = true
[health_manager]
bind_ip = 198.51.100.2
controller_ip_port_list = 198.51.100.2:5555
heartbeat_key = 6d1f0c8a52e94b73a1c9e07f5b3d2864
[certificates]
ca_path = {folder}/ca
storage_path = {folder}/secrets
[service_auth]
{user}
[keystone_authtoken]
www_authenticate_uri = {url}
{user}
"""
_USER = """auth_type = password
auth_url = {url}
username = figlina
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = R"""


class OneAddress(Host):
    """A host on the management network."""

    def __init__(self) -> None:
        self.addresses = {_CONTROLLER}
        self.ways: dict[str, str] = {"198.51.100.": _CONTROLLER}

    def holds(self, address: str) -> bool:
        return address in self.addresses

    def source(self, destination: str) -> str | None:
        return next((source for way, source in self.ways.items() if destination.startswith(way)), None)

    def drivers(self, kind: str) -> set[str]:
        return super().drivers(kind) | {"compute": {"nova"}, "network": {"neutron"}}.get(kind, set())


@dataclasses.dataclass
class World:
    """A configuration, a cloud and a host for which all is well, until something is broken."""

    folder: pathlib.Path
    cloud: simulated.SimulatedCloud
    host: OneAddress
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    changes: list[tuple[str, str, Any]] = dataclasses.field(default_factory=list)

    def set(self, group: str, name: str, value: Any) -> None:
        """An option that is otherwise than in the file."""
        self.changes.append((group, name, value))

    @property
    def file(self) -> pathlib.Path:
        """The configuration file."""
        return self.folder / "figlina.conf"

    def conf(self) -> cfg.ConfigOpts:
        """As it is read now."""
        conf = configuration.load(["--config-file", str(self.file)])
        for group, name, value in self.changes:
            conf.set_override(name, value, group=group)
        return conf

    def check(self) -> list[report.Told]:
        """What is told."""
        conf = self.conf()
        return list(report.run(checks.CHECKS, Site(conf, self.host), conf))

    def image(self) -> dict[str, Any]:
        """That of amphorae."""
        return next(iter(self.cloud.store["images"].values()))

    def endpoint(self) -> dict[str, Any]:
        """Where the catalogue says that we are."""
        return next(one for one in self.cloud.store["endpoints"].values() if one["url"].endswith("/load-balancer"))

    def network(self) -> dict[str, Any]:
        """That on which amphorae boot."""
        return self.cloud.store["networks"][self.names["network"]]

    def user_has(self, *roles: str) -> None:
        """Other roles for the service user."""
        user = self.cloud.named("users", "figlina")["id"]
        project = self.cloud.named("projects", "service")["id"]
        keystones = self.cloud.identity
        keystones.assigned = {one for one in keystones.assigned if one[1] != user}
        keystones.assigned |= {(project, user, self.cloud.named("roles", role)["id"]) for role in roles}

    def replace(self, old: str, new: str, which: int = 0) -> None:
        """Other words in the configuration file: in the first place where they stand, or in the last one (-1)."""
        parts = self.file.read_text().split(old)
        assert len(parts) > 1
        at = which % (len(parts) - 1) + 1
        self.file.write_text(old.join(parts[:at]) + new + old.join(parts[at:]))

    def rules(self, **like: Any) -> list[dict[str, Any]]:
        """Rules of security groups."""
        rules = self.cloud.store["security-group-rules"].values()
        return [one for one in rules if all(one[name] == value for name, value in like.items())]


def _prepared(folder: pathlib.Path, cloud: simulated.SimulatedCloud) -> World:
    owner = cloud.named("projects", "service")["id"]
    network = cloud.add("networks", name="mgmt", admin_state_up=True, shared=False, port_security_enabled=True, project_id=owner, tags=[])
    pools = [{"start": "198.51.100.10", "end": "198.51.100.250"}]
    subnet = {"network_id": network["id"], "cidr": _MANAGEMENT, "allocation_pools": pools, "gateway_ip": None, "host_routes": []}
    within = cloud.add("subnets", name="mgmt-subnet", project_id=owner, enable_dhcp=True, tags=[], **subnet)
    group = cloud.add("security-groups", name="mgmt-group", project_id=owner, tags=[])
    rule = dict.fromkeys(("port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id", "protocol"))
    whose = {"security_group_id": group["id"], "project_id": owner, "ethertype": "IPv4"}
    cloud.add(
        "security-group-rules",
        **{**rule, **whose, "direction": "ingress", "protocol": "tcp", "port_range_min": 9443, "port_range_max": 9443},
    )
    port = {"network_id": network["id"], "security_groups": [group["id"]], "port_security_enabled": True, "project_id": owner}
    cloud.add("ports", name="o-hm0", fixed_ips=[{"ip_address": _CONTROLLER, "subnet_id": within["id"]}], **port)
    cloud.add(
        "security-group-rules",
        **{**rule, **whose, "direction": "ingress", "protocol": "udp", "port_range_min": 5555, "port_range_max": 5555},
    )
    flavor = cloud.add("flavors", name="amphora", ram=512, vcpus=1, disk=2)
    fit = {"hw_cdrom_bus": "scsi", "hw_scsi_model": "virtio-scsi", "disk_format": "qcow2", "min_disk": 0, "virtual_size": 2**30}
    cloud.add("images", name="amphora", tags=["amphora"], status="active", size=60_000_000, owner=owner, visibility="private", **fit)
    cloud.add("os-keypairs", name="night-shift", fingerprint="aa:bb")
    for host in ("three", "four"):
        cloud.add("os-services", binary="nova-compute", state="up", status="enabled", host=host)
    for role in identity.ROLES:
        cloud.add("roles", name=role)
    service = cloud.add("services", name="figlina", type="load-balancer")
    url = f"{cloud.url}/load-balancer"
    cloud.add("endpoints", service_id=service["id"], interface="public", region="R", region_id="R", url=url)
    user = _USER.format(url=f"{cloud.url}/identity/v3", password=keystone.PASSWORD)
    names = {"flavor": flavor["id"], "owner": owner, "network": network["id"], "group": group["id"], "url": cloud.url}
    (folder / "figlina.conf").write_text(_CONF.format(folder=folder, user=user, **names))
    return World(folder, cloud, OneAddress(), names)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with database and certificates, made once."""
    folder = tmp_path_factory.mktemp("files")
    config = folder / "figlina.conf"
    config.write_text(
        f"[certificates]\nca_path = {folder}/ca\nstorage_path = {folder}/secrets\n[database]\nconnection = sqlite:///{folder}/figlina.db\n"
    )
    migration.Schema(f"sqlite:///{folder}/figlina.db").upgrade()
    assert figlina.main(["ca", "create", "--config-file", str(config)]) == 0
    return folder


@pytest.fixture
def world(files: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[World]:
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    with simulated.running(furnished=False) as cloud:
        yield _prepared(tmp_path, cloud)


def _full(world: World, name: str, limit: int) -> None:
    world.cloud.compute.quotas[name] = (limit, 0)


def _without_hosts(world: World, *names: str) -> None:
    for one in names:
        world.cloud.drop("os-services", host=one)


def _from_volumes(world: World, kind: str | None = None, of_image: int = 16) -> None:
    """Amphorae boot from volumes of 16 GiB, of this type; the image takes so many GiB."""
    world.image().update(min_disk=of_image)
    world.cloud.identity.offer("block-storage", "/volume/v3")
    world.set("controller_worker", "volume_driver", "volume_cinder_driver")
    world.set("cinder", "volume_type", kind)


def _short_lived(world: World) -> None:
    """Roots that end in a fortnight."""
    shutil.rmtree(world.folder / "ca")
    with world.file.open("a") as file:
        file.write("[certificates]\nca_validity_time = 1209600\n")
    assert figlina.main(["ca", "create", "--config-file", str(world.file)]) == 0


def _older_schema(world: World) -> None:
    (world.folder / "figlina.db").unlink()
    migration.Schema(f"sqlite:///{world.folder}/figlina.db").upgrade("0001")


def _with_host(site: Site, host: Host, conf: cfg.ConfigOpts) -> None:
    site.conf, site.host, site._ask = conf, host, cloud.Cloud.from_conf


def _without_disk(world: World, *roles: str) -> None:
    world.cloud.named("flavors", "amphora").update(disk=0)
    world.user_has(*roles)


BREAKS: dict[str, Callable[[World], Any]] = {
    "option": lambda w: w.replace("[nova]\n", "[nova]\nanti_affinity_policy = sometimes\n"),
    "database-away": lambda w: (w.folder / "figlina.db").unlink(),
    "database-schema": lambda w: _older_schema(w),
    "heartbeat-key": lambda w: w.set("health_manager", "heartbeat_key", ["insecure"]),
    "certificates": lambda w: (w.folder / "ca" / "server_ca.pem").unlink(),
    "certificates-end": lambda w: _short_lived(w),
    "secrets": lambda w: shutil.rmtree(w.folder / "secrets"),
    "driver": lambda w: w.set("controller_worker", "amphora_driver", "carrier-pigeon"),
    "drivers-apart": lambda w: w.set("controller_worker", "network_driver", "fake"),
    "callers-unproved": lambda w: w.set("api_settings", "auth_strategy", "noauth"),
    "callers-nobody": lambda w: w.replace(f"www_authenticate_uri = {w.cloud.url}\nauth_type = password\n", ""),
    "callers-refused": lambda w: w.replace(keystone.PASSWORD, "wrong", -1),
    "callers-rights": lambda w: w.user_has("member"),
    "credentials": lambda w: w.replace("project_name = service\n", ""),
    "endpoint": lambda w: w.cloud.drop("endpoints", url=f"{w.cloud.url}/compute/v2.1"),
    "extension": lambda w: w.cloud.drop("extensions", alias="allowed-address-pairs"),
    "rights-server": lambda w: w.cloud.refused.append(("POST", "/servers$", 403, {"forbidden": {"message": "Policy doesn't allow it"}})),
    "rights-port": lambda w: w.user_has("service"),
    "rights-group": lambda w: w.cloud.refused.append(("POST", "/security-group-rules$", 403, {"NeutronError": {"message": "not you"}})),
    "rights-server-group": lambda w: w.cloud.refused.append(("POST", "/os-server-groups$", 403, {"forbidden": {"message": "not you"}})),
    "catalogue-missing": lambda w: w.cloud.drop("services", type="load-balancer"),
    "catalogue-silent": lambda w: w.endpoint().update(url=f"{w.cloud.url}/image/v2/nothing"),
    "roles": lambda w: w.cloud.drop("roles", name="load-balancer_observer"),
    "image-missing": lambda w: w.image().update(tags=[]),
    "image-status": lambda w: w.image().update(status="queued"),
    "image-owner": lambda w: w.image().update(owner="somebody", visibility="public"),
    "image-owner-unset": lambda w: w.set("controller_worker", "amp_image_owner_id", None),
    "image-properties": lambda w: w.image().pop("hw_scsi_model"),
    "image-format": lambda w: w.image().update(disk_format="vmdk"),
    "flavor-unset": lambda w: w.set("controller_worker", "amp_flavor_id", None),
    "flavor-missing": lambda w: w.cloud.store["flavors"].clear(),
    "flavor-memory": lambda w: w.cloud.named("flavors", "amphora").update(ram=128),
    "flavor-disk": lambda w: w.image().update(virtual_size=2**32),
    "flavor-no-disk": lambda w: _without_disk(w, "member", "service"),
    "zone": lambda w: w.set("nova", "availability_zone", "elsewhere"),
    "volume-size": lambda w: _from_volumes(w, of_image=17),
    "volume-type": lambda w: _from_volumes(w, "golden"),
    "quota-full": lambda w: _full(w, "port", 3),
    "quota-low": lambda w: _full(w, "instances", 6),
    "key-missing": lambda w: w.set("controller_worker", "amp_ssh_key_name", "day-shift"),
    "compute-old": lambda w: setattr(w.cloud.compute, "newest", "2.60"),
    "strangers": lambda w: w.cloud.add("servers", name="amphora-of-nobody", status="ACTIVE", metadata={}, tags=["figlina"]),
    "compute-silent": lambda w: w.cloud.refused.append(("GET", "/compute/v2.1/?$", 404, {"itemNotFound": {"message": "nothing here"}})),
    "affinity-hosts": lambda w: _without_hosts(w, "two", "three", "four"),
    "affinity-successors": lambda w: _without_hosts(w, "four"),
    "network-unset": lambda w: w.set("controller_worker", "amp_boot_network_list", []),
    "network-missing": lambda w: w.cloud.drop("networks", name="mgmt"),
    "network-down": lambda w: w.network().update(admin_state_up=False),
    "network-subnet": lambda w: w.cloud.store["subnets"].clear(),
    "network-full": lambda w: setattr(w.cloud.network, "used_elsewhere", 241),
    "network-low": lambda w: setattr(w.cloud.network, "used_elsewhere", 230),
    "network-unreachable": lambda w: w.host.ways.clear(),
    "network-remote": lambda w: w.host.ways.update({"198.51.100.": "203.0.113.9"}),
    "group-unset": lambda w: w.set("controller_worker", "amp_secgroup_list", []),
    "group-missing": lambda w: w.set("controller_worker", "amp_secgroup_list", ["no-such-group"]),
    "group-agent": lambda w: w.rules(port_range_min=9443)[0].update(remote_ip_prefix="203.0.113.0/24"),
    "group-egress": lambda w: w.cloud.drop("security-group-rules", direction="egress"),
    "heartbeat-none": lambda w: w.set("health_manager", "controller_ip_port_list", []),
    "heartbeat-loopback": lambda w: w.set("health_manager", "controller_ip_port_list", ["127.0.0.1:5555"]),
    "heartbeat-astray": lambda w: w.set("health_manager", "controller_ip_port_list", ["203.0.113.9:5555"]),
    "heartbeat-deaf": lambda w: w.set("health_manager", "bind_ip", "127.0.0.1"),
    "heartbeat-closed": lambda w: w.rules(port_range_min=5555)[0].update(port_range_max=5555, protocol="tcp"),
}
"""How each thing that can be wrong is made wrong, all else being well."""


_VOLUMES: list[tuple[dict[str, tuple[int, int]], str, str]] = [
    ({"volumes": (9, 6), "gigabytes": (-1, 0)}, "volumes", "--volumes NUMBER"),
    ({"volumes": (-1, 0), "gigabytes": (40, 25)}, "gigabytes", "--gigabytes NUMBER"),
    ({"volumes_fast": (2, 2)}, "volumes of type fast", "--volumes NUMBER --volume-type fast"),
    ({"gigabytes_fast": (30, 25)}, "gigabytes of type fast", "--gigabytes NUMBER --volume-type fast"),
    ({"per_volume_gigabytes": (15, 0)}, "per-volume-gigabytes", "--per-volume-gigabytes NUMBER"),
]


@pytest.mark.parametrize(("quotas", "what", "fix"), _VOLUMES, ids=[one[1] for one in _VOLUMES])
def test_volumes_are_counted_where_amphorae_boot_from_them(world: World, quotas: dict[str, tuple[int, int]], what: str, fix: str) -> None:
    """Of 16 GiB each, of the type `fast`."""
    world.cloud.volume_quotas = quotas
    assert [one for one in world.check() if one.check == "quota" and what in one.finding.found] == [], "nothing boots from volumes"
    _from_volumes(world, "fast")
    (told,) = [one.finding for one in world.check() if one.check == "quota"]
    assert f"({what} is the narrowest)" in told.found
    assert told.fix.startswith(f"openstack quota set {fix} ")
    assert told.level in (report.Level.FAILURE, report.Level.WARNING)


def _codes() -> set[str]:
    """Every word for something wrong, from the code: the first arguments of `failure` and `warning`, and what is tried."""
    found: set[object] = set(identity.TRIES)
    for path in _FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("failure", "warning"):
                first = node.args[0]
                found |= {first.value} if isinstance(first, ast.Constant) else set()
    return {str(one) for one in found} - {"unanswered", "not-asked"}


def test_all_that_can_be_wrong_is_made_wrong_here() -> None:
    assert set(BREAKS) == _codes()


def test_all_is_well_and_nothing_is_left_behind(world: World) -> None:
    before = world.cloud.inventory()
    told = world.check()
    assert [one for one in told if one.finding.level is not report.Level.OK] == []
    assert {one.check for one in told} == {one.name for one in checks.CHECKS}
    assert world.cloud.inventory() == before
    assert world.cloud.writes() != [], "what the service user may do is tried"


def test_our_image_is_found_however_many_others_have_its_tag(world: World) -> None:
    for place in range(30):
        fit = {"tags": ["amphora"], "status": "active", "visibility": "public", "disk_format": "qcow2", "size": 1}
        world.cloud.add("images", name=f"theirs-{place}", owner="somebody", created_at=f"2999-01-01T00:00:{place:02d}Z", **fit)
    assert [one.finding for one in world.check() if one.check == "image" and one.finding.level is not report.Level.OK] == []


def test_an_administrator_boots_flavors_without_a_disk(world: World) -> None:
    _without_disk(world, "admin")
    assert [one.finding for one in world.check() if one.check == "flavor" and one.finding.level is not report.Level.OK] == []


def test_a_volume_is_as_large_as_it_is_told_to_be_whatever_the_flavor_says(world: World) -> None:
    _from_volumes(world, "fast")
    world.cloud.named("flavors", "amphora").update(disk=1)
    assert [one for one in world.check() if one.check in ("flavor", "volume") and one.finding.level is not report.Level.OK] == []


@pytest.mark.parametrize("zone", ["nova", "nova:compute-1"])
def test_a_zone_may_name_a_host_beside_itself(world: World, zone: str) -> None:
    """As Nova takes it of administrators."""
    world.set("nova", "availability_zone", zone)
    assert [one.finding.level for one in world.check() if one.check == "zone"] == [report.Level.OK]


@pytest.mark.parametrize(("status", "kind"), [(403, "PolicyNotAuthorized"), (404, "HTTPNotFound")])
def test_free_addresses_that_nobody_tells_us_are_no_fault(world: World, status: int, kind: str) -> None:
    """Neutron tells administrators alone, and not without an extension for it; no load balancer needs it."""
    body = {"NeutronError": {"type": kind, "message": "not for you", "detail": ""}}
    world.cloud.refused.append(("GET", "/network-ip-availabilities/", status, body))
    assert [one for one in world.check() if one.finding.level is not report.Level.OK] == []


def test_a_keystone_that_does_not_answer_is_told_with_the_option_that_names_it(world: World) -> None:
    world.replace(f"{world.cloud.url}/identity", "http://127.0.0.1:1/identity")
    (told,) = [one.finding for one in world.check() if one.check == "credentials"]
    assert (told.code, told.level) == ("credentials", report.Level.FAILURE)
    assert "auth_url" in told.fix


def test_a_management_network_of_both_versions_is_asked_for_no_way_by_ipv6(world: World) -> None:
    """Agents are spoken to by IPv4 there, so neither the controller nor its security groups need know of IPv6."""
    owner = world.network()["project_id"]
    world.cloud.add("subnets", name="mgmt-6", network_id=world.names["network"], cidr="fd00:f1::/64", gateway_ip=None, project_id=owner)
    assert [one for one in world.check() if one.finding.level is not report.Level.OK] == []


def test_a_management_network_of_ipv6_alone_is_as_good(world: World) -> None:
    owner, controller = world.network()["project_id"], "fd00:f1::2"
    world.cloud.store["subnets"].clear()
    made = {"network_id": world.names["network"], "cidr": "fd00:f1::/64", "gateway_ip": None}
    subnet = world.cloud.add("subnets", name="mgmt-6", project_id=owner, **made)
    for rule in [*world.rules(port_range_min=9443), *world.rules(port_range_min=5555)]:
        rule["ethertype"] = "IPv6"
    world.cloud.named("ports", "o-hm0")["fixed_ips"] = [{"ip_address": controller, "subnet_id": subnet["id"]}]
    world.host.addresses, world.host.ways = {controller}, {"fd00:f1::": controller}
    world.set("health_manager", "bind_ip", controller)
    world.set("health_manager", "controller_ip_port_list", [f"[{controller}]:5555"])
    assert [one for one in world.check() if one.finding.level is not report.Level.OK] == []


@pytest.mark.slow
@pytest.mark.parametrize("code", BREAKS)
def test_what_is_wrong_is_told_with_what_mends_it(world: World, code: str) -> None:
    BREAKS[code](world)
    before = world.cloud.inventory()
    told = [one for one in world.check() if one.finding.code == code]
    assert told, [one for one in world.check() if one.finding.level is not report.Level.OK]
    assert all(one.finding.fix and one.finding.found for one in told)
    assert world.cloud.inventory() == before


@pytest.mark.slow
@pytest.mark.parametrize("check", [one.name for one in checks.CHECKS if one.needs])
def test_a_service_that_breaks_down_is_a_finding_of_each_check_that_needs_it(world: World, check: str) -> None:
    world.cloud.refused.append(("*", r"/(v2\.0|v2)/|/v2\.1/.|/v3/roles|load-balancer", 400, {"error": {"message": "quite broken"}}))
    told = [one.finding for one in world.check() if one.check == check]
    assert any(one.level is not report.Level.OK for one in told), told


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["figlina", "", "another"])
def test_vip_ports_that_bear_our_name_and_no_row_explains_are_told(world: World, deployment: str) -> None:
    """Those of an Octavia or another Figlina in the same cloud are theirs."""
    project = world.cloud.named("projects", "service")["id"]
    description = shapes.description_of(f"{deployment} of {project}", "of-nobody") if deployment else ""
    values = {"network_id": world.names["network"], "security_groups": [], "description": description}
    world.cloud.add("ports", name="octavia-lb-of-nobody", device_owner="Octavia", device_id="lb-of-nobody", project_id="tenant", **values)
    assert [one.finding.code for one in world.check() if "VIP of of-nobody" in one.finding.found] == ["strangers"] * (
        deployment == "figlina"
    )
    world.set("house_keeping", "delete_orphans", False)
    assert [one for one in world.check() if one.finding.level is not report.Level.OK] == []


def test_what_was_tried_is_taken_away_and_what_neutron_made_for_it(world: World) -> None:
    before = {kind: set(rows) for kind, rows in world.cloud.store.items()}
    assert [one for one in world.check() if one.check == "rights"]
    assert {kind: set(rows) for kind, rows in world.cloud.store.items()} == before


_MADE = ("/ports$", "/security-groups$", "/os-server-groups$")


def _rights(world: World) -> list[report.Finding]:
    return [one.finding for one in world.check() if one.check == "rights"]


@pytest.mark.parametrize("path", _MADE)
def test_what_was_made_without_an_answer_is_taken_away(world: World, path: str) -> None:
    before = {kind: set(rows) for kind, rows in world.cloud.store.items()}
    world.cloud.fail("POST", path, simulated.refusal(504, "the gateway has waited long enough"), after=True)
    (told,) = _rights(world)
    assert {kind: set(rows) for kind, rows in world.cloud.store.items()} == before
    assert (told.code, told.fix) == ("unanswered", identity._AGAIN)


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", [*_MADE, "/servers$", "/security-group-rules$"])
def test_a_busy_cloud_is_no_lack_of_rights(world: World, path: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_PAUSE", 0.0)
    before = {kind: set(rows) for kind, rows in world.cloud.store.items()}
    world.cloud.fail("POST", path, simulated.refusal(status, "too much to do"), times=3)
    (told,) = _rights(world)
    assert (told.level, told.code) == (report.Level.FAILURE, "unanswered")
    assert "too much to do" in told.found
    assert told.fix == identity._AGAIN
    assert {kind: set(rows) for kind, rows in world.cloud.store.items()} == before


def test_a_gateways_word_is_not_that_of_compute(world: World) -> None:
    """Nova's 404 for a flavor that is none shows that we may boot; that of a gateway, which bears no request's id, shows nothing."""
    world.cloud.fail("POST", "/servers$", simulated.refusal(404, "no such page", headers={"x-openstack-request-id": ""}))
    (told,) = _rights(world)
    assert (told.code, told.fix) == ("unanswered", identity._AGAIN)


def test_a_service_that_is_busy_needs_no_other_endpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_PAUSE", 0.0)
    world.cloud.fail("GET", "/flavors$", simulated.refusal(503, "too much to do"), times=3)
    (told,) = [one.finding for one in world.check() if one.finding.code == "endpoint"]
    assert told.fix == identity._AGAIN


def test_what_checks_of_long_ago_left_is_taken_away_and_that_of_others_stays(world: World) -> None:
    now = int(time.time())
    old, young = f"figlina-status-check-{now - 4000:x}-0a0b0c0d", f"figlina-status-check-{now - 3000:x}-0a0b0c0d"
    network, owner = world.names["network"], world.names["owner"]
    groups = {name: world.cloud.add("security-groups", name=name, project_id=owner)["id"] for name in (old, young)}
    groups |= {name: world.cloud.add("security-groups", name=name, project_id=owner)["id"] for name in ("figlina-status-check-of-mine",)}
    theirs = world.cloud.add("security-groups", name=old, project_id="another")["id"]
    ports = {
        name: world.cloud.add("ports", name=name, network_id=network, project_id=f"of-{name}", security_groups=[]) for name in (old, young)
    }
    former = world.cloud.add("ports", name="figlina-status-check-0a0b0c0d", network_id=network, project_id="f", security_groups=[])
    sets = {name: world.cloud.add("os-server-groups", name=name, project_id=owner, policy="anti-affinity") for name in (old, young)}
    before = {kind: set(rows) for kind, rows in world.cloud.store.items()}
    (told,) = _rights(world)
    assert told.level is report.Level.OK
    gone = {kind: before[kind] - set(rows) for kind, rows in world.cloud.store.items()}
    assert gone["ports"] == {ports[old]["id"], former["id"]}
    assert gone["os-server-groups"] == {sets[old]["id"]}
    assert groups[old] in gone["security-groups"]
    assert not {theirs, groups[young], groups["figlina-status-check-of-mine"]} & gone["security-groups"]
    defaults = {one["project_id"] for one in world.cloud.store["security-groups"].values() if one["name"] == "default"}
    assert f"of-{young}" in defaults
    assert not {f"of-{old}", "f"} & defaults


def test_a_management_network_without_port_security_is_no_fault_of_rights(world: World) -> None:
    for network in world.cloud.store["networks"].values():
        network["port_security_enabled"] = False
    (told,) = [one for one in world.check() if one.check == "rights"]
    assert told.finding.level is report.Level.OK, told


def test_a_password_that_is_missing_is_told_like_a_wrong_one(world: World) -> None:
    world.replace(f"password = {keystone.PASSWORD}\n", "")
    world.replace(f"password = {keystone.PASSWORD}\n", "")
    told = {one.check: one.finding.code for one in world.check() if one.finding.level is report.Level.FAILURE}
    assert told == {"credentials": "credentials", "callers": "callers-refused"}


def test_without_credentials_nothing_else_is_asked(world: World) -> None:
    world.replace(keystone.PASSWORD, "wrong")
    told = {one.check: one.finding for one in world.check()}
    assert told["credentials"].level is report.Level.FAILURE
    assert {name for name, one in told.items() if one.code == "not-asked"} == {
        one.name for one in checks.CHECKS if "credentials" in one.needs
    }


def test_an_embedded_cloud_is_asked_what_it_has(world: World) -> None:
    world.set("controller_worker", "compute_driver", "namespace")
    world.set("controller_worker", "network_driver", "bridge")
    told = world.check()
    assert {one.check for one in told} == {"options", "database", "heartbeat-key", "certificates", "secrets", "drivers", "callers"}
    assert report.exit_code(told) == 0


@pytest.mark.lengthy
@pytest.mark.parametrize(("code", "expected"), [(None, 0), ("roles", 1), ("flavor-memory", 2)])
def test_the_exit_code_tells_the_worst(
    world: World, code: str | None, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Site, "__init__", functools.partialmethod(_with_host, world.host))
    if code:
        BREAKS[code](world)
    assert status.main(["check", "--config-file", str(world.file), "--json"]) == expected
    rows = json.loads(capsys.readouterr().out)
    assert [row["code"] for row in rows if row["level"] != "ok"] == [code] * bool(code)
    assert status.main(["check", "--config-file", str(world.file)]) == expected
    said = capsys.readouterr().out
    assert f"{int(expected == 2)} failures, {int(expected == 1)} warnings" in said
    assert said.count("fix: ") == bool(code)


def test_one_check_brings_what_it_needs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["check", "--config-file", str(world.file), "--json", "--only", "flavor"]) == 0
    assert {row["check"] for row in json.loads(capsys.readouterr().out)} == {"credentials", "endpoints", "flavor"}


def test_a_configuration_that_is_none_is_said_in_a_sentence(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["check", "--config-file", str(tmp_path / "missing.conf")]) == status.UNUSABLE
    assert "missing.conf" in capsys.readouterr().err


def test_this_host_knows_its_addresses_and_ways() -> None:
    host = Host()
    assert host.holds("127.0.0.1")
    assert host.source("127.0.0.1") == "127.0.0.1"
    assert not host.holds("203.0.113.7")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        assert host.holds("127.0.0.1"), "whoever listens there is in nobody's way"
