"""Quotas (`quota`); a null in a PUT goes back to the default."""

from __future__ import annotations

from controller.model import quota as model
from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

_LIMIT = kinds.integer(model.UNLIMITED, model.HIGHEST)
_OLD_NAMES = {"load_balancer": "loadbalancer", "health_monitor": "healthmonitor"}
"""Names of kinds that were written in one word first; both are read and shown."""


def _limit(kind: str) -> Field:
    return Field(name=kind, kind=_LIMIT, alias=_OLD_NAMES.get(kind), post=False)


SCHEMA = Schema(
    name="quota",
    collection="quotas",
    argument="quotas",
    shows_fault=False,
    key="project_id",
    fields=[
        declare.read_only("project_id", kinds.text(36), alias="tenant_id"),
        *(_limit(kind) for kind in model.KINDS),
    ],
)
