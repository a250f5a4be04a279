"""The Networking API's nouns over an inventory: which function makes, changes and deletes which kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.embedded import networking, tables, tenant_documents, tenant_groups, tenant_pools, tenant_ports, tenant_routers, vip_groups
from controller.embedded.inventory import Inventory
from controller.embedded.networking import Document

_CREATE = {
    networking.NETWORK: tenant_ports.create_network,
    networking.SUBNET: tenant_ports.create_subnet,
    networking.SUBNET_POOL: tenant_pools.create,
    networking.PORT: tenant_ports.create_port,
    networking.SECURITY_GROUP: tenant_groups.create,
    networking.SECURITY_GROUP_RULE: tenant_groups.create_rule,
    networking.ROUTER: tenant_routers.create,
    networking.FLOATING_IP: tenant_routers.create_floating,
}
_UPDATE = {
    networking.NETWORK: tenant_ports.update_network,
    networking.SUBNET: tenant_ports.update_subnet,
    networking.SUBNET_POOL: tenant_pools.update,
    networking.PORT: tenant_ports.update_port,
    networking.SECURITY_GROUP: tenant_groups.update,
    networking.ROUTER: tenant_routers.update,
    networking.FLOATING_IP: tenant_routers.update_floating,
}
_DELETE = {
    networking.NETWORK: tenant_ports.delete_network,
    networking.SUBNET: tenant_ports.delete_subnet,
    networking.SUBNET_POOL: tenant_pools.delete,
    networking.PORT: tenant_ports.delete_port,
    networking.SECURITY_GROUP: tenant_groups.delete,
    networking.SECURITY_GROUP_RULE: tenant_groups.delete_rule,
    networking.ROUTER: tenant_routers.delete,
    networking.FLOATING_IP: tenant_routers.delete_floating,
}


class Tenants(networking.TenantNetworking):
    """The documents of one inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def documents(self, kind: str) -> list[Document]:
        with self._inventory.read() as contents:
            return tenant_documents.documents(contents, kind)

    def document(self, kind: str, object_id: str) -> Document:
        with self._inventory.read() as contents:
            return tenant_documents.document(contents, kind, object_id)

    def ensure_default_group(self, project_id: str) -> None:
        with self._inventory.read() as contents:
            if tenant_groups.default_of(contents, project_id) is not None:
                return
        with self._inventory.change() as contents:
            tenant_groups.ensure_default(contents, project_id)

    def service_group(self, port_id: str) -> str | None:
        with self._inventory.read() as contents:
            row = contents.rows.first(tables.ports, id=port_id)
            return vip_groups.group_id(row.load_balancer_id) if row is not None and row.load_balancer_id else None

    def create(self, kind: str, values: Mapping[str, Any]) -> Document:
        with self._inventory.change() as contents:
            return tenant_documents.document(contents, kind, _CREATE[kind](contents, values))

    def update(self, kind: str, object_id: str, values: Mapping[str, Any]) -> Document:
        with self._inventory.change() as contents:
            tenant_documents.document(contents, kind, object_id)  # what is hidden can't be changed
            if kind not in _UPDATE:
                raise exceptions.InvalidRequest(f"A {kind} can't be changed.")
            _UPDATE[kind](contents, object_id, values)
            return tenant_documents.document(contents, kind, object_id)

    def delete(self, kind: str, object_id: str) -> None:
        with self._inventory.change() as contents:
            tenant_documents.document(contents, kind, object_id)
            _DELETE[kind](contents, object_id)

    def add_router_interface(self, router_id: str, subnet_id: str | None, port_id: str | None) -> Document:
        with self._inventory.change() as contents:
            return tenant_routers.add_interface(contents, router_id, subnet_id, port_id)

    def remove_router_interface(self, router_id: str, subnet_id: str | None, port_id: str | None) -> Document:
        with self._inventory.change() as contents:
            return tenant_routers.remove_interface(contents, router_id, subnet_id, port_id)
