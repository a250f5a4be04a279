"""Availability zones (`availability_zone`), known by their names, and their profiles (`availability_zone_profile`)."""

from __future__ import annotations

from typing import Any

from controller.resources import flavor, kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import read_only


@kinds.described("string", example="north", minLength=1, maxLength=255)
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
        Field(name="name", kind=_name, about="The name by which it is known; no other zone has it.", required=True, put=False),
        Field(name="description", kind=kinds.description, about="What it is for, in words for people.", example="North", default=""),
        Field(
            name="enabled",
            kind=kinds.boolean,
            about="Whether new load balancers may choose it. Those that have chosen it stay there.",
            default=True,
        ),
        Field(
            name="availability_zone_profile_id",
            kind=kinds.uuid,
            about="The profile that says what it means.",
            required=True,
            put=False,
        ),
    ],
)

PROFILE = Schema(
    name="availability_zone_profile",
    collection="availability_zone_profiles",
    links="availability_zone_profile_links",
    argument="availability_zone_profile_",
    shows_fault=False,
    fields=[
        read_only("id", kinds.uuid, "The id of the profile."),
        Field(name="name", about="A name for people.", example="north", required=True),
        Field(
            name="provider_name",
            kind=kinds.text(64),
            about="The provider that it is for.",
            example="amphora",
            required=True,
        ),
        Field(
            name="availability_zone_data",
            kind=kinds.document(flavor.MAX_DATA),
            about="What the provider is told: a JSON object, as text. GET /v2/lbaas/providers/{provider}/availability_zone_capabilities "
            "lists its keys.",
            example='{"compute_zone": "nova"}',
            required=True,
        ),
    ],
)
