"""/loadbalancers."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

import flask

from controller import jobs
from controller.api import answers, arguments, current, paging, policy
from controller.api.v2 import choices, foreign, graph, quotas, rules, status_tree, vip, writes
from controller.model.status import SERVING, ProvisioningStatus
from controller.refusals import Refusal
from controller.resources.load_balancer import SCHEMA

blueprint = flask.Blueprint("load_balancers", __name__)


@blueprint.get("/loadbalancers")
def list_load_balancers() -> flask.Response:
    """All that the caller may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("loadbalancer", current.context()))
    with current.services().db.read() as tx:
        found = tx.load_balancers.page(asked.query)
    return asked.answer(found)


@blueprint.post("/loadbalancers")
def create_load_balancer() -> flask.Response:
    """Allocate the VIP, store everything as PENDING_CREATE, and have a worker build it."""
    wanted = SCHEMA.create(flask.request.get_data())
    project_id = rules.project(wanted)
    current.authorize("loadbalancer:post", project_id)
    if wanted["vip_sg_ids"]:
        current.authorize("loadbalancer:post:vip_sg_ids", project_id)
    vip.check(wanted)
    choice = choices.choose(wanted)
    wanted["provider"] = choice.provider
    place = vip.find(wanted, choice)
    below = graph.plan(wanted)
    foreign.subnets(below.subnet_ids)
    graph.check_secrets(below, project_id)
    graph.check_parent(below, place.versions, bool(wanted["vip_sg_ids"]), choice.placement.allow_member_sriov)
    quotas.check(project_id, load_balancer=1, **below.counts)
    rules.supported(SCHEMA, wanted)
    choices.supported(choice)
    graph.supported(below, place.versions)
    row = {**SCHEMA.columns(wanted), **writes.new_load_balancer_row(project_id, generation=1)}
    with vip.allocated(row["id"], project_id, place) as allocated:
        chosen = {"topology": choice.topology, "vip_vnic_type": choice.vip_vnic_type, "vip_generation": int(bool(wanted["vip_sg_ids"]))}
        placed = {**row, **vip.columns(allocated), **chosen}
        others = (one.get("ip_address") for one in row.get("additional_vips") or ())
        graph.check_vips(below, [allocated.address, *(address for address in others if address)])
        view = _store(placed, below, choice)
    current.services().wake()
    return answers.one(SCHEMA.name, view, 201)


def _store(row: dict[str, Any], below: graph.Graph, choice: choices.Choice) -> dict[str, Any]:
    with current.services().db.begin() as tx:
        quotas.reserve(tx, row["project_id"], load_balancer=1, **below.counts)
        choice.hold(tx)
        tx.load_balancers.add([row])
        graph.add(tx, below, row["project_id"], row["id"])
        amphora_ids = jobs.amphora_ids(row["id"], choice.topology)
        writes.post(tx, jobs.CreateLoadBalancer(load_balancer_id=row["id"], topology=choice.topology, amphora_ids=amphora_ids))
        return graph.view(tx, row["id"]) if below else SCHEMA.view(tx.load_balancers.get(row["id"]))


@blueprint.get("/loadbalancers/<load_balancer_id>")
def get_load_balancer(load_balancer_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
    current.authorize("loadbalancer:get_one", load_balancer.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(load_balancer))


@blueprint.put("/loadbalancers/<load_balancer_id>")
def update_load_balancer(load_balancer_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    _check_vip_changes(load_balancer_id, values)
    with writes.begin() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        current.authorize("loadbalancer:put", load_balancer.project_id)
        generation = writes.accept(tx, load_balancer_id)
        if values.get("vip_sg_ids") and tx.listeners.any_with_cidrs(load_balancer_id):
            raise rules.failure("vip_sg_ids can't be used together with allowed_cidrs, which a listener of this load balancer has.")
        rules.supported(SCHEMA, values)
        own_groups = {"vip_generation": generation} if "vip_sg_ids" in values else {}
        tx.load_balancers.change(load_balancer_id, {**SCHEMA.columns(values), **own_groups}, generation)
        load_balancer = tx.load_balancers.get(load_balancer_id)
    return answers.one(SCHEMA.name, SCHEMA.view(load_balancer))


def _check_vip_changes(load_balancer_id: str, values: Mapping[str, Any]) -> None:
    """What the network service has to say to new values, before the transaction, which must not wait for it.

    :raises Forbidden: the caller may not choose security groups.
    :raises InvalidRequest: it has no such policy or group, or they can have no effect.
    """
    if "vip_qos_policy_id" not in values and "vip_sg_ids" not in values:
        return
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
    current.authorize("loadbalancer:put", load_balancer.project_id)
    with foreign.in_a_body():
        if "vip_qos_policy_id" in values:
            vip.check_qos(values["vip_qos_policy_id"], asked_for=True)
        if "vip_sg_ids" in values:
            current.authorize("loadbalancer:put:vip_sg_ids", load_balancer.project_id)
            vip.check_groups(values["vip_sg_ids"], load_balancer.vip.vnic_type)


@blueprint.delete("/loadbalancers/<load_balancer_id>")
def delete_load_balancer(load_balancer_id: str) -> flask.Response:
    """Have a worker remove it; with `cascade`, everything below it too."""
    cascade = arguments.boolean("cascade")
    with writes.begin() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        current.authorize("loadbalancer:delete", load_balancer.project_id)
        generation = tx.load_balancers.delete(load_balancer_id, current.settings().removable)
        if not cascade and tx.load_balancers.has_children(load_balancer_id):
            raise rules.failure(f"Cannot delete Load Balancer {load_balancer_id} - it has children", Refusal.HAS_CHILDREN)
        if cascade:
            for repository in (tx.listeners, tx.pools, tx.members, tx.health_monitors, tx.l7policies, tx.l7rules):
                repository.mark_deleted_with(load_balancer_id, generation)
        writes.post(tx, jobs.DeleteLoadBalancer(load_balancer_id=load_balancer_id))
    return answers.empty(204)


@blueprint.put("/loadbalancers/<load_balancer_id>/failover")
def fail_over_load_balancer(load_balancer_id: str) -> flask.Response:
    """Have a worker replace every amphora, one after the other."""
    allowed = [state for state in current.settings().removable if state is not ProvisioningStatus.PENDING_CREATE]
    with writes.begin() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        current.authorize("loadbalancer:put_failover", load_balancer.project_id)
        tx.load_balancers.advance(load_balancer_id, allowed)
        replacement_ids = tuple(str(uuid.uuid4()) for _ in load_balancer.topology.roles)
        serving = [one.id for one in tx.amphorae.of_load_balancer(load_balancer_id) if one.status in SERVING]
        job = jobs.FailoverLoadBalancer(
            load_balancer_id=load_balancer_id,
            topology=load_balancer.topology,
            replacement_ids=replacement_ids,
            amphora_ids=tuple(serving),
        )
        writes.post(tx, job)
    return answers.empty(202)


@blueprint.get("/loadbalancers/<load_balancer_id>/stats")
def get_load_balancer_stats(load_balancer_id: str) -> flask.Response:
    """Its traffic, summed over listeners and all amphorae that ever served them."""
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        counters = tx.statistics.of_load_balancer(load_balancer_id)
    current.authorize("loadbalancer:get_stats", load_balancer.project_id)
    return answers.json({"stats": dataclasses.asdict(counters)})


@blueprint.get("/loadbalancers/<load_balancer_id>/status")
@blueprint.get("/loadbalancers/<load_balancer_id>/statuses")
def get_load_balancer_status(load_balancer_id: str) -> flask.Response:
    """Both statuses of everything below it, as a tree."""
    return answers.json({"statuses": status_tree.tree(status_tree.read(load_balancer_id))})
