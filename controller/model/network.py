"""What every cloud has: networks, subnets, ports and their addresses, and what may reach a VIP."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port, on one subnet."""

    subnet_id: str
    ip_address: str


@dataclasses.dataclass(frozen=True, slots=True)
class HostRoute:
    """A route that a subnet gives to its hosts."""

    destination: str
    nexthop: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A layer-2 network; `mtu` in bytes. Floating IPs are addresses of `external` ones.

    `port_security_enabled`: new ports on it send from their own addresses only, unless it is said otherwise of one.
    """

    id: str
    name: str
    mtu: int
    subnet_ids: tuple[str, ...] = ()
    project_id: str | None = None
    shared: bool = False
    external: bool = False
    port_security_enabled: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A range of addresses on a network; `is_automatic`: each port of the network has one of them, asked for or not (SLAAC, RFC 4862)."""

    id: str
    name: str
    network_id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None = None
    host_routes: tuple[HostRoute, ...] = ()
    project_id: str | None = None
    is_automatic: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the amphorae of a load balancer are told of networks. It is written down with it, so that a change of members asks nobody.

    Networks and subnets by id; a subnet that there is not any more is None. `floating`: what leads to the VIP; None: nobody has looked.
    """

    networks: Mapping[str, Network] = dataclasses.field(default_factory=dict)
    subnets: Mapping[str, Subnet | None] = dataclasses.field(default_factory=dict)
    floating: tuple[str, ...] | None = None

    def dump(self) -> dict[str, Any]:
        """As a document of JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, document: Mapping[str, Any] | None) -> Facts:
        """What a document of `dump` says, also of another release's; nothing of None."""
        written = document or {}
        subnets = {key: one and _known(Subnet, one | {"host_routes": _routes(one)}) for key, one in written.get("subnets", {}).items()}
        floating = written.get("floating")
        return cls(
            networks={key: _known(Network, one) for key, one in written.get("networks", {}).items()},
            subnets=subnets,
            floating=None if floating is None else tuple(floating),
        )


def essential_network(network: Network) -> Network:
    """The network as far as amphorae are told of it."""
    return Network(id=network.id, name="", mtu=network.mtu, external=network.external)


def essential_subnet(subnet: Subnet) -> Subnet:
    """The subnet as far as amphorae are told of it; routes in one order, for services have none."""
    routes = sorted(subnet.host_routes, key=lambda route: (route.destination, route.nexthop))
    return dataclasses.replace(subnet, name="", project_id=None, host_routes=tuple(routes))


def _known(noun: type[T], document: Mapping[str, Any]) -> T:
    named = {field.name for field in dataclasses.fields(noun)}  # type: ignore[arg-type]
    return noun(**{name: tuple(one) if isinstance(one, list) else one for name, one in document.items() if name in named})


def _routes(document: Mapping[str, Any]) -> tuple[HostRoute, ...]:
    return tuple(HostRoute(one["destination"], one["nexthop"]) for one in document.get("host_routes", ()))


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """Where a local compute driver plugs its end of a port: a bridge in a network namespace of this machine (None: the host's own)."""

    bridge: str
    namespace: str | None


NORMAL, DIRECT = "normal", "direct"
"""How a port is made (`vnic_type`): like most, or as a part of the host's network card (SR-IOV), which no security group guards."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port. `attachment` is None where the compute service finds the way by itself (Nova).

    `machine_id`: which machine of the compute service has it, empty if none has; None: it is nobody's to tell.
    `port_security_enabled`: groups guard it, and it sends from its own addresses, and those that are allowed beside, only.
    """

    id: str
    name: str
    network_id: str
    mac_address: str
    mtu: int
    fixed_ips: tuple[FixedIp, ...]
    device_id: str = ""
    device_owner: str = ""
    machine_id: str | None = None
    project_id: str | None = None
    attachment: Attachment | None = None
    qos_policy_id: str | None = None
    vnic_type: str = NORMAL
    port_security_enabled: bool = True

    def address_on(self, subnet_id: str | None = None) -> FixedIp:
        """Its address on this subnet, or else the first one of IPv4, or else the first.

        A network gives each port more than was asked for where a subnet has addresses that configure themselves (SLAAC), in any order.
        """
        return min(self.fixed_ips, key=lambda fixed: (fixed.subnet_id != subnet_id, ":" in fixed.ip_address))


@dataclasses.dataclass(frozen=True, slots=True)
class QosPolicy:
    """How much a port may send and receive."""

    id: str
    name: str
    project_id: str | None = None
    shared: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A tenant's group of rules that ports may bear."""

    id: str
    name: str
    project_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class WantedAddress:
    """A free address of a subnet, or this one, which gets the spelling that network services answer (RFC 5952)."""

    subnet_id: str
    ip_address: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ip_address", _in_one_spelling(self.ip_address))


@dataclasses.dataclass(frozen=True, slots=True)
class VipRequest:
    """What a tenant asked for; at least one of the first three is given. `additional` ones are on the same port.

    The address gets the spelling of RFC 5952.
    """

    port_id: str | None = None
    network_id: str | None = None
    subnet_id: str | None = None
    address: str | None = None
    qos_policy_id: str | None = None
    additional: tuple[WantedAddress, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _in_one_spelling(self.address))

    def addresses_from(self, subnet_id: str) -> list[tuple[str, str | None]]:
        """Subnet and wanted address of each VIP, where the first one's subnet has been found."""
        return [(subnet_id, self.address), *((one.subnet_id, one.ip_address) for one in self.additional)]


def _in_one_spelling(address: str | None) -> str | None:
    return None if address is None else str(ipaddress.ip_address(address))


@dataclasses.dataclass(frozen=True, slots=True)
class AccessRule:
    """Traffic that may reach a VIP. `protocol` is tcp, udp, sctp or vrrp; `port` is None for vrrp; `cidr` None means from anywhere.

    `between_amphorae`: what the halves of a pair tell each other. It may pass whatever security groups the VIP port bears.
    """

    protocol: str
    port: int | None
    cidr: str | None = None
    between_amphorae: bool = False
