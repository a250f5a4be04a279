"""What operators prepare and tenants choose by name: flavors and availability zones, each with the profile that says what it means."""

from __future__ import annotations

from typing import Any

from controller.resources import kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import read_only

_MAX_DATA = 4096


@kinds.described("string", example="north", minLength=1, maxLength=255)
def _path_name(value: Any) -> str:
    """A name that can stand in a path: it is the only way to the zone."""
    if value == "":
        raise kinds.Reject("Value should have a minimum character requirement of 1")
    return kinds.name(value)


def _offering(name: str, *known_by: Field, key: str, choosers: str, example: str | None = None) -> Schema:
    """What tenants choose: `known_by` which fields, and what those who have chosen it do when it is disabled."""
    return Schema(
        name=name,
        collection=f"{name}s",
        argument=f"{name}_",
        key=key,
        shows_fault=False,
        fields=[
            *known_by,
            Field("description", kinds.description, "What it is for, in words for people.", example=example, default=""),
            Field(
                "enabled", kinds.boolean, f"Whether new load balancers may choose it. Those that have chosen it {choosers}.", default=True
            ),
            Field(f"{name}_profile_id", kinds.uuid, "The profile that says what it means.", required=True, put=False),
        ],
    )


def _profile(name: str, of: str, example: str, data: str) -> Schema:
    """What an offering means to a provider; `data` is an example."""
    return Schema(
        name=name,
        collection=f"{name}s",
        links=f"{name}_links",
        argument=f"{of}_profile_",
        shows_fault=False,
        fields=[
            read_only("id", kinds.uuid, "The id of the profile."),
            Field("name", about="A name for people.", example=example, required=True),
            Field("provider_name", kinds.text(64), "The provider that it is for.", example="amphora", required=True),
            Field(
                f"{of}_data",
                kinds.document(_MAX_DATA),
                "What the provider is told: a JSON object, as text. "
                f"GET /v2/lbaas/providers/{{provider}}/{of}_capabilities lists its keys.",
                example=data,
                required=True,
            ),
        ],
    )


FLAVOR = _offering(
    "flavor",
    read_only("id", kinds.uuid, "The id of the flavor."),
    Field("name", about="The name by which it is known; no other flavor has it.", example="pair", required=True),
    key="id",
    choosers="keep it",
)
FLAVOR_PROFILE = _profile("flavorprofile", "flavor", "pair", '{"loadbalancer_topology": "ACTIVE_STANDBY"}')

AVAILABILITY_ZONE = _offering(
    "availability_zone",
    Field("name", _path_name, "The name by which it is known; no other zone has it.", required=True, put=False),
    key="name",
    choosers="stay there",
    example="North",
)
AVAILABILITY_ZONE_PROFILE = _profile("availability_zone_profile", "availability_zone", "north", '{"compute_zone": "nova"}')
