"""Rules of members (spec `api.md` §11)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from controller import exceptions
from controller.api import current
from controller.api.v2.rules.common import OWN_FAMILY, failure
from controller.model import addresses

_ADDRESSES = (("address", "member address"), ("monitor_address", "member monitor address"))


def member_addresses(values: Mapping[str, Any]) -> None:
    """Some addresses are no servers, in whatever spelling: neither requests nor health checks may be sent there.

    Those that the operator reserved; and those at which no other machine is: an amphora would connect to itself, again and again.

    :raises InvalidRequest: an address of this member is one of them.
    """
    for name, words in _ADDRESSES:
        address = values.get(name)
        if address is not None and addresses.is_no_server(address, current.settings().reserved_ips):
            raise exceptions.InvalidRequest(f"{address} is not a valid option for {words}")


def other_than_vip(values: Mapping[str, Any], vips: Collection[str]) -> None:
    """A member at a VIP of its own load balancer would be the amphora itself: one request becomes as many as it has connections.

    :raises InvalidRequest: an address of this member is one of `vips`.
    """
    for name, words in _ADDRESSES:
        address = values.get(name)
        if address is not None and addresses.is_one_of(address, vips):
            raise exceptions.InvalidRequest(
                f"{address} is not a valid option for {words}: it is the VIP of this load balancer, which would send requests to itself"
            )


def same_server(address: str, port: int) -> exceptions.Conflict:
    """The error of a member that the pool has already."""
    return exceptions.Conflict(f"Another member on this pool is already using ip {address} on protocol_port {port}")


def member_sriov(values: Mapping[str, Any], allowed: bool) -> None:
    """A port that is a part of the host's network card is for load balancers whose flavor has them.

    :raises InvalidRequest: this one's has not.
    """
    if values["request_sriov"] and not allowed:
        raise failure("request_sriov: the flavor of this load balancer does not allow member ports by SR-IOV (allow_member_sriov).")


def vnic_type(values: Mapping[str, Any]) -> str:
    """How the port to a new member is made."""
    return "direct" if values["request_sriov"] else "normal"


def needs_same_version(pool_protocol: str) -> bool:
    """Whether members of a pool of this protocol must have the IP version of a VIP."""
    return pool_protocol in OWN_FAMILY


def member_reachable(address: str, pool_protocol: str, vip_versions: Collection[int]) -> None:
    """Datagrams are not translated from one IP version to the other on their way.

    :raises NotSupported: no VIP has the version of this member.
    """
    if needs_same_version(pool_protocol):
        version = ipaddress.ip_address(address).version
        if version not in vip_versions:
            raise exceptions.NotSupported(
                f"Provider 'amphora' does not support a requested option: an IPv{version} member {address} in a {pool_protocol} pool "
                f"of a load balancer without an IPv{version} VIP"
            )
