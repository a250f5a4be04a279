"""The rules of `access_log`: where a load balancer may send lines about its requests and connections.

A tenant must not use it to reach what only the amphora reaches: itself, or what the operator reserved. It speaks from the VIP's network
alone; the management network is in another namespace.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from controller.changes import certificates
from controller.changes.asking import Asking
from controller.exceptions import RuleBroken
from controller.model import addresses

_OF_TLS = ("ca_tls_container_ref", "host_name")


def check(asking: Asking, target: Mapping[str, Any] | None, project_id: str, since: int = 0) -> certificates.Read:
    """What can be told before there is a VIP; asks the secret store. `since`: as in `certificates.Read`.

    :raises InvalidRequest: nobody can be there, or its parts contradict each other, or the authority can't be read.
    """
    if target is None:
        return certificates.NOTHING
    if addresses.is_no_server(target["address"], asking.settings.reserved_ips):
        raise RuleBroken(f"access_log: {target['address']} is not a valid address of a target: no other machine can be there.")
    if target["protocol"] != "TLS":
        if named := [name for name in _OF_TLS if target[name] is not None]:
            raise RuleBroken(f"access_log: {', '.join(named)} can be given with protocol TLS only.")
    elif target["ca_tls_container_ref"] is None:
        raise RuleBroken("access_log: protocol TLS needs a ca_tls_container_ref, by which the target is verified.")
    return certificates.check(asking, certificates.ACCESS_LOG, target, project_id, since)


def check_versions(target: Mapping[str, Any] | None, vip_versions: Collection[int]) -> None:
    """:raises InvalidRequest: the load balancer has no address from which the target can be reached."""
    if target is not None and (version := ipaddress.ip_address(target["address"]).version) not in vip_versions:
        raise RuleBroken(f"access_log: {target['address']} can't be reached by a load balancer without an IPv{version} VIP.")


def check_no_vip(target: Mapping[str, Any] | None, vips: Collection[str]) -> None:
    """:raises InvalidRequest: the load balancer would send lines about its own lines to itself."""
    if target is not None and addresses.is_one_of(target["address"], vips):
        raise RuleBroken(f"access_log: {target['address']} is a VIP of this load balancer, which would send its lines to itself.")
