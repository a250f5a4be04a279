"""One embedded site behind a real Keystone for all clients; what the API answers them is written down on the way."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.clients.golang import GoClients
from tests.clients.recorder import Recorder
from tests.integration import keystone
from tests.integration.site import Site

_USER = "lb-admin"
_GO = pathlib.Path(__file__).with_name("go")


@dataclasses.dataclass(frozen=True, slots=True)
class Cloud:
    """The site, Keystone, the record of answers, and how to log in."""

    site: Site
    keystone: keystone.Cloud
    recorder: Recorder
    subnet_id: str

    def environment(self, user: str = _USER) -> dict[str, str]:
        """The OS_ variables of a user, beside all that are not OS_ variables."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        words = self.keystone.credentials(user) | {"region_name": "RegionOne", "identity_api_version": "3"}
        del words["project_domain_name"]  # of the clients some want the name and the domain, but all take the id
        words["project_id"] = self.keystone.projects[words.pop("project_name")]
        return kept | {f"OS_{name.upper()}": value for name, value in words.items()}


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A site whose API asks Keystone, and stands in its catalogue behind the recorder."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    recorder = Recorder()
    identity = keystone.build_before(tmp_path_factory.mktemp("keystone"), recorder.url)
    site = Site(tmp_path_factory.mktemp("site"), options=_options(identity))
    try:
        site.up()
        recorder.before(site.machine.settings.api_url)
        yield Cloud(site, identity, recorder, site.subnet_id)
    finally:
        site.down()
        keystone.down(identity)
        recorder.close()


@pytest.fixture(scope="session")
def go(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoClients]:
    """gophercloud and Terraform's provider, built from their own modules."""
    program = tmp_path_factory.mktemp("go") / "clients"
    if shutil.which("go") is None:
        pytest.skip("needs the Go tool chain to build gophercloud and Terraform's provider")
    built = subprocess.run(["go", "build", "-o", program, "."], cwd=_GO, capture_output=True, text=True, timeout=1200, check=False)
    if built.returncode and "dial tcp" in built.stderr:
        pytest.skip(f"Go's modules can't be had here: {built.stderr.splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    clients = GoClients(program, cloud.environment() | {"OS_DOMAIN_NAME": "Default"})
    yield clients
    clients.close()


def _options(identity: keystone.Cloud) -> dict[str, str]:
    words = identity.credentials("figlina") | {"www_authenticate_uri": identity.keystone_url, "auth_type": "password"}
    return {"api_settings.auth_strategy": "keystone"} | {f"keystone_authtoken.{name}": value for name, value in words.items()}
