"""The embedded network: Linux bridges in a network namespace of ours, addresses from an inventory of ours, a packet filter per port."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import pathlib
from collections.abc import Iterator, Sequence

from oslo_config import cfg

from controller.drivers import linux
from controller.drivers.network import bridge_filter, bridge_groups, bridge_inventory, interface, local
from controller.drivers.network.bridge_inventory import Contents

LOG = logging.getLogger(__name__)

MANAGEMENT_NETWORK = "management"
TENANT_NETWORK = "private"
TENANT_SUBNET = "private-subnet"
_BRIDGES = {MANAGEMENT_NETWORK: "br-mgmt", TENANT_NETWORK: "br-private"}


class BridgeNetwork(local.LocalNetwork):
    """A network is a bridge in the namespace `<prefix>-net`; nothing exists outside of it but the far ends of cables."""

    def __init__(
        self,
        *,
        state_path: pathlib.Path,
        namespace_prefix: str,
        management_cidr: str,
        private_cidr: str,
        port_security: bool = True,
        host: linux.Host | None = None,
    ) -> None:
        self.namespace = f"{namespace_prefix}-net"
        super().__init__(
            bridge_inventory.Inventory(state_path / "network.db", self.namespace), bridge_inventory.network_id(MANAGEMENT_NETWORK)
        )
        self._cidrs = {MANAGEMENT_NETWORK: management_cidr, TENANT_NETWORK: private_cidr}
        self._port_security = port_security
        self._host = host or linux.Host()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> BridgeNetwork:
        """As `[embedded]` says."""
        return cls(
            state_path=pathlib.Path(conf.embedded.state_path),
            namespace_prefix=conf.embedded.namespace_prefix,
            management_cidr=conf.embedded.management_cidr,
            private_cidr=conf.embedded.private_cidr,
            port_security=conf.embedded.port_security,
        )

    # The ground

    def install(self) -> None:
        """Make the namespace, the bridges, the two networks and the filter, whatever of them is there already.

        :raises CommandFailed: the machine can't do it, with its words.
        """
        with self._inventory.change() as contents:
            contents.add_network(MANAGEMENT_NETWORK, _BRIDGES[MANAGEMENT_NETWORK], hidden=True)
            contents.add_subnet(MANAGEMENT_NETWORK, "management-subnet", self._cidrs[MANAGEMENT_NETWORK])
            contents.add_network(TENANT_NETWORK, _BRIDGES[TENANT_NETWORK])
            contents.add_subnet(TENANT_NETWORK, TENANT_SUBNET, self._cidrs[TENANT_NETWORK])
            bridges = contents.bridges()
        linux.ensure_namespace(self._host, self.namespace)
        # Bridges here have no addresses, so IPv6 on them would only make noise.
        self._host.inside(self.namespace, ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"])
        present = self._host.run(["ip", "-n", self.namespace, "-brief", "link", "show", "type", "bridge"]).split()
        lines = [f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0" for name in bridges if name not in present]
        self._host.ip_batch(self.namespace, [*lines, *(f"link set {name} up" for name in bridges)])
        self.rebuild_filter()

    def remove(self) -> None:
        """Take the namespace away, and everything in it; gone already is fine. The inventory stays."""
        linux.delete_namespace(self._host, self.namespace)

    def network_named(self, name: str) -> interface.Network:
        """:raises NotFound: no such network."""
        return self.get_network(bridge_inventory.network_id(name))

    def address_with_prefix(self, port: interface.Port) -> str:
        """A port's first address in CIDR notation, as an interface takes it."""
        fixed = port.fixed_ips[0]
        return f"{fixed.ip_address}/{ipaddress.ip_network(self.get_subnet(fixed.subnet_id).cidr).prefixlen}"

    # The filter

    def rebuild_filter(self) -> None:
        """Make the filter say what the inventory says, in one transaction of the kernel.

        :raises CommandFailed: with the words of nft.
        """
        with self._inventory.change() as contents:
            self._rebuild(contents)

    def _rebuild(self, contents: Contents) -> None:
        if not self._port_security:
            with contextlib.suppress(linux.CommandFailed):  # a kernel that knows no such filter has none that could be in the way
                self._host.inside(self.namespace, ["nft", "delete", "table", "bridge", bridge_filter.TABLE])
            return
        self._host.inside(self.namespace, ["nft", "-f", "-"], bridge_filter.whole_script(contents))

    def _apply(self, contents: Contents, script: str) -> None:
        """Called within the inventory's transaction, so that kernel and inventory change in the same order."""
        if not self._port_security or not script:
            return
        try:
            self._host.inside(self.namespace, ["nft", "-f", "-"], script)
        except linux.CommandFailed as exc:
            if not linux.namespace_exists(self.namespace):
                raise
            LOG.warning("The packet filter of %s is not as it was left, building it anew: %s", self.namespace, exc)
            self._rebuild(contents)

    def _made(self, contents: Contents, port: interface.Port) -> None:
        self._apply(contents, bridge_filter.port_script(contents, port))

    def _unplug(self, ports: Sequence[interface.Port]) -> None:
        # Before its filter goes: the machine that has it may still run.
        linux.cut_cables(self._host, self.namespace, [port.id for port in ports])

    @contextlib.contextmanager
    def _changing(self, contents: Contents, port_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Iterator[None]:
        before = self._parts(contents, port_ids, group_ids)
        yield
        after = self._parts(contents, port_ids, group_ids)
        still = {element for element in before.elements - after.elements if _is_member(contents, element)}
        after = dataclasses.replace(after, elements=after.elements | still)
        self._apply(contents, bridge_groups.script(bridge_filter.TABLE, before, after))

    def _parts(self, contents: Contents, port_ids: Sequence[str], group_ids: Sequence[str]) -> bridge_groups.Part:
        parts = [bridge_groups.group_part(contents, group_id) for group_id in group_ids]
        return bridge_groups.together([*parts, *(bridge_filter.port_part(contents, port_id) for port_id in port_ids)])

    def _access_changed(self, contents: Contents, load_balancer_id: str, rules: frozenset[interface.AccessRule]) -> None:
        ports = contents.ports_of_load_balancer(load_balancer_id, local.VRRP)
        lines = [line for port in ports for line in bridge_filter.access_lines(contents, port, rules)]
        self._apply(contents, "\n".join(lines) + "\n" if lines else "")


def _is_member(contents: Contents, element: bridge_groups.Element) -> bool:
    """Whether another port still has the address that this one loses, as a member of the same group."""
    group_id = bridge_groups.group_of_set(element[0])
    return group_id is not None and contents.is_member(group_id, element[1])
