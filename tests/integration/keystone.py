"""A real Keystone on a free port of the loopback interface, with the projects, users and roles of a small cloud; and our API."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import IO, Any

import pytest
import requests
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3

from controller.db import database, tables
from controller.drivers.network import fake
from tests.ports import free_port

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-keystone" / "bin"
SUBNET = fake.subnet_id(fake.TENANT_NETWORK, fake.TENANT_SUBNET)
PASSWORD = "a-password-of-tests"
USERS = {
    # user: (project, roles)
    "red-member": ("red", ["member"]),
    "red-reader": ("red", ["reader"]),
    "red-observer": ("red", ["load-balancer_observer"]),
    "red-lb-member": ("red", ["load-balancer_member"]),
    "stranger": ("red", ["stranger"]),
    "blue-member": ("blue", ["member"]),
    "global-observer": ("blue", ["load-balancer_global_observer"]),
    "quota-admin": ("blue", ["load-balancer_quota_admin"]),
    "lb-admin": ("blue", ["load-balancer_admin"]),
    "designate": ("service", ["service"]),
    "figlina": ("service", ["service"]),
}
_CONFIGURATION = """
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[identity]
password_hash_rounds = 4
"""
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
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_type = password
auth_url = {keystone}
username = figlina
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
token_cache_time = 1
http_connect_timeout = 5
[oslo_policy]
policy_file = {folder}/policy.yaml
"""


class Process:
    """A server that can be stopped and started again."""

    def __init__(self, command: list[str], log: pathlib.Path, url: str, environment: dict[str, str] | None = None) -> None:
        self._command, self._log, self._url = command, log, url
        self._environment = dict(os.environ) | (environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        out: IO[bytes]
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=subprocess.STDOUT, env=self._environment, cwd=self._log.parent
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.said()
            try:
                requests.get(self._url, timeout=10)
                return
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.1)
        raise AssertionError(self.said())

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-6000:]


class Elsewhere(Process):
    """A server that somebody else starts and stops."""

    def __init__(self) -> None:
        super().__init__([], pathlib.Path(os.devnull), "")

    def start(self) -> None:
        """Nothing is to do."""

    def stop(self) -> None:
        """Nothing is to do."""


@dataclasses.dataclass
class Cloud:
    """Keystone, our API, and the ids of the projects."""

    folder: pathlib.Path
    keystone_url: str
    api_url: str
    keystone: Process
    api: Process
    projects: dict[str, str] = dataclasses.field(default_factory=dict)
    _sessions: dict[str, keystone_session.Session] = dataclasses.field(default_factory=dict)

    def credentials(self, user: str) -> dict[str, Any]:
        """How a user logs in to their project, in the words of clouds.yaml."""
        project = "admin" if user == "admin" else USERS[user][0]
        domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
        return {"auth_url": self.keystone_url, "username": user, "password": PASSWORD, "project_name": project, **domains}

    def session(self, user: str) -> keystone_session.Session:
        """A session of their own, which keeps their token."""
        if user not in self._sessions:
            self._sessions[user] = keystone_session.Session(auth=v3.Password(**self.credentials(user)))
        return self._sessions[user]

    def new_token(self, user: str, **scope: Any) -> str:
        """A token that nobody has seen yet, for their project or for what `scope` names."""
        words = self.credentials(user)
        if scope:
            words = {name: value for name, value in words.items() if not name.startswith("project_")} | scope
        return str(keystone_session.Session(auth=v3.Password(**words)).get_token())

    def token(self, user: str) -> str:
        """Their token."""
        return str(self.session(user).get_token())

    def ask(self, method: str, path: str, token: str | None = None, body: Any = None, **headers: str) -> requests.Response:
        """Send a request below /v2.0/lbaas (or to a whole path, if it starts with `//`); the answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["X-Auth-Token"] = token
        url = self.api_url + (path[1:] if path.startswith("//") else f"/v2.0/lbaas{path}")
        return requests.request(method, url, headers=sent, json=body, timeout=60)

    def status(self, user: str, method: str, path: str, body: Any = None) -> int:
        """The status with which a user is answered."""
        return self.ask(method, path, self.token(user), body).status_code


def build(folder: pathlib.Path) -> Cloud:
    """Install Keystone if it is not there, and start everything."""
    install()
    ports = free_port(), free_port()
    keystone_url, api_url = f"http://127.0.0.1:{ports[0]}/v3", f"http://127.0.0.1:{ports[1]}"
    return _started(Cloud(folder, keystone_url, api_url, _keystone(folder, ports[0]), _api(folder, ports[1], keystone_url)))


def build_before(folder: pathlib.Path, api_url: str, threads: int = 4) -> Cloud:
    """Install Keystone if it is not there, and start it with a catalogue that names an API which somebody else starts.

    Its SQLite refuses one of two who write at once; where clients make users and roles side by side, one thread serves them in turn.
    """
    install()
    port = free_port()
    return _started(Cloud(folder, f"http://127.0.0.1:{port}/v3", api_url, _keystone(folder, port, threads), Elsewhere()))


def install() -> None:
    """Make the environment that Keystone runs in; a test that can't have it is skipped."""
    made = subprocess.run([ROOT / "scripts" / "make-tool-venv", "keystone"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"Keystone can't be installed here: {made.stderr.strip().splitlines()[-1:]}")


def _started(cloud: Cloud) -> Cloud:
    try:
        _bootstrap(cloud.folder, cloud.keystone_url)
        cloud.keystone.start()
        _populate(cloud)
        cloud.api.start()
    except BaseException:
        down(cloud)
        raise
    return cloud


def down(cloud: Cloud) -> None:
    """Stop everything."""
    cloud.api.stop()
    cloud.keystone.stop()


def _keystone(folder: pathlib.Path, port: int, threads: int = 4) -> Process:
    # Keystone takes the words of the command line for its own, so gunicorn gets its options from a file where it runs.
    (folder / "gunicorn.conf.py").write_text(
        f"bind = '127.0.0.1:{port}'\nthreads = {threads}\ngraceful_timeout = 2\ncontrol_socket_disable = True\n"
        "wsgi_app = 'keystone.wsgi.api:application'\n"
    )
    environment = {"OS_KEYSTONE_CONFIG_FILES": str(folder / "keystone.conf")}
    return Process([str(PROGRAMS / "gunicorn")], folder / "keystone.log", f"http://127.0.0.1:{port}/v3", environment)


def _api(folder: pathlib.Path, port: int, keystone_url: str) -> Process:
    file = folder / "figlina.conf"
    file.write_text(_FIGLINA.format(folder=folder, port=port, keystone=keystone_url, password=PASSWORD))
    (folder / "policy.yaml").write_text("{}\n")
    rows = database.Database(f"sqlite:///{folder}/figlina.db")
    tables.metadata.create_all(rows.engine)
    rows.close()
    program = pathlib.Path(sys.executable).with_name("figlina-api")
    return Process([str(program), "--config-file", str(file)], folder / "api.log", f"http://127.0.0.1:{port}/healthcheck")


def _bootstrap(folder: pathlib.Path, url: str) -> None:
    (folder / "keystone.conf").write_text(_CONFIGURATION.format(folder=folder))
    for name in ("fernet", "credential"):
        (folder / name).mkdir(mode=0o700)
    owner = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    urls = [word for kind in ("public", "internal") for word in (f"--bootstrap-{kind}-url", url)]
    for words in (
        ["db_sync"],
        ["fernet_setup", *owner],
        ["credential_setup", *owner],
        ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne", *urls],
    ):
        command = [str(PROGRAMS / "keystone-manage"), "--config-file", str(folder / "keystone.conf"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]


def _populate(cloud: Cloud) -> None:
    """What an operator does: projects, users, roles, and our place in the catalogue."""
    admin = cloud.session("admin")

    def create(kind: str, **values: Any) -> str:
        plural = {"role": "roles"}.get(kind, f"{kind}s")
        answer = admin.post(f"{cloud.keystone_url}/{plural}", json={kind: values})
        return str(answer.json()[kind]["id"])

    found = admin.get(f"{cloud.keystone_url}/roles").json()["roles"]
    roles = {role["name"]: role["id"] for role in found}
    for name in {role for _, wanted in USERS.values() for role in wanted} - set(roles):
        roles[name] = create("role", name=name)
    for project in ("red", "blue", "service"):
        cloud.projects[project] = create("project", name=project, domain_id="default")
    for user, (project, wanted) in USERS.items():
        user_id = create("user", name=user, password=PASSWORD, domain_id="default")
        for role in wanted:
            admin.put(f"{cloud.keystone_url}/projects/{cloud.projects[project]}/users/{user_id}/roles/{roles[role]}")
    admin_id = admin.get_user_id()
    admin.put(f"{cloud.keystone_url}/domains/default/users/{admin_id}/roles/{roles['admin']}")
    # The command line client wants a network service in the catalogue, whatever it is asked to do.
    for name, kind, path in (("octavia", "load-balancer", ""), ("neutron", "network", "/network")):
        service = create("service", name=name, type=kind)
        create("endpoint", service_id=service, interface="public", region_id="RegionOne", url=cloud.api_url + path)
