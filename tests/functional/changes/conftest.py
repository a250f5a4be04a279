"""Changes without a request: on a database of their own, a network service and a secret store in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from controller import conf as configuration
from controller import services
from controller.changes import asking, health_monitors, l7policies, l7rules, listeners, load_balancers, members, pools, settings
from controller.db import database, tables
from controller.drivers.compute.fake import FakeCompute
from controller.drivers.secrets.fake import FakeSecrets
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.providers.amphora import AmphoraProvider
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Schema, Values
from tests import builders, databases
from tests.fake_network import FakeNetwork

PROJECT = builders.PROJECT
REQUEST = "req-00000000-0000-4000-8000-000000000000"
_CHILDREN = (tables.health_monitors, tables.members, tables.l7rules, tables.l7policies, tables.listeners, tables.pools)


@dataclasses.dataclass(frozen=True)
class Caller:
    """Somebody of a project."""

    project_id: str | None = PROJECT
    is_admin: bool = False
    token: str | None = None
    request_id: str = REQUEST


def wanted(schema: Schema, **fields: Any) -> Values:
    """The values of a new object: these, and the defaults of what was not given."""
    return schema.created(fields, "test")


class Site:
    """What changes are made with, and what came of them. `asking()` may be told otherwise in each part."""

    def __init__(self, db: database.Database, cloud: str) -> None:
        self.db = db
        self.network = FakeNetwork(cloud)
        self.secrets = FakeSecrets()
        self.rings = 0
        self.asked: list[tuple[str, str | None]] = []  # of policy
        conf = configuration.load([], [])
        self.settings = settings.load(conf)
        self.services = services.Services(db, compute=FakeCompute(cloud), network=self.network, secrets=self.secrets, wake=self._ring)
        self.provider = AmphoraProvider()

    def asking(self, **parts: Any) -> asking.Asking:
        """Who asks, and with what; `settings` may be given as a mapping of those that differ."""
        values: dict[str, Any] = {
            "caller": Caller(),
            "may": self._may,
            "settings": self.settings,
            "services": self.services,
            "providers": {"amphora": self.provider},
        } | parts
        if isinstance(values["settings"], Mapping):
            values["settings"] = dataclasses.replace(self.settings, **values["settings"])
        return asking.Asking(**values)

    def _may(self, action: str, project_id: str | None) -> bool:
        self.asked.append((action, project_id))
        return True

    def _ring(self) -> None:
        self.rings += 1

    def load_balancer(self, **fields: Any) -> Values:
        """What makes a load balancer on the tenants' network."""
        return wanted(load_balancer.SCHEMA, **({"vip_subnet_id": self.network.subnet_id} | fields))

    def security_group(self) -> str:
        """The id of a group of the project's."""
        return self.network.create_security_group("web", PROJECT)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the tables of load balancers, what is below them, and jobs."""
        found = {}
        with self.db.engine.connect() as connection:
            for table in (tables.load_balancers, *_CHILDREN, tables.jobs, tables.quotas, tables.flavors, tables.flavor_profiles):
                found[table.name] = sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
        return found

    def ports(self) -> int:
        """The VIP ports that are taken."""
        calls = self.network.script.calls_of
        return len(calls("allocate_vip")) - len(calls("deallocate_vip"))

    def settle(self) -> None:
        """What a worker's success leaves in the rows; jobs are taken from the board."""
        with self.db.engine.begin() as connection:
            for table in (*_CHILDREN, tables.load_balancers):
                pending = table.c.provisioning_status.in_(("PENDING_CREATE", "PENDING_UPDATE"))
                connection.execute(sa.update(table).where(pending).values(provisioning_status=ProvisioningStatus.ACTIVE))
            connection.execute(sa.update(tables.load_balancers).values(applied_generation=tables.load_balancers.c.generation))
            connection.execute(sa.delete(tables.jobs))

    def generation(self, load_balancer_id: str) -> int:
        """Of a load balancer, as the rows have it."""
        with self.db.read() as tx:
            return tx.load_balancers.get(load_balancer_id).generation


@dataclasses.dataclass(frozen=True)
class Tree:
    """One object of each noun."""

    load_balancer: model.LoadBalancer
    listener: model.Listener
    pool: model.Pool
    member: model.Member
    health_monitor: model.HealthMonitor
    l7policy: model.L7Policy
    l7rule: model.L7Rule


def plant(ask: asking.Asking, site: Site, seen: load_balancers.Seen | None = None) -> Tree:
    """Make one object of each noun; in a block, of a load balancer that was `seen` before."""
    top = load_balancers.create(ask, site.load_balancer(), seen=seen).load_balancer
    http = listeners.create(ask, wanted(listener.SCHEMA, loadbalancer_id=top.id, protocol="HTTP", protocol_port=80))
    servers = pools.create(ask, wanted(pool.SCHEMA, listener_id=http.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN"))
    server = members.create(ask, servers.id, wanted(member.SCHEMA, address="10.0.0.1", protocol_port=80))
    monitor = wanted(health_monitor.SCHEMA, pool_id=servers.id, type="HTTP", delay=5, timeout=3, max_retries=2)
    policy = l7policies.create(ask, wanted(l7policy.SCHEMA, listener_id=http.id, action="REJECT"))
    rule = wanted(l7rule.SCHEMA, type="PATH", compare_type="STARTS_WITH", value="/kiln")
    return Tree(top, http, servers, server, health_monitors.create(ask, monitor), policy, l7rules.create(ask, policy.id, rule))


@pytest.fixture
def site() -> Iterator[Site]:
    """Nothing but an empty database."""
    cloud = str(uuid.uuid4())
    with contextlib.ExitStack() as stack:
        stack.callback(FakeNetwork.forget, cloud)
        yield Site(stack.enter_context(databases.lent()), cloud)


@pytest.fixture
def tree(site: Site) -> Tree:
    """One object of each noun, all of them ACTIVE."""
    made = plant(site.asking(), site)
    site.settle()
    site.asked.clear()
    return made
