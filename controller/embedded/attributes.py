"""What may come in: per kind of document its attributes, what each takes, and who may give it when."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from controller.embedded import networking

Check = Callable[[str, Any], Any]
"""Takes an attribute's name and value, and returns the value as it is kept; raises NetworkInvalid."""

_REQUIRED: Any = object()
_ABSENT: Any = object()  # the driver finds what is fitting


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute. `default` stands in where a POST leaves it out; what can't be changed has `update` False."""

    check: Check
    default: Any = _ABSENT
    create: bool = True
    update: bool = True
    admin: bool = False


def bad(name: str, value: Any, reason: str) -> networking.NetworkInvalid:
    """The error for a value that an attribute does not take."""
    return networking.NetworkInvalid("HTTPBadRequest", f"The attribute {name} can not be so: {value!r} {reason}.")


# Kinds of values


_BLANKS = str.maketrans("\t\n\r", "   ")


def text(longest: int = 255) -> Check:
    """A string without control characters."""

    def check(name: str, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > longest or any(not sign.isprintable() for sign in value):
            raise bad(name, value, f"is not a printable string of at most {longest} characters")
        return value

    return check


def free_text(name: str, value: Any) -> str:
    """A description, which may have lines and tabs."""
    text()(name, value.translate(_BLANKS) if isinstance(value, str) else value)
    return value or ""


def boolean(name: str, value: Any) -> bool:
    """JSON's, or a word for it, as old clients send."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise bad(name, value, "is not a boolean value")


def always_up(name: str, value: Any) -> bool:
    """`admin_state_up`: the embedded network switches nothing off."""
    if not boolean(name, value):
        raise bad(name, value, "is not possible: the embedded network switches nothing off")
    return True


def number(low: int, high: int) -> Check:
    """An integer, or null; a string of digits is one too."""

    def check(name: str, value: Any) -> int | None:
        if value in (None, "", -1, "-1"):  # old clients say -1 for any
            return None
        if isinstance(value, bool) or not isinstance(value, (int, str)) or not re.fullmatch(r"-?\d{1,9}", str(value)):
            raise bad(name, value, "is not an integer")
        if not low <= int(value) <= high:
            raise bad(name, value, f"is not one of {low} to {high}")
        return int(value)

    return check


def identifier(name: str, value: Any) -> str:
    """The id of something."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F-]{32,36}", value):
        raise bad(name, value, "is not a valid UUID")
    return value


def or_null(check: Check) -> Check:
    """What `check` takes, or null."""
    return lambda name, value: None if value is None else check(name, value)


def one_of(*known: str) -> Check:
    """One of these words, however it is written."""

    def check(name: str, value: Any) -> str:
        for word in known:
            if str(value).lower() == word.lower():
                return word
        raise bad(name, value, f"is not one of {', '.join(known)}")

    return check


def address(name: str, value: Any) -> str:
    """An IP address."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise bad(name, value, "is not a valid IP address") from None


def cidr(name: str, value: Any) -> str:
    """A range of addresses, or a single one."""
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except (ValueError, TypeError):
        raise bad(name, value, "is not a valid IP subnet") from None


def address_or_cidr(name: str, value: Any) -> str:
    """A single address as such, or a range."""
    return cidr(name, value) if "/" in str(value) else address(name, value)


def mac(name: str, value: Any) -> str:
    """A hardware address."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", value) or int(value[:2], 16) & 1:
        raise bad(name, value, "is not a valid MAC address of one host")
    return value.lower()


def protocol(name: str, value: Any) -> str | None:
    """A protocol's name or number, or null for all."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not re.fullmatch(r"[a-z0-9-]{1,40}", str(value).lower()):
        raise bad(name, value, "is not a protocol")
    return str(value).lower()


MOST_ITEMS = 1000
"""Of a list in a body."""


def no_more_than_most(name: str, value: list[Any]) -> None:
    """:raises NetworkInvalid: the list of a body is longer than one request may be."""
    if len(value) > MOST_ITEMS:
        raise networking.NetworkInvalid("HTTPBadRequest", f"{name} has {len(value)} items, and {MOST_ITEMS} are allowed in one request.")


def list_of(check: Check) -> Check:
    """A list; null is an empty one."""

    def checked(name: str, value: Any) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise bad(name, value, "is not a list")
        no_more_than_most(name, value)
        return [check(name, one) for one in value]

    return checked


def mapping(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    """An object with these keys only."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or set(required) - set(value) or set(value) - {*required, *optional}:
            raise bad(name, value, f"is not an object with {', '.join(sorted({*required, *optional}))}")
        return {key: {**required, **optional}[key](f"{name}.{key}", one) for key, one in value.items()}

    return check


def owner(name: str, value: Any) -> str:
    """Who uses a port. Routers and floating IPs are told by it, so nobody says of a port that it is one of theirs."""
    found: str = text()(name, value)
    if found.startswith("network:"):
        raise bad(name, value, "is given by the network itself")
    return found


def _no_scope(name: str, value: Any) -> None:
    raise bad(name, value, "is not known: the embedded network has no address scopes")


# Kinds of documents

_ANY_ADDRESS = mapping({}, {"subnet_id": identifier, "ip_address": address})
_STANDARD = {
    "name": Attribute(check=text(), default=""),
    "description": Attribute(check=free_text, default=""),
    "admin_state_up": Attribute(check=always_up),
}
_IGNORED = mapping({}, {})
_IPV6_MODE = one_of("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
DECLARED: Mapping[str, Mapping[str, Attribute]] = {
    networking.NETWORK: {
        **_STANDARD,
        "shared": Attribute(check=boolean, default=False, admin=True),
        "router:external": Attribute(check=boolean, default=False, admin=True),
        "is_default": Attribute(check=boolean, admin=True),
        "mtu": Attribute(check=number(576, 9000), default=1500, update=False),
        "port_security_enabled": Attribute(check=boolean),
        "dns_domain": Attribute(check=text()),
        "availability_zone_hints": Attribute(check=list_of(text()), update=False),
    },
    networking.SUBNET: {
        "name": _STANDARD["name"],
        "description": _STANDARD["description"],
        "network_id": Attribute(check=identifier, default=_REQUIRED, update=False),
        "cidr": Attribute(check=or_null(cidr), update=False),
        "subnetpool_id": Attribute(check=or_null(identifier), update=False),
        "use_default_subnetpool": Attribute(check=boolean, update=False),
        "prefixlen": Attribute(check=number(1, 128), update=False),
        "ip_version": Attribute(check=number(4, 6), update=False),
        "gateway_ip": Attribute(check=or_null(address)),
        "allocation_pools": Attribute(check=list_of(mapping({"start": address, "end": address}, {}))),
        "host_routes": Attribute(check=list_of(mapping({"destination": cidr, "nexthop": address}, {}))),
        "dns_nameservers": Attribute(check=list_of(address)),
        "enable_dhcp": Attribute(check=boolean, default=True),
        "ipv6_ra_mode": Attribute(check=or_null(_IPV6_MODE), update=False),
        "ipv6_address_mode": Attribute(check=or_null(_IPV6_MODE), update=False),
    },
    networking.SUBNET_POOL: {
        "name": Attribute(check=text(), default=_REQUIRED),
        "description": _STANDARD["description"],
        "prefixes": Attribute(check=list_of(cidr), default=_REQUIRED),
        "default_prefixlen": Attribute(check=number(1, 128)),
        "min_prefixlen": Attribute(check=number(1, 128)),
        "max_prefixlen": Attribute(check=number(1, 128)),
        "default_quota": Attribute(check=number(0, 999_999_999)),
        "address_scope_id": Attribute(check=or_null(_no_scope)),
        "shared": Attribute(check=boolean, default=False, update=False, admin=True),
        "is_default": Attribute(check=boolean, default=False, admin=True),
    },
    networking.PORT: {
        **_STANDARD,
        "network_id": Attribute(check=identifier, default=_REQUIRED, update=False),
        "fixed_ips": Attribute(check=list_of(_ANY_ADDRESS)),
        "mac_address": Attribute(check=or_null(mac)),
        "device_id": Attribute(check=text()),
        "device_owner": Attribute(check=owner),
        "security_groups": Attribute(check=list_of(identifier)),
        "allowed_address_pairs": Attribute(check=list_of(mapping({"ip_address": address_or_cidr}, {"mac_address": mac}))),
        "port_security_enabled": Attribute(check=boolean),
        "dns_name": Attribute(check=text(63)),
        "dns_domain": Attribute(check=text()),
        "binding:vnic_type": Attribute(check=one_of("normal")),
        "binding:host_id": Attribute(check=text(), admin=True),
        "binding:profile": Attribute(check=_IGNORED, admin=True),
        "extra_dhcp_opts": Attribute(check=list_of(_IGNORED)),
    },
    networking.SECURITY_GROUP: {
        "name": Attribute(check=text(), default=_REQUIRED),
        "description": _STANDARD["description"],
        "stateful": Attribute(check=boolean),
    },
    networking.SECURITY_GROUP_RULE: {
        "security_group_id": Attribute(check=identifier, default=_REQUIRED, update=False),
        "direction": Attribute(check=one_of("ingress", "egress"), default=_REQUIRED, update=False),
        "ethertype": Attribute(check=one_of("IPv4", "IPv6"), default="IPv4", update=False),
        "protocol": Attribute(check=protocol, default=None, update=False),
        "port_range_min": Attribute(check=number(0, 65535), default=None, update=False),
        "port_range_max": Attribute(check=number(0, 65535), default=None, update=False),
        "remote_ip_prefix": Attribute(check=or_null(cidr), default=None, update=False),
        "remote_group_id": Attribute(check=or_null(identifier), default=None, update=False),
        "description": _STANDARD["description"],
    },
    networking.ROUTER: {
        **_STANDARD,
        "external_gateway_info": Attribute(
            check=or_null(
                mapping({}, {"network_id": identifier, "enable_snat": boolean, "external_fixed_ips": list_of(_ANY_ADDRESS)}),
            ),
        ),
        "availability_zone_hints": Attribute(check=list_of(text()), update=False),
    },
    networking.FLOATING_IP: {
        "description": _STANDARD["description"],
        "floating_network_id": Attribute(check=identifier, default=_REQUIRED, update=False),
        "floating_ip_address": Attribute(check=or_null(address), update=False),
        "subnet_id": Attribute(check=or_null(identifier), update=False),
        "port_id": Attribute(check=or_null(identifier)),
        "fixed_ip_address": Attribute(check=or_null(address)),
        "dns_name": Attribute(check=text(), update=False),
        "dns_domain": Attribute(check=text(), update=False),
    },
}
_PROJECT = Attribute(check=text(), update=False)


def parsed(kind: str, given: Any, *, creating: bool, is_admin: bool) -> dict[str, Any]:
    """The attributes of a body: checked, with defaults for what a POST leaves out.

    :raises NetworkInvalid: an attribute is unknown, missing or wrong; the message names it.
    """
    if not isinstance(given, dict):
        raise networking.NetworkInvalid("HTTPBadRequest", f"The body has no object under the key {kind}.")
    declared = {**DECLARED[kind], "project_id": _PROJECT, "tenant_id": _PROJECT}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise networking.NetworkInvalid("HTTPBadRequest", f"A {kind} has no such attributes: {', '.join(map(str, unknown))}.")
    values = {}
    for name, attribute in declared.items():
        if name in given:
            if not (attribute.create if creating else attribute.update):
                raise networking.NetworkInvalid("HTTPBadRequest", f"The attribute {name} can't be changed.")
            values[name] = attribute.check(name, given[name])
            if attribute.admin and not is_admin and values[name] not in (False, "", {}):
                raise networking.NetworkInvalid("HTTPBadRequest", f"The attribute {name} is for administrators.")
        elif creating and attribute.default is _REQUIRED:
            raise networking.NetworkInvalid("HTTPBadRequest", f"A {kind} needs the attribute {name}.")
        elif creating and attribute.default is not _ABSENT:
            values[name] = attribute.default
    return values
