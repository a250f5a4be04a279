"""An amphora: the small machine that serves one load balancer, alone or as half of a pair."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterable

from controller.model.network import NORMAL, FixedIp
from controller.model.status import AmphoraStatus, Role


@dataclasses.dataclass(frozen=True, slots=True)
class MemberPort:
    """A port that is plugged towards members, with its addresses on the subnets that they asked for."""

    network_id: str
    mac_address: str
    fixed_ips: tuple[FixedIp, ...]
    vnic_type: str = NORMAL
    is_secured: bool = True  # with port security, as it was when it was plugged

    def covers(self, subnet_ids: Iterable[str]) -> bool:
        """Whether it has an address on each of these subnets."""
        return {fixed.subnet_id for fixed in self.fixed_ips} >= set(subnet_ids)

    def on(self, subnet_ids: Collection[str]) -> MemberPort:
        """The same port, as far as it is on these subnets."""
        return dataclasses.replace(self, fixed_ips=tuple(fixed for fixed in self.fixed_ips if fixed.subnet_id in subnet_ids))


RELEASING = MemberPort(network_id="", mac_address="", fixed_ips=())
"""Stands among an amphora's ports while some are given back: whoever finds it there looks at what the network service has."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Amphora:
    """`management_address` is the API's `lb_network_ip`: where the agent is reached and from where heartbeats come.

    `guards_itself`: its VRRP port had no port security when somebody looked, so no group holds there, and the amphora admits by itself what
    may reach the VIP, for as long as it lives; None: nobody has looked.
    """

    id: str
    load_balancer_id: str | None
    status: AmphoraStatus
    role: Role | None = None
    compute_id: str | None = None
    management_address: str | None = None
    management_port_id: str | None = None
    vrrp_ip: str | None = None
    additional_vrrp_ips: tuple[FixedIp, ...] = ()  # of the VRRP port, on the subnets of additional VIPs, in their order
    vrrp_port_id: str | None = None
    vrrp_mac: str | None = None  # by it the agent finds the interface of the VRRP port
    guards_itself: bool | None = None
    ha_ip: str | None = None
    ha_port_id: str | None = None
    vrrp_interface: str | None = None
    vrrp_id: int | None = None
    vrrp_priority: int | None = None
    cert_expiration: datetime.datetime | None = None
    cert_busy: bool = False  # a renewal is on the board
    cert_failures: int = 0  # renewals that failed in a row
    cached_zone: str | None = None
    image_id: str | None = None
    compute_flavor: str | None = None
    member_ports: tuple[MemberPort, ...] | None = None  # as far as they are written down; None: by a release that did not
    applied_generation: int = 0  # the newest generation that this amphora confirmed
    confirmed_hash: str | None = None  # ... and the hash in its last receipt; None: not known
    first_heartbeat_at: datetime.datetime | None = None
    last_heartbeat_at: datetime.datetime | None = None
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None


PROVIDER_NAMES = ("amphora", "octavia")
"""What load balancers call the provider whose amphorae serve them; those of another one are its own matter."""

VRRP_PRIORITY = {Role.MASTER: 100, Role.BACKUP: 90, Role.STANDALONE: None}
VRRP_ROUTER_ID = 1
