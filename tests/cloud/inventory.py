"""Everything in a cloud that could be left behind, by id, with a name for whoever reads a failure."""

from __future__ import annotations

from openstack.connection import Connection

Inventory = dict[str, dict[str, str]]


def of(admin: Connection) -> Inventory:
    """As an administrator sees it, over all projects.

    DHCP and router ports are the network service's own, and so is a project's group `default`, which it makes when somebody first asks.
    """
    network, compute = admin.network, admin.compute
    groups = {one.id: one.name for one in network.security_groups() if one.name != "default"}
    rules = [one for one in network.security_group_rules() if one.security_group_id in groups]
    return {
        "servers": {one.id: one.name for one in compute.servers(all_projects=True, details=False)},
        "server groups": {one.id: one.name for one in compute.server_groups(all_projects=True)},
        "ports": {one.id: f"{one.name} of {one.device_owner}" for one in network.ports() if not one.device_owner.startswith("network:")},
        "security groups": groups,
        "security group rules": {one.id: f"{one.protocol} of group {one.security_group_id}" for one in rules},
        "floating IPs": {one.id: one.floating_ip_address for one in network.ips()},
        "images": {one.id: one.name for one in admin.image.images()},
    }


def left(before: Inventory, after: Inventory) -> dict[str, list[str]]:
    """What is there now and was not before."""
    found = {kind: [f"{id_} {name}" for id_, name in after[kind].items() if id_ not in before[kind]] for kind in after}
    return {kind: names for kind, names in found.items() if names}
