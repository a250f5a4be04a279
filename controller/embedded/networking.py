"""What only a network of our own offers: the part of the Networking API that users of load balancers need.

Values are documents: mappings with the names and types of that API, for they are served as they are.
"""

from typing import Any

from controller import exceptions

Document = dict[str, Any]

NETWORK, SUBNET, PORT, ROUTER = "network", "subnet", "port", "router"
SECURITY_GROUP, SECURITY_GROUP_RULE, FLOATING_IP = "security_group", "security_group_rule", "floatingip"
COLLECTIONS = {
    "networks": NETWORK,
    "subnets": SUBNET,
    "ports": PORT,
    "routers": ROUTER,
    "security_groups": SECURITY_GROUP,
    "security_group_rules": SECURITY_GROUP_RULE,
    "floatingips": FLOATING_IP,
}
"""The kinds of documents, by the key under which lists of them are served."""
NAMES = {kind: "FloatingIP" if kind == FLOATING_IP else kind.title().replace("_", "") for kind in COLLECTIONS.values()}
"""What clients know kinds by from error types, which is what `NotFound.kind` says."""

EXTENSIONS = (
    "allowed-address-pairs",
    "binding",
    "external-net",
    "ext-gw-mode",
    "net-mtu",
    "pagination",
    "port-security",
    "project-id",
    "router",
    "security-group",
    "standard-attr-description",
    "standard-attr-tag",
    "standard-attr-timestamp",
)
"""Aliases of the Networking API's extensions that the embedded network answers."""

SERVICE_PROJECT = "6a1e0f3c5b7d4c2e9f80a1b2c3d4e5f6"
"""Whose the security groups `lb-<load balancer id>` are: the service's, and no tenant's."""


class _Typed(exceptions.ControllerError):
    """`type` is the name by which clients of the Networking API know the error."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(message)
        self.type = type_name


class NetworkConflict(_Typed, exceptions.Conflict):
    """The request contradicts what is there: it is in use, or exists already."""


class NetworkInvalid(_Typed, exceptions.InvalidRequest):
    """A request that makes no sense to the network."""
