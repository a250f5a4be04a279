"""Quotas (`quota`); a null in a PUT goes back to the default."""

from __future__ import annotations

from controller.model import quota as model
from controller.resources import kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import read_only

_LIMIT = kinds.integer(model.UNLIMITED, model.HIGHEST)
_OLD_NAMES = {"load_balancer": "loadbalancer", "health_monitor": "healthmonitor"}
"""Names of kinds that were written in one word first; both are read and shown."""


def _limit(kind: str) -> Field:
    about = f"How many objects of the kind {model.TITLES[kind]} the project may have; {model.UNLIMITED}: as many as it likes."
    return Field(kind, _LIMIT, about, alias=_OLD_NAMES.get(kind), post=False)


SCHEMA = Schema(
    name="quota",
    collection="quotas",
    argument="quotas",
    shows_fault=False,
    key="project_id",
    fields=[
        read_only(
            "project_id", kinds.text(36), "The project that it holds for.", example="b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d", alias="tenant_id"
        ),
        *(_limit(kind) for kind in model.KINDS),
    ],
)
