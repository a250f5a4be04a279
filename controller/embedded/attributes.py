"""What may come in: per kind of document its attributes, what each takes, and who may give it when."""

import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Any

from controller.embedded import networking
from controller.model.network import NORMAL
from controller.resources import dialects, kinds
from controller.resources.declare import Schema
from controller.resources.fields import ABSENT, REFUSED, Field
from controller.resources.kinds import Parser, Reject


class _Dialect(dialects.Dialect):
    """The sentences of the Networking API."""

    def no_object(self, schema: Schema, given: Any) -> Exception:
        return _bad(f"The body has no object under the key {schema.name}.")

    def refused(self, schema: Schema, names: Collection[str], path: str, *, creating: bool) -> Exception:
        """Attributes that nobody knows are told first; what is known can be given by every POST."""
        unknown = sorted(set(names) - schema.names)
        if unknown:
            return _bad(f"A {schema.name} has no such attributes: {dialects.shortened(', '.join(unknown))}.")
        return _bad(f"The attribute {min(names)} can't be changed.")

    def missing(self, schema: Schema, field: Field) -> Exception:
        return _bad(f"A {schema.name} needs the attribute {field.name}.")

    def bad(self, field: Field, value: Any, reason: Reject) -> Exception:
        """The value, or a part of it, is not of the attribute's kind."""
        name = f"{field.name}.{reason.key}" if reason.key else field.name
        return invalid(name, value if reason.value is kinds.WHOLE else reason.value, reason)


def _bad(sentence: str) -> networking.NetworkInvalid:
    return networking.NetworkInvalid("HTTPBadRequest", sentence)


def invalid(name: str, value: Any, reason: Reject) -> networking.NetworkInvalid:
    """The error of a value that an attribute does not take."""
    if isinstance(value, list) and len(value) > MOST_ITEMS:  # they are not repeated, and not to be read
        return _bad(f"{name} has {len(value)} items, and {MOST_ITEMS} are allowed in one request.")
    return _bad(f"The attribute {name} can not be so: {dialects.shortened(repr(value))}. {reason}.")


def checked(kind: Parser, name: str, value: Any) -> Any:
    """The value of something in a path or a body that is no attribute of a document.

    :raises NetworkInvalid: it is not of this kind.
    """
    try:
        return kind(value)
    except Reject as reason:
        raise invalid(name, value, reason) from None


# Kinds of values that only networks have


def always_up(value: Any) -> bool:
    """`admin_state_up`: the embedded network switches nothing off."""
    if not kinds.boolean(value):
        raise Reject("The embedded network switches nothing off")
    return True


def number(low: int, high: int) -> Parser:
    """An integer, or none: old clients say -1 for any, or nothing at all."""
    within = kinds.integer(low, high)
    return lambda value: None if value in ("", -1, "-1") else within(value)


def word(*known: str) -> Parser:
    """One of these words, however it is written."""
    spellings = {one.lower(): one for one in known}

    def parse(value: Any) -> str:
        if str(value).lower() not in spellings:
            raise Reject(f"Value should be one of: {', '.join(known)}")
        return spellings[str(value).lower()]

    return parse


def address(value: Any) -> str:
    """An IPv4 or IPv6 address, in its canonical spelling."""
    return str(ipaddress.ip_address(kinds.ip_address(value)))


def address_or_cidr(value: Any) -> str:
    """A single address as such, or a range."""
    return kinds.cidr(value) if "/" in str(value) else address(value)


def mac(value: Any) -> str:
    """The MAC address of one host (no multicast address), in lower case."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", value) or int(value[:2], 16) & 1:
        raise Reject("Value should be the MAC address of one host")
    return value.lower()


def protocol(value: Any) -> str | None:
    """A protocol's name or number, or nothing for all."""
    if value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not re.fullmatch(r"[a-z0-9-]{1,40}", str(value).lower()):
        raise Reject("Value should be the name or the number of a protocol")
    return str(value).lower()


def mapping(required: Mapping[str, Parser], optional: Mapping[str, Parser]) -> Parser:
    """An object with these keys only."""
    known = {**required, **optional}

    def parse(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or set(required) - set(value) or set(value) - set(known):
            raise Reject(f"Value should be an object with {', '.join(sorted(known)) or 'no keys'}")
        return {key: _part(known[key], key, one) for key, one in value.items()}

    return parse


def _part(kind: Parser, key: str, value: Any) -> Any:
    try:
        return kind(value)
    except Reject as reason:
        inner = f"{key}.{reason.key}" if reason.key else key
        raise Reject(str(reason), key=inner, value=value if reason.value is kinds.WHOLE else reason.value) from None


def owner(value: Any) -> str:
    """Who uses a port. Routers and floating IPs are told by it, so nobody says of a port that it is one of theirs."""
    found = kinds.name(value)
    if found.startswith("network:"):
        raise Reject("Value should be a word of yours: what begins with network: is given by the network itself")
    return found


def _or_none(kind: Parser) -> Parser:
    """For lists inside of other values, where null is an empty one."""
    return lambda value: [] if value is None else kind(value)


TAGS = kinds.list_of(kinds.text(60))
MOST_ITEMS = kinds.MOST_ITEMS
"""Of a list in a body."""


# Attributes, by what null means


def _exact(name: str, kind: Parser, **more: Any) -> Field:
    """One that can't be null. What a POST leaves out the network finds, unless there is a default."""
    return Field(name=name, kind=kind, **{"null": REFUSED, "default": ABSENT, **more})


def _maybe(name: str, kind: Parser, **more: Any) -> Field:
    """One that can be null."""
    return _exact(name, kind, null=None, **more)


def _text(name: str, kind: Parser = kinds.name, **more: Any) -> Field:
    """Words; null is none."""
    return _exact(name, kind, null="", **more)


def _list(name: str, item: Parser, **more: Any) -> Field:
    """A list; null is an empty one."""
    return _exact(name, kinds.list_of(item, most=MOST_ITEMS), null=[], **more)


_ANY_ADDRESS = mapping({}, {"subnet_id": kinds.uuid, "ip_address": address})
_IGNORED = mapping({}, {})
_IPV6_MODE = word("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
_GATEWAY = mapping(
    {}, {"network_id": kinds.uuid, "enable_snat": kinds.boolean, "external_fixed_ips": _or_none(kinds.list_of(_ANY_ADDRESS))}
)
_NAME = _text("name", default="")
_NEEDED_NAME = _text("name", required=True)
_DESCRIPTION = _text("description", kinds.description, default="")
_STANDARD = (_NAME, _DESCRIPTION, _exact("admin_state_up", always_up))
_PROJECT = tuple(_text(name, put=False) for name in ("project_id", "tenant_id"))


def _document(kind: str, *fields: Field) -> Schema:
    return Schema(name=kind, fields=[*fields, *_PROJECT], shows_fault=False, dialect=_Dialect())


DECLARED: Mapping[str, Schema] = {
    schema.name: schema
    for schema in (
        _document(
            networking.NETWORK,
            *_STANDARD,
            _exact("shared", kinds.boolean, default=False, admin=True),
            _exact("router:external", kinds.boolean, default=False, admin=True),
            _exact("is_default", kinds.boolean, admin=True),
            _maybe("mtu", number(576, 9000), default=1500, put=False),
            _exact("port_security_enabled", kinds.boolean),
            _text("dns_domain"),
            _list("availability_zone_hints", kinds.name, put=False),
        ),
        _document(
            networking.SUBNET,
            _NAME,
            _DESCRIPTION,
            _exact("network_id", kinds.uuid, required=True, put=False),
            _exact("cidr", kinds.cidr, required=True, put=False),
            _maybe("ip_version", number(4, 6), put=False),
            _maybe("gateway_ip", address),
            _list("host_routes", mapping({"destination": kinds.cidr, "nexthop": address}, {})),
            _list("dns_nameservers", address),
            _exact("enable_dhcp", kinds.boolean, default=True),
            _maybe("ipv6_ra_mode", _IPV6_MODE, put=False),
            _maybe("ipv6_address_mode", _IPV6_MODE, put=False),
        ),
        _document(
            networking.PORT,
            *_STANDARD,
            _exact("network_id", kinds.uuid, required=True, put=False),
            _list("fixed_ips", _ANY_ADDRESS),
            _maybe("mac_address", mac),
            _text("device_id"),
            _text("device_owner", owner),
            _list("security_groups", kinds.uuid),
            _list("allowed_address_pairs", mapping({"ip_address": address_or_cidr}, {"mac_address": mac})),
            _exact("port_security_enabled", kinds.boolean),
            _text("dns_name", kinds.text(63)),
            _text("dns_domain"),
            _exact("binding:vnic_type", word(NORMAL)),
            _text("binding:host_id", admin=True),
            _exact("binding:profile", _IGNORED, admin=True),
            _list("extra_dhcp_opts", _IGNORED),
        ),
        _document(networking.SECURITY_GROUP, _NEEDED_NAME, _DESCRIPTION, _exact("stateful", kinds.boolean)),
        _document(
            networking.SECURITY_GROUP_RULE,
            _exact("security_group_id", kinds.uuid, required=True, put=False),
            _exact("direction", word("ingress", "egress"), required=True, put=False),
            _exact("ethertype", word("IPv4", "IPv6"), default="IPv4", put=False),
            _maybe("protocol", protocol, default=None, put=False),
            _maybe("port_range_min", number(0, 65535), default=None, put=False),
            _maybe("port_range_max", number(0, 65535), default=None, put=False),
            _maybe("remote_ip_prefix", kinds.cidr, default=None, put=False),
            _maybe("remote_group_id", kinds.uuid, default=None, put=False),
            _DESCRIPTION,
        ),
        _document(
            networking.ROUTER,
            *_STANDARD,
            _maybe("external_gateway_info", _GATEWAY),
            _list("availability_zone_hints", kinds.name, put=False),
        ),
        _document(
            networking.FLOATING_IP,
            _DESCRIPTION,
            _exact("floating_network_id", kinds.uuid, required=True, put=False),
            _maybe("floating_ip_address", address, put=False),
            _maybe("subnet_id", kinds.uuid, put=False),
            _maybe("port_id", kinds.uuid),
            _maybe("fixed_ip_address", address),
            _text("dns_name", put=False),
            _text("dns_domain", put=False),
        ),
    )
}
_NO_CLAIM: tuple[Any, ...] = (False, "", {})


def parsed(kind: str, given: Any, *, creating: bool, is_admin: bool) -> dict[str, Any]:
    """The attributes of a body: checked, with defaults for what a POST leaves out.

    :raises NetworkInvalid: an attribute is unknown, missing or wrong; the message names it.
    """
    schema = DECLARED[kind]
    values = schema.created(given) if creating else schema.updated(given)
    for name, value in values.items():
        if schema.fields[name].admin and not is_admin and value not in _NO_CLAIM:
            raise _bad(f"The attribute {name} is for administrators.")
    return values
