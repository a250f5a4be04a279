"""What flavors and availability zones can say to a provider: one declaration, by which operators are told and profiles are checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from controller import exceptions
from controller.api import current
from controller.api.v2 import foreign
from controller.model.status import Topology
from controller.resources import declare, kinds


@dataclasses.dataclass(frozen=True, slots=True)
class Capability:
    """A key of a profile's data. `exists` asks the service behind it, and raises `NotFound` if it knows no such thing."""

    name: str
    description: str
    kind: kinds.Parser
    exists: Callable[[current.Services, Any], None] | None = None


def _switch(value: Any) -> bool:
    """Profiles are read again by whoever builds, so a boolean has one spelling here."""
    if not isinstance(value, bool):
        raise kinds.Reject("Value should be boolean")
    return value


def _networks_exist(services: current.Services, network_ids: Sequence[str]) -> None:
    for network_id in network_ids:
        services.network.get_network(network_id)


FLAVOR = (
    Capability(
        "loadbalancer_topology",
        "How many amphorae serve the load balancer. One of: SINGLE - one amphora, ACTIVE_STANDBY - a pair of which one stands by.",
        kinds.one_of(*Topology),
    ),
    Capability(
        "compute_flavor",
        "The id of the compute service's flavor for the machines of amphorae.",
        kinds.name,
        lambda services, flavor: services.compute.check_flavor(flavor),
    ),
    Capability(
        "amp_image_tag",
        "The tag of the image that amphorae are booted from.",
        kinds.name,
        lambda services, tag: services.compute.check_image_tag(tag),
    ),
    Capability("sriov_vip", "Whether the VIP's port is a virtual function of the network card (SR-IOV).", _switch),
    Capability("allow_member_sriov", "Whether members may ask for ports that are virtual functions (SR-IOV).", _switch),
)

AVAILABILITY_ZONE = (
    Capability(
        "compute_zone",
        "The compute service's availability zone for the machines of amphorae.",
        kinds.name,
        lambda services, zone: services.compute.check_zone(zone),
    ),
    Capability("volume_zone", "The availability zone of the volumes of amphorae, where they have any.", kinds.name),
    Capability(
        "management_network",
        "The id of the network by which the controller reaches amphorae.",
        kinds.text(36),
        lambda services, network_id: services.network.check_management_network(network_id),
    ),
    Capability("valid_vip_networks", "The ids of the networks on which VIPs may be.", kinds.list_of(kinds.text(36)), _networks_exist),
)


def enabled(provider: str) -> None:
    """Load balancers may name this provider.

    :raises InvalidRequest: they may not.
    """
    if provider not in current.settings().providers:
        raise exceptions.InvalidRequest(f"Provider '{provider}' is not enabled.")


def check(provider: str, text: str, option: str, known: Sequence[Capability]) -> None:
    """Whether the data of a profile, the value of `option`, says only what the provider can do and what exists.

    :raises InvalidRequest: the provider is not enabled, it is no JSON object, a value is not of its key's kind, or names nothing.
    :raises NotSupported: the provider does not know a key.
    """
    enabled(provider)
    names = [capability.name for capability in known]
    data = _object(text, option)
    for capability in known:
        if capability.name in data:
            _check(capability, data[capability.name])
    for name in data:
        if name not in names:
            raise exceptions.NotSupported(f"Provider '{provider}' does not support a requested option: {option} key {name[:255]}")


def _check(capability: Capability, value: Any) -> None:
    try:
        parsed = capability.kind(value)
    except kinds.Reject as reason:
        raise declare.invalid(capability.name, value, str(reason)) from None
    if capability.exists is not None:
        with foreign.in_a_body():
            capability.exists(current.services(), parsed)


def _object(text: str, option: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise exceptions.InvalidRequest(f"{text[:300]} is not a valid option for {option}")
    return found
