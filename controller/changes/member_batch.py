"""The whole membership of a pool in one change, compared by address and port."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from controller import exceptions
from controller.changes import members
from controller.changes.asking import Asking
from controller.model import addresses
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.refusals import Refusal
from controller.resources.member import RESET_BY_BATCH

_KEPT_UNLESS_GIVEN = ("name", "tags", "subnet_id")
_Server = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One object of the batch: all its values, and the keys that the client wrote."""

    values: dict[str, Any]
    given: frozenset[str]

    @property
    def server(self) -> _Server:
        """Address (in its canonical spelling) and port: what makes two members the same one."""
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


def replace(asking: Asking, pool_id: str, wanted: Sequence[Wanted], *, additive: bool) -> None:
    """Create, change and delete members until the pool has those that are wanted (with `additive`: at least those).

    :raises InvalidRequest: an address of one is no server's, or the same stored server is named twice.
    :raises NotFound: there is no such pool, or a subnet that the caller does not see.
    :raises Conflict: a new server is named twice, or the pool takes no change now.
    :raises QuotaExceeded: the project may not have so many.
    """
    for item in wanted:
        members.check_addresses(asking.settings, item.values)
    actions = ("post", "put") if additive else ("post", "put", "delete")
    members.check_subnets(asking, pool_id, (item.values["subnet_id"] for item in wanted), actions)
    with asking.change() as tx:
        pool = tx.pools.head(pool_id)
        for action in actions:
            asking.authorize(f"member:{action}", pool.project_id)
        for item in wanted:
            members.check_no_vip(item.values, pool.vip_addresses)
        tx.load_balancers.lock(pool.load_balancer_id)  # the comparison must still hold when it is written
        plan = compare(wanted, tx.members.of_pool(pool_id), additive)
        if not plan:
            asking.check_below(tx, pool)
            return
        generation = asking.accept_below(tx, pool)
        asking.reserve(tx, pool.project_id, member=len(plan.new) - len(plan.gone))
        tx.members.add(members.new_rows(asking, tx, pool, plan.new, generation))
        tx.members.change_many(plan.changes, generation)
        tx.members.mark_many_deleted(plan.gone, generation)


def compare(wanted: Sequence[Wanted], stored: Sequence[model.Member], additive: bool) -> Plan:
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
            conflict = members.same_server(*item.server)
            raise exceptions.InvalidRequest(str(conflict), code=Refusal.MEMBER_REPEATED) if item.server in present else conflict
        seen.add(item.server)
        if item.server in present:
            kept = [name for name in _KEPT_UNLESS_GIVEN if name in item.given]
            plan.changes.append({"id": present[item.server], **{name: item.values[name] for name in (*RESET_BY_BATCH, *kept)}})
        else:
            plan.new.append(item.values)
    if not additive:
        plan.gone.extend(member_id for server, member_id in present.items() if server not in seen)
    return plan
