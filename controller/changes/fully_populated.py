"""A fully populated load balancer, with everything below it in one body: from nested values to rows, or to the first broken rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.changes import (
    certificates,
    client_ips,
    health_monitors,
    l7policies,
    l7rules,
    listeners,
    members,
    placement,
    pools,
    vip,
    visibility,
)
from controller.changes.asking import Asking, new_row
from controller.changes.settings import Settings
from controller.db import database
from controller.exceptions import RuleBroken
from controller.model import addresses
from controller.model import load_balancer as model
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Schema, Values


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """What stands below the new load balancer: pools by their name, and the listeners; they and their policies name pools."""

    pools: Mapping[str, Values]
    listeners: Sequence[Values]

    def __bool__(self) -> bool:
        """Whether anything does."""
        return bool(self.pools or self.listeners)

    @property
    def members(self) -> list[Values]:
        """The members of all pools."""
        return [item for values in self.pools.values() for item in values["members"]]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind that has a quota."""
        policies = [policy for values in self.listeners for policy in values["l7policies"]]
        return {
            "listener": len(self.listeners),
            "pool": len(self.pools),
            "member": len(self.members),
            "health_monitor": sum(values["healthmonitor"] is not None for values in self.pools.values()),
            "l7policy": len(policies),
            "l7rule": sum(len(policy["rules"]) for policy in policies),
        }

    def objects(self) -> Iterator[tuple[Schema, Values, str]]:
        """Each with its declaration, and the protocol of the listener or pool that it is, or is below."""
        for values in self.listeners:
            yield listener.SCHEMA, values, values["protocol"]
            for policy in values["l7policies"]:
                yield l7policy.SCHEMA, policy, values["protocol"]
                yield from ((l7rule.SCHEMA, rule, values["protocol"]) for rule in policy["rules"])
        for values in self.pools.values():
            yield pool.SCHEMA, values, values["protocol"]
            if values["healthmonitor"] is not None:
                yield health_monitor.SCHEMA, values["healthmonitor"], values["protocol"]
            yield from ((member.SCHEMA, item, values["protocol"]) for item in values["members"])


@dataclasses.dataclass(frozen=True, slots=True)
class Created:
    """A new load balancer; its children by the names of their repositories, each kind oldest first, if any were asked for with it."""

    load_balancer: model.LoadBalancer
    children: Mapping[str, Sequence[Any]] | None


def plan(settings: Settings, wanted: Mapping[str, Any]) -> Graph:
    """Find what each name means, and check everything that needs neither the network nor the database.

    :raises InvalidRequest: a name that nothing or two things bear, or a broken rule.
    :raises NotFound: a pool that is named by an id.
    :raises Conflict: two listeners or two members that exclude each other, or more rules than a policy can have.
    """
    wanted_listeners: list[Values] = wanted["listeners"]
    policies = [policy for item in wanted_listeners for policy in item["l7policies"]]
    named = [item["default_pool"] for item in wanted_listeners] + [item["redirect_pool"] for item in policies]
    nested = [item for item in named if item is not None]
    named_pools: dict[str, Values] = {}
    for values in [*wanted["pools"], *(item for item in nested if not _is_reference(item))]:
        _define(named_pools, values)
    for index, values in enumerate(wanted_listeners):
        _check_listener(settings, values, wanted_listeners[:index], named_pools)
    for values in named_pools.values():
        _check_pool(settings, values)
    return Graph(named_pools, wanted_listeners)


def _is_reference(values: Values) -> bool:
    """Nothing but a name: the pool is defined elsewhere in the body. What else it said would be lost."""
    return all(values[field.name] == field.default for field in load_balancer.NESTED_POOL.fields.values() if field.name != "name")


def _define(named_pools: dict[str, Values], values: Values) -> None:
    name = values["name"]
    if not name:
        raise RuleBroken("A pool of a load balancer that is created with its pools must have a name.")
    if values["protocol"] is None or values["lb_algorithm"] is None:
        raise RuleBroken(f"Details of pool '{name}' are missing: protocol and lb_algorithm.")
    if name in named_pools:
        raise RuleBroken(f"The pool name '{name}' is defined more than once.")
    named_pools[name] = values


def _check_listener(settings: Settings, values: Values, before: Sequence[Values], named_pools: Mapping[str, Values]) -> None:
    if values["default_pool_id"] is not None:  # a load balancer that is yet to be made has no pools that have an id
        raise exceptions.NotFound("Pool", values["default_pool_id"])
    listeners.complete(settings, values)
    port = values["protocol_port"]
    listeners.check_port(values["protocol"], port, [other["protocol"] for other in before if other["protocol_port"] == port])
    _check_use(values["default_pool"], values["protocol"], named_pools)
    for policy in values["l7policies"]:
        _check_policy(policy, values["protocol"], named_pools)
    values["l7policies"] = l7policies.ordered(values["l7policies"])


def _check_use(named: Values | None, listener_protocol: str, named_pools: Mapping[str, Values]) -> None:
    """A listener can use the pool that it, or a policy of it, names."""
    if named is None:
        return
    name = named["name"]
    if name not in named_pools:
        raise RuleBroken(f"Details of pool '{name}' are missing: nothing in the request defines it.")
    pools.check_protocol(named_pools[name]["protocol"], listener_protocol)


def _check_policy(values: Values, listener_protocol: str, named_pools: Mapping[str, Values]) -> None:
    _check_use(values["redirect_pool"], listener_protocol, named_pools)
    if (split := values["split"]) is not None:
        for share in split["pools"]:
            _check_use({"name": share["pool_name"]}, listener_protocol, named_pools)
        values["split"] = split | {"pools": [{"pool_id": one["pool_name"], "weight": one["weight"]} for one in split["pools"]]}
    values["redirect_pool_id"] = values["redirect_pool"] and values["redirect_pool"]["name"]  # until the pool has an id
    l7policies.complete(values)
    l7policies.check_listener(listener_protocol)
    l7rules.check_room(values["name"], len(values["rules"]))
    for rule in values["rules"]:
        l7rules.check(rule)


def _check_pool(settings: Settings, values: Values) -> None:
    protocol = values["protocol"]
    pools.complete(settings, values)
    if values["healthmonitor"] is not None:
        health_monitors.complete(settings, values["healthmonitor"], protocol)
    servers = set()
    for item in values["members"]:
        members.check_addresses(settings, item)
        server = addresses.canonical(item["address"]), item["protocol_port"]
        if server in servers:
            raise members.same_server(*server)
        servers.add(server)


def check(asking: Asking, graph: Graph, project_id: str, place: vip.Place, own_groups: bool, choice: placement.Choice) -> certificates.Read:
    """What needs the network service, the secret store, or the load balancer above: subnets and certificates are there, and good, and what
    listeners and members ask of the load balancer can be had.

    :raises NotFound: the caller does not see a subnet.
    :raises InvalidRequest: something is not so.
    """
    visibility.subnets(asking, (item["subnet_id"] for item in graph.members))
    secrets: dict[Any, Any] = {}
    for values in graph.listeners:
        secrets |= certificates.check(asking, certificates.LISTENER, values, project_id).found
    for values in graph.pools.values():
        secrets |= certificates.check(asking, certificates.POOL, values, project_id).found
    for values in graph.listeners:
        listeners.check_cidrs(values["allowed_cidrs"], place.versions, own_groups=own_groups)
    for item in graph.members:
        members.check_sriov(item, asking.provider(choice.provider), choice.placement)
    return certificates.Read(secrets)


def check_client_ips(asking: Asking, graph: Graph, allocated: model.Vip) -> None:
    """Whether members that are to see their clients' addresses can: what the port of the VIP lets pass is known once it is there.

    :raises InvalidRequest: they can't.
    """
    for values in graph.pools.values():
        if values["preserve_client_ip"]:
            client_ips.check_vip(asking, allocated)
            client_ips.check_subnets(asking, [item["subnet_id"] for item in values["members"]], allocated.network_id)


def supported(asking: Asking, provider_name: str, graph: Graph, vip_versions: Collection[int]) -> None:
    """The last rule: the provider of that name can do all of it.

    :raises NotSupported: it can't.
    """
    provider = asking.provider(provider_name)
    for schema, values, protocol in graph.objects():
        if schema is l7policy.SCHEMA:
            values = {**values, "listener_protocol": protocol}
        elif schema is member.SCHEMA:
            values = members.deciding(values, protocol, vip_versions)
        asking.supports(provider, schema.name, values)


def add(asking: Asking, tx: database.Transaction, graph: Graph, project_id: str, load_balancer_id: str) -> None:
    """Store the rows, of each table at once, parents first."""

    def row(schema: Schema, values: Values) -> Values:
        return {**asking.columns(schema, values), **new_row(project_id, 1, load_balancer_id=load_balancer_id)}

    new_pools = {name: row(pool.SCHEMA, values) for name, values in graph.pools.items()}
    tx.pools.add(list(new_pools.values()))
    ids = {name: values["id"] for name, values in new_pools.items()}
    new_listeners = [
        row(listener.SCHEMA, values) | {"default_pool_id": values["default_pool"] and ids[values["default_pool"]["name"]]}
        for values in graph.listeners
    ]
    tx.listeners.add(new_listeners)
    policies = [
        (
            row(l7policy.SCHEMA, values)
            | {
                "listener_id": owner["id"],
                "redirect_pool_id": ids.get(values["redirect_pool_id"]),
                "split": values["split"]
                and values["split"] | {"pools": [one | {"pool_id": ids[one["pool_id"]]} for one in values["split"]["pools"]]},
            },
            values["rules"],
        )
        for owner, below in zip(new_listeners, graph.listeners, strict=True)
        for values in below["l7policies"]
    ]
    tx.l7policies.add([policy for policy, _ in policies])
    tx.l7rules.add([row(l7rule.SCHEMA, item) | {"l7policy_id": policy["id"]} for policy, items in policies for item in items])
    tx.members.add(
        [
            row(member.SCHEMA, item)
            | {
                "pool_id": ids[name],
                "operating_status": members.first_status(values["healthmonitor"] is not None),
                "vnic_type": members.vnic_type(item),
            }
            for name, values in graph.pools.items()
            for item in values["members"]
        ]
    )
    tx.health_monitors.add(
        [
            row(health_monitor.SCHEMA, values["healthmonitor"]) | {"pool_id": ids[name]}
            for name, values in graph.pools.items()
            if values["healthmonitor"] is not None
        ]
    )


_BELOW = ("listeners", "pools", "members", "health_monitors", "l7policies", "l7rules")


def created(tx: database.Transaction, load_balancer_id: str, populated: bool) -> Created:
    """What was stored."""
    children = {name: getattr(tx, name).of_load_balancer(load_balancer_id) for name in _BELOW} if populated else None
    return Created(tx.load_balancers.get(load_balancer_id), children)
