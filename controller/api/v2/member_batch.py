"""PUT /pools/{id}/members: the whole membership of a pool in one request, compared by address and port."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import flask

from controller import exceptions
from controller.api import answers, arguments, current
from controller.api.v2 import members, quotas, rules, writes
from controller.model import addresses
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.resources import declare, kinds
from controller.resources.member import RESET_BY_BATCH, SCHEMA

blueprint = flask.Blueprint("member_batch", __name__)

_KEPT_UNLESS_GIVEN = ("name", "tags", "subnet_id")
_Server = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Wanted:
    """One object of the batch: all its values, and the keys that the client wrote."""

    values: dict[str, Any]
    given: frozenset[str]

    @property
    def server(self) -> _Server:
        return addresses.canonical(self.values["address"]), self.values["protocol_port"]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What the batch means for a pool with these members."""

    new: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    gone: list[str]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.new or self.changes or self.gone)


@blueprint.put("/pools/<pool_id>/members")
def replace_members(pool_id: str) -> flask.Response:
    """Create, change and delete members until the pool has those of the body (with `additive_only`: at least those)."""
    wanted = _read(flask.request.get_data())
    additive = arguments.boolean("additive_only")
    actions = ("post", "put") if additive else ("post", "put", "delete")
    members.check_subnets(pool_id, (item.values["subnet_id"] for item in wanted), actions)
    with writes.begin() as tx:
        pool = tx.pools.head(pool_id)
        for action in actions:
            current.authorize(f"member:{action}", pool.project_id)
        for item in wanted:
            rules.other_than_vip(item.values, pool.vip_addresses)
        tx.load_balancers.lock(pool.load_balancer_id)  # the comparison must still hold when it is written
        plan = compare(wanted, tx.members.of_pool(pool_id), additive)
        if plan:
            generation = members.change_pool(tx, pool)
            quotas.reserve(tx, pool.project_id, member=len(plan.new) - len(plan.gone))
            tx.members.add(members.new_rows(tx, pool, plan.new, generation))
            tx.members.change_many(plan.changes, generation)
            tx.members.mark_many_deleted(plan.gone, generation)
        else:
            members.check_pool(tx, pool)
    return answers.empty(202)


def _read(body: bytes) -> list[_Wanted]:
    given = declare.envelope(body, "members_", "members")
    if not isinstance(given, list):
        raise declare.invalid("members", given, "Value should be a list")
    if len(given) > kinds.MOST_OBJECTS:
        raise declare.invalid("members", f"{len(given)} items", f"Value should have at most {kinds.MOST_OBJECTS} items")
    wanted = [_Wanted(SCHEMA.created(item, f"members_.members[{index}]"), frozenset(item)) for index, item in enumerate(given)]
    for item in wanted:
        rules.member_addresses(item.values)
    return wanted


def compare(wanted: Sequence[_Wanted], stored: Sequence[model.Member], additive: bool) -> Plan:
    """What has to happen to the stored members.

    :raises InvalidRequest: the body names a stored server twice.
    :raises Conflict: it names a new one twice.
    """
    present = {
        (addresses.canonical(member.address), member.protocol_port): member.id
        for member in stored
        if member.provisioning_status is not ProvisioningStatus.PENDING_DELETE
    }
    seen: set[_Server] = set()
    plan = Plan([], [], [])
    for item in wanted:
        if item.server in seen:
            conflict = rules.same_server(*item.server)
            raise exceptions.InvalidRequest(str(conflict)) if item.server in present else conflict
        seen.add(item.server)
        if item.server in present:
            kept = [name for name in _KEPT_UNLESS_GIVEN if name in item.given]
            plan.changes.append({"id": present[item.server], **{name: item.values[name] for name in (*RESET_BY_BATCH, *kept)}})
        else:
            plan.new.append(item.values)
    if not additive:
        plan.gone.extend(member_id for server, member_id in present.items() if server not in seen)
    return plan
