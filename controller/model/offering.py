"""What operators prepare and tenants choose by name: flavors and availability zones, each with the profile that says what it means.

A profile's data is a JSON object, kept as the text that the operator wrote.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from controller.model.status import Topology


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FlavorProfile:
    """What a flavor means to a provider."""

    id: str
    name: str
    provider_name: str
    flavor_data: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """A kind of load balancer."""

    id: str
    name: str
    description: str
    enabled: bool
    flavor_profile_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityZoneProfile:
    """What an availability zone means to a provider."""

    id: str
    name: str
    provider_name: str
    availability_zone_data: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityZone:
    """A place for load balancers; its name is its key."""

    name: str
    description: str
    enabled: bool
    availability_zone_profile_id: str

    @property
    def id(self) -> str:
        """What paths and markers call it."""
        return self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """A flavor or an availability zone together with its profile, as a load balancer takes it."""

    enabled: bool
    provider_name: str
    data: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What the flavor and the availability zone of a load balancer say about its amphorae; None: as the deployment has it."""

    topology: Topology | None = None
    compute_flavor: str | None = None
    image_tag: str | None = None
    compute_zone: str | None = None
    management_network_id: str | None = None
    valid_vip_networks: tuple[str, ...] | None = None
    sriov_vip: bool = False
    allow_member_sriov: bool = False

    @classmethod
    def of(cls, flavor: Mapping[str, Any], zone: Mapping[str, Any]) -> Placement:
        """The placement that the data of a flavor's and of a zone's profile decide; an empty object for what was not chosen."""
        topology, networks = flavor.get("loadbalancer_topology"), zone.get("valid_vip_networks")
        return cls(
            topology=None if topology is None else Topology(topology),
            compute_flavor=flavor.get("compute_flavor"),
            image_tag=flavor.get("amp_image_tag"),
            sriov_vip=flavor.get("sriov_vip", False),
            allow_member_sriov=flavor.get("allow_member_sriov", False),
            compute_zone=zone.get("compute_zone"),
            management_network_id=zone.get("management_network"),
            valid_vip_networks=None if networks is None else tuple(networks),
        )


def data(text: str | None) -> Mapping[str, Any]:
    """The JSON object of a profile; an empty one if there is no profile."""
    found: Mapping[str, Any] = json.loads(text) if text is not None else {}
    return found
