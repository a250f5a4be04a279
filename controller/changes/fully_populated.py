"""A load balancer with everything below it in one body (spec `api.md` §8): from nested values to rows, or to the first broken rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.api.v2 import certificates, l7, rules, writes
from controller.changes import members
from controller.db import transaction
from controller.model import addresses
from controller.model.status import OperatingStatus
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Values


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """What stands below the new load balancer: pools by their name, and the listeners; they and their policies name pools."""

    pools: Mapping[str, Values]
    listeners: Sequence[Values]

    def __bool__(self) -> bool:
        """Whether anything does."""
        return bool(self.pools or self.listeners)

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind that has a quota."""
        return {
            "listener": len(self.listeners),
            "pool": len(self.pools),
            "member": sum(len(values["members"]) for values in self.pools.values()),
            "health_monitor": sum(values["healthmonitor"] is not None for values in self.pools.values()),
            "l7policy": sum(len(values["l7policies"]) for values in self.listeners),
            "l7rule": sum(len(policy["rules"]) for values in self.listeners for policy in values["l7policies"]),
        }

    @property
    def subnet_ids(self) -> list[str | None]:
        """The subnets on which members stand."""
        return [item["subnet_id"] for values in self.pools.values() for item in values["members"]]


def plan(wanted: Mapping[str, Any]) -> Graph:
    """Find what each name means, and check everything that needs neither the network nor the database.

    :raises InvalidRequest: a name that nothing or two things bear, or a broken rule.
    :raises NotFound: a pool that is named by an id.
    :raises Conflict: two listeners or two members that exclude each other, or more rules than a policy can have.
    """
    listeners: list[Values] = wanted["listeners"]
    policies = [policy for item in listeners for policy in item["l7policies"]]
    named = [item["default_pool"] for item in listeners] + [item["redirect_pool"] for item in policies]
    nested = [item for item in named if item is not None]
    pools: dict[str, Values] = {}
    for values in [*wanted["pools"], *(item for item in nested if not _is_reference(item))]:
        _define(pools, values)
    for index, values in enumerate(listeners):
        _check_listener(values, listeners[:index], pools)
    for values in pools.values():
        _check_pool(values)
    return Graph(pools, listeners)


def _is_reference(values: Values) -> bool:
    """Nothing but a name: the pool is defined elsewhere in the body. What else it said would be lost."""
    return all(values[field.name] == field.default for field in load_balancer.NESTED_POOL.fields.values() if field.name != "name")


def _define(pools: dict[str, Values], values: Values) -> None:
    name = values["name"]
    if not name:
        raise rules.failure("A pool of a load balancer that is created with its pools must have a name.")
    if values["protocol"] is None or values["lb_algorithm"] is None:
        raise rules.failure(f"Details of pool '{name}' are missing: protocol and lb_algorithm.")
    if name in pools:
        raise rules.failure(f"The pool name '{name}' is defined more than once.")
    pools[name] = values


def _check_listener(values: Values, before: Sequence[Values], pools: Mapping[str, Values]) -> None:
    if values["default_pool_id"] is not None:  # a load balancer that is yet to be made has no pools that have an id
        raise exceptions.NotFound("Pool", values["default_pool_id"])
    rules.new_listener(values)
    port = values["protocol_port"]
    rules.free_port(values["protocol"], port, [other["protocol"] for other in before if other["protocol_port"] == port])
    _check_use(values["default_pool"], values["protocol"], pools)
    for policy in values["l7policies"]:
        _check_policy(policy, values["protocol"], pools)
    values["l7policies"] = l7.ordered(values["l7policies"])


def _check_use(named: Values | None, listener_protocol: str, pools: Mapping[str, Values]) -> None:
    """A listener can use the pool that it, or a policy of it, names."""
    if named is None:
        return
    name = named["name"]
    if name not in pools:
        raise rules.failure(f"Details of pool '{name}' are missing: nothing in the request defines it.")
    rules.pool_below(listener_protocol, pools[name]["protocol"])


def _check_policy(values: Values, listener_protocol: str, pools: Mapping[str, Values]) -> None:
    _check_use(values["redirect_pool"], listener_protocol, pools)
    values["redirect_pool_id"] = values["redirect_pool"] and values["redirect_pool"]["name"]  # until the pool has an id
    l7.new_policy(values)
    l7.policy_below(listener_protocol)
    l7.room_for_rules(values["name"], len(values["rules"]))
    for rule in values["rules"]:
        l7.rule(rule)


def _check_pool(values: Values) -> None:
    protocol = values["protocol"]
    rules.new_pool(values)
    if values["healthmonitor"] is not None:
        rules.new_monitor(values["healthmonitor"], protocol)
    servers = set()
    for item in values["members"]:
        rules.member_addresses(item)
        server = addresses.canonical(item["address"]), item["protocol_port"]
        if server in servers:
            raise rules.same_server(*server)
        servers.add(server)


def check_vips(graph: Graph, vips: Collection[str]) -> None:
    """Members are elsewhere than the VIPs of their load balancer.

    :raises InvalidRequest: one is not.
    """
    for values in graph.pools.values():
        for item in values["members"]:
            rules.other_than_vip(item, vips)


def check_secrets(graph: Graph, project_id: str) -> None:
    """What listeners and pools name of the secret store is there, and good.

    :raises InvalidRequest: something is not.
    """
    for values in graph.listeners:
        certificates.check(certificates.LISTENER, values, project_id)
    for values in graph.pools.values():
        certificates.check(certificates.POOL, values, project_id)


def check_parent(graph: Graph, vip_versions: Collection[int], own_groups: bool, allow_member_sriov: bool) -> None:
    """What listeners and members ask of the load balancer above them.

    :raises InvalidRequest: it can't give that.
    """
    for values in graph.listeners:
        rules.cidrs(values["allowed_cidrs"], vip_versions, own_groups=own_groups)
    for values in graph.pools.values():
        for item in values["members"]:
            rules.member_sriov(item, allow_member_sriov)


def supported(graph: Graph, vip_versions: Collection[int]) -> None:
    """The last rule: the data plane can do all of it.

    :raises NotSupported: not yet, or there is no VIP from which a member can be reached.
    """
    for values in graph.listeners:
        rules.supported(listener.SCHEMA, values)
        for policy in values["l7policies"]:
            l7.supported_below(values["protocol"])
            for rule in policy["rules"]:
                rules.supported(l7rule.SCHEMA, rule)
    for values in graph.pools.values():
        rules.supported(pool.SCHEMA, values)
        for item in values["members"]:
            rules.member_reachable(item["address"], values["protocol"], vip_versions)
            rules.supported(member.SCHEMA, item)


def add(tx: transaction.Transaction, graph: Graph, project_id: str, load_balancer_id: str) -> None:
    """Store the rows, of each table at once, parents first."""

    def row(columns: Values) -> Values:
        return {**columns, **writes.new_row(project_id, load_balancer_id, generation=1)}

    pools = {name: row(pool.SCHEMA.columns(values)) for name, values in graph.pools.items()}
    tx.pools.add(list(pools.values()))
    listeners = [
        row(listener.SCHEMA.columns(values))
        | {"default_pool_id": None if values["default_pool"] is None else pools[values["default_pool"]["name"]]["id"]}
        for values in graph.listeners
    ]
    tx.listeners.add(listeners)
    policies = [
        (row(l7policy.SCHEMA.columns(values)) | {"listener_id": owner["id"], "redirect_pool_id": _id_of(pools, values)}, values["rules"])
        for owner, below in zip(listeners, graph.listeners, strict=True)
        for values in below["l7policies"]
    ]
    tx.l7policies.add([policy for policy, _ in policies])
    tx.l7rules.add([row(l7rule.SCHEMA.columns(item)) | {"l7policy_id": policy["id"]} for policy, items in policies for item in items])
    tx.members.add(
        [
            row(member.SCHEMA.columns(item))
            | {"pool_id": pools[name]["id"], "operating_status": _first_status(values), "vnic_type": rules.vnic_type(item)}
            for name, values in graph.pools.items()
            for item in values["members"]
        ]
    )
    tx.health_monitors.add(
        [
            row(health_monitor.SCHEMA.columns(values["healthmonitor"])) | {"pool_id": pools[name]["id"]}
            for name, values in graph.pools.items()
            if values["healthmonitor"] is not None
        ]
    )


def _id_of(pools: Mapping[str, Values], policy: Values) -> str | None:
    """The id of the pool that a policy redirects to."""
    return None if policy["redirect_pool_id"] is None else str(pools[policy["redirect_pool_id"]]["id"])


def _first_status(pool_values: Values) -> OperatingStatus:
    return members.first_status(pool_values["healthmonitor"] is not None)


def view(tx: transaction.Transaction, load_balancer_id: str) -> Values:
    """The load balancer as the answer to its create shows it: with its children whole, not as references."""
    shown = load_balancer.SCHEMA.view(tx.load_balancers.get(load_balancer_id))
    below: dict[str, list[Values]] = {}
    for item in tx.members.of_load_balancer(load_balancer_id):
        below.setdefault(item.pool_id, []).append(member.SCHEMA.view(item))
    monitors = {item.pool_id: health_monitor.SCHEMA.view(item) for item in tx.health_monitors.of_load_balancer(load_balancer_id)}
    shown["pools"] = [
        pool.view(item) | {"members": below.get(item.id, []), "healthmonitor": monitors.get(item.id)}
        for item in tx.pools.of_load_balancer(load_balancer_id)
    ]
    policies = _policies(tx, load_balancer_id)
    shown["listeners"] = [
        _without_parent(listener.SCHEMA.view(item)) | {"l7policies": policies.get(item.id, [])}
        for item in tx.listeners.of_load_balancer(load_balancer_id)
    ]
    return shown


def _without_parent(shown: Values) -> Values:
    return {key: value for key, value in shown.items() if key != "loadbalancers"}


def _policies(tx: transaction.Transaction, load_balancer_id: str) -> Mapping[str, list[Values]]:
    """Policies with their rules, by listener and position."""
    below: dict[str, list[Values]] = {}
    for rule in tx.l7rules.of_load_balancer(load_balancer_id):
        below.setdefault(rule.l7policy_id, []).append(l7rule.SCHEMA.view(rule))
    found: dict[str, list[Values]] = {}
    for item in sorted(tx.l7policies.of_load_balancer(load_balancer_id), key=lambda item: item.position):
        found.setdefault(item.listener_id, []).append(l7policy.SCHEMA.view(item) | {"rules": below.get(item.id, [])})
    return found
