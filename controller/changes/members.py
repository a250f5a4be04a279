"""Members, one by one, and their rules. The batch is in `member_batch`."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.changes import client_ips, visibility
from controller.changes.asking import Asking, new_row
from controller.changes.settings import Settings
from controller.db import database
from controller.db.repositories.pools import Head
from controller.exceptions import RuleBroken
from controller.model import addresses, offering
from controller.model import load_balancer as model
from controller.model.network import DIRECT, NORMAL
from controller.model.status import OperatingStatus
from controller.providers.interface import Provider
from controller.refusals import Refusal
from controller.resources.declare import Values
from controller.resources.member import SCHEMA

_ADDRESSES = (("address", "member address"), ("monitor_address", "member monitor address"))


def create(asking: Asking, pool_id: str, wanted: Values, *, seen: bool = False) -> model.Member:
    """Store a member as PENDING_CREATE, to be added to what serves.

    :raises InvalidRequest: it has an address at which no server can be.
    :raises NotFound: there is no such pool, or the caller does not see the subnet.
    :raises Conflict: the pool has this server already, or takes no change now.
    :raises QuotaExceeded: the project may not have another one.
    """
    check_addresses(asking.settings, wanted)
    if not seen:
        check_subnets(asking, pool_id, [wanted["subnet_id"]], ["post"])
    with asking.change() as tx:
        pool = tx.pools.head(pool_id)
        asking.authorize("member:post", pool.project_id)
        check_no_vip(wanted, pool.vip_addresses)
        generation = asking.accept_below(tx, pool)
        if tx.members.is_taken(pool_id, wanted["address"], wanted["protocol_port"]):
            raise same_server(wanted["address"], wanted["protocol_port"])
        asking.reserve(tx, pool.project_id, member=1)
        (row,) = new_rows(asking, tx, pool, [wanted], generation)
        tx.members.add([row])
        return tx.members.get(row["id"])


def looked(
    asking: Asking, wanted: Sequence[Values], parent_id: str | None = None, project_id: str | None = None
) -> contextlib.AbstractContextManager[Sequence[bool]]:
    """The subnets of new members of a pool, looked at before a block; `project_id`: whose they will be, in pools that are yet to be made.

    :raises ControllerError: as `create()`.
    """
    for values in wanted:
        check_addresses(asking.settings, values)
    check_subnets(asking, parent_id, [values["subnet_id"] for values in wanted], ["post"], project_id)
    return contextlib.nullcontext([True] * len(wanted))


def update(asking: Asking, pool_id: str, member_id: str, values: Values) -> model.Member:
    """Store new values, to be applied.

    :raises InvalidRequest: an address is one at which no server can be.
    :raises NotFound: the pool has no such member.
    :raises Conflict: it, or the pool, takes no change now.
    """
    check_addresses(asking.settings, values)
    with asking.change() as tx:
        pool = tx.pools.head(pool_id)
        member = get(tx, pool_id, member_id)
        asking.authorize("member:put", member.project_id)
        check_no_vip(values, pool.vip_addresses)
        generation = asking.accept_below(tx, pool)
        tx.members.change(member_id, asking.columns(SCHEMA, values), generation)
        return tx.members.get(member_id)


def delete(asking: Asking, pool_id: str, member_id: str) -> None:
    """Have it removed.

    :raises NotFound: the pool has no such member.
    :raises Conflict: it, or the pool, takes no change now.
    """
    with asking.change() as tx:
        pool = tx.pools.head(pool_id)
        member = get(tx, pool_id, member_id)
        asking.authorize("member:delete", member.project_id)
        generation = asking.accept_below(tx, pool)
        tx.members.mark_deleted(member_id, generation)


def get(tx: database.Transaction, pool_id: str, member_id: str) -> model.Member:
    """A member of this pool.

    :raises NotFound: it has no such member.
    """
    member = tx.members.get(member_id)
    if member.pool_id != pool_id:
        raise exceptions.NotFound("Member", member_id)
    return member


def check_subnets(
    asking: Asking, pool_id: str | None, subnet_ids: Iterable[str | None], actions: Iterable[str], project_id: str | None = None
) -> None:
    """Have the network service look at the subnets of members, for who may do this with members of the pool, and before the transaction.

    `project_id` is given where there is no pool yet.

    :raises Forbidden: the caller may not, so nothing is looked at for them.
    :raises NotFound: there is no such pool, or a subnet that the caller does not see.
    :raises InvalidRequest: members of the pool are to see their clients' addresses, and a network does not let them.
    """
    named = [one for one in subnet_ids if one is not None]
    if not named:
        return
    pool = None
    if project_id is None:
        with asking.read() as tx:
            pool = tx.pools.head(str(pool_id))
    for action in actions:
        asking.authorize(f"member:{action}", project_id if pool is None else pool.project_id)
    visibility.subnets(asking, named)
    if pool is not None and pool.preserves_client_ip:
        client_ips.check_subnets(asking, named, pool.vip_network_id)


def new_rows(
    asking: Asking, tx: database.Transaction, pool: Head, wanted: Sequence[Mapping[str, Any]], generation: int
) -> list[dict[str, Any]]:
    """The rows of new members, when the last rules about them are met.

    :raises InvalidRequest: the load balancer's flavor does not allow ports by SR-IOV.
    :raises NotSupported: the provider can't do it.
    """
    _check_place(asking, tx, pool, wanted)
    parents, status = {"load_balancer_id": pool.load_balancer_id, "pool_id": pool.id}, first_status(pool.has_monitor)
    return [
        {
            **asking.columns(SCHEMA, item),
            **new_row(pool.project_id, generation, **parents),
            "operating_status": status,
            "vnic_type": vnic_type(item),
        }
        for item in wanted
    ]


def _check_place(asking: Asking, tx: database.Transaction, pool: Head, wanted: Sequence[Mapping[str, Any]]) -> None:
    """What new members of a pool ask of their load balancer, whose flavor is read only if they do."""
    provider = asking.provider_of(tx, pool.load_balancer_id)
    if any(item["request_sriov"] for item in wanted):
        placement = tx.placements.get(pool.load_balancer_id)
        for item in wanted:
            check_sriov(item, provider, placement)
    vip_versions = {ipaddress.ip_address(one).version for one in pool.vip_addresses}
    for item in wanted:
        asking.supports(provider, "member", deciding(item, pool.protocol, vip_versions))


def check_addresses(settings: Settings, values: Mapping[str, Any]) -> None:
    """Some addresses are no servers, in whatever spelling: neither requests nor health checks may be sent there.

    Those that the operator reserved; and those at which no other machine is: an amphora would connect to itself, again and again.

    :raises InvalidRequest: an address of this member is one of them.
    """
    for name, words in _ADDRESSES:
        address = values.get(name)
        if address is not None and addresses.is_no_server(address, settings.reserved_ips):
            raise exceptions.InvalidRequest(f"{address} is not a valid option for {words}", code=Refusal.NOT_A_SERVER)


def check_no_vip(values: Mapping[str, Any], vips: Collection[str]) -> None:
    """A member at a VIP of its own load balancer would be the amphora itself: one request becomes as many as it has connections.

    :raises InvalidRequest: an address of this member is one of `vips`.
    """
    for name, words in _ADDRESSES:
        address = values.get(name)
        if address is not None and addresses.is_one_of(address, vips):
            raise exceptions.InvalidRequest(
                f"{address} is not a valid option for {words}: it is the VIP of this load balancer, which would send requests to itself",
                code=Refusal.NOT_A_SERVER,
            )


def same_server(address: str, port: int) -> exceptions.Conflict:
    """The error of a member that the pool has already."""
    words = f"Another member on this pool is already using ip {address} on protocol_port {port}"
    return exceptions.Conflict(words, code=Refusal.MEMBER_EXISTS)


def check_sriov(values: Mapping[str, Any], provider: Provider, placement: offering.Placement) -> None:
    """A port that is a part of the host's network card is for load balancers whose flavor has them, where the provider's flavors say it.

    :raises InvalidRequest: this one's has not.
    """
    is_asked = any(one.name == "allow_member_sriov" for one in provider.flavor_capabilities)
    if values["request_sriov"] and is_asked and not placement.allow_member_sriov:
        raise RuleBroken("request_sriov: the flavor of this load balancer does not allow member ports by SR-IOV (allow_member_sriov).")


def vnic_type(values: Mapping[str, Any]) -> str:
    """How the port to a new member is made."""
    return DIRECT if values["request_sriov"] else NORMAL


def deciding(values: Mapping[str, Any], pool_protocol: str, vip_versions: Collection[int]) -> Values:
    """The values of a member, and those of its pool and its load balancer that decide whether a provider can do it."""
    return {**values, "pool_protocol": pool_protocol, "vip_versions": vip_versions}


def first_status(has_monitor: bool) -> OperatingStatus:
    """What a member shows until the first heartbeat that knows it."""
    return OperatingStatus.OFFLINE if has_monitor else OperatingStatus.NO_MONITOR
