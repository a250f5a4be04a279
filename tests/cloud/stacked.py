"""A cloud with our plug-in of DevStack stacked on it, and what it held before and holds now.

`DEVSTACK_DIR` names a checkout of DevStack, `FIGLINA_TEST_DATABASE_SERVER` a MariaDB as mysql://USER:PASSWORD@HOST:PORT (without it, that
of the test cloud is taken). With `FIGLINA_TEST_CLOUD_IS_SHARED=1`, what others make and delete meanwhile is passed over.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from openstack.connection import Connection

from tests.cloud import catalogue
from tests.cloud.conftest import Cloud
from tests.devstack.bed import Bed
from tests.ports import free_port

PREFIX = "ds"
_SERVER = "mysql://root:testcloud@127.0.0.1:13316"


def server() -> sa.URL:
    """The cloud's database server."""
    return sa.make_url(os.environ.get("FIGLINA_TEST_DATABASE_SERVER", _SERVER))


def checkout() -> pathlib.Path:
    """DevStack; without it the test is skipped."""
    folder = pathlib.Path(os.environ.get("DEVSTACK_DIR", "/nonexistent"))
    if not (folder / "functions-common").is_file():
        pytest.skip("DEVSTACK_DIR names no checkout of DevStack")
    return folder


def _everything(admin: Connection) -> dict[str, set[str]]:
    """What a cloud and its database server hold, over all projects, by kind; each with its id, name and project."""
    identity, network, compute = catalogue.identity(admin), admin.network, admin.compute
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
    found = {kind: {f"{one.id} {one.name} {_project(one)}" for one in things} for kind, things in listed.items()}
    found["endpoints"] = {f"{one.id} {one.url}" for one in identity.endpoints()}
    found["administrator's key pairs"] = {one.name for one in compute.keypairs()}
    found["quotas"] = {one.project_id for one in network.quotas()}
    found["assignments"] = {f"{one.role['id']} {one.user} {one.scope}" for one in identity.role_assignments()}
    engine = sa.create_engine(server().set(drivername="mysql+pymysql"))
    with engine.connect() as connection:
        found["databases"] = set(connection.scalars(sa.text("SHOW DATABASES")))
    engine.dispose()
    return found


def _project(thing: Any) -> str:
    return str(getattr(thing, "owner", None) or getattr(thing, "project_id", None) or "")


def settings(**more: object) -> dict[str, object]:
    """The services of a machine of DevStack, without those that serve nothing here; addresses of the cloud that is there."""
    database = server()
    address = f"{database.username}:{database.password}@{database.host}:{database.port}"
    return {
        "ENABLED_SERVICES": "key,mysql,n-api,g-api,q-svc,openstack-cli-server",
        "ADMIN_PASSWORD": "unused",
        "SERVICE_PASSWORD": f"{PREFIX}-of-the-services",
        "DATABASE_PASSWORD": database.password,
        "MYSQL_HOST": database.host,
        "BASE_SQL_CONN": f"mysql+pymysql://{address}",
        "MYSQL_GATHER_PERFORMANCE": False,
        "HOST_IP": "127.0.0.1",
        "SERVICE_LISTEN_ADDRESS": "127.0.0.1",
        "API_WORKERS": 1,
        "ENABLE_DEBUG_LOG_LEVEL": False,
        "OCTAVIA_PORT": free_port(),
        "OCTAVIA_USERNAME": f"{PREFIX}-figlina",
        "OCTAVIA_PROJECT_NAME": f"{PREFIX}-figlina",
        "OCTAVIA_AMP_IMAGE_NAME": f"{PREFIX}-amphora-x64-haproxy",
        "OCTAVIA_AMP_IMAGE_TAG": f"{PREFIX}-amphora",
        "FIGLINA_PREFIX": PREFIX,
        "FIGLINA_DATABASE": f"{PREFIX}_figlina",
    } | more


class Site:
    """A bed with DevStack's phases, and the cloud before them. `ours` are ids by which things of ours are known among those of others."""

    def __init__(self, bed: Bed, cloud: Cloud) -> None:
        self.bed, self.cloud = bed, cloud
        self.before = _everything(cloud.admin)
        self.ours: set[str] = set()

    def run(self, mode: str) -> str:
        """The phases of stack.sh, unstack.sh or clean.sh."""
        url = self.cloud.admin.config.auth["auth_url"].removesuffix("/v3")
        said = self.bed.run(mode, url, MYSQL_TCP_PORT=str(server().port))
        self.ours |= {one.id for one in catalogue.identity(self.cloud.admin).projects(name=f"{PREFIX}-figlina")}
        return said

    def left(self) -> dict[str, set[str]]:
        """What is there now and was not before."""
        return self._beyond(_everything(self.cloud.admin), self.before)

    def gone(self) -> dict[str, set[str]]:
        """What was there before and is not any more."""
        return self._beyond(self.before, _everything(self.cloud.admin))

    def _beyond(self, things: dict[str, set[str]], others: dict[str, set[str]]) -> dict[str, set[str]]:
        found = {kind: {one for one in things[kind] - others[kind] if self._is_ours(one)} for kind in things}
        return {kind: more for kind, more in found.items() if more}

    def _is_ours(self, words: str) -> bool:
        if not os.environ.get("FIGLINA_TEST_CLOUD_IS_SHARED") or any(one in words for one in self.ours):
            return True
        name = words.split(" ")[min(1, words.count(" "))]
        return name == "octavia" or name.startswith((f"{PREFIX}-", f"{PREFIX}_", "octavia-health-manager", "octavia_ssh", "load-balancer_"))


@contextlib.contextmanager
def stacked(folder: pathlib.Path, cloud: Cloud, lines: list[str], sections: str = "", **more: object) -> Iterator[Site]:
    """With a `local.conf` of these lines, sections and settings; whatever happens, unstacked at the end."""
    bed = Bed(folder, checkout())
    known = yaml.safe_load(pathlib.Path(os.environ["OS_CLIENT_CONFIG_FILE"]).read_text())["clouds"]
    bed.clouds(*(known[user.config.name] for user in (cloud.admin, cloud.tenant)))
    with catalogue.alone():
        site = Site(bed, cloud)
        bed.configure(lines, sections, **settings(**more))
        try:
            site.run("stack")
            yield site
        finally:
            site.run("unstack")
            bed.end()
