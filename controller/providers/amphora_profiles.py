"""What profiles of flavors and availability zones can say to the provider `amphora`: by it, operators are told and profiles checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.model.status import Topology
from controller.providers.interface import Capability, Cloud
from controller.resources import kinds


def _switch(value: Any) -> bool:
    """Profiles are read again by whoever builds, so a boolean has one spelling here."""
    if not isinstance(value, bool):
        raise kinds.Reject("Value should be boolean")
    return value


def _networks_exist(cloud: Cloud, network_ids: Sequence[str]) -> None:
    for network_id in network_ids:
        cloud.network.get_network(network_id)


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
        lambda cloud, flavor: cloud.compute.check_flavor(flavor),
    ),
    Capability(
        "amp_image_tag",
        "The tag of the image that amphorae are booted from.",
        kinds.name,
        lambda cloud, tag: cloud.compute.check_image_tag(tag),
    ),
    Capability("sriov_vip", "Whether the VIP's port is a virtual function of the network card (SR-IOV).", _switch),
    Capability("allow_member_sriov", "Whether members may ask for ports that are virtual functions (SR-IOV).", _switch),
)

AVAILABILITY_ZONE = (
    Capability(
        "compute_zone",
        "The compute service's availability zone for the machines of amphorae.",
        kinds.name,
        lambda cloud, zone: cloud.compute.check_zone(zone),
    ),
    Capability("volume_zone", "The availability zone of the volumes of amphorae, where they have any.", kinds.name),
    Capability(
        "management_network",
        "The id of the network by which the controller reaches amphorae.",
        kinds.text(36),
        lambda cloud, network_id: cloud.network.check_management_network(network_id),
    ),
    Capability("valid_vip_networks", "The ids of the networks on which VIPs may be.", kinds.list_of(kinds.text(36)), _networks_exist),
)
