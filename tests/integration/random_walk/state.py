"""What the API says of a load balancer and all that is below it."""

from __future__ import annotations

import dataclasses
from typing import Any

from controller.dev.client import Api

Thing = dict[str, Any]


@dataclasses.dataclass
class State:
    """Everything that is not on its way out; in lists the order of names, which says nothing."""

    balancer: Thing
    listeners: list[Thing]
    pools: dict[str, Thing]
    members: dict[str, list[Thing]]  # by pool
    monitors: dict[str, Thing]  # by pool
    policies: dict[str, list[Thing]]  # by listener, by position
    rules: dict[str, list[Thing]]  # by policy

    @property
    def vips(self) -> list[str]:
        """All addresses on which it listens."""
        return [self.balancer["vip_address"], *(one["ip_address"] for one in self.balancer["additional_vips"])]

    @property
    def references(self) -> set[str]:
        """All secrets that anybody names."""
        things = [*self.listeners, *self.pools.values(), self.balancer.get("access_log") or {}]
        named = [value for one in things for key, value in one.items() if "container_ref" in key]
        return {one for value in named for one in (value if isinstance(value, list) else [value]) if one}

    @property
    def ids(self) -> dict[str, str]:
        """Ids by name."""
        lists = [self.listeners, self.pools.values(), self.monitors.values(), *self.members.values(), *self.policies.values()]
        found = {one["name"]: one["id"] for some in lists for one in some}
        return found | {rule["tags"][0]: rule["id"] for rules in self.rules.values() for rule in rules} | {"lb": self.balancer["id"]}


def read(api: Api, balancer_id: str) -> State:
    """As it is now."""
    balancer = api.get(f"/loadbalancers/{balancer_id}")["loadbalancer"]
    listeners = _named(api.get(f"/listeners?loadbalancer_id={balancer_id}")["listeners"])
    pools = {one["id"]: one for one in _named(api.get(f"/pools?loadbalancer_id={balancer_id}")["pools"])}
    members = {pool_id: _named(api.get(f"/pools/{pool_id}/members")["members"]) for pool_id in pools}
    monitors = {one["pools"][0]["id"]: one for one in _kept(api.get("/healthmonitors")["healthmonitors"]) if one["pools"][0]["id"] in pools}
    of_all = _kept(api.get("/l7policies")["l7policies"])
    policies = {
        listener["id"]: sorted((one for one in of_all if one["listener_id"] == listener["id"]), key=lambda one: int(one["position"]))
        for listener in listeners
    }
    rules = {
        policy["id"]: sorted(_kept(api.get(f"/l7policies/{policy['id']}/rules")["rules"]), key=lambda rule: str(rule["tags"]))
        for some in policies.values()
        for policy in some
    }
    return State(balancer, listeners, pools, members, monitors, policies, rules)


def _kept(things: list[Thing]) -> list[Thing]:
    return [one for one in things if one["provisioning_status"] != "PENDING_DELETE"]


def _named(things: list[Thing]) -> list[Thing]:
    return sorted(_kept(things), key=lambda one: str(one["name"]))
