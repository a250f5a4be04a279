"""The security group `lb-<load balancer id>`, which admits what listeners ask for, and what amphorae tell each other."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable, Sequence

from controller.embedded import effects, networking, tenant_details, tenant_groups
from controller.embedded.inventory import Contents
from controller.model import load_balancer as model
from controller.model.network import AccessRule

_NAMESPACE = uuid.UUID("0d9c3c3e-52a9-4a52-8f0c-4d1f1c0a9b6e")
_Row = tuple[str, str, int | None, str | None]
"""Ethertype, protocol, port and prefix of a rule."""


def group_id(load_balancer_id: str) -> str:
    """The id of the group follows from the load balancer's, so that it can be named before it is there."""
    return str(uuid.uuid5(_NAMESPACE, load_balancer_id))


def exists(contents: Contents, load_balancer_id: str) -> bool:
    """Is there such a group?"""
    return contents.group_rules(group_id(load_balancer_id)) is not None


def ensure(effect: effects.Effects, contents: Contents, load_balancer_id: str) -> str:
    """The id of the group, which is there from now on."""
    wanted = group_id(load_balancer_id)
    if not exists(contents, load_balancer_id):
        with effect.changing(contents, group_ids=[wanted]):
            _add(contents, load_balancer_id)
    return wanted


def _add(contents: Contents, load_balancer_id: str) -> None:
    values = {
        "name": f"lb-{load_balancer_id}",
        "project_id": networking.SERVICE_PROJECT,
        "description": f"What the listeners of load balancer {load_balancer_id} open.",
    }
    tenant_groups.add(contents, group_id(load_balancer_id), values)


def add_to(effect: effects.Effects, contents: Contents, load_balancer_id: str, port_id: str) -> None:
    """Put the group on a port, beside those that the port has."""
    wanted = group_id(load_balancer_id)
    kind, _ = contents.kind_of(port_id)
    filtered = [port_id] if kind == "" else []  # of a VIP port of ours the filter learns by the ports that carry the VIP
    with effect.changing(contents, filtered, [wanted] if filtered else []):
        if not exists(contents, load_balancer_id):
            _add(contents, load_balancer_id)
        contents.set_groups(port_id, [*contents.groups_of(port_id), wanted])


def delete(effect: effects.Effects, contents: Contents, load_balancer_id: str) -> None:
    """Delete the group, after every port that has it let go of it, and forget what the amphorae tell each other; gone already is fine."""
    gone = group_id(load_balancer_id)
    having = [found for (found,) in contents.db.execute("SELECT port_id FROM port_groups WHERE security_group_id = ?", (gone,))]
    carriers = [port.id for port in contents.ports_of_load_balancer(load_balancer_id, "vrrp")]
    query = "SELECT DISTINCT security_group_id FROM security_group_rules WHERE remote_group_id = ?"
    referring = [found for (found,) in contents.db.execute(query, (gone,))]
    with effect.changing(contents, [*dict.fromkeys([*having, *carriers])], [gone, *referring]):
        contents.db.execute("DELETE FROM port_groups WHERE security_group_id = ?", (gone,))
        contents.db.execute("DELETE FROM security_groups WHERE id = ?", (gone,))
        contents.set_pair_rules(load_balancer_id, ())


# What it admits


def whole(rules: Iterable[AccessRule]) -> frozenset[AccessRule]:
    """Rules as they are kept: ranges in their one spelling."""
    return frozenset(AccessRule(rule.protocol, rule.port, _range(rule.cidr), rule.between_amphorae) for rule in rules)


def _range(cidr: str | None) -> str | None:
    return None if cidr is None else str(ipaddress.ip_network(cidr, strict=False))


def access(contents: Contents, load_balancer_id: str) -> frozenset[AccessRule]:
    """What the group admits, and what the amphorae tell each other."""
    admitted = {AccessRule(protocol, port, prefix) for _, protocol, port, prefix in _rows(contents, load_balancer_id)}
    return contents.pair_rules(load_balancer_id) | admitted


def set_access(effect: effects.Effects, contents: Contents, load_balancer_id: str, vip: model.Vip, rules: frozenset[AccessRule]) -> None:
    """Exactly this, from now on: rules that stay keep their ids."""
    versions = _versions(contents, vip)
    between = frozenset(rule for rule in rules if rule.between_amphorae)
    changed = between != contents.pair_rules(load_balancer_id)
    carriers = [port.id for port in contents.ports_of_load_balancer(load_balancer_id, "vrrp")] if changed else []
    with effect.changing(contents, carriers, [group_id(load_balancer_id)]):
        if not exists(contents, load_balancer_id):
            _add(contents, load_balancer_id)
        contents.set_pair_rules(load_balancer_id, between)
        _change_rows(contents, load_balancer_id, {row for rule in rules - between for row in _rows_of(rule, versions)})


def _versions(contents: Contents, vip: model.Vip) -> list[int]:
    """The IP versions that a VIP port has addresses of."""
    found = contents.db.execute("SELECT ip_address FROM fixed_ips WHERE port_id = ?", (vip.port_id,)).fetchall()
    return sorted({ipaddress.ip_address(address).version for (address,) in [*found, (vip.address,)]})


def _rows_of(rule: AccessRule, versions: Sequence[int]) -> Iterable[_Row]:
    if rule.cidr is None:
        return [(f"IPv{version}", rule.protocol, rule.port, None) for version in versions]
    return [(f"IPv{ipaddress.ip_network(rule.cidr).version}", rule.protocol, rule.port, rule.cidr)]


def _rows(contents: Contents, load_balancer_id: str) -> set[_Row]:
    query = "SELECT ethertype, protocol, port_min, prefix FROM security_group_rules WHERE security_group_id = ? AND direction = 'ingress'"
    return set(contents.db.execute(query, (group_id(load_balancer_id),)))


def _change_rows(contents: Contents, load_balancer_id: str, wanted: set[_Row]) -> None:
    own, known = group_id(load_balancer_id), _rows(contents, load_balancer_id)
    contents.db.executemany(
        "DELETE FROM security_group_rules WHERE security_group_id = ? AND direction = 'ingress' "
        "AND ethertype = ? AND protocol = ? AND port_min IS ? AND prefix IS ?",
        [(own, *row) for row in known - wanted],
    )
    born = tenant_details.born({}, ())
    contents.db.executemany(
        "INSERT INTO security_group_rules VALUES (?, ?, 'ingress', ?, ?, ?, ?, ?, NULL, ?)",
        [
            (tenant_details.new_id(), own, ethertype, protocol, port, port, prefix, born)
            for ethertype, protocol, port, prefix in sorted(wanted - known, key=str)
        ],
    )
