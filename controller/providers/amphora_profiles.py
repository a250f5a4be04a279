"""What profiles of flavors and availability zones can say to the provider `amphora`: by it, operators are told and profiles checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.model.status import Topology
from controller.providers.interface import Capability
from controller.resources import kinds
from controller.services import Services


def _switch(value: Any) -> bool:
    """Profiles are read again by whoever builds, so a boolean has one spelling here."""
    if not isinstance(value, bool):
        raise kinds.Reject("Value should be boolean")
    return value


def _networks_exist(cloud: Services, network_ids: Sequence[str]) -> None:
    for network_id in network_ids:
        cloud.network.get_network(network_id)


FLAVOR = (
    Capability(
        "loadbalancer_topology",
        about="How many amphorae serve the load balancer. One of: SINGLE - one amphora, ACTIVE_STANDBY - a pair of which one stands by.",
        kind=kinds.one_of(*Topology),
    ),
    Capability(
        "compute_flavor",
        about="The id of the compute service's flavor for the machines of amphorae.",
        exists=lambda cloud, flavor: cloud.compute.check_flavor(flavor),
    ),
    Capability(
        "amp_image_tag",
        about="The tag of the image that amphorae are booted from.",
        exists=lambda cloud, tag: cloud.compute.check_image_tag(tag),
    ),
    Capability("sriov_vip", _switch, "Whether the VIP's port is a virtual function of the network card (SR-IOV)."),
    Capability("allow_member_sriov", _switch, "Whether members may ask for ports that are virtual functions (SR-IOV)."),
)

AVAILABILITY_ZONE = (
    Capability(
        "compute_zone",
        about="The compute service's availability zone for the machines of amphorae.",
        exists=lambda cloud, zone: cloud.compute.check_zone(zone),
    ),
    Capability("volume_zone", about="The availability zone of the volumes of amphorae, where they have any."),
    Capability(
        "management_network",
        kinds.text(36),
        "The id of the network by which the controller reaches amphorae.",
        exists=lambda cloud, network_id: cloud.network.check_management_network(network_id),
    ),
    Capability(
        "valid_vip_networks", kinds.list_of(kinds.text(36)), "The ids of the networks on which VIPs may be.", exists=_networks_exist
    ),
)
