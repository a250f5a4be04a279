"""A real cloud, named by `clouds.yaml`, with our API before it: tokens are proved by its Keystone, its Neutron answers behind `/network`.

Environment: `OS_CLIENT_CONFIG_FILE`, and the names of the clouds in it for an administrator, for the service user of load balancing and for
a tenant (`FIGLINA_TEST_CLOUD_ADMIN`, `_SERVICE`, `_TENANT`;
`testcloud-admin`, `testcloud-lb` and `testcloud-demo` unless they say otherwise).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Generator, Iterator

import pytest
from openstack.connection import Connection

from controller.db import database, tables
from tests.cloud.site import Site, Users
from tests.integration.keystone import ROOT, Process
from tests.ports import free_port

_FIGLINA = """
[database]
connection = sqlite:///{folder}/figlina.db
[controller_worker]
network_driver = fake
[task_flow]
wakeup_directory = {folder}/bells
[api_settings]
auth_strategy = keystone
bind_port = {port}
healthcheck_enabled = true
[lbaasv2]
passthrough_url = {neutron}
[keystone_authtoken]
www_authenticate_uri = {auth_url}
auth_type = password
auth_url = {auth_url}
username = {username}
password = {password}
project_name = {project_name}
user_domain_name = {user_domain_name}
project_domain_name = {project_domain_name}
"""


@dataclasses.dataclass
class Cloud:
    """Three users of a cloud, and the address of our API."""

    admin: Connection
    service: Connection
    tenant: Connection
    api_url: str

    @property
    def network_url(self) -> str:
        """What an old client takes for Neutron."""
        return f"{self.api_url}/network"

    def neutron(self, *words: str, user: Connection | None = None) -> str:
        """What the `neutron` command says; it has to succeed."""
        program = ROOT / ".venv-neutronclient" / "bin" / "neutron"
        token = str((user or self.tenant).session.get_token())
        # An address and a token are enough: the client takes what it is given for the network service.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        environment |= {"OS_AUTH_TYPE": "admin_token", "OS_ENDPOINT": self.network_url, "OS_TOKEN": token}
        done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False, env=environment, timeout=120)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(scope="session")
def users() -> Users:
    """Those of the cloud that the environment names; skipped where there is none."""
    found = Users.connect()
    if found is None:
        pytest.skip("OS_CLIENT_CONFIG_FILE names no clouds.yaml of a cloud to test with")
    return found


@pytest.fixture(scope="module")
def site(users: Users, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """All of our processes before that cloud, with the drivers `nova` and `neutron`; a module may name `OPTIONS`."""
    made = Site(tmp_path_factory.mktemp("site"), users, getattr(request.module, "OPTIONS", None))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what every process of the site wrote last."""
    report = yield
    made = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(made, Site):
        report.sections += [(name, made.said(name)) for name in ("api", "worker", "health-manager", "housekeeping")]
    return report


@pytest.fixture(scope="session")
def cloud(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Our API before the cloud that the environment names; skipped where there is none."""
    made = subprocess.run([ROOT / "scripts" / "make-tool-venv", "neutronclient"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    folder, port = tmp_path_factory.mktemp("cloud"), free_port()
    neutron = users.service.session.get_endpoint(service_type="network", interface="public")
    file = folder / "figlina.conf"
    file.write_text(_FIGLINA.format(folder=folder, port=port, neutron=neutron, **users.credentials))
    rows = database.Database(f"sqlite:///{folder}/figlina.db")
    tables.metadata.create_all(rows.engine)
    rows.close()
    program = pathlib.Path(sys.executable).with_name("figlina-api")
    api = Process([str(program), "--config-file", str(file)], folder / "api.log", f"http://127.0.0.1:{port}/healthcheck")
    try:
        api.start()
        yield Cloud(users.admin, users.service, users.tenant, api_url=f"http://127.0.0.1:{port}")
    finally:
        api.stop()
