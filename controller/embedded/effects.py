"""What a change of the inventory does to packets. The defaults do nothing: the fake network has no packets.

Everything here is called within the inventory's transaction: an error undoes the change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from controller.embedded.inventory import Contents
from controller.model.network import Port


class Effects:
    """Hooks of the books, for a driver that has packets."""

    def made(self, contents: Contents, port: Port) -> None:
        """A port was made, or got another address."""

    def unplug(self, ports: Sequence[Port]) -> None:
        """Ports are about to be deleted: no machine is to go on using them."""

    @contextlib.contextmanager
    def changing(self, contents: Contents, port_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Iterator[None]:
        """What is known of these ports and security groups changes in the block; ports and groups may be new, or gone after it."""
        del contents, port_ids, group_ids
        yield

    def network_made(self, bridge: str) -> None:
        """There is a new network."""

    def network_gone(self, bridge: str) -> None:
        """A network without ports was deleted."""

    def router_changed(self, contents: Contents, router_id: str) -> None:
        """A router's legs or floating IPs changed, or the router is new."""

    def router_gone(self, router_id: str) -> None:
        """A router without legs was deleted."""


def release_floating_ips(effects: Effects, contents: Contents, port_ids: Sequence[str]) -> None:
    """Ports that go take no floating IPs with them: those are free again."""
    routers = set()
    for port_id in port_ids:
        query = "UPDATE floating_ips SET port_id = NULL, fixed_address = NULL, router_id = NULL WHERE port_id = ?"
        routers |= {found for (found,) in contents.db.execute("SELECT router_id FROM floating_ips WHERE port_id = ?", (port_id,))}
        contents.db.execute(query, (port_id,))
    for router_id in sorted(found for found in routers if found):
        effects.router_changed(contents, router_id)


def delete_ports(effects: Effects, contents: Contents, ports: Sequence[Port]) -> None:
    """Delete ports, with everything that hangs on them."""
    effects.unplug(ports)
    release_floating_ips(effects, contents, [port.id for port in ports])
    with effects.changing(contents, [port.id for port in ports]):
        for port in ports:
            contents.delete_port(port.id)


def set_groups_of_vip(effects: Effects, contents: Contents, load_balancer_id: str, vip_port_id: str, group_ids: Sequence[str]) -> None:
    """Put groups on a VIP port, and on the ports that carry its address.

    :raises NotFound: a group does not exist.
    """
    carriers = [port.id for port in contents.ports_of_load_balancer(load_balancer_id, "vrrp")]
    with effects.changing(contents, [vip_port_id, *carriers]):
        contents.set_groups(vip_port_id, group_ids)
        effective = contents.groups_of_vips(load_balancer_id)
        for port_id in carriers:
            contents.set_groups(port_id, effective)
