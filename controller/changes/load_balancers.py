"""Load balancers, and their rules. `vip` has those of their addresses, `placement` those of flavors and availability zones, and
`fully_populated` those of one body with everything below it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.changes import access_logs, certificates, fully_populated, members, placement, vip, visibility
from controller.changes.asking import Asking, new_row
from controller.db import rows
from controller.exceptions import RuleBroken
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.providers.interface import Create, Delete, Failover
from controller.refusals import Refusal
from controller.resources import declare, kinds
from controller.resources.declare import Values
from controller.resources.load_balancer import SCHEMA


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A load balancer that can be stored: everything outside was looked at, and its VIP port is there."""

    row: dict[str, Any]
    below: fully_populated.Graph
    choice: placement.Choice
    secrets: certificates.Read


def create(asking: Asking, wanted: Values, *, seen: Seen | None = None) -> fully_populated.Created:
    """Allocate the VIP, and store everything as PENDING_CREATE, to be built; with all that `wanted` holds below it.

    :raises InvalidRequest: a rule is broken, or something is named that is not there.
    :raises Conflict: the VIP's address is taken, or two of its children exclude each other.
    :raises QuotaExceeded: the project may not have so many.
    :raises NotSupported: the provider can't do it.
    """
    if seen is not None:
        return _store(asking, seen)
    with looked(asking, [wanted]) as (found,):
        return _store(asking, found)


@contextlib.contextmanager
def looked(
    asking: Asking, wanted: Sequence[Values], parent_id: str | None = None, project_id: str | None = None
) -> Iterator[Sequence[Seen]]:
    """Everything about new load balancers that comes before their transaction. VIP ports that come to nothing are given back.

    :raises ControllerError: as `create()`.
    """
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with contextlib.ExitStack() as ports:
        yield [ports.enter_context(_looked_at(asking, values, counts)) for values in wanted]


@contextlib.contextmanager
def _looked_at(asking: Asking, wanted: Values, counts: Mapping[str, collections.Counter[str]]) -> Iterator[Seen]:
    """`counts` are the objects of each project that are to be made together."""
    project_id = _project(asking, wanted)
    asking.authorize("loadbalancer:post", project_id)
    if wanted["vip_sg_ids"]:
        asking.authorize("loadbalancer:post:vip_sg_ids", project_id)
    vip.check(asking.settings, wanted)
    choice = placement.choose(asking, wanted)
    wanted["provider"] = choice.provider
    place = vip.find(asking, wanted, choice)
    of_log = access_logs.check(asking, wanted["access_log"], project_id)
    access_logs.check_versions(wanted["access_log"], place.versions)
    below = fully_populated.plan(asking.settings, wanted)
    secrets = fully_populated.check(asking, below, project_id, place, bool(wanted["vip_sg_ids"]), choice)
    counts[project_id].update({"load_balancer": 1, **below.counts})
    with asking.read() as tx:
        tx.quotas.check(project_id, counts[project_id], asking.settings.quotas)
    provider = asking.provider(choice.provider)
    asking.supports(provider, "loadbalancer", wanted)
    fully_populated.supported(asking, choice.provider, below, place.versions)
    row = {**asking.columns(SCHEMA, wanted), **new_row(project_id, generation=1)}
    with vip.allocated(asking, row["id"], project_id, place) as allocated:
        chosen = {"topology": choice.topology, "vip_vnic_type": choice.vip_vnic_type}
        asked = {"vip_generation": int(bool(wanted["vip_sg_ids"])), "qos_generation": int(bool(wanted["vip_qos_policy_id"]))}
        vips = [one.ip_address for one in allocated.addresses]
        access_logs.check_no_vip(wanted["access_log"], vips)
        for item in below.members:
            members.check_no_vip(item, vips)
        fully_populated.check_client_ips(asking, below, allocated)
        yield Seen(
            row={**row, **vip.columns(allocated), **chosen, **asked},
            below=below,
            choice=choice,
            secrets=certificates.Read({**secrets.found, **of_log.found}),
        )


def _store(asking: Asking, seen: Seen) -> fully_populated.Created:
    row, below, choice = seen.row, seen.below, seen.choice
    with asking.change() as tx:
        asking.reserve(tx, row["project_id"], load_balancer=1, **below.counts)
        choice.hold(tx)
        tx.load_balancers.add([row])
        fully_populated.add(asking, tx, below, row["project_id"], row["id"])
        certificates.keep(tx, row["id"], seen.secrets, generation=1)
        if seen.secrets.found:
            tx.tenant_certificates.tell_ends(row["id"])
        change = Create(load_balancer_id=row["id"], request_id=asking.caller.request_id, topology=choice.topology)
        asking.give(tx, asking.provider(choice.provider), change)
        return fully_populated.created(tx, row["id"], bool(below))


def update(asking: Asking, load_balancer_id: str, values: Values) -> model.LoadBalancer:
    """Store new values, to be applied.

    :raises InvalidRequest: they contradict something, or name what is not there.
    :raises NotFound: there is no such load balancer.
    :raises Immutable: it takes no change now.
    :raises NotSupported: the provider can't do it.
    """
    secrets = _check_outside(asking, load_balancer_id, values)
    with asking.change() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        asking.authorize("loadbalancer:put", load_balancer.project_id)
        generation = asking.accept(tx, load_balancer_id)
        if values.get("vip_sg_ids") and tx.listeners.any_with_cidrs(load_balancer_id):
            raise RuleBroken("vip_sg_ids can't be used together with allowed_cidrs, which a listener of this load balancer has.")
        if target := values.get("access_log"):
            access_logs.check_versions(target, load_balancer.vip.versions)
            access_logs.check_no_vip(target, [one.ip_address for one in load_balancer.vip.addresses])
        asking.supports(asking.provider_of(tx, load_balancer_id), "loadbalancer", values)
        certificates.keep_former(tx, certificates.ACCESS_LOG, values.get("access_log") or {}, load_balancer, generation)
        certificates.keep_unserved(tx, values, load_balancer, generation)
        certificates.keep(tx, load_balancer_id, secrets, generation)
        kept = values.get("access_log", kinds.as_given(load_balancer.access_log))
        if kept is not None and (authority := kept["ca_tls_container_ref"]) is not None:
            tx.tenant_certificates.ask_again(load_balancer_id, [authority], generation)
        stamped = {"vip_sg_ids": "vip_generation", "vip_qos_policy_id": "qos_generation"}
        stamps = {column: generation for name, column in stamped.items() if name in values}
        tx.load_balancers.change(load_balancer_id, {**asking.columns(SCHEMA, values), **stamps}, generation)
        return tx.load_balancers.get(load_balancer_id)


def _check_outside(asking: Asking, load_balancer_id: str, values: Mapping[str, Any]) -> certificates.Read:
    """What the network service and the secret store have to say to new values, before the transaction, which must not wait for them.

    :raises Forbidden: the caller may not choose security groups.
    :raises InvalidRequest: they have no such policy, group or authority, or it can have no effect.
    """
    if not values.keys() & {"vip_qos_policy_id", "vip_sg_ids", "access_log"}:
        return certificates.NOTHING
    with asking.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
    asking.authorize("loadbalancer:put", load_balancer.project_id)
    secrets = access_logs.check(asking, values.get("access_log"), load_balancer.project_id, load_balancer.generation)
    with visibility.in_a_body():
        if "vip_qos_policy_id" in values:
            vip.check_qos(asking, values["vip_qos_policy_id"], asked_for=True)
        if "vip_sg_ids" in values:
            asking.authorize("loadbalancer:put:vip_sg_ids", load_balancer.project_id)
            vip.check_groups(asking, values["vip_sg_ids"], load_balancer.vip.vnic_type)
    return secrets


def delete(asking: Asking, load_balancer_id: str, *, cascade: bool = False) -> None:
    """Have it removed; with `cascade`, everything below it too.

    :raises InvalidRequest: there is something below it.
    :raises NotFound: there is no such load balancer.
    :raises Immutable: it can't be deleted now.
    """
    with asking.change() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        asking.authorize("loadbalancer:delete", load_balancer.project_id)
        change = Delete(load_balancer_id=load_balancer_id, request_id=asking.caller.request_id, allowed=asking.settings.removable)
        generation = asking.give(tx, asking.provider_of(tx, load_balancer_id), change)
        if not cascade and tx.load_balancers.has_children(load_balancer_id):
            raise RuleBroken(f"Cannot delete Load Balancer {load_balancer_id} - it has children", Refusal.HAS_CHILDREN)
        if cascade:
            for repository in (tx.listeners, tx.pools, tx.members, tx.health_monitors, tx.l7policies, tx.l7rules):
                repository.mark_deleted_with(load_balancer_id, generation)


def fail_over(asking: Asking, load_balancer_id: str) -> None:
    """Have everything that serves it replaced.

    :raises NotFound: there is no such load balancer.
    :raises Immutable: it was never built, or is being changed.
    """
    with asking.change() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        asking.authorize("loadbalancer:put_failover", load_balancer.project_id)
        change = Failover(
            load_balancer_id=load_balancer_id,
            request_id=asking.caller.request_id,
            allowed=[state for state in asking.settings.removable if state is not ProvisioningStatus.PENDING_CREATE],
            topology=load_balancer.topology,
        )
        asking.give(tx, asking.provider_of(tx, load_balancer_id), change)


def _project(asking: Asking, values: Mapping[str, Any]) -> str:
    """The project of a new load balancer.

    :raises InvalidRequest: neither the body nor the caller names one, or what is named can't be an id: its quota could not be stored.
    """
    named = values["project_id"] or asking.caller.project_id
    if not named:
        raise RuleBroken("Missing project ID in request where one is required. Name it in the body as project_id, or in the token.")
    if not rows.may_exist(named):
        raise declare.invalid("project_id", named, "Value should be the id of a project")
    return str(named)
