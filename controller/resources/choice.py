"""Flavors (`flavor`) and their profiles (`flavorprofile`)."""

from __future__ import annotations

from controller.resources import kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import read_only

MAX_DATA = 4096

SCHEMA = Schema(
    name="flavor",
    collection="flavors",
    argument="flavor_",
    shows_fault=False,
    fields=[
        read_only("id", kinds.uuid, "The id of the flavor."),
        Field(name="name", about="The name by which it is known; no other flavor has it.", example="pair", required=True),
        Field(name="description", kind=kinds.description, about="What it is for, in words for people.", default=""),
        Field(
            name="enabled",
            kind=kinds.boolean,
            about="Whether new load balancers may choose it. Those that have chosen it keep it.",
            default=True,
        ),
        Field(
            name="flavor_profile_id",
            kind=kinds.uuid,
            about="The profile that says what it means.",
            required=True,
            put=False,
        ),
    ],
)

PROFILE = Schema(
    name="flavorprofile",
    collection="flavorprofiles",
    links="flavorprofile_links",
    argument="flavor_profile_",
    shows_fault=False,
    fields=[
        read_only("id", kinds.uuid, "The id of the profile."),
        Field(name="name", about="A name for people.", example="pair", required=True),
        Field(
            name="provider_name",
            kind=kinds.text(64),
            about="The provider that it is for.",
            example="amphora",
            required=True,
        ),
        Field(
            name="flavor_data",
            kind=kinds.document(MAX_DATA),
            about="What the provider is told: a JSON object, as text. GET /v2/lbaas/providers/{provider}/flavor_capabilities lists its "
            "keys.",
            example='{"loadbalancer_topology": "ACTIVE_STANDBY"}',
            required=True,
        ),
    ],
)
