"""The Networking API as one caller may use it: what they see, what they may change, and which function does it for which kind."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from controller import exceptions
from controller.embedded import attributes, networking, tenant_documents, tenant_groups, tenant_ports, tenant_routers, vip_groups
from controller.embedded.contents import Contents
from controller.embedded.inventory import Inventory
from controller.embedded.networking import Document
from controller.resources import kinds

_CHANGES = {
    networking.NETWORK: (tenant_ports.create_network, tenant_ports.update_network, tenant_ports.delete_network),
    networking.SUBNET: (tenant_ports.create_subnet, tenant_ports.update_subnet, tenant_ports.delete_subnet),
    networking.PORT: (tenant_ports.create_port, tenant_ports.update_port, tenant_ports.delete_port),
    networking.SECURITY_GROUP: (tenant_groups.create, tenant_groups.update, tenant_groups.delete),
    networking.SECURITY_GROUP_RULE: (tenant_groups.create_rule, None, tenant_groups.delete_rule),
    networking.ROUTER: (tenant_routers.create, tenant_routers.update, tenant_routers.delete),
    networking.FLOATING_IP: (tenant_routers.create_floating, tenant_routers.update_floating, tenant_routers.delete_floating),
}
"""What makes, changes and deletes a document of each kind."""
_REFERENCES = {
    "network_id": networking.NETWORK,
    "floating_network_id": networking.NETWORK,
    "subnet_id": networking.SUBNET,
    "port_id": networking.PORT,
    "security_group_id": networking.SECURITY_GROUP,
    "remote_group_id": networking.SECURITY_GROUP,
}
_PARENTS = {networking.SUBNET: "network_id", networking.SECURITY_GROUP_RULE: "security_group_id"}
"""Only who owns this may give it children."""


@dataclasses.dataclass(frozen=True, slots=True)
class Front:
    """`is_admin` sees and changes everything; everybody else has a project. `kind` is one of `networking.COLLECTIONS`.

    What a change raises, the kind's function in `_CHANGES` says.
    """

    inventory: Inventory
    project_id: str | None
    is_admin: bool

    # Who may see and change what

    def _visible(self, contents: Contents, kind: str, found: list[Document]) -> list[Document]:
        """What the caller may see: what is theirs, and what belongs to everybody."""
        if self.is_admin:
            return found
        common: set[str] = set()
        if kind == networking.SUBNET:
            networks = tenant_documents.documents(contents, networking.NETWORK)
            common = {one["id"] for one in self._visible(contents, networking.NETWORK, networks)}
        return [one for one in found if one["project_id"] == self.project_id or _is_common(kind, one, common)]

    def _shown(self, contents: Contents, kind: str, object_id: str) -> Document:
        """:raises NotFound: there is none, or none that the caller may see."""
        document = tenant_documents.document(contents, kind, object_id)
        if not self._visible(contents, kind, [document]):
            raise exceptions.NotFound(networking.NAMES[kind], object_id)
        return document

    def _own(self, contents: Contents, kind: str, object_id: str) -> Document:
        """:raises NotFound: there is none that the caller may see; :raises Forbidden: they may not change it."""
        document = self._shown(contents, kind, object_id)
        if not self.is_admin and document["project_id"] != self.project_id:
            raise exceptions.Forbidden
        return document

    def _check_references(self, contents: Contents, values: Mapping[str, Any], known: Collection[str | None] = ()) -> None:
        """:raises NotFound: something that is named, and is not `known`, does not exist for the caller."""
        if self.is_admin:
            return
        named = [(kind, values[name]) for name, kind in _REFERENCES.items() if values.get(name)]
        named += [(networking.SECURITY_GROUP, group_id) for group_id in values.get("security_groups") or ()]
        named += [(networking.SUBNET, one["subnet_id"]) for one in values.get("fixed_ips") or () if one.get("subnet_id")]
        gateway = values.get("external_gateway_info") or {}
        named += [(networking.NETWORK, gateway["network_id"])] if gateway.get("network_id") else []
        for kind, object_id in dict.fromkeys(one for one in named if one[1] not in known):
            self._shown(contents, kind, object_id)

    def _project(self, values: dict[str, Any]) -> str:
        """Whose a new object is to be.

        :raises InvalidRequest: nobody said it; :raises Forbidden: another's than the caller's, who is no administrator.
        """
        wanted = values.pop("tenant_id", None) or None
        wanted = values.pop("project_id", None) or wanted or self.project_id
        if not wanted:
            raise networking.NetworkInvalid("HTTPBadRequest", "Nobody said to which project this belongs: give a project_id.")
        if wanted != self.project_id and not self.is_admin:
            raise exceptions.Forbidden
        return str(wanted)

    # What they ask for

    def all(self, kind: str) -> list[Document]:
        """Oldest first; what belongs to the cloud itself (the management network) is left out."""
        if kind in (networking.SECURITY_GROUP, networking.SECURITY_GROUP_RULE) and self.project_id:
            self._ensure_default_group(self.project_id)
        with self.inventory.read() as contents:
            return self._visible(contents, kind, tenant_documents.documents(contents, kind))

    def _ensure_default_group(self, project_id: str) -> None:
        with self.inventory.read() as contents:
            if tenant_groups.default_of(contents, project_id) is not None:
                return
        with self.inventory.change() as contents:
            tenant_groups.ensure_default(contents, project_id)

    def shown(self, kind: str, object_id: str) -> Document:
        """:raises NotFound: there is none, or none that the caller may see."""
        with self.inventory.read() as contents:
            return self._shown(contents, kind, object_id)

    def create(self, kind: str, given: Any) -> Document:
        """:raises NetworkInvalid, Forbidden, NotFound, Conflict: as its attributes, the caller's rights and the network say."""
        values = attributes.parsed(kind, given, creating=True, is_admin=self.is_admin)
        values["project_id"] = self._project(values)
        with self.inventory.change() as contents:
            self._check_references(contents, values)
            if kind in _PARENTS:
                self._own(contents, _REFERENCES[_PARENTS[kind]], values[_PARENTS[kind]])
            return tenant_documents.document(contents, kind, _CHANGES[kind][0](contents, values))

    def update(self, kind: str, object_id: str, given: Any) -> Document:
        """:raises NetworkInvalid, Forbidden, NotFound, Conflict: as `create`."""
        with self.inventory.change() as contents:
            document = self._own(contents, kind, object_id)
            values = attributes.parsed(kind, given, creating=False, is_admin=self.is_admin)
            known: set[str | None] = set()
            if values.get("security_groups"):  # of the service a tenant may name that of the VIP, and those that the port has
                served = contents.plug(object_id).load_balancer_id
                known = {*document["security_groups"], vip_groups.group_id(served) if served else None}
            self._check_references(contents, values, known)
            return self._change(contents, kind, object_id, values)

    def _change(self, contents: Contents, kind: str, object_id: str, values: Mapping[str, Any]) -> Document:
        if (update := _CHANGES[kind][1]) is None:
            raise exceptions.InvalidRequest(f"A {kind} can't be changed.")
        update(contents, object_id, values)
        return tenant_documents.document(contents, kind, object_id)

    def delete(self, kind: str, object_id: str) -> None:
        """:raises Forbidden, NotFound, Conflict: as `create`."""
        with self.inventory.change() as contents:
            self._own(contents, kind, object_id)
            _CHANGES[kind][2](contents, object_id)

    def router_interface(self, router_id: str, given: Mapping[str, Any], *, add: bool) -> Document:
        """Give a router a leg on a subnet, with the gateway's address or with a port's, or take it away; what clients are answered.

        :raises NetworkInvalid, Forbidden, NotFound, Conflict: as `create`; there is no such leg, or a floating IP needs it.
        """
        values = {name: attributes.checked(kinds.uuid, name, given[name]) for name in ("subnet_id", "port_id") if given.get(name)}
        with self.inventory.change() as contents:
            self._own(contents, networking.ROUTER, router_id)
            if add:
                self._check_references(contents, values)
            change = tenant_routers.add_interface if add else tenant_routers.remove_interface
            return change(contents, router_id, values.get("subnet_id"), values.get("port_id"))

    def set_tags(self, kind: str, object_id: str, wanted: Any) -> list[str]:
        """Exactly these tags, from now on.

        :raises NetworkInvalid, Forbidden, NotFound: as `create`.
        """
        tags = sorted(set(attributes.checked(attributes.TAGS, "tags", wanted or [])))
        with self.inventory.change() as contents:
            self._own(contents, kind, object_id)
            self._change(contents, kind, object_id, {"tags": tags})
        return tags


def _is_common(kind: str, one: Document, networks: set[str]) -> bool:
    if kind == networking.NETWORK:
        return bool(one["shared"] or one["router:external"])
    if kind == networking.ROUTER:
        return not one["project_id"]
    return kind == networking.SUBNET and one["network_id"] in networks
