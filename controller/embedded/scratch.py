"""The embedded network without packets, in a file that goes with the process: for whoever needs its Networking API alone."""

from __future__ import annotations

import pathlib
import tempfile

from oslo_config import cfg

from controller.embedded import network, tenant_routers
from controller.embedded.contents import network_id, subnet_id
from controller.embedded.inventory import Inventory


class ScratchNetwork(network.EmbeddedNetwork):
    """Networks of a size that no test fills, and the router between the tenants' one and the public one."""

    network_id = network_id("private")
    subnet_id = subnet_id("private", "private-subnet")

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="figlina-network-")
        super().__init__(Inventory(pathlib.Path(self._folder.name) / "network.db"), network_id("management"))
        with self.inventory.change() as contents:
            contents.add_network("management", "br-mgmt", hidden=True)
            contents.add_subnet("management", "management-subnet", "10.0.0.0/8")
            contents.add_network("private", "br-private")
            contents.add_subnet("private", "private-subnet", "172.16.0.0/12", "172.31.255.254")
            contents.add_network("public", "br-public", external=True)
            contents.add_subnet("public", "public-subnet", "203.0.113.0/24")
            public = {"network_id": network_id("public")}
            made = tenant_routers.create(contents, {"name": "router1", "project_id": None, "external_gateway_info": public})
            tenant_routers.add_interface(contents, made, self.subnet_id, None)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> ScratchNetwork:
        """A network that lives as long as this process."""
        return cls()
