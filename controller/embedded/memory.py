"""The embedded network without packets, in this process's memory: for whoever needs its Networking API alone."""

from __future__ import annotations

from oslo_config import cfg

from controller.embedded import inventory, local, tenant_routers

MANAGEMENT_NETWORK = "management"
TENANT_NETWORK = "private"
TENANT_SUBNET = "private-subnet"
PUBLIC_NETWORK = "public"


class MemoryNetwork(local.LocalNetwork):
    """Networks of a size that no test fills, and the router between the tenants' one and the public one."""

    def __init__(self) -> None:
        super().__init__(inventory.Inventory(":memory:", None), inventory.network_id(MANAGEMENT_NETWORK))
        with self._inventory.change() as contents:
            contents.add_network(MANAGEMENT_NETWORK, "br-mgmt", hidden=True)
            contents.add_subnet(MANAGEMENT_NETWORK, "management-subnet", "10.0.0.0/8")
            contents.add_network(TENANT_NETWORK, "br-private")
            contents.add_subnet(TENANT_NETWORK, TENANT_SUBNET, "172.16.0.0/12", "172.31.255.254")
            contents.add_network(PUBLIC_NETWORK, "br-public", external=True)
            contents.add_subnet(PUBLIC_NETWORK, "public-subnet", "203.0.113.0/24")
            public = {"network_id": inventory.network_id(PUBLIC_NETWORK)}
            made = tenant_routers.create(self, contents, {"name": "router1", "project_id": None, "external_gateway_info": public})
            tenant_routers.add_interface(self, contents, made, self.subnet_id, None)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> MemoryNetwork:
        """One for this process."""
        del conf
        return cls()

    @property
    def network_id(self) -> str:
        """The tenant network, `private`."""
        return inventory.network_id(TENANT_NETWORK)

    @property
    def subnet_id(self) -> str:
        """The subnet of `private`."""
        return inventory.subnet_id(TENANT_NETWORK, TENANT_SUBNET)
