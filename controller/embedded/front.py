"""The Networking API as one caller may use it: what they see, what they may change, and which call of `Tenants` answers."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from controller import exceptions
from controller.embedded import attributes, networking, tenants
from controller.embedded.networking import Document
from controller.resources import kinds

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
    """`is_admin` sees and changes everything; everybody else has a project."""

    network: tenants.Tenants
    project_id: str | None
    is_admin: bool

    # Who may see and change what

    def _visible(self, kind: str, found: list[Document]) -> list[Document]:
        """What the caller may see: what is theirs, and what belongs to everybody."""
        if self.is_admin:
            return found
        common: set[str] = set()
        if kind == networking.SUBNET:
            common = {one["id"] for one in self._visible(networking.NETWORK, self.network.documents(networking.NETWORK))}
        return [one for one in found if one["project_id"] == self.project_id or _is_common(kind, one, common)]

    def _own(self, kind: str, object_id: str) -> None:
        """:raises NotFound: there is none that the caller may see; :raises Forbidden: they may not change it."""
        document = self.shown(kind, object_id)
        if not self.is_admin and document["project_id"] != self.project_id:
            raise exceptions.Forbidden

    def _check_references(self, values: Mapping[str, Any], known: Collection[str | None] = ()) -> None:
        """:raises NotFound: something that is named, and is not `known`, does not exist for the caller."""
        if self.is_admin:
            return
        named = [(kind, values[name]) for name, kind in _REFERENCES.items() if values.get(name)]
        named += [(networking.SECURITY_GROUP, group_id) for group_id in values.get("security_groups") or ()]
        named += [(networking.SUBNET, one["subnet_id"]) for one in values.get("fixed_ips") or () if one.get("subnet_id")]
        gateway = values.get("external_gateway_info") or {}
        named += [(networking.NETWORK, gateway["network_id"])] if gateway.get("network_id") else []
        for kind, object_id in dict.fromkeys(one for one in named if one[1] not in known):
            self.shown(kind, object_id)

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
        if kind in (networking.SECURITY_GROUP, networking.SECURITY_GROUP_RULE) and self.project_id:
            self.network.ensure_default_group(self.project_id)
        return self._visible(kind, self.network.documents(kind))

    def shown(self, kind: str, object_id: str) -> Document:
        """:raises NotFound: there is none, or none that the caller may see."""
        document = self.network.document(kind, object_id)
        if not self._visible(kind, [document]):
            raise exceptions.NotFound(networking.NAMES[kind], object_id)
        return document

    def create(self, kind: str, given: Any) -> Document:
        """:raises NetworkInvalid, Forbidden, NotFound, Conflict: as its attributes, the caller's rights and the network say."""
        values = attributes.parsed(kind, given, creating=True, is_admin=self.is_admin)
        values["project_id"] = self._project(values)
        self._check_references(values)
        if kind in _PARENTS:
            self._own(_REFERENCES[_PARENTS[kind]], values[_PARENTS[kind]])
        return self.network.create(kind, values)

    def create_several(self, collection: str, kind: str, wanted: Any) -> list[Document]:
        """All of a list, or none: if one can't be made, those before it are taken away again.

        :raises NetworkInvalid: it is no list, or too long a one; and as `create`.
        """
        if not isinstance(wanted, list) or not wanted:
            raise networking.NetworkInvalid("HTTPBadRequest", f"'{collection}' is not a list of what is to be made.")
        attributes.no_more_than_most(collection, wanted)
        made: list[Document] = []
        try:
            for one in wanted:
                made.append(self.create(kind, one))
        except exceptions.ControllerError:
            for document in reversed(made):
                self.network.delete(kind, document["id"])
            raise
        return made

    def update(self, kind: str, object_id: str, given: Any) -> Document:
        """:raises NetworkInvalid, Forbidden, NotFound, Conflict: as `create`."""
        self._own(kind, object_id)
        values = attributes.parsed(kind, given, creating=False, is_admin=self.is_admin)
        known: set[str | None] = set()
        if values.get("security_groups"):  # of the service a tenant may name that of the VIP, and those that the port has
            known = {*self.network.document(networking.PORT, object_id)["security_groups"], self.network.service_group(object_id)}
        self._check_references(values, known)
        return self.network.update(kind, object_id, values)

    def delete(self, kind: str, object_id: str) -> None:
        """:raises Forbidden, NotFound, Conflict: as `create`."""
        self._own(kind, object_id)
        self.network.delete(kind, object_id)

    def router_interface(self, router_id: str, given: Mapping[str, Any], *, add: bool) -> Document:
        """Give a router a leg on a subnet, or take it away.

        :raises NetworkInvalid, Forbidden, NotFound, Conflict: as `create`.
        """
        self._own(networking.ROUTER, router_id)
        values = {name: attributes.checked(kinds.uuid, name, given[name]) for name in ("subnet_id", "port_id") if given.get(name)}
        if add:
            self._check_references(values)
        return self.network.router_interface(router_id, values.get("subnet_id"), values.get("port_id"), add=add)

    def set_tags(self, kind: str, object_id: str, wanted: Any) -> list[str]:
        """Exactly these tags, from now on.

        :raises NetworkInvalid, Forbidden, NotFound: as `create`.
        """
        self._own(kind, object_id)
        return self._tag(kind, object_id, attributes.checked(attributes.TAGS, "tags", wanted or []))

    def add_tag(self, kind: str, object_id: str, tag: str) -> None:
        """There already is fine. :raises NetworkInvalid, Forbidden, NotFound: as `create`."""
        self._own(kind, object_id)
        self._tag(kind, object_id, [*self.network.document(kind, object_id)["tags"], attributes.checked(attributes.TAG, "tag", tag)])

    def remove_tag(self, kind: str, object_id: str, tag: str) -> None:
        """:raises Forbidden, NotFound: as `create`, or it does not have the tag."""
        self._own(kind, object_id)
        present = self.network.document(kind, object_id)["tags"]
        if tag not in present:
            raise exceptions.NotFound("Tag", tag)
        self._tag(kind, object_id, [one for one in present if one != tag])

    def _tag(self, kind: str, object_id: str, wanted: Iterable[str]) -> list[str]:
        found: list[str] = self.network.update(kind, object_id, {"tags": sorted(set(wanted))})["tags"]
        return found


def _is_common(kind: str, one: Document, networks: set[str]) -> bool:
    if kind == networking.NETWORK:
        return bool(one["shared"] or one["router:external"])
    if kind == networking.ROUTER:
        return not one["project_id"]
    return kind == networking.SUBNET and one["network_id"] in networks
