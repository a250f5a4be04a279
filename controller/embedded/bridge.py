"""The embedded network on this machine: an inventory in a file, and bridges that follow it."""

from __future__ import annotations

import ipaddress
import pathlib

from oslo_config import cfg

from controller.embedded import linux, network, tables, tenant_routers
from controller.embedded.bridges import Bridges
from controller.embedded.contents import network_id, subnet_id
from controller.embedded.inventory import Inventory
from controller.model.network import Network, Port

MANAGEMENT_NETWORK = "management"
TENANT_NETWORK = "private"
TENANT_SUBNET = "private-subnet"
PUBLIC_NETWORK = "public"
PUBLIC_SUBNET = "public-subnet"
ROUTER = "router1"
_BRIDGES = {MANAGEMENT_NETWORK: "br-mgmt", TENANT_NETWORK: "br-private", PUBLIC_NETWORK: "br-public"}


class BridgeNetwork(network.EmbeddedNetwork):
    """Networks for amphorae and for tenants, and, with `public_cidr`, an external network and a router that leads there."""

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
        self.router_id = network_id(f"router/{ROUTER}")
        self._bridges = Bridges(state_path, namespace_prefix, self.router_id, port_security, host or linux.Host())
        self.namespace = self._bridges.namespace
        super().__init__(Inventory(state_path / "network.db", self._bridges), network_id(MANAGEMENT_NETWORK))
        self._cidrs = {MANAGEMENT_NETWORK: management_cidr, TENANT_NETWORK: private_cidr}
        self._public_cidr = public_cidr

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> BridgeNetwork:
        return cls(
            state_path=pathlib.Path(conf.embedded.state_path),
            namespace_prefix=conf.embedded.namespace_prefix,
            management_cidr=conf.embedded.management_cidr,
            private_cidr=conf.embedded.private_cidr,
            public_cidr=conf.embedded.public_cidr or None,
            port_security=conf.embedded.port_security,
        )

    def install(self) -> None:
        """Make the namespace, the bridges, the networks, the filter and the routers, whatever of them is there already.

        :raises CommandFailed: the machine can't do it, with its words.
        """
        with self.inventory.change() as contents:
            contents.add_network(MANAGEMENT_NETWORK, _BRIDGES[MANAGEMENT_NETWORK], hidden=True)
            contents.add_subnet(MANAGEMENT_NETWORK, "management-subnet", self._cidrs[MANAGEMENT_NETWORK])
            contents.add_network(TENANT_NETWORK, _BRIDGES[TENANT_NETWORK])
            gateway = str(ipaddress.ip_network(self._cidrs[TENANT_NETWORK])[1]) if self._public_cidr else None
            contents.add_subnet(TENANT_NETWORK, TENANT_SUBNET, self._cidrs[TENANT_NETWORK], gateway)
            if self._public_cidr:
                contents.add_network(PUBLIC_NETWORK, _BRIDGES[PUBLIC_NETWORK], external=True)
                contents.add_subnet(PUBLIC_NETWORK, PUBLIC_SUBNET, self._public_cidr)
            bridges = contents.bridges()
        self._bridges.install(bridges)
        self.rebuild_filter()
        with self.inventory.change() as contents:
            known = [router.id for router in contents.rows.all(tables.routers)]
            for router_id in known:
                self._bridges.router_changed(contents, router_id)
            if self._public_cidr and self.router_id not in known:
                public = {"network_id": network_id(PUBLIC_NETWORK)}
                tenant_routers.create(contents, {"name": ROUTER, "project_id": None, "external_gateway_info": public}, self.router_id)
                tenant_routers.add_interface(contents, self.router_id, subnet_id(TENANT_NETWORK, TENANT_SUBNET), None)

    def remove(self) -> None:
        """Take the namespaces away, and everything in them; gone already is fine. The inventory stays."""
        self._bridges.remove()

    def network_named(self, name: str) -> Network:
        """:raises NotFound: no such network."""
        return self.get_network(network_id(name))

    def address_with_prefix(self, port: Port) -> str:
        """A port's first address in CIDR notation, as an interface takes it."""
        fixed = port.fixed_ips[0]
        return f"{fixed.ip_address}/{ipaddress.ip_network(self.get_subnet(fixed.subnet_id).cidr).prefixlen}"

    def rebuild_filter(self) -> None:
        """Make the filter say what the inventory says.

        :raises CommandFailed: with the words of nft.
        """
        with self.inventory.change() as contents:
            self._bridges.rebuild(contents)

    def lost_by_filter(self) -> set[str]:
        """What the kernel's filter has lost, see `Bridges.lost`."""
        with self.inventory.read() as contents:
            return self._bridges.lost(contents)

    def mend_filter(self) -> frozenset[str]:
        if not self.lost_by_filter():
            return frozenset()
        with self.inventory.change() as contents:  # once more, while nobody changes the one or the other
            return self._bridges.mend(contents)
