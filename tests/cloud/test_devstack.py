"""`enable_plugin figlina`, by DevStack's own functions and libraries: everything is made, serves, and goes again.

`DEVSTACK_DIR` names a checkout of DevStack, `FIGLINA_TEST_DATABASE_SERVER` a MariaDB as mysql://USER:PASSWORD@HOST:PORT (without it, that
of the test cloud is taken). With `FIGLINA_TEST_CLOUD_IS_SHARED=1`, what others make and delete meanwhile is passed over, as names tell.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
import yaml
from openstack.connection import Connection

from tests.cloud.conftest import Cloud
from tests.devstack.bed import Bed
from tests.integration.keystone import free_port

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.timeout(2400)]

_SERVER = "mysql://root:testcloud@127.0.0.1:13316"
_PREFIX = "ds"
_UNITS = {"o-api", "o-cw", "o-hm", "o-hk"}
_ROLES = {f"load-balancer_{name}" for name in ("observer", "global_observer", "member", "quota_admin", "admin")}


@pytest.fixture(scope="module")
def server() -> sa.URL:
    return sa.make_url(os.environ.get("FIGLINA_TEST_DATABASE_SERVER", _SERVER))


@pytest.fixture(scope="module")
def devstack() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("DEVSTACK_DIR", "/nonexistent"))
    if not (folder / "functions-common").is_file():
        pytest.skip("DEVSTACK_DIR names no checkout of DevStack")
    return folder


def _everything(admin: Connection, server: sa.URL) -> dict[str, set[str]]:
    """What a cloud and its database server hold, over all projects, by kind; each with its id and a name for whoever reads a failure."""
    identity, network, compute = admin.identity, admin.network, admin.compute
    listed = {
        "users": identity.users(),
        "projects": identity.projects(),
        "roles": identity.roles(),
        "services": identity.services(),
        "networks": network.networks(),
        "subnets": network.subnets(),
        "ports": network.ports(),
        "security groups": network.security_groups(),
        "flavors": compute.flavors(is_public=None, get_extra_specs=False),
        "servers": compute.servers(all_projects=True, details=False),
        "server groups": compute.server_groups(all_projects=True),
        "images": admin.image.images(),
    }
    found = {kind: {f"{one.id} {one.name}" for one in things} for kind, things in listed.items()}
    found["endpoints"] = {f"{one.id} {one.url}" for one in identity.endpoints()}
    found["assignments"] = {f"{one.role['id']} {one.user} {one.scope}" for one in identity.role_assignments()}
    engine = sa.create_engine(server.set(drivername="mysql+pymysql"))
    with engine.connect() as connection:
        found["databases"] = set(connection.scalars(sa.text("SHOW DATABASES")))
    engine.dispose()
    return found


def _settings(server: sa.URL, **more: object) -> dict[str, object]:
    """The services of a machine of DevStack, without those that serve nothing here; addresses of the cloud that is there."""
    address = f"{server.username}:{server.password}@{server.host}:{server.port}"
    return {
        "ENABLED_SERVICES": "key,mysql,n-api,g-api,q-svc",
        "ADMIN_PASSWORD": "unused",
        "SERVICE_PASSWORD": f"{_PREFIX}-of-the-services",
        "DATABASE_PASSWORD": server.password,
        "MYSQL_HOST": server.host,
        "BASE_SQL_CONN": f"mysql+pymysql://{address}",
        "MYSQL_GATHER_PERFORMANCE": False,
        "HOST_IP": "127.0.0.1",
        "SERVICE_LISTEN_ADDRESS": "127.0.0.1",
        "API_WORKERS": 1,
        "ENABLE_DEBUG_LOG_LEVEL": False,
        "OCTAVIA_PORT": free_port(),
        "OCTAVIA_USERNAME": f"{_PREFIX}-figlina",
        "OCTAVIA_PROJECT_NAME": f"{_PREFIX}-figlina",
        "OCTAVIA_AMP_IMAGE_NAME": f"{_PREFIX}-amphora-x64-haproxy",
        "OCTAVIA_AMP_IMAGE_TAG": f"{_PREFIX}-amphora",
        "FIGLINA_PREFIX": _PREFIX,
        "FIGLINA_DATABASE": f"{_PREFIX}_figlina",
    } | more


class Site:
    """A bed with DevStack's phases, and the cloud before them."""

    def __init__(self, bed: Bed, cloud: Cloud, server: sa.URL) -> None:
        self.bed, self.cloud, self.server = bed, cloud, server
        self.before = _everything(cloud.admin, server)

    def run(self, mode: str) -> str:
        url = self.cloud.admin.config.auth["auth_url"].removesuffix("/v3")
        return self.bed.run(mode, url, MYSQL_TCP_PORT=str(self.server.port))

    def left(self) -> dict[str, set[str]]:
        """What is there now and was not before."""
        return _beyond(_everything(self.cloud.admin, self.server), self.before)

    def gone(self) -> dict[str, set[str]]:
        """What was there before and is not any more."""
        return _beyond(self.before, _everything(self.cloud.admin, self.server))


def _beyond(things: dict[str, set[str]], others: dict[str, set[str]]) -> dict[str, set[str]]:
    found = {kind: {one for one in things[kind] - others[kind] if _is_ours(one)} for kind in things}
    return {kind: more for kind, more in found.items() if more}


def _is_ours(words: str) -> bool:
    name = words.split(" ", 1)[-1]
    return not os.environ.get("FIGLINA_TEST_CLOUD_IS_SHARED") or name.startswith(
        (f"{_PREFIX}-", f"{_PREFIX}_", "octavia", "load-balancer_")
    )


def _site(folder: pathlib.Path, devstack: pathlib.Path, cloud: Cloud, server: sa.URL) -> Site:
    bed = Bed(folder, devstack)
    known = yaml.safe_load(pathlib.Path(os.environ["OS_CLIENT_CONFIG_FILE"]).read_text())["clouds"]
    bed.clouds(*(known[user.config.name] for user in (cloud.admin, cloud.tenant)))
    return Site(bed, cloud, server)


@pytest.fixture(scope="module")
def without_machines(tmp_path_factory: pytest.TempPathFactory, devstack: pathlib.Path, cloud: Cloud, server: sa.URL) -> Iterator[Site]:
    """Stacked with everything made, but for the port that would need an interface of this host; the tests take it down by and by."""
    folder = tmp_path_factory.mktemp("devstack")
    image = folder / "amphora.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    site = _site(folder, devstack, cloud, server)
    settings = _settings(
        server, OCTAVIA_AMP_IMAGE_FILE=image, FIGLINA_MGMT_HOST_IP="127.0.0.1", OCTAVIA_MGMT_SUBNET="198.18.7.0/24",
        OCTAVIA_MGMT_SUBNET_START="198.18.7.50", OCTAVIA_MGMT_SUBNET_END="198.18.7.99", OCTAVIA_HM_LISTEN_PORT=free_port(),
        OCTAVIA_LB_TOPOLOGY="ACTIVE_STANDBY",
    )  # fmt: skip
    # The lines of a local.conf that has Octavia, with the plug-in exchanged.
    lines = ["enable_service octavia o-api o-cw o-hm o-hk o-da"]
    site.bed.configure(lines, "[[post-config|$OCTAVIA_CONF]]\n[house_keeping]\nsweep_interval = 7.5", **settings)
    try:
        site.run("stack")
        yield site
    finally:
        site.bed.end()
        site.run("unstack")


def test_the_units_run_and_the_api_is_found_in_the_catalogue(without_machines: Site) -> None:
    processes = without_machines.bed.processes()
    assert {name.removeprefix("devstack@") for name in processes} == _UNITS
    for name, pid in processes.items():
        assert "figlina-" in pathlib.Path(f"/proc/{pid}/cmdline").read_text(), name
    assert without_machines.bed.openstack("devstack", "loadbalancer", "list", "-f", "value") == ""
    assert "amphora" in without_machines.bed.openstack("devstack", "loadbalancer", "provider", "list", "-f", "value", "-c", "name").split()


def test_what_amphorae_need_is_in_the_cloud_and_in_the_configuration(without_machines: Site) -> None:
    made = without_machines.left()
    names = {kind: {words.split(" ", 1)[1] for words in made[kind]} for kind in ("networks", "flavors", "images", "users")}
    assert names == {
        "networks": {f"{_PREFIX}-mgmt"},
        "flavors": {f"{_PREFIX}-amphora"},
        "images": {f"{_PREFIX}-amphora-x64-haproxy"},
        "users": {f"{_PREFIX}-figlina"},
    }
    network = without_machines.cloud.admin.network.find_network(f"{_PREFIX}-mgmt")
    (subnet,) = without_machines.cloud.admin.network.subnets(network_id=network.id)
    assert (subnet.cidr, subnet.allocation_pools) == ("198.18.7.0/24", [{"start": "198.18.7.50", "end": "198.18.7.99"}])
    conf = (without_machines.bed.conf / "figlina.conf").read_text()
    assert f"amp_boot_network_list = {network.id}" in conf
    assert "loadbalancer_topology = ACTIVE_STANDBY" in conf
    assert "sweep_interval = 7.5" in conf, "the section of an existing local.conf is heeded"
    roles = {role.name for role in without_machines.cloud.admin.identity.roles()}
    assert roles >= _ROLES


def test_stacking_again_makes_nothing_twice(without_machines: Site) -> None:
    made = without_machines.left()
    without_machines.bed.end()
    without_machines.run("stack")
    again = without_machines.left()
    assert again == made


def test_unstack_and_clean_leave_nothing_and_take_nothing_else(without_machines: Site) -> None:
    pids = without_machines.bed.processes().values()
    without_machines.run("unstack")
    assert without_machines.left() == {}
    assert without_machines.gone() == {}
    assert [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()] == []
    without_machines.run("clean")
    assert not without_machines.bed.conf.exists()
    assert not without_machines.bed.figlina.exists()
