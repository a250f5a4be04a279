"""Security groups and their rules, with the Networking API's semantics."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from controller.embedded import filter_parts, networking, rows, tables
from controller.embedded.contents import Contents
from controller.model.network import SecurityGroup

DEFAULT = "default"
_DETAILS = ("description", "tags", "stateful")
_PORTED = frozenset({6, 17, 33, 132, 136})  # protocols that have ports


def ensure_default(contents: Contents, project_id: str) -> str:
    """The default group of a project: members talk to each other, and out to everybody."""
    known = default_of(contents, project_id)
    if known is not None:
        return known
    made = _add(contents, {"name": DEFAULT, "project_id": project_id, "description": "Default security group"})
    with contents.effects.changing(contents, group_ids=[made]):
        for ethertype in ("IPv4", "IPv6"):
            _add_rule(contents, {"security_group_id": made, "direction": "ingress", "ethertype": ethertype, "remote_group_id": made})
    return made


def default_of(contents: Contents, project_id: str) -> str | None:
    """The default group of a project; None if it has none yet."""
    row = contents.rows.first(tables.security_groups, project_id=project_id, name=DEFAULT)
    return None if row is None else str(row.id)


def create(contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NetworkConflict: the name `default` is taken by the group that every project has."""
    ensure_default(contents, values["project_id"])
    if values["name"] == DEFAULT:
        raise networking.NetworkConflict("SecurityGroupDefaultAlreadyExists", "Every project has one security group named default already.")
    return _add(contents, values)


def _add(contents: Contents, values: Mapping[str, Any]) -> str:
    made = rows.new_id()
    with contents.effects.changing(contents, group_ids=[made]):
        add(contents, values, made)
    return made


def add(contents: Contents, values: Mapping[str, Any], made: str) -> None:
    """The rows of a new group: one that lets everything out, and nothing in."""
    contents.rows.add(tables.security_groups, values, _DETAILS, id=made, name=values["name"], project_id=values["project_id"])
    for ethertype in ("IPv4", "IPv6"):
        _add_rule(contents, {"security_group_id": made, "direction": "egress", "ethertype": ethertype})


def update(contents: Contents, group_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: no such group; :raises NetworkConflict: the default group keeps its name, and no other can have it."""
    group = _changeable(contents, group_id)
    if DEFAULT in (group.name, values.get("name")) and values.get("name", group.name) != group.name:
        raise networking.NetworkConflict("SecurityGroupCannotUpdateDefault", "The name default belongs to the default security group.")
    contents.rows.change(tables.security_groups, group_id, values, ("name",), _DETAILS)


def delete(contents: Contents, group_id: str) -> None:
    """:raises NotFound: no such group; :raises NetworkConflict: ports have it, or it is a project's default group."""
    group = _changeable(contents, group_id)
    if group.name == DEFAULT:
        raise networking.NetworkConflict("SecurityGroupCannotRemoveDefault", "A project's default security group can't be deleted.")
    if contents.rows.count(tables.port_groups, security_group_id=group_id):
        raise networking.NetworkConflict("SecurityGroupInUse", f"Security group {group_id} is on ports, and stays until they let go of it.")
    referring = [row.security_group_id for row in contents.rows.all(tables.rules, remote_group_id=group_id)]
    with contents.effects.changing(contents, group_ids=list(dict.fromkeys([group_id, *referring]))):
        contents.rows.delete(tables.security_groups, id=group_id)


def _changeable(contents: Contents, group_id: str) -> SecurityGroup:
    group = contents.security_group(group_id)
    if group.project_id == networking.SERVICE_PROJECT:
        words = f"Security group {group_id} ({group.name}) belongs to a load balancer: its listeners say what it admits."
        raise networking.NetworkConflict("SecurityGroupInUse", words)
    return group


# Rules


def create_rule(contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NotFound: a group does not exist; :raises NetworkInvalid: the parts contradict each other.

    :raises NetworkConflict: the group has this rule.
    """
    group_id = _changeable(contents, values["security_group_id"]).id
    if values.get("remote_group_id"):
        _changeable(contents, values["remote_group_id"])
    _check(values)
    with contents.effects.changing(contents, group_ids=[group_id]):
        return _add_rule(contents, values)


def _add_rule(contents: Contents, values: Mapping[str, Any]) -> str:
    prefix = values.get("remote_ip_prefix")
    columns = {
        "security_group_id": values["security_group_id"],
        "direction": values["direction"],
        "ethertype": values["ethertype"],
        "protocol": protocol_of(values.get("protocol"), values["ethertype"]),
        "port_min": values.get("port_range_min"),
        "port_max": values.get("port_range_max"),
        "prefix": None if prefix is None else str(ipaddress.ip_network(prefix, strict=False)),
        "remote_group_id": values.get("remote_group_id"),
    }
    found = contents.rows.first(tables.rules, **columns)
    if found is not None:
        raise networking.NetworkConflict("SecurityGroupRuleExists", f"The security group has this rule already: {found.id}.")
    return contents.rows.add(tables.rules, values, ("description", "tags"), **columns)


def protocol_of(given: str | None, ethertype: str) -> str | None:
    """A protocol as it is kept: by its name where it has one; `any` and 0 are none at all."""
    if given is None or given in ("any", "0"):
        return None
    if ethertype == "IPv6" and given in ("icmp", "icmpv6", "1"):
        return "ipv6-icmp"
    return given


def _check(values: Mapping[str, Any]) -> None:
    version = 6 if values["ethertype"] == "IPv6" else 4
    protocol = protocol_of(values.get("protocol"), values["ethertype"])
    low, high = values.get("port_range_min"), values.get("port_range_max")
    if values.get("remote_ip_prefix") and values.get("remote_group_id"):
        raise networking.NetworkInvalid(
            "SecurityGroupMultipleSourcesGiven", "A rule names a remote_ip_prefix or a remote_group_id, not both."
        )
    if values.get("remote_ip_prefix") and ipaddress.ip_network(values["remote_ip_prefix"], strict=False).version != version:
        words = f"The remote_ip_prefix {values['remote_ip_prefix']} does not fit the ethertype {values['ethertype']}."
        raise networking.NetworkInvalid("SecurityGroupRuleParameterConflict", words)
    number = None if protocol is None else _number(protocol)
    if number == 58 and version == 4:
        raise networking.NetworkInvalid("SecurityGroupEthertypeConflictWithProtocol", f"The protocol {protocol} is one of IPv6.")
    if low is None and high is None:
        return
    if number in (1, 58):
        _check_icmp(low, high)
    elif number in _PORTED:
        if low is None or high is None or not 1 <= low <= high <= 65535:
            raise networking.NetworkInvalid("SecurityGroupInvalidPortRange", "port_range_min and port_range_max are 1 to 65535, in order.")
    else:
        words = "Ports can be given for the protocols dccp, sctp, tcp, udp and udplite, and types for icmp."
        raise networking.NetworkInvalid("SecurityGroupInvalidProtocolForPort", words)


def _check_icmp(kind: int | None, code: int | None) -> None:
    if kind is None:
        raise networking.NetworkInvalid("SecurityGroupMissingIcmpType", "An ICMP code (port_range_max) needs a type (port_range_min).")
    for name, value in (("type", kind), ("code", code)):
        if value is not None and not 0 <= value <= 255:
            raise networking.NetworkInvalid("SecurityGroupInvalidIcmpValue", f"The ICMP {name} {value} is not one of 0 to 255.")


def _number(protocol: str) -> int:
    if protocol in filter_parts.PROTOCOLS:
        return filter_parts.PROTOCOLS[protocol]
    if protocol.isascii() and protocol.isdecimal() and int(protocol) <= 255:
        return int(protocol)
    known = ", ".join(sorted(filter_parts.PROTOCOLS))
    raise networking.NetworkInvalid("SecurityGroupRuleInvalidProtocol", f"The protocol {protocol} is none of 0 to 255, {known}.")


def delete_rule(contents: Contents, rule_id: str) -> None:
    """:raises NotFound: no such rule; :raises NetworkConflict: it is a load balancer's."""
    group_id = contents.rows.get(tables.rules, rule_id).security_group_id
    _changeable(contents, group_id)
    with contents.effects.changing(contents, group_ids=[group_id]):
        contents.rows.delete(tables.rules, id=rule_id)
