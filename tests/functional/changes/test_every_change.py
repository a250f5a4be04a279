"""What all changes have in common, for each function of `controller.changes` that is one: found in the code, so that none is forgotten."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller import changes, exceptions
from controller.changes import member_batch, offerings
from controller.changes.asking import Asking
from controller.resources import health_monitor, l7policy, l7rule, listener, member, offering, pool
from tests import outside
from tests.functional.api import secrets_site
from tests.functional.changes.conftest import PROJECT, Site, Tree, wanted

_VERBS = ("configure", "create", "delete", "fail_over", "replace", "reset", "update")
Change = Callable[[Asking, Site, Tree], Any]


def _module(name: str) -> Any:
    return importlib.import_module(f"controller.changes.{name}")


def _found() -> set[str]:
    """`members.create` and so on: what begins with somebody who asks, and is called like a change."""
    names = [module.name for module in pkgutil.iter_modules(changes.__path__)]
    pairs = [(f"{name}.{verb}", getattr(_module(name), verb, None)) for name in names for verb in _VERBS]
    return {name for name, function in pairs if inspect.isfunction(function) and "asking" in inspect.signature(function).parameters}


def _call(name: str, *arguments: Callable[[Site, Tree], Any], **named: Any) -> Change:
    module, _, verb = name.partition(".")

    def call(asking: Asking, site: Site, tree: Tree) -> Any:
        return getattr(_module(module), verb)(asking, *(one(site, tree) for one in arguments), **named)

    return call


def _new(schema: Any, parent: str | None = None, of: str = "", **fields: Any) -> Callable[[Site, Tree], Any]:
    return lambda site, tree: wanted(schema, **fields, **({parent: getattr(tree, of).id} if parent else {}))


def _id(noun: str) -> Callable[[Site, Tree], str]:
    return lambda site, tree: getattr(tree, noun).id


def _values(**values: Any) -> Callable[[Site, Tree], Any]:
    return lambda site, tree: dict(values)


def _is(value: Any) -> Callable[[Site, Tree], Any]:
    return lambda site, tree: value


def _batch(site: Site, tree: Tree) -> list[member_batch.Wanted]:
    values = wanted(member.SCHEMA, address="10.0.0.9", protocol_port=80, subnet_id=site.network.subnet_id)
    return [member_batch.Wanted(values, frozenset({"address", "protocol_port", "subnet_id"}))]


_SERVER: dict[str, Any] = {"address": "10.0.0.2", "protocol_port": 80}
_NAMED = {
    "listeners": ("listener", _new(listener.SCHEMA, "loadbalancer_id", "load_balancer", protocol="HTTP", protocol_port=81)),
    "pools": ("pool", _new(pool.SCHEMA, "loadbalancer_id", "load_balancer", protocol="TCP", lb_algorithm="ROUND_ROBIN")),
    "l7policies": ("l7policy", _new(l7policy.SCHEMA, "listener_id", "listener", action="REJECT")),
}
_TENANTS: dict[str, Change] = {
    "load_balancers.create": _call("load_balancers.create", lambda site, tree: site.load_balancer()),
    "load_balancers.update": _call("load_balancers.update", _id("load_balancer"), _values(name="kiln")),
    "load_balancers.delete": _call("load_balancers.delete", _id("load_balancer"), cascade=True),
    "load_balancers.fail_over": _call("load_balancers.fail_over", _id("load_balancer")),
    **{f"{module}.create": _call(f"{module}.create", new) for module, (_, new) in _NAMED.items()},
    **{f"{module}.update": _call(f"{module}.update", _id(noun), _values(name="kiln")) for module, (noun, _) in _NAMED.items()},
    **{f"{module}.delete": _call(f"{module}.delete", _id(noun)) for module, (noun, _) in _NAMED.items()},
    "health_monitors.create": lambda asking, site, tree: _second_monitor(asking, tree),
    "health_monitors.update": _call("health_monitors.update", _id("health_monitor"), _values(delay=9)),
    "health_monitors.delete": _call("health_monitors.delete", _id("health_monitor")),
    "members.create": _call("members.create", _id("pool"), _new(member.SCHEMA, **_SERVER)),
    "members.update": _call("members.update", _id("pool"), _id("member"), _values(weight=9)),
    "members.delete": _call("members.delete", _id("pool"), _id("member")),
    "member_batch.replace": _call("member_batch.replace", _id("pool"), _batch, additive=False),
    "l7rules.create": _call("l7rules.create", _id("l7policy"), _new(l7rule.SCHEMA, type="PATH", compare_type="EQUAL_TO", value="/")),
    "l7rules.update": _call("l7rules.update", _id("l7policy"), _id("l7rule"), _values(value="/glaze")),
    "l7rules.delete": _call("l7rules.delete", _id("l7policy"), _id("l7rule")),
}
_FLAVOR_PROFILE = {"name": "pair", "provider_name": "amphora", "flavor_data": '{"loadbalancer_topology": "ACTIVE_STANDBY"}'}
_OPERATORS: dict[str, Change] = {
    "amphorae.configure": _call("amphorae.configure", _is("nobody")),
    "amphorae.delete": _call("amphorae.delete", _is("nobody")),
    "amphorae.fail_over": _call("amphorae.fail_over", _is("nobody")),
    "offerings.create": _call("offerings.create", _is(offerings.FLAVOR), _new(offering.FLAVOR, name="f", flavor_profile_id=PROJECT)),
    "offerings.delete": _call("offerings.delete", _is(offerings.AVAILABILITY_ZONE), _is("a")),
    "offerings.update": _call("offerings.update", _is(offerings.FLAVOR), _is("f"), _values(enabled=False)),
    "offerings.create a profile": _call(
        "offerings.create", _is(offerings.FLAVOR_PROFILE), _new(offering.FLAVOR_PROFILE, **_FLAVOR_PROFILE)
    ),
    "offerings.delete a profile": _call("offerings.delete", _is(offerings.FLAVOR_PROFILE), _is("p")),
    "offerings.update a profile": _call("offerings.update", _is(offerings.FLAVOR_PROFILE), _is("p"), _values(name="q")),
    "quotas.reset": _call("quotas.reset", _is(PROJECT)),
    "quotas.update": _call("quotas.update", _is(PROJECT), _values(member=3)),
}
CHANGES = _TENANTS | _OPERATORS


def _second_monitor(asking: Asking, tree: Tree) -> Any:
    """A pool has one: another pool gets it."""
    with asking.read() as tx:
        free = [one.id for one in tx.pools.of_load_balancer(tree.load_balancer.id) if one.health_monitor_id is None]
    fields = {"type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2}
    return _module("health_monitors").create(asking, wanted(health_monitor.SCHEMA, pool_id=free[0], **fields))


@pytest.fixture
def planted(site: Site, tree: Tree) -> Tree:
    """The tree, and another pool without a monitor."""
    fields = {"loadbalancer_id": tree.load_balancer.id, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN"}
    _module("pools").create(site.asking(), wanted(pool.SCHEMA, **fields))
    site.settle()
    site.asked.clear()
    site.rings = 0
    return tree


def test_this_table_has_every_change_there_is() -> None:
    assert _found() == {name.partition(" ")[0] for name in CHANGES}


@pytest.mark.parametrize("name", CHANGES)
def test_whom_policy_refuses_changes_nothing_and_rings_for_nobody(site: Site, planted: Tree, name: str) -> None:
    before, ports = site.rows(), site.ports()
    with pytest.raises(exceptions.Forbidden):
        CHANGES[name](site.asking(may=lambda action, project_id: False), site, planted)
    assert (site.rows(), site.ports(), site.rings) == (before, ports, 0)


@pytest.mark.parametrize("name", _TENANTS)
def test_a_change_asks_policy_with_the_project_of_the_object_raises_the_generation_and_rings_once(
    site: Site, planted: Tree, name: str
) -> None:
    before = site.generation(planted.load_balancer.id)
    _TENANTS[name](site.asking(), site, planted)
    assert site.rings == 1
    assert {project for _, project in site.asked} == {PROJECT}
    if name == "load_balancers.create":
        assert len(site.rows()["load_balancers"]) == 2
    else:
        assert site.generation(planted.load_balancer.id) == before + 1
    assert len(site.rows()["jobs"]) == 1


@pytest.mark.parametrize("name", _TENANTS)
def test_a_strict_deployment_changes_nothing_of_what_is_being_changed(site: Site, planted: Tree, name: str) -> None:
    if name == "load_balancers.create":
        pytest.skip("it is new")
    strict = {"is_strict": True, "mutable": ("ACTIVE",), "removable": ("ACTIVE", "ERROR")}
    _TENANTS["members.update"](site.asking(), site, planted)
    before = site.rows()
    with pytest.raises((exceptions.Immutable, exceptions.Conflict)):
        _TENANTS[name](site.asking(settings=strict), site, planted)
    assert site.rows() == before


@pytest.fixture
def asked(site: Site) -> Iterator[list[str]]:
    """The calls of the network service and the secret store; they fail while rows are locked."""
    with outside.guarded(site.services) as calls:
        yield calls


@pytest.mark.parametrize("name", _TENANTS)
def test_nobody_outside_is_asked_while_rows_are_locked(site: Site, planted: Tree, asked: list[str], name: str) -> None:
    _TENANTS[name](site.asking(), site, planted)


def test_certificates_subnets_and_vips_are_looked_at_before_the_transaction(site: Site, planted: Tree, asked: list[str]) -> None:
    named = secrets_site.store(site.secrets, PROJECT)
    asking = site.asking(settings={"refuse_unsupported": False})
    tls = wanted(
        listener.SCHEMA,
        loadbalancer_id=planted.load_balancer.id,
        protocol="TERMINATED_HTTPS",
        protocol_port=443,
        default_tls_container_ref=named["server"],
    )
    made = _module("listeners").create(asking, tls)
    _module("listeners").update(asking, made.id, {"default_tls_container_ref": named["other"]})
    below = wanted(
        pool.SCHEMA, listener_id=made.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN", tls_enabled=True, tls_container_ref=named["server"]
    )
    servers = _module("pools").create(asking, below)
    _module("pools").update(asking, servers.id, {"tls_container_ref": named["other"]})
    on_subnet = wanted(member.SCHEMA, **_SERVER, subnet_id=site.network.subnet_id)
    _module("members").create(asking, servers.id, on_subnet)
    assert asked.count("get_bundle") == 4
    assert "get_subnet" in asked
