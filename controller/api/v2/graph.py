"""A load balancer with everything below it in one body (spec `api.md` §8): from nested values to rows, or to the first broken rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from controller.api.v2 import members, rules, writes
from controller.api.v2.schemas import health_monitor, listener, load_balancer, member, pool
from controller.api.v2.schemas.declare import Values
from controller.db import transaction
from controller.model.status import OperatingStatus


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """What stands below the new load balancer: pools by their name, and the listeners, whose `default_pool` is such a name."""

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
        }

    @property
    def subnet_ids(self) -> list[str | None]:
        """The subnets on which members stand."""
        return [item["subnet_id"] for values in self.pools.values() for item in values["members"]]


def plan(wanted: Mapping[str, Any]) -> Graph:
    """Find what each name means, and check everything that needs neither the network nor the database.

    :raises InvalidRequest: a name that nothing or two things bear, or a broken rule.
    :raises Conflict: two listeners or two members that exclude each other.
    """
    listeners: list[Values] = wanted["listeners"]
    nested = [item["default_pool"] for item in listeners if item["default_pool"] is not None]
    pools: dict[str, Values] = {}
    for values in [*wanted["pools"], *(item for item in nested if not _is_reference(item))]:
        _define(pools, values)
    for index, values in enumerate(listeners):
        _check_listener(values, listeners[:index], pools)
    for values in pools.values():
        _check_pool(values)
    return Graph(pools, listeners)


def _is_reference(values: Values) -> bool:
    """Nothing but a name: the pool is defined elsewhere in the body."""
    return values["protocol"] is None and values["lb_algorithm"] is None and not values["members"] and values["healthmonitor"] is None


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
    rules.new_listener(values)
    rules.supported(listener.SCHEMA, values)
    port = values["protocol_port"]
    rules.free_port(values["protocol"], port, [other["protocol"] for other in before if other["protocol_port"] == port])
    default_pool = values["default_pool"]
    if default_pool is None:
        return
    name = default_pool["name"]
    if name not in pools:
        raise rules.failure(f"Details of pool '{name}' are missing: nothing in the request defines it.")
    rules.pool_below(values["protocol"], pools[name]["protocol"])


def _check_pool(values: Values) -> None:
    protocol = values["protocol"]
    values["session_persistence"] = rules.persistence(values["session_persistence"], None, protocol)
    rules.supported(pool.SCHEMA, values)
    if values["healthmonitor"] is not None:
        rules.new_monitor(values["healthmonitor"], protocol)
    servers = set()
    for item in values["members"]:
        rules.member_addresses(item)
        rules.supported(member.SCHEMA, item)
        server = item["address"], item["protocol_port"]
        if server in servers:
            raise rules.same_server(*server)
        servers.add(server)


def add(tx: transaction.Transaction, graph: Graph, project_id: str, load_balancer_id: str) -> None:
    """Store the rows, of each table at once, parents first."""

    def row(columns: Values) -> Values:
        return {**columns, **writes.new_row(project_id, load_balancer_id, generation=1)}

    pools = {name: row(pool.SCHEMA.columns(values)) for name, values in graph.pools.items()}
    tx.pools.add(list(pools.values()))
    tx.listeners.add(
        [
            row(listener.SCHEMA.columns(values))
            | {"default_pool_id": None if values["default_pool"] is None else pools[values["default_pool"]["name"]]["id"]}
            for values in graph.listeners
        ]
    )
    tx.members.add(
        [
            row(member.SCHEMA.columns(item)) | {"pool_id": pools[name]["id"], "operating_status": _first_status(values)}
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
    shown["listeners"] = [_without_parent(listener.SCHEMA.view(item)) for item in tx.listeners.of_load_balancer(load_balancer_id)]
    return shown


def _without_parent(shown: Values) -> Values:
    return {key: value for key, value in shown.items() if key != "loadbalancers"}
