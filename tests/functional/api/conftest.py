"""The API over a database of its own and a network service in memory; no worker runs, so that the tests say when work is done."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import flask
import pytest
import sqlalchemy as sa
import werkzeug.serving

from controller import conf as configuration
from controller import services
from controller.api import app as api_app
from controller.api import current, middleware
from controller.db import database, tables
from controller.drivers.compute.fake import FakeCompute
from controller.drivers.secrets.fake import FakeSecrets
from controller.embedded import scratch
from controller.model.status import ProvisioningStatus
from tests import builders, databases
from tests.fake_network import FakeNetwork

PROJECT = builders.PROJECT
SETTINGS = "settings"
"""In the place of an option's group: the name is a field of `api.settings.Settings`, such as `refuse_unsupported`."""
_CHILDREN = (tables.health_monitors, tables.members, tables.l7rules, tables.l7policies, tables.listeners, tables.pools)

_RESTING: dict[str, list[flask.Flask]] = {}  # applications that no test uses, by their options


class Api:
    """A client of one application, its database, its network service, and how often it rang for workers."""

    def __init__(self, db: database.Database, network: FakeNetwork, options: dict[tuple[str, str], Any] | None = None) -> None:
        self.db = db
        self.network = network
        self.rings = 0
        conf = configuration.load([], [])
        conf.set_default("auth_strategy", "noauth", group="api_settings")
        middleware.register_options(conf)
        fields = {name: value for (group, name), value in (options or {}).items() if group == SETTINGS}
        for (group, name), value in (options or {}).items():
            if group != SETTINGS:
                conf.set_override(name, value, group=group)
        self.secrets = FakeSecrets()
        drivers = {"compute": FakeCompute(f"api-{id(self)}"), "network": network, "secrets": self.secrets}
        self.services = services.Services(db, wake=self._ring, **drivers)  # type: ignore[arg-type]
        self._resting = _RESTING.setdefault(repr(sorted((options or {}).items())), [])
        self.app = self._resting.pop() if self._resting else api_app.create_app(self.services, conf)
        self.app.extensions[current.EXTENSION] = self.services, dataclasses.replace(self.app.extensions[current.EXTENSION][1], **fields)
        self._client = self.app.test_client()

    def _ring(self) -> None:
        self.rings += 1

    def close(self) -> None:
        """Lend the application to the next test: to make one takes longer than most tests."""
        self._resting.append(self.app)

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, data: bytes | None = None) -> Any:
        """Send a request below /v2.0/lbaas (or to a whole path, if it starts with `//`); the answer."""
        url = path[1:] if path.startswith("//") else f"/v2.0/lbaas{path}"
        sent = {"X-Project-Id": PROJECT} if headers is None else headers
        if data is not None:
            return self._client.open(url, method=method, data=data, headers=sent)
        return (
            self._client.open(url, method=method, json=body, headers=sent)
            if body is not None
            else self._client.open(url, method=method, headers=sent)
        )

    def ok(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Send a request that must be answered with this status; the JSON of the answer."""
        answer = self.send(method, path, body)
        assert answer.status_code == status, (method, path, answer.status_code, answer.get_data(as_text=True))
        return answer.get_json() if answer.data else None

    def refused(self, status: int, method: str, path: str, body: Any = None) -> str:
        """Send a request that must be refused with this status in shape A; the sentence."""
        answer = self.send(method, path, body)
        assert answer.status_code == status, (method, path, answer.status_code, answer.get_data(as_text=True))
        said = answer.get_json()
        assert set(said) == {"faultcode", "faultstring", "debuginfo"}
        assert said["faultcode"] == ("Client" if status < 500 else "Server")
        return str(said["faultstring"])

    def create(self, key: str, path: str, **fields: Any) -> Any:
        """POST an object; the object of the answer."""
        return self.ok("POST", path, {key: fields}, 201)[key]

    def load_balancer(self, **fields: Any) -> Any:
        """A new load balancer."""
        return self.create("loadbalancer", "/loadbalancers", **({"name": "lb-1", "vip_subnet_id": self.network.subnet_id} | fields))

    def listener(self, load_balancer_id: str, **fields: Any) -> Any:
        """A new HTTP listener on port 80."""
        return self.create(
            "listener", "/listeners", **({"loadbalancer_id": load_balancer_id, "protocol": "HTTP", "protocol_port": 80} | fields)
        )

    def pool(self, **fields: Any) -> Any:
        """A new HTTP pool, round robin."""
        return self.create("pool", "/pools", **({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | fields))

    def member(self, pool_id: str, address: str = "10.0.0.1", **fields: Any) -> Any:
        """A new member on port 80."""
        return self.create("member", f"/pools/{pool_id}/members", **({"address": address, "protocol_port": 80} | fields))

    def monitor(self, pool_id: str, **fields: Any) -> Any:
        """A new HTTP monitor."""
        wanted = {"pool_id": pool_id, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2} | fields
        return self.create("healthmonitor", "/healthmonitors", **wanted)

    def security_group(self, project_id: str = PROJECT) -> str:
        """The id of a new security group."""
        return self.network.create_security_group("web", project_id)

    def get(self, key: str, path: str) -> Any:
        """GET an object."""
        return self.ok("GET", path)[key]

    def settle(self, status: ProvisioningStatus = ProvisioningStatus.ACTIVE) -> None:
        """What a worker's success (or failure) leaves in the rows; jobs are taken from the board."""
        with self.db.engine.begin() as connection:
            for table in _CHILDREN:
                connection.execute(sa.delete(table).where(table.c.provisioning_status == ProvisioningStatus.PENDING_DELETE))
            gone = tables.load_balancers.c.provisioning_status == ProvisioningStatus.PENDING_DELETE
            connection.execute(sa.update(tables.load_balancers).where(gone).values(provisioning_status=ProvisioningStatus.DELETED))
            for table in (*_CHILDREN, tables.load_balancers):
                pending = table.c.provisioning_status.like("PENDING%")
                connection.execute(sa.update(table).where(pending).values(provisioning_status=status))
            applied = tables.load_balancers.c.generation
            connection.execute(sa.update(tables.load_balancers).values(applied_generation=applied))
            connection.execute(sa.delete(tables.jobs))

    def jobs(self) -> list[dict[str, Any]]:
        """What waits on the board."""
        with self.db.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(tables.jobs).order_by(tables.jobs.c.posted_at)).mappings()]

    def row(self, table: sa.Table, object_id: str) -> dict[str, Any]:
        """A row."""
        with self.db.engine.connect() as connection:
            return dict(connection.execute(sa.select(table).where(table.c.id == object_id)).mappings().one())

    def write(self, statement: Any) -> None:
        """Change rows as a worker or the health manager would."""
        with self.db.engine.begin() as connection:
            connection.execute(statement)

    def counted(self) -> contextlib.AbstractContextManager[list[str]]:
        """The SQL statements that the block executes."""
        return databases.counted(self.db)


@contextlib.contextmanager
def an_api(options: dict[tuple[str, str], Any] | None = None) -> Iterator[Api]:
    """An application with these options and nothing in its database."""
    cloud = str(uuid.uuid4())
    with databases.lent() as db:
        try:
            embedded = (options or {}).get(("api_settings", "embedded_networking"))
            network: Any = scratch.ScratchNetwork() if embedded else FakeNetwork(cloud)
            made = Api(db, network, options)
            yield made
            made.close()
        finally:
            FakeNetwork.forget(cloud)


@pytest.fixture
def api() -> Iterator[Api]:
    """An application with default options."""
    with an_api() as made:
        yield made


@pytest.fixture
def api_with() -> Iterator[Any]:
    """Make an application with options: `api_with(("group", "option"), value, ...)`."""
    with contextlib.ExitStack() as stack:

        def make(*pairs: Any) -> Api:
            return stack.enter_context(an_api(dict(zip(pairs[::2], pairs[1::2], strict=True))))

        yield make


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Api, str]]:
    """An application as a developer's machine has it, behind a real HTTP server; and its address."""
    options = {("api_settings", "noauth_project_id"): PROJECT, ("api_settings", "embedded_networking"): True}
    with an_api(options) as made:
        server = werkzeug.serving.make_server("127.0.0.1", 0, made.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield made, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
