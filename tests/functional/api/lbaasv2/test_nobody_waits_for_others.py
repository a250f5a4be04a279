"""While rows are locked, neither the network service nor the secret store is asked, whatever is made: one by one, in bulk, or as a whole.

The cells are all nouns and their declared fields that name something outside, in each way in which an object can be made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from controller.api.lbaasv2 import attributes
from controller.drivers.network import fake
from controller.model.network import QosPolicy
from tests import outside
from tests.functional.api import secrets_site
from tests.functional.api.conftest import PROJECT
from tests.functional.api.lbaasv2.conftest import Old

_NAMES_OUTSIDE = re.compile(r"(subnet|network|port|qos_policy)_id$|sg_ids$|_refs?$")
_QOS = "5a0a2b1c-0000-4000-8000-000000000001"
_NOUNS = {resource.name: resource for resource in attributes.RESOURCES}


class World:
    """Both APIs over one application, and what there is outside."""

    def __init__(self, old: Old) -> None:
        self.old, self.api = old, old.api
        network = old.api.network
        self.secret = secrets_site.store(old.api.secrets, PROJECT)
        network.create_qos_policy(QosPolicy(id=_QOS, name="slow", project_id=PROJECT))
        self.group = network.create_security_group("web", PROJECT)
        self.ports = [
            network.create_port(f"mine-{number}", network.network_id, network.subnet_id, project_id=PROJECT).id for number in (1, 2)
        ]


@pytest.fixture
def world(old: Old) -> World:
    return World(old)


VALUES: dict[str, tuple[Callable[[World, int], Any], str]] = {
    "vip_subnet_id": (lambda world, _: world.api.network.subnet_id, "get_subnet"),
    "vip_network_id": (lambda world, _: world.api.network.network_id, "get_network"),
    "vip_port_id": (lambda world, number: world.ports[number - 1], "get_port"),
    "vip_qos_policy_id": (lambda world, _: _QOS, "get_qos_policy"),
    "vip_sg_ids": (lambda world, _: [world.group], "get_security_group"),
    "subnet_id": (lambda world, _: world.api.network.subnet_id, "get_subnet"),
    "default_tls_container_ref": (lambda world, _: world.secret["server"], "get_bundle"),
    "sni_container_refs": (lambda world, _: [world.secret["other"]], "get_bundle"),
    "client_ca_tls_container_ref": (lambda world, _: world.secret["ca"], "get_secret"),
    "client_crl_container_ref": (lambda world, _: world.secret["crl"], "get_secret"),
    "tls_container_ref": (lambda world, _: world.secret["server"], "get_bundle"),
    "ca_tls_container_ref": (lambda world, _: world.secret["ca"], "get_secret"),
    "crl_container_ref": (lambda world, _: world.secret["crl"], "get_secret"),
}
"""What such a field is given (the number of the object is 1 or 2), and the call that looks at it."""

_WITH = {
    "client_crl_container_ref": ["client_ca_tls_container_ref"],
    "crl_container_ref": ["ca_tls_container_ref"],
    "listener": ["default_tls_container_ref"],
    "member": ["subnet_id"],
    "loadbalancer": ["vip_subnet_id"],
}
"""What a field, or a noun, needs beside it."""


def _named(names: Iterable[str]) -> list[str]:
    return [name for name in names if _NAMES_OUTSIDE.search(name)]


def _cells(posted: Mapping[str, Sequence[str]]) -> list[tuple[str, str | None]]:
    """Each noun with each field that names something outside, and by itself."""
    return [(noun, field) for noun, names in posted.items() for field in (None, *_named(names))]


def _posted(schema: Any) -> list[str]:
    return [field.name for field in schema.fields.values() if field.post]


_BY_LBAASV2 = _cells({name: _posted(resource) for name, resource in _NOUNS.items()})
_BY_V2 = _cells({name: _posted(resource.schema) for name, resource in _NOUNS.items()})


def _fields(world: World, noun: str, field: str | None, number: int = 1) -> dict[str, Any]:
    """A good object, with this field."""
    by_noun: dict[str, dict[str, Any]] = {
        "loadbalancer": {},
        "listener": {"protocol": "TERMINATED_HTTPS", "protocol_port": 442 + number},
        "pool": {"name": f"pool-{number}", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
        "member": {"address": f"10.0.0.{number}", "protocol_port": 80},
        "healthmonitor": {"type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2},
        "l7policy": {"action": "REJECT"},
        "rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": f"/{number}"},
    }
    own = by_noun[noun]
    more = {*_WITH.get(noun, ()), *([field, *_WITH.get(field, ())] if field else ())}
    if "vip_port_id" in more:
        more.discard("vip_subnet_id")
    return own | {name: VALUES[name][0](world, number) for name in more}


def _parents(world: World, noun: str) -> tuple[str, list[dict[str, Any]]]:
    """The path of a collection, and what two objects in it name of their parents."""
    load_balancer = world.old.load_balancer()["id"]
    if noun == "loadbalancer":
        return "/loadbalancers", [{}, {}]
    below = {"loadbalancer_id": load_balancer}
    if noun in ("listener", "pool"):
        return f"/{noun}s", [below, below]
    if noun in ("member", "healthmonitor"):
        pools = [world.old.pool(**below)["id"] for _ in range(2)]
        return (f"/pools/{pools[0]}/members", [{}, {}]) if noun == "member" else ("/healthmonitors", [{"pool_id": one} for one in pools])
    on = {"listener_id": world.old.listener(load_balancer)["id"]}
    if noun == "l7policy":
        return "/l7policies", [on, on]
    return f"/l7policies/{world.old.create('l7policy', '/l7policies', action='REJECT', **on)['id']}/rules", [{}, {}]


def _tree(world: World, noun: str, field: str | None) -> dict[str, Any]:
    """A load balancer with one object of each noun below it, in one body."""
    of = {name: _fields(world, name, field if name == noun else None) for name in _NOUNS}
    pool = of["pool"] | {"members": [of["member"]], "healthmonitor": of["healthmonitor"]}
    policy = of["l7policy"] | {"rules": [of["rule"]]}
    return of["loadbalancer"] | {"listeners": [of["listener"] | {"default_pool": pool, "l7policies": [policy]}]}


def _expected(noun: str, field: str | None) -> set[str]:
    needed = [*_WITH.get(noun, ()), *([field] if field else ())]
    if field == "vip_port_id":
        needed.remove("vip_subnet_id")
    return {VALUES[name][1] for name in needed} | ({"allocate_vip"} if noun == "loadbalancer" else set())


def test_every_declared_field_that_names_something_outside_is_tried() -> None:
    assert {field for _, field in (*_BY_LBAASV2, *_BY_V2) if field} == VALUES.keys()


def test_who_asks_while_rows_are_locked_is_found_out(world: World) -> None:
    with outside.guarded(world.api.services), world.api.db.begin(), pytest.raises(outside.AskedTooLate):
        world.api.services.network.get_subnet(fake.subnet_id(fake.TENANT_NETWORK, fake.TENANT_SUBNET))


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("noun", "field"), _BY_LBAASV2)
def test_by_lbaasv2_one_or_several(world: World, noun: str, field: str | None, many: bool) -> None:
    path, above = _parents(world, noun)
    wanted = [_fields(world, noun, field, number) | named for number, named in enumerate(above, 1)]
    body: dict[str, Any] = {_NOUNS[noun].collection: wanted} if many else {noun: wanted[0]}
    with outside.guarded(world.api.services) as asked:
        world.old.ok("POST", path, body, 201)
    assert set(asked) >= _expected(noun, field)


@pytest.mark.parametrize(("noun", "field"), _BY_LBAASV2)
def test_by_lbaasv2_as_a_graph(world: World, noun: str, field: str | None) -> None:
    with outside.guarded(world.api.services) as asked:
        world.old.ok("POST", "/graphs", {"graph": {"loadbalancer": _tree(world, noun, field)}}, 201)
    assert set(asked) >= _expected(noun, field)


@pytest.mark.parametrize(("noun", "field"), _BY_V2)
def test_by_the_first_api_one(world: World, noun: str, field: str | None) -> None:
    path, above = _parents(world, noun)
    with outside.guarded(world.api.services) as asked:
        world.api.ok("POST", path, {noun: _fields(world, noun, field) | above[0]}, 201)
    assert set(asked) >= _expected(noun, field)


@pytest.mark.parametrize(("noun", "field"), _BY_V2)
def test_by_the_first_api_everything_in_one_call(world: World, noun: str, field: str | None) -> None:
    with outside.guarded(world.api.services) as asked:
        world.api.ok("POST", "/loadbalancers", {"loadbalancer": _tree(world, noun, field)}, 201)
    assert set(asked) >= _expected(noun, field)


@pytest.mark.parametrize("way", ["bulk", "graph"])
def test_what_comes_to_nothing_is_given_back_when_rows_are_free_again(world: World, way: str) -> None:
    """An address that two load balancers want, and a port that two listeners of a load balancer want, which its rows tell."""
    tree = _tree(world, "listener", None)
    tree["listeners"].append(_fields(world, "listener", None))
    with outside.guarded(world.api.services) as asked:
        if way == "graph":
            world.old.refused(409, "LoadBalancerListenerProtocolPortExists", "POST", "/graphs", {"graph": {"loadbalancer": tree}})
        else:
            wanted = [_fields(world, "loadbalancer", None) | {"vip_address": "172.16.7.7"} for _ in range(2)]
            world.old.refused(409, "IpAddressAlreadyAllocated", "POST", "/loadbalancers", {"loadbalancers": wanted})
    assert asked.count("allocate_vip") == asked.count("deallocate_vip") + (way == "bulk")
    assert not [port for port in world.api.network.list_ours() if port.device_id.startswith("lb-")]
