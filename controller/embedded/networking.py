"""What only a network of our own offers: the part of the Networking API that users of load balancers need.

Values are documents: mappings with the names and types of that API, for they are served as they are.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from controller import exceptions

Document = dict[str, Any]

NETWORK, SUBNET, PORT, ROUTER = "network", "subnet", "port", "router"
SECURITY_GROUP, SECURITY_GROUP_RULE, FLOATING_IP = "security_group", "security_group_rule", "floatingip"
SUBNET_POOL = "subnetpool"
COLLECTIONS = {
    "networks": NETWORK,
    "subnets": SUBNET,
    "subnetpools": SUBNET_POOL,
    "ports": PORT,
    "routers": ROUTER,
    "security_groups": SECURITY_GROUP,
    "security_group_rules": SECURITY_GROUP_RULE,
    "floatingips": FLOATING_IP,
}
"""The kinds of documents, by the key under which lists of them are served."""
_NAMES = {FLOATING_IP: "FloatingIP", SUBNET_POOL: "SubnetPool"}
NAMES = {kind: _NAMES.get(kind, kind.title().replace("_", "")) for kind in COLLECTIONS.values()}
"""What clients know kinds by from error types, which is what `NotFound.kind` says."""

EXTENSIONS = (
    "allowed-address-pairs",
    "binding",
    "default-subnetpools",
    "external-net",
    "ext-gw-mode",
    "net-mtu",
    "pagination",
    "port-security",
    "project-id",
    "router",
    "security-group",
    "sorting",
    "standard-attr-description",
    "standard-attr-tag",
    "standard-attr-timestamp",
    "subnet_allocation",
)
"""Aliases of the Networking API's extensions that the embedded network answers."""

SERVICE_PROJECT = "6a1e0f3c5b7d4c2e9f80a1b2c3d4e5f6"
"""Whose the security groups `lb-<load balancer id>` are: the service's, and no tenant's."""


class NetworkConflict(exceptions.Conflict):
    """Something is in use, or there already. `type` is the name by which clients of the Networking API know the error."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(message)
        self.type = type_name


class NetworkInvalid(exceptions.InvalidRequest):
    """A request that makes no sense to the network. `type` is the name by which clients of the Networking API know the error."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(message)
        self.type = type_name


class TenantNetworking(abc.ABC):
    """Documents of tenants, with effect. Whether a caller may see or change one is asked elsewhere; `kind` is one of `COLLECTIONS`."""

    @abc.abstractmethod
    def documents(self, kind: str) -> list[Document]:
        """All of a kind, oldest first; what belongs to the cloud itself (the management network) is left out."""

    @abc.abstractmethod
    def document(self, kind: str, object_id: str) -> Document:
        """:raises NotFound: there is none."""

    @abc.abstractmethod
    def ensure_default_group(self, project_id: str) -> None:
        """The security group `default` of a project: its members talk to each other, and to everybody else first."""

    @abc.abstractmethod
    def service_group(self, port_id: str) -> str | None:
        """The group of the service's own that admits listeners' traffic to a VIP port; None for other ports."""

    @abc.abstractmethod
    def create(self, kind: str, values: Mapping[str, Any]) -> Document:
        """Make one. `values` are whole: every attribute that may be given, with its default where it was not.

        :raises NotFound: something named does not exist; :raises NetworkConflict, Conflict: it can't be beside what exists;
        :raises NetworkInvalid, InvalidRequest: it makes no sense.
        """

    @abc.abstractmethod
    def update(self, kind: str, object_id: str, values: Mapping[str, Any]) -> Document:
        """Change what is given.

        :raises NotFound, NetworkConflict, NetworkInvalid: as `create`.
        """

    @abc.abstractmethod
    def delete(self, kind: str, object_id: str) -> None:
        """:raises NotFound: there is none; :raises NetworkConflict: it is in use."""

    @abc.abstractmethod
    def add_router_interface(self, router_id: str, subnet_id: str | None, port_id: str | None) -> Document:
        """Give a router a leg on a subnet, with the gateway's address, or with a port's. Returns what clients are answered.

        :raises NotFound, NetworkConflict, NetworkInvalid: as `create`.
        """

    @abc.abstractmethod
    def remove_router_interface(self, router_id: str, subnet_id: str | None, port_id: str | None) -> Document:
        """Take a leg away.

        :raises NotFound: there is none; :raises NetworkConflict: a floating IP needs it.
        """
