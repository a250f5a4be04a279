"""/pools/{id}/members, one by one. The batch is in `member_batch`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flask

from controller import exceptions
from controller.api import answers, current, paging
from controller.api.v2 import foreign, quotas, rules, writes
from controller.db import transaction
from controller.db.repositories import paging as rows
from controller.db.repositories import pools
from controller.model import load_balancer as model
from controller.model.status import OperatingStatus
from controller.resources.member import SCHEMA

blueprint = flask.Blueprint("members", __name__)


@blueprint.get("/pools/<pool_id>/members")
def list_members(pool_id: str) -> flask.Response:
    """All of the pool's."""
    asked = paging.asked(SCHEMA, fixed=[rows.Filter("pool_id", pool_id)])
    with current.services().db.read() as tx:
        pool = tx.pools.head(pool_id)
        current.authorize("member:get_all", pool.project_id)
        found = tx.members.page(asked.query)
    return asked.answer(found)


@blueprint.post("/pools/<pool_id>/members")
def create_member(pool_id: str) -> flask.Response:
    """Store a member as PENDING_CREATE and have a worker add it."""
    wanted = SCHEMA.create(flask.request.get_data())
    rules.member_addresses(wanted)
    check_subnets(pool_id, [wanted["subnet_id"]], ["post"])
    with writes.begin() as tx:
        pool = tx.pools.head(pool_id)
        current.authorize("member:post", pool.project_id)
        rules.other_than_vip(wanted, pool.vip_addresses)
        generation = change_pool(tx, pool)
        if tx.members.is_taken(pool_id, wanted["address"], wanted["protocol_port"]):
            raise rules.same_server(wanted["address"], wanted["protocol_port"])
        quotas.reserve(tx, pool.project_id, member=1)
        (row,) = new_rows(tx, pool, [wanted], generation)
        tx.members.add([row])
        member = tx.members.get(row["id"])
    return answers.one(SCHEMA.name, SCHEMA.view(member), 201)


@blueprint.get("/pools/<pool_id>/members/<member_id>")
def get_member(pool_id: str, member_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        member = _member(tx, pool_id, member_id)
    current.authorize("member:get_one", member.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(member))


@blueprint.put("/pools/<pool_id>/members/<member_id>")
def update_member(pool_id: str, member_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    rules.member_addresses(values)
    with writes.begin() as tx:
        pool = tx.pools.head(pool_id)
        member = _member(tx, pool_id, member_id)
        current.authorize("member:put", member.project_id)
        rules.other_than_vip(values, pool.vip_addresses)
        generation = change_pool(tx, pool)
        tx.members.change(member_id, SCHEMA.columns(values), generation)
        member = tx.members.get(member_id)
    return answers.one(SCHEMA.name, SCHEMA.view(member))


@blueprint.delete("/pools/<pool_id>/members/<member_id>")
def delete_member(pool_id: str, member_id: str) -> flask.Response:
    """Have a worker remove it."""
    with writes.begin() as tx:
        pool = tx.pools.head(pool_id)
        member = _member(tx, pool_id, member_id)
        current.authorize("member:delete", member.project_id)
        generation = change_pool(tx, pool)
        tx.members.mark_deleted(member_id, generation)
    return answers.empty(204)


def check_subnets(pool_id: str, subnet_ids: Iterable[str | None], actions: Iterable[str]) -> None:
    """Have the network service look at the subnets of members, for who may do this with members of the pool, and before the transaction.

    :raises Forbidden: the caller may not, so nothing is looked at for him.
    :raises NotFound: there is no such pool, or a subnet that the caller does not see.
    """
    named = [one for one in subnet_ids if one is not None]
    if not named:
        return
    with current.services().db.read() as tx:
        project_id = tx.pools.head(pool_id).project_id
    for action in actions:
        current.authorize(f"member:{action}", project_id)
    foreign.subnets(named)


def change_pool(tx: transaction.Transaction, pool: pools.Head) -> int:
    """Accept a change below a pool: stamps the load balancer, the pool and the listeners that use it; returns the new generation.

    :raises Immutable: the load balancer takes no changes now.
    :raises Conflict: the pool is being deleted, or in the strict mode, it or a listener is not at rest.
    """
    generation = writes.accept(tx, pool.load_balancer_id)
    writes.need(current.settings().mutable, "Pool", pool.id, pool.provisioning_status)
    writes.need_users(tx, pool.id)
    tx.pools.touch(pool.id, generation)
    tx.listeners.touch_users(pool.id, generation)
    return generation


def check_pool(tx: transaction.Transaction, pool: pools.Head) -> None:
    """Whether a change below a pool would be accepted, where nothing is to be changed.

    :raises Immutable: the load balancer takes no changes now.
    :raises Conflict: the pool is being deleted, or in the strict mode, it or a listener is not at rest.
    """
    mutable = current.settings().mutable
    load_balancer = tx.load_balancers.get(pool.load_balancer_id)
    if load_balancer.provisioning_status not in mutable:
        raise exceptions.Immutable(load_balancer.id, load_balancer.provisioning_status)
    writes.need(mutable, "Pool", pool.id, pool.provisioning_status)
    writes.need_users(tx, pool.id)


def new_rows(tx: transaction.Transaction, pool: pools.Head, wanted: Sequence[Mapping[str, Any]], generation: int) -> list[dict[str, Any]]:
    """The rows of new members, when the last rules about them are met.

    :raises InvalidRequest: the load balancer's flavor does not allow ports by SR-IOV.
    :raises NotSupported: it has no VIP from which a member can be reached, or the data plane can't do it yet.
    """
    _check_place(tx, pool, wanted)
    common = {"pool_id": pool.id, "operating_status": first_status(pool.has_monitor)}
    return [
        {
            **SCHEMA.columns(item),
            **writes.new_row(pool.project_id, pool.load_balancer_id, generation),
            **common,
            "vnic_type": rules.vnic_type(item),
        }
        for item in wanted
    ]


def _check_place(tx: transaction.Transaction, pool: pools.Head, wanted: Sequence[Mapping[str, Any]]) -> None:
    """What new members of a pool ask of their load balancer, which is read only if they do."""
    if any(item["request_sriov"] for item in wanted):
        allowed = tx.placements.get(pool.load_balancer_id).allow_member_sriov
        for item in wanted:
            rules.member_sriov(item, allowed)
    if rules.needs_same_version(pool.protocol):
        load_balancer = tx.load_balancers.get(pool.load_balancer_id)
        for item in wanted:
            rules.member_reachable(item["address"], pool.protocol, load_balancer.vip_versions)
    for item in wanted:
        rules.supported(SCHEMA, item)


def first_status(has_monitor: bool) -> OperatingStatus:
    """What a member shows until the first heartbeat that knows it."""
    return OperatingStatus.OFFLINE if has_monitor else OperatingStatus.NO_MONITOR


def _member(tx: transaction.Transaction, pool_id: str, member_id: str) -> model.Member:
    member = tx.members.get(member_id)
    if member.pool_id != pool_id:
        raise exceptions.NotFound("Member", member_id)
    return member
