"""What may reach the VIP of a load balancer, as its listeners and its topology ask for."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from controller.model import load_balancer as model
from controller.model import status
from controller.model.network import AccessRule
from controller.model.protocols import PROTOCOLS


def rules(snapshot: model.Snapshot, peer_port: int) -> tuple[AccessRule, ...]:
    """What a load balancer's listeners ask for, and its amphorae among themselves."""
    found: list[AccessRule] = []
    for listener in snapshot.listeners:
        if listener.provisioning_status is not status.ProvisioningStatus.PENDING_DELETE:
            transport = PROTOCOLS[listener.protocol].transport
            found.extend(AccessRule(transport, listener.protocol_port, cidr) for cidr in listener.allowed_cidrs or (None,))
    if snapshot.load_balancer.topology is status.Topology.ACTIVE_STANDBY:
        found += _of_pair(snapshot, peer_port)
    return tuple(dict.fromkeys(found))


def is_listed(snapshot: model.Snapshot) -> bool:
    """Whether somebody has to keep clients away by a list that a listener has."""
    return any(one.allowed_cidrs and one.provisioning_status is not status.ProvisioningStatus.PENDING_DELETE for one in snapshot.listeners)


def _of_pair(snapshot: model.Snapshot, peer_port: int) -> list[AccessRule]:
    """What the halves tell each other, from nobody else: a stranger's VRRP packet could make both let go of the VIP."""
    halves = [
        str(ipaddress.ip_network(one.vrrp_ip)) for one in snapshot.amphorae if one.vrrp_ip and one.status not in status.AMPHORA_IN_DELETION
    ]
    speaking = (("vrrp", None), ("tcp", peer_port))
    return [AccessRule(protocol, port, half, between_amphorae=True) for half in halves for protocol, port in speaking]


def digest(vip_port_id: str, rules: Iterable[AccessRule]) -> str:
    """What tells these rules for this port from others, whatever their order."""
    return hashlib.sha256("\n".join([vip_port_id, *sorted(map(repr, rules))]).encode()).hexdigest()


def is_open(owner: model.LoadBalancer, rules: Iterable[AccessRule]) -> bool:
    """Whether this is what may reach the VIP, as it is written down, by whichever worker. Processes of an older release write nothing."""
    is_true = owner.access_generation == owner.applied_generation
    return is_true and owner.access_hash == digest(owner.vip.port_id, rules)
