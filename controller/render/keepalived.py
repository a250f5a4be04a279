"""keepalived's part of a pair: which half answers for the VIP."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from controller import exceptions
from controller.model import load_balancer as model
from controller.model.amphora import VRRP_PRIORITY, VRRP_ROUTER_ID, Amphora
from controller.model.status import Role
from controller.render import haproxy, safe, templating
from controller.render.settings import Settings

VIP_INTERFACE = "eth1"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def vip_prefix(vip: str, prefixlen: int) -> int:
    """The prefix with which a VIP is put on an interface: its subnet's, and for IPv6 none but its own.

    With that, keepalived holds an IPv6 address as deprecated (keepalived.conf(5), `preferred_lft`): nothing that the amphora asks of
    others, a check of a member for one, is sent from it (RFC 6724, rule 3), and so no answer goes astray when the VIP moves.
    """
    return 128 if ipaddress.ip_address(vip).version == 6 else prefixlen


def vips(load_balancer: model.LoadBalancer, subnets: Sequence[Network]) -> tuple[str, ...]:
    """All addresses of the VIP with their prefixes; `subnets` are theirs."""
    words = f"VIP address of load balancer {load_balancer.id!r}"
    own = [safe.address(words, one.ip_address) for one in load_balancer.vip.addresses]
    return tuple(f"{vip}/{vip_prefix(vip, subnet.prefixlen)}" for vip, subnet in zip(own, subnets, strict=True))


def config(snapshot: model.Snapshot, amphora: Amphora, vip_subnets: Sequence[Network], settings: Settings) -> str:
    """The text for one amphora of a pair. Its instance is named by the load balancer's id without dashes.

    The first VIP alone is in what the halves tell each other: an instance speaks one version of IP, and so much fits into an advertisement
    whatever the number of VIPs (keepalived.conf(5), `virtual_ipaddress_excluded`). All of them move together.

    :raises UnsafeValue: a string can't be written into a configuration.
    """
    load_balancer = snapshot.load_balancer
    first, *others = vips(load_balancer, vip_subnets)
    priority = amphora.vrrp_priority or VRRP_PRIORITY.get(amphora.role or Role.STANDALONE)
    if priority is None:
        raise exceptions.InvalidRequest(f"Amphora {amphora.id} of a pair has neither a role in it nor a VRRP priority.")
    # One whose partner is lost speaks to itself, which nobody else hears: keepalived refuses to have no peer, and would use multicast,
    # in which it would meet others of this kind on its network.
    peers = [other for other in haproxy.paired(snapshot) if other.id != amphora.id] or [amphora]
    return templating.fill(
        "keepalived.conf.j2",
        name=safe.object_id("load balancer id", load_balancer.id).replace("-", ""),
        interface=VIP_INTERFACE,
        router_id=int(amphora.vrrp_id or VRRP_ROUTER_ID),
        priority=int(priority),
        advert_interval=f"{settings.vrrp_advert_interval:.2f}",
        garp_refresh_interval=int(settings.garp_refresh_interval),
        garp_refresh_count=int(settings.garp_refresh_count),
        source=safe.address(f"VRRP address of amphora {amphora.id!r}", amphora.vrrp_ip or ""),
        peers=[safe.address(f"VRRP address of amphora {other.id!r}", other.vrrp_ip or "") for other in peers],
        vip=first,
        other_vips=others,
    )
