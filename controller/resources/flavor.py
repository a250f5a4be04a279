"""Flavors (`flavor`) and their profiles (`flavorprofile`)."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

MAX_DATA = 4096

SCHEMA = Schema(
    name="flavor",
    collection="flavors",
    argument="flavor_",
    shows_fault=False,
    fields=[
        declare.read_only("id", kinds.uuid),
        Field(name="name", required=True),
        Field(name="description", kind=kinds.description, default=""),
        Field(name="enabled", kind=kinds.boolean, default=True),
        Field(name="flavor_profile_id", kind=kinds.uuid, required=True, put=False),
    ],
)

PROFILE = Schema(
    name="flavorprofile",
    collection="flavorprofiles",
    links="flavorprofile_links",
    argument="flavor_profile_",
    shows_fault=False,
    fields=[
        declare.read_only("id", kinds.uuid),
        Field(name="name", required=True),
        Field(name="provider_name", kind=kinds.text(64), required=True),
        Field(name="flavor_data", kind=kinds.document(MAX_DATA), required=True),
    ],
)
