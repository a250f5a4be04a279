"""Calls to Neutron: lists that come in pages, ports that are never made twice, and its refusals as errors of ours."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.drivers.network.neutron_shapes import PORT_FIELDS, Row
from controller.openstack import cloud, errors, lists

LOG = logging.getLogger(__name__)

_KINDS = {
    "NetworkNotFound": "Network",
    "SubnetNotFound": "Subnet",
    "PortNotFound": "Port",
    "SecurityGroupNotFound": "SecurityGroup",
    "QosPolicyNotFound": "QoS Policy",
}
_WORDS = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "security-groups": "security_group",
    "qos/policies": "policy",
}
"""What an answer calls one of a collection."""
IN_USE = frozenset({"IpAddressInUse", "IpAddressAlreadyAllocated"})
OUTSIDE = frozenset({"InvalidIpForSubnet", "InvalidIpForNetwork"})
FULL = frozenset({"IpAddressGenerationFailure", "IpAddressGenerationFailureNoMatchingSubnet", "ExternalIpAddressExhausted"})
BY_MAC = "AllocationOnAutoAddressSubnet"
"""A subnet makes the addresses of its ports of their MAC addresses (SLAAC), and takes none that is asked for."""
UNSECURED = frozenset({"PortSecurityAndIPRequiredForSecurityGroups", "AddressPairAndPortSecurityRequired"})
_TRIES = 2
_CHUNK = 50  # ids or names that one URL has: some 3 KB


class Neutron:
    """The network service, and the project that our own ports and groups belong to."""

    def __init__(self, asked: cloud.Cloud, deployment: str) -> None:
        self._cloud = asked
        self._deployment = deployment
        self.service = asked.service("network")

    @property
    def project_id(self) -> str:
        """The project of our own user, to which amphorae's ports belong."""
        return self._cloud.project_id

    @property
    def mark(self) -> str:
        """By which ports, also those in tenants' projects, and groups are known to be ours: other clouds' users may be called alike."""
        return f"{self._deployment} of {self.project_id}"

    def get(self, collection: str, object_id: str, kind: str, fields: Sequence[str] = ()) -> Any:
        """One object.

        :raises NotFound: there is none.
        """
        try:
            found = self.service.get(f"/{collection}/{object_id}", {"fields": list(fields)} if fields else None)
        except errors.Missing as error:
            raise exceptions.NotFound(kind, object_id) from error
        return found[_WORDS[collection]]

    def list(self, collection: str, fields: Sequence[str], **filters: str | Sequence[str]) -> list[Row]:
        """All objects that have these values: one of several, where several are given. Each row has its `id`, too."""
        return lists.whole(self.service, f"/{collection}", {"fields": list(dict.fromkeys((*fields, "id"))), **filters})

    def named(self, collection: str, names: Sequence[str], fields: Sequence[str], by: str = "id", **filters: str) -> Iterator[Row]:
        """The objects that exist of many ids, or of many values of another field."""
        for first in range(0, len(names), _CHUNK):
            yield from self.list(collection, fields, **{by: names[first : first + _CHUNK]}, **filters)

    def floating_ips(self, port_ids: Sequence[str]) -> Sequence[Row]:
        """The floating IPs that lead to these ports; none on a Neutron without routers, which has no such collection."""
        try:
            return list(self.named("floatingips", port_ids, ("port_id", "floating_ip_address"), by="port_id"))
        except errors.Missing:
            return ()

    def create_port(self, body: Mapping[str, Any]) -> tuple[Row, bool]:
        """Make a port with the name and the MAC address of this body; if it is there already, by whichever try, it is that one. In our
        project it may have been renamed since: its MAC address and its description tell that it is ours.

        Returns whether this very call made it, too.

        On a network without port security it has no groups and no address pairs.
        """
        body = dict(body)
        for attempt in range(1, 2 * _TRIES + 1):
            try:
                made: Row = self.service.post("/ports", {"port": body})["port"]
            except (errors.ServiceRefused, exceptions.Transient) as error:
                if found := self.port_like(body):
                    return found, False
                if getattr(error, "kind", "") in UNSECURED and body.get("port_security_enabled", True):
                    LOG.info("port %s gets no security groups: its network has no port security", body["name"])
                    body = {key: value for key, value in body.items() if key not in ("security_groups", "allowed_address_pairs")}
                    body["port_security_enabled"] = False
                elif getattr(error, "kind", "") == "MacAddressInUse" and "mac_address" in body:
                    if "project_id" not in body and (found := self.port_like(body, "mac_address", "description")):
                        return found, False
                    del body["mac_address"]  # somebody else has it, by an accident or on purpose
                elif not isinstance(error, exceptions.Transient) or attempt >= _TRIES:
                    raise
            else:
                return made, True
        raise AssertionError("the last try returns or raises")

    def port_like(self, body: Mapping[str, Any], *by: str) -> Row | None:
        """The port of this name, or whatever else it is to be known by, on this network, in the project that is to have it."""
        known = {key: body[key] for key in (*(by or ("name",)), "network_id")}
        found = self.list("ports", PORT_FIELDS, project_id=body.get("project_id", self.project_id), **known)
        return min(found, key=lambda row: str(row["id"]), default=None)

    def change_port(self, port_id: str, **values: Any) -> Row:
        """:raises NotFound: the port, or what is to be put on it, does not exist."""
        with ours(port_id):
            return self.put_port(port_id, values)

    def put_port(self, port_id: str, values: Mapping[str, Any]) -> Row:
        """Change a port; refusals are Neutron's."""
        changed: Row = self.service.put(f"/ports/{port_id}", {"port": dict(values)})["port"]
        return changed


class Read(Neutron):
    """Answers from what was read just now of some collections, and asks the service for others."""

    def __init__(self, asked: cloud.Cloud, deployment: str, rows: Mapping[str, Sequence[Row]]) -> None:
        super().__init__(asked, deployment)
        self._rows = rows

    def get(self, collection: str, object_id: str, kind: str, fields: Sequence[str] = ()) -> Any:
        if collection not in self._rows:
            return super().get(collection, object_id, kind, fields)
        for row in self._rows[collection]:
            if row["id"] == object_id:
                return row
        raise exceptions.NotFound(kind, object_id)

    def list(self, collection: str, fields: Sequence[str], **filters: str | Sequence[str]) -> list[Row]:
        if collection not in self._rows:
            return super().list(collection, fields, **filters)
        wanted = {name: (values,) if isinstance(values, str) else values for name, values in filters.items()}
        return [row for row in self._rows[collection] if all(row[name] in values for name, values in wanted.items())]


@contextlib.contextmanager
def ours(named: str = "", *, subnet_of: Callable[[], tuple[str, str]] | None = None, address: str | None = None) -> Iterator[None]:
    """Within it, a refusal of Neutron is raised as what it means; its words stay in the message.

    `subnet_of` tells the id and the range of the subnet that was to give an address, `address` the one that was asked for.
    """
    try:
        yield
    except errors.ServiceRefused as error:  # within another one, what that can't tell is told by this
        raise _translated(error, named, subnet_of or (lambda: ("", "")), address) from error


def _translated(
    error: errors.ServiceRefused, named: str, subnet_of: Callable[[], tuple[str, str]], address: str | None
) -> exceptions.ControllerError:
    if error.kind in _KINDS:
        return exceptions.NotFound(_KINDS[error.kind], _id_in(error.words) or named)
    if error.kind in IN_USE:
        return exceptions.AddressInUse(f"{error.words.rstrip('.')}; choose another one, or let the network choose.")
    if error.kind in OUTSIDE and address is not None:
        return exceptions.AddressNotOnSubnet(address, *subnet_of())
    if error.kind in FULL:
        return exceptions.SubnetFull(*subnet_of())
    if error.status == 400 or error.kind in UNSECURED:
        return exceptions.InvalidRequest(f"The network service refuses it: {error.words}")
    return error


def _id_in(words: str) -> str:
    """The first UUID of a sentence."""
    return next((word.strip(".,'\"") for word in words.split() if word.count("-") == 4), "")
