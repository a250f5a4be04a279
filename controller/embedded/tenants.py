"""The Networking API's nouns over an inventory: which function makes, changes and deletes which kind."""

from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.embedded import networking, tables, tenant_documents, tenant_groups, tenant_ports, tenant_routers, vip_groups
from controller.embedded.inventory import Inventory
from controller.embedded.networking import Document

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


class Tenants:
    """Documents of tenants, with effect. Whether a caller may see or change one is asked elsewhere; `kind` is one of `COLLECTIONS`."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def documents(self, kind: str) -> list[Document]:
        """All of a kind, oldest first; what belongs to the cloud itself (the management network) is left out."""
        with self._inventory.read() as contents:
            return tenant_documents.documents(contents, kind)

    def document(self, kind: str, object_id: str) -> Document:
        """:raises NotFound: there is none."""
        with self._inventory.read() as contents:
            return tenant_documents.document(contents, kind, object_id)

    def ensure_default_group(self, project_id: str) -> None:
        with self._inventory.read() as contents:
            if tenant_groups.default_of(contents, project_id) is not None:
                return
        with self._inventory.change() as contents:
            tenant_groups.ensure_default(contents, project_id)

    def service_group(self, port_id: str) -> str | None:
        """The group of the service's own that admits listeners' traffic to a VIP port; None for other ports."""
        with self._inventory.read() as contents:
            row = contents.rows.first(tables.ports, id=port_id)
            return vip_groups.group_id(row.load_balancer_id) if row is not None and row.load_balancer_id else None

    def create(self, kind: str, values: Mapping[str, Any]) -> Document:
        """Make one. `values` are whole: every attribute that may be given, with its default where it was not.

        :raises NotFound: something named does not exist; :raises NetworkConflict, Conflict: it can't be beside what exists;
        :raises NetworkInvalid, InvalidRequest: it makes no sense.
        """
        with self._inventory.change() as contents:
            return tenant_documents.document(contents, kind, _CHANGES[kind][0](contents, values))

    def update(self, kind: str, object_id: str, values: Mapping[str, Any]) -> Document:
        """:raises NotFound, NetworkConflict, NetworkInvalid: as `create`."""
        with self._inventory.change() as contents:
            tenant_documents.document(contents, kind, object_id)  # what is hidden can't be changed
            if (update := _CHANGES[kind][1]) is None:
                raise exceptions.InvalidRequest(f"A {kind} can't be changed.")
            update(contents, object_id, values)
            return tenant_documents.document(contents, kind, object_id)

    def delete(self, kind: str, object_id: str) -> None:
        """:raises NotFound: there is none; :raises NetworkConflict: it is in use."""
        with self._inventory.change() as contents:
            tenant_documents.document(contents, kind, object_id)
            _CHANGES[kind][2](contents, object_id)

    def router_interface(self, router_id: str, subnet_id: str | None, port_id: str | None, *, add: bool) -> Document:
        """Give a router a leg on a subnet, with the gateway's address or with a port's, or take it away; what clients are answered.

        :raises NotFound, NetworkConflict, NetworkInvalid: as `create`; there is no such leg, or a floating IP needs it.
        """
        with self._inventory.change() as contents:
            change = tenant_routers.add_interface if add else tenant_routers.remove_interface
            return change(contents, router_id, subnet_id, port_id)
