"""/v2.0/quotas: limits of load balancers and what belongs to them are ours; those of networks and ports are the network service's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib import parse as urls

import flask

from controller import exceptions
from controller.api import current
from controller.api.lbaasv2 import errors, lists, neutron, resources
from controller.changes import quotas
from controller.db.repositories import paging
from controller.model import quota as model
from controller.resources import kinds

blueprint = flask.Blueprint("lbaasv2_quotas", __name__)

OURS = {
    "loadbalancer": "load_balancer",
    "listener": "listener",
    "pool": "pool",
    "member": "member",
    "healthmonitor": "health_monitor",
    "l7policy": "l7policy",
}
"""Names of LBaaS v2 and of the first API."""
UNLIMITED = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule", "rbac_policy", "subnetpool")
"""What an embedded network does not count."""

_limit = kinds.integer(-1, 2_000_000_000)


@blueprint.get("/quotas")
def list_quotas() -> flask.Response:
    """List the quotas of all projects for which somebody set limits."""
    project = current.visible_project("quota")
    within = [] if project is None else [paging.Filter("project_id", project)]
    with current.services().db.read() as tx:
        page = tx.quotas.page(lists.everything(*within), current.settings().quotas)
    found = {one.project_id: _view(one) for one in page}
    theirs = {_owner(one): one for one in (neutron.get("/v2.0/quotas") or {}).get("quotas", [])} if neutron.is_there() else {}
    both = [_named(project, _theirs_of(theirs.get(project)) | found.get(project, {})) for project in {**found, **theirs}]
    return current.json({"quotas": both})


@blueprint.get("/quotas/<any(tenant, project):word>")
def get_owner(word: str) -> flask.Response:
    """The project of the caller, for clients that do not know it."""
    project = current.context().project_id
    return current.json({word: {"tenant_id": project, "project_id": project}})


@blueprint.get("/quotas/<project_id>")
def get_quota(project_id: str) -> flask.Response:
    """What holds for a project."""
    return current.json({"quota": _theirs(project_id) | _view(_ours(project_id))})


@blueprint.get("/quotas/<project_id>/default")
def get_default(project_id: str) -> flask.Response:
    """What would hold if nobody had set anything."""
    current.authorize("quota:get_defaults", project_id)
    return current.json({"quota": _theirs(project_id, "/default") | _view(quotas.defaults(current.asking()))})


@blueprint.get("/quotas/<project_id>/details")
def get_details(project_id: str) -> flask.Response:
    """Limits, and how much of them is used."""
    limits = _ours(project_id)
    with current.services().db.read() as tx:
        used = tx.quotas.usage(project_id)
    ours = {name: {"limit": getattr(limits, own), "used": used[own], "reserved": 0} for name, own in OURS.items()}
    theirs = _theirs(project_id, "/details") if neutron.is_there() else {}
    return current.json({"quota": theirs | ours})


@blueprint.put("/quotas/<project_id>")
def set_quota(project_id: str) -> flask.Response:
    """Set some limits: ours here, the others at the network service, which is asked first, for it may refuse."""
    given = resources.envelope(resources.body(), "quota")
    if not isinstance(given, dict):
        raise errors.bad_request("Invalid input for quota. Reason: it is not an object.")
    ours, theirs = {}, {}
    for name, value in given.items():
        if name in OURS:
            ours[OURS[name]] = _checked(name, value)
        elif name not in ("tenant_id", "project_id"):
            theirs[name] = value
    current.authorize("quota:put", project_id)
    others = _set_theirs(project_id, theirs) if theirs else _theirs(project_id)
    set_here = quotas.update(current.asking(), project_id, ours) if ours else _ours(project_id)
    return current.json({"quota": others | _view(set_here)})


@blueprint.delete("/quotas/<project_id>")
def reset_quota(project_id: str) -> flask.Response:
    """Let the defaults hold again, here and at the network service. It is enough if one of both has limits of this project."""
    current.authorize("quota:delete", project_id)
    was_reset = neutron.is_there() and _reset_theirs(project_id)
    try:
        quotas.reset(current.asking(), project_id)
    except exceptions.NotFound:
        if not was_reset:
            raise
    return current.empty(204)


def _quoted(project_id: str) -> str:
    return urls.quote(project_id, safe="")


def _ours(project_id: str) -> model.Quota:
    """What holds for a project, if the caller may know it."""
    current.authorize("quota:get_one", project_id)
    with current.services().db.read() as tx:
        return quotas.effective(current.asking(), tx, project_id)


def _view(quota: model.Quota) -> dict[str, Any]:
    return {name: getattr(quota, own) for name, own in OURS.items()}


def _theirs(project_id: str, more: str = "") -> dict[str, Any]:
    if not neutron.is_there():
        return dict.fromkeys(UNLIMITED, -1)
    return _theirs_of((neutron.get(f"/v2.0/quotas/{_quoted(project_id)}{more}") or {}).get("quota"))


def _theirs_of(quota: Mapping[str, Any] | None) -> dict[str, Any]:
    if quota is None:
        return {} if neutron.is_there() else dict.fromkeys(UNLIMITED, -1)
    return {name: value for name, value in quota.items() if name not in OURS}


def _set_theirs(project_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    if not neutron.is_there():
        raise errors.bad_request(f"Unrecognized attribute(s) '{', '.join(sorted(values))[:300]}': the network here has no such limits")
    return _theirs_of((neutron.ask("PUT", f"/v2.0/quotas/{_quoted(project_id)}", {"quota": dict(values)}) or {}).get("quota"))


def _reset_theirs(project_id: str) -> bool:
    try:
        neutron.ask("DELETE", f"/v2.0/quotas/{_quoted(project_id)}")
    except errors.Fault as fault:
        if fault.status == 404:
            return False
        raise
    return True


def _checked(name: str, value: Any) -> int:
    try:
        return int(_limit(value))
    except kinds.Reject as reason:
        raise errors.bad_request(f"Invalid input for {name}. Reason: {str(value)[:64]!r}: {reason}.") from None


def _owner(quota: Mapping[str, Any]) -> str:
    return str(quota.get("project_id") or quota.get("tenant_id"))


def _named(project: str, quota: dict[str, Any]) -> dict[str, Any]:
    return {"tenant_id": project, "project_id": project} | quota
