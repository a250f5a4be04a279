"""The embedded network: Linux bridges in a network namespace of ours, addresses from an inventory of ours, a packet filter per port."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import pathlib
from collections.abc import Iterator, Sequence

from oslo_config import cfg

from controller.embedded import filter_audit, filter_parts, inventory, linux, local, marks, packet_filter, router_namespaces, tenant_routers
from controller.embedded.inventory import Contents
from controller.model.network import Network, Port

LOG = logging.getLogger(__name__)

MANAGEMENT_NETWORK = "management"
TENANT_NETWORK = "private"
TENANT_SUBNET = "private-subnet"
PUBLIC_NETWORK = "public"
PUBLIC_SUBNET = "public-subnet"
ROUTER = "router1"
_BRIDGES = {MANAGEMENT_NETWORK: "br-mgmt", TENANT_NETWORK: "br-private", PUBLIC_NETWORK: "br-public"}


class BridgeNetwork(local.LocalNetwork):
    """A network is a bridge in the namespace `<prefix>-net`; nothing exists outside of it but the far ends of cables."""

    def __init__(
        self,
        *,
        state_path: pathlib.Path,
        namespace_prefix: str,
        management_cidr: str,
        private_cidr: str,
        public_cidr: str | None = None,
        port_security: bool = True,
        host: linux.Host | None = None,
    ) -> None:
        """With `public_cidr` there is an external network, and a router between it and the tenants' network."""
        self.namespace = f"{namespace_prefix}-net"
        self._prefix = namespace_prefix
        super().__init__(inventory.Inventory(state_path / "network.db", self.namespace), inventory.network_id(MANAGEMENT_NETWORK))
        self._cidrs = {MANAGEMENT_NETWORK: management_cidr, TENANT_NETWORK: private_cidr}
        self._public_cidr = public_cidr
        self._port_security = port_security
        self._host = host or linux.Host()
        self._marks = marks.Marks(state_path, self._settle)
        self._inventory.guard = self._marks.guard

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> BridgeNetwork:
        """As `[embedded]` says."""
        return cls(
            state_path=pathlib.Path(conf.embedded.state_path),
            namespace_prefix=conf.embedded.namespace_prefix,
            management_cidr=conf.embedded.management_cidr,
            private_cidr=conf.embedded.private_cidr,
            public_cidr=conf.embedded.public_cidr or None,
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
            gateway = str(ipaddress.ip_network(self._cidrs[TENANT_NETWORK])[1]) if self._public_cidr else None
            contents.add_subnet(TENANT_NETWORK, TENANT_SUBNET, self._cidrs[TENANT_NETWORK], gateway)
            if self._public_cidr:
                contents.add_network(PUBLIC_NETWORK, _BRIDGES[PUBLIC_NETWORK], external=True)
                contents.add_subnet(PUBLIC_NETWORK, PUBLIC_SUBNET, self._public_cidr)
            bridges = contents.bridges()
        linux.ensure_namespace(self._host, self.namespace)
        # Bridges here have no addresses, so IPv6 on them would only make noise.
        self._host.inside(self.namespace, ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"])
        present = self._host.run(["ip", "-n", self.namespace, "-brief", "link", "show", "type", "bridge"]).split()
        lines = [_bridge_line(name) for name in bridges if name not in present]
        self._host.ip_batch(self.namespace, [*lines, *(f"link set {name} up" for name in bridges)])
        self.rebuild_filter()
        self._install_routers()

    def _install_routers(self) -> None:
        with self._inventory.change() as contents:
            known = [router_id for (router_id,) in contents.db.execute("SELECT id FROM routers")]
            for router_id in known:
                self.router_changed(contents, router_id)
            if not self._public_cidr or self.router_id in known:
                return
            public = {"network_id": inventory.network_id(PUBLIC_NETWORK)}
            tenant_routers.create(self, contents, {"name": ROUTER, "project_id": None, "external_gateway_info": public}, self.router_id)
            private_subnet = inventory.subnet_id(TENANT_NETWORK, TENANT_SUBNET)
            tenant_routers.add_interface(self, contents, self.router_id, private_subnet, None)

    def remove(self) -> None:
        """Take the namespaces away, and everything in them; gone already is fine. The inventory stays."""
        for namespace in linux.namespaces(f"{self._prefix}-router"):
            linux.delete_namespace(self._host, namespace)
        linux.delete_namespace(self._host, self.namespace)

    @property
    def router_id(self) -> str:
        """The router that is there from the beginning."""
        return inventory.network_id(f"router/{ROUTER}")

    def _router_namespace(self, router_id: str) -> str:
        return f"{self._prefix}-router" if router_id == self.router_id else f"{self._prefix}-router-{router_id[:8]}"

    def network_named(self, name: str) -> Network:
        """:raises NotFound: no such network."""
        return self.get_network(inventory.network_id(name))

    def address_with_prefix(self, port: Port) -> str:
        """A port's first address in CIDR notation, as an interface takes it."""
        fixed = port.fixed_ips[0]
        return f"{fixed.ip_address}/{ipaddress.ip_network(self.get_subnet(fixed.subnet_id).cidr).prefixlen}"

    # Tenants' networks and routers

    def network_made(self, bridge: str) -> None:
        self._host.ip_batch(self.namespace, [_bridge_line(bridge), f"link set {bridge} up"])

    def network_gone(self, bridge: str) -> None:
        linux.delete_link(self._host, self.namespace, bridge)

    def router_changed(self, contents: Contents, router_id: str) -> None:
        self._marks.mark()
        router_namespaces.bring_to(
            self._host, self.namespace, self._router_namespace(router_id), router_namespaces.wanted(contents, router_id)
        )

    def router_gone(self, router_id: str) -> None:
        linux.delete_namespace(self._host, self._router_namespace(router_id))

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
                self._host.inside(self.namespace, ["nft", "delete", "table", "bridge", packet_filter.TABLE])
            return
        self._host.inside(self.namespace, ["nft", "-f", "-"], packet_filter.whole_script(contents))

    def mend_filter(self) -> frozenset[str]:
        if not self._port_security or not linux.namespace_exists(self.namespace):
            return frozenset()
        with self._inventory.read() as contents:
            if not self._lost_by_filter(contents):
                return frozenset()
        with self._inventory.change() as contents:  # once more, while nobody changes the one or the other
            lost = self._lost_by_filter(contents)
            if lost:
                LOG.warning("The packet filter of %s lost %s: it is built anew", self.namespace, ", ".join(sorted(lost)[:20]))
                self._rebuild(contents)
            return filter_audit.whose(contents, lost)

    def _lost_by_filter(self, contents: Contents) -> set[str]:
        return filter_audit.lost(filter_audit.wanted(self._host, contents), filter_audit.present(self._host, self.namespace))

    def _settle(self, contents: Contents) -> None:
        """Make the kernel say what the inventory says, after a change that was broken off; not up is fine."""
        if not linux.namespace_exists(self.namespace):
            return
        LOG.warning("A change of the network %s was broken off: its filter and its routers are built anew", self.namespace)
        self._rebuild(contents)
        for (router_id,) in contents.db.execute("SELECT id FROM routers").fetchall():
            router_namespaces.bring_to(
                self._host, self.namespace, self._router_namespace(router_id), router_namespaces.wanted(contents, router_id)
            )

    def _apply(self, contents: Contents, script: str) -> None:
        """Called within the inventory's transaction, so that kernel and inventory change in the same order."""
        if not self._port_security or not script:
            return
        self._marks.mark()
        try:
            self._host.inside(self.namespace, ["nft", "-f", "-"], script)
        except linux.CommandFailed as exc:
            if not linux.namespace_exists(self.namespace):
                raise
            LOG.warning("The packet filter of %s is not as it was left, building it anew: %s", self.namespace, exc)
            self._rebuild(contents)

    def made(self, contents: Contents, port: Port) -> None:
        self._apply(contents, packet_filter.port_script(contents, port))

    def unplug(self, ports: Sequence[Port]) -> None:
        # Before its filter goes: the machine that has it may still run.
        linux.cut_cables(self._host, self.namespace, [port.id for port in ports])

    @contextlib.contextmanager
    def changing(self, contents: Contents, port_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Iterator[None]:
        before = self._parts(contents, port_ids, group_ids)
        yield
        after = self._parts(contents, port_ids, group_ids)
        still = {element for element in before.elements - after.elements if _is_member(contents, element)}
        after = dataclasses.replace(after, elements=after.elements | still)
        self._apply(contents, filter_parts.script(packet_filter.TABLE, before, after))

    def _parts(self, contents: Contents, port_ids: Sequence[str], group_ids: Sequence[str]) -> filter_parts.Part:
        parts = [filter_parts.group_part(contents, group_id) for group_id in group_ids]
        return filter_parts.together([*parts, *(packet_filter.port_part(contents, port_id) for port_id in port_ids)])


def _bridge_line(name: str) -> str:
    return f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"


def _is_member(contents: Contents, element: filter_parts.Element) -> bool:
    """Whether another port still has the address that this one loses, as a member of the same group."""
    group_id = filter_parts.group_of_set(element[0])
    return group_id is not None and contents.is_member(group_id, element[1])
