"""The security group `lb-<load balancer id>`, which admits what listeners ask for, and what amphorae tell each other."""

import ipaddress
import uuid
from collections.abc import Iterable, Sequence

from controller.embedded import networking, rows, tables, tenant_groups
from controller.embedded.contents import Contents
from controller.model import load_balancer as model
from controller.model.network import AccessRule

_NAMESPACE = uuid.UUID("0d9c3c3e-52a9-4a52-8f0c-4d1f1c0a9b6e")
_Row = tuple[str, str, int | None, str | None]
"""Ethertype, protocol, port and prefix of a rule."""


def group_id(load_balancer_id: str) -> str:
    """The id of the group follows from the load balancer's, so that it can be named before it is there."""
    return str(uuid.uuid5(_NAMESPACE, load_balancer_id))


def exists(contents: Contents, load_balancer_id: str) -> bool:
    """Whether there is a group of what the listeners of this load balancer open."""
    return contents.rows.first(tables.security_groups, id=group_id(load_balancer_id)) is not None


def ensure(contents: Contents, load_balancer_id: str) -> None:
    """Have the group, from now on; within a block of `contents.effects.changing` that names it."""
    if exists(contents, load_balancer_id):
        return
    values = {
        "name": f"lb-{load_balancer_id}",
        "project_id": networking.SERVICE_PROJECT,
        "description": f"What the listeners of load balancer {load_balancer_id} open.",
    }
    tenant_groups.add(contents, values, group_id(load_balancer_id))


def add_to(contents: Contents, load_balancer_id: str, port_id: str) -> None:
    """Put the group on a port, beside those that the port has."""
    wanted, plug = group_id(load_balancer_id), contents.plug(port_id)
    filtered = [port_id] if plug.kind == "" else []  # of a VIP port of ours the filter learns by the ports that carry the VIP
    with contents.effects.changing(contents, filtered, [wanted] if filtered else []):
        ensure(contents, load_balancer_id)
        contents.set_groups(port_id, [*plug.groups, wanted])


def delete(contents: Contents, load_balancer_id: str) -> None:
    """Delete the group, after every port that has it let go of it, and forget what the amphorae tell each other; gone already is fine."""
    gone = group_id(load_balancer_id)
    having = [row.port_id for row in contents.rows.all(tables.port_groups, security_group_id=gone)]
    referring = [row.security_group_id for row in contents.rows.all(tables.rules, remote_group_id=gone)]
    with contents.effects.changing(
        contents, [*dict.fromkeys([*having, *contents.carriers(load_balancer_id)])], [gone, *dict.fromkeys(referring)]
    ):
        contents.rows.delete(tables.port_groups, security_group_id=gone)
        contents.rows.delete(tables.security_groups, id=gone)
        contents.set_pair_rules(load_balancer_id, ())


# What it admits


def whole(rules: Iterable[AccessRule]) -> frozenset[AccessRule]:
    """Rules as they are kept: ranges in their one spelling."""
    spelled = ((rule, rule.cidr and str(ipaddress.ip_network(rule.cidr, strict=False))) for rule in rules)
    return frozenset(AccessRule(rule.protocol, rule.port, cidr, rule.between_amphorae) for rule, cidr in spelled)


def access(contents: Contents, load_balancer_id: str) -> frozenset[AccessRule]:
    """What the group admits, and what the amphorae tell each other."""
    admitted = {AccessRule(protocol, port, prefix) for _, protocol, port, prefix in _rows(contents, load_balancer_id)}
    return contents.pair_rules(load_balancer_id) | admitted


def set_access(contents: Contents, load_balancer_id: str, vip: model.Vip, rules: frozenset[AccessRule]) -> None:
    """Exactly this, from now on: rules that stay keep their ids."""
    fixed = contents.rows.all(tables.fixed_ips, port_id=vip.port_id)
    versions = sorted({*vip.versions, *(ipaddress.ip_address(row.ip_address).version for row in fixed)})
    between = frozenset(rule for rule in rules if rule.between_amphorae)
    changed = between != contents.pair_rules(load_balancer_id)
    with contents.effects.changing(contents, contents.carriers(load_balancer_id) if changed else [], [group_id(load_balancer_id)]):
        ensure(contents, load_balancer_id)
        contents.set_pair_rules(load_balancer_id, between)
        _change_rows(contents, load_balancer_id, {row for rule in rules - between for row in _rows_of(rule, versions)})


def _rows_of(rule: AccessRule, versions: Sequence[int]) -> Iterable[_Row]:
    if rule.cidr is None:
        return [(f"IPv{version}", rule.protocol, rule.port, None) for version in versions]
    return [(f"IPv{ipaddress.ip_network(rule.cidr).version}", rule.protocol, rule.port, rule.cidr)]


def _rows(contents: Contents, load_balancer_id: str) -> dict[_Row, str]:
    """What the group admits, and the ids of these rules."""
    found = contents.rows.all(tables.rules, security_group_id=group_id(load_balancer_id), direction="ingress")
    return {(row.ethertype, row.protocol, row.port_min, row.prefix): row.id for row in found}


def _change_rows(contents: Contents, load_balancer_id: str, wanted: set[_Row]) -> None:
    known = _rows(contents, load_balancer_id)
    contents.rows.delete(tables.rules, id=[known[row] for row in known.keys() - wanted])
    own = {"security_group_id": group_id(load_balancer_id), "direction": "ingress", "details": {"created_at": rows.now()}}
    contents.rows.put(
        tables.rules,
        *(
            own | {"id": rows.new_id(), "ethertype": kind, "protocol": protocol, "port_min": port, "port_max": port, "prefix": prefix}
            for kind, protocol, port, prefix in sorted(wanted - known.keys(), key=str)
        ),
    )
