"""What the checks look at: the configuration, this host, and the cloud, each thing of it asked for once."""

from __future__ import annotations

import functools
import importlib.metadata
import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oslo_config import cfg

from controller.conf import health_manager
from controller.openstack import cloud as clouds
from controller.openstack import errors, lists

Document = Mapping[str, Any]


class Host:
    """This machine: what is installed, and how its kernel sees the networks. Nothing is sent."""

    def holds(self, address: str) -> bool:
        """Whether an address is one of this machine's."""
        with _datagrams(address) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
        return True

    def source(self, destination: str) -> str | None:
        """The address of ours from which packets to a destination would go; None: there is no route."""
        with _datagrams(destination) as probe:
            try:
                probe.connect((destination, 9))
            except OSError:
                return None
            return str(probe.getsockname()[0])

    def drivers(self, kind: str) -> set[str]:
        """The names of the drivers of a kind that are installed here."""
        return {one.name for one in importlib.metadata.entry_points(group=f"figlina.{kind}")}


class Site:
    """One configuration, and what is around it."""

    def __init__(self, conf: cfg.ConfigOpts, host: Host | None = None, ask: Callable[[cfg.ConfigOpts], clouds.Cloud] | None = None) -> None:
        self.conf = conf
        self.host = host or Host()
        self._ask = ask or clouds.Cloud.from_conf

    @functools.cached_property
    def cloud(self) -> clouds.Cloud:
        """:raises Misconfigured: it is not said as whom the cloud is asked."""
        return self._ask(self.conf)

    @property
    def compute(self) -> clouds.Service:
        """Nova, as the service user."""
        return self.cloud.service("compute")

    @property
    def network(self) -> clouds.Service:
        """Neutron, as the service user."""
        return self.cloud.service("network")

    @property
    def image_service(self) -> clouds.Service:
        """Glance, as the service user."""
        return self.cloud.service("image")

    @functools.cached_property
    def access(self) -> Any:
        """What Keystone says of us: user, project and roles, as keystoneauth's AccessInfo."""
        identity = self.cloud.service("identity")
        return identity.translated("who we are", lambda proxy: proxy.session.auth.get_access(proxy.session))

    @functools.cached_property
    def networks(self) -> Mapping[str, Document | None]:
        """The networks of `amp_boot_network_list`, with their subnets; None for one that isn't there."""
        return {name: self._network(name) for name in self.conf.controller_worker.amp_boot_network_list}

    @property
    def management_subnets(self) -> Sequence[Document]:
        """The subnets of the first network of the list, by which controllers and amphorae talk."""
        first = next(iter(self.networks.values()), None)
        return first["subnets"] if first else []

    @property
    def agent_subnets(self) -> Sequence[Document]:
        """Those of them on which agents listen: who has addresses of both versions of IP is spoken to by IPv4."""
        return [one for one in self.management_subnets if one["ip_version"] == 4] or self.management_subnets

    @functools.cached_property
    def groups(self) -> Mapping[str, Document | None]:
        """The security groups of `amp_secgroup_list`; None for one that isn't there."""
        return {name: self._maybe(f"/security-groups/{name}", "security_group") for name in self.conf.controller_worker.amp_secgroup_list}

    @functools.cached_property
    def flavor(self) -> Document | None:
        """That of `amp_flavor_id`."""
        name = self.conf.controller_worker.amp_flavor_id
        try:
            found: Document = self.compute.get(f"/flavors/{name}")["flavor"]
        except errors.Missing:
            return None
        return found

    @functools.cached_property
    def images(self) -> Sequence[Document]:
        """All with the tag that we see, whoever owns them; the newest first."""
        asked = {"tag": self.conf.controller_worker.amp_image_tag, "sort": "created_at:desc", "limit": 1000}
        return lists.whole(self.image_service, "/images", asked)

    @property
    def image(self) -> Document | None:
        """The newest one that amphorae would be booted from."""
        owner = self.conf.controller_worker.amp_image_owner_id
        return next((one for one in self.images if one["status"] == "active" and owner in (None, one["owner"])), None)

    @property
    def heartbeat_endpoints(self) -> Sequence[tuple[str, int]]:
        """:raises ValueError: one is not address:port."""
        return health_manager.endpoints(self.conf.health_manager.controller_ip_port_list)

    def controller_addresses(self) -> list[str]:
        """The addresses of this machine by which it reaches the management network."""
        return sorted({source for one in self.agent_subnets if (source := self.host.source(inside(one)))})

    def _network(self, name: str) -> Document | None:
        found = self._maybe(f"/networks/{name}", "network")
        return found and {**found, "subnets": self.network.get("/subnets", {"network_id": found["id"]})["subnets"]}

    def _maybe(self, path: str, word: str) -> Document | None:
        try:
            found: Document = self.network.get(path)[word]
        except errors.Missing:
            return None
        return found


def inside(subnet: Document) -> str:
    """An address of a subnet, to ask for the way to it."""
    pools = subnet.get("allocation_pools") or []
    return str(pools[0]["start"] if pools else ipaddress.ip_network(subnet["cidr"])[1])


def _datagrams(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
