"""Availability zones (`availability_zone`), known by their names, and their profiles (`availability_zone_profile`)."""

from __future__ import annotations

from typing import Any

from controller.resources import declare, flavor, kinds
from controller.resources.declare import Field, Schema


@kinds.described("string", minLength=1, maxLength=255)
def _name(value: Any) -> str:
    """A name that can stand in a path: it is the only way to the zone."""
    if value == "":
        raise kinds.Reject("Value should have a minimum character requirement of 1")
    return kinds.name(value)


SCHEMA = Schema(
    name="availability_zone",
    collection="availability_zones",
    argument="availability_zone_",
    key="name",
    shows_fault=False,
    fields=[
        Field(name="name", kind=_name, required=True, put=False),
        Field(name="description", kind=kinds.description, default=""),
        Field(name="enabled", kind=kinds.boolean, default=True),
        Field(name="availability_zone_profile_id", kind=kinds.uuid, required=True, put=False),
    ],
)

PROFILE = Schema(
    name="availability_zone_profile",
    collection="availability_zone_profiles",
    links="availability_zone_profile_links",
    argument="availability_zone_profile_",
    shows_fault=False,
    fields=[
        declare.read_only("id", kinds.uuid),
        Field(name="name", required=True),
        Field(name="provider_name", kind=kinds.text(64), required=True),
        Field(name="availability_zone_data", kind=kinds.document(flavor.MAX_DATA), required=True),
    ],
)
