"""What each resource of LBaaS v2 may be given by POST and PUT, and what it shows (spec `lbaasv2.md` §2): one line per attribute.

The kinds are those of the first API; so a value that passes here is of the kind that it takes, and only rules across fields are left to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from controller.api.lbaasv2 import errors
from controller.resources import health_monitor, kinds, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Schema, Values

_HIGHEST = 2147483647


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attribute:
    """One attribute. Without `post` and `put` only we write it."""

    name: str
    kind: kinds.Parser = kinds.name
    post: bool = True
    put: bool = True
    required: bool = False
    nullable: bool = False
    shown: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resource:
    """A collection. `schema` is the first API's; `parent` is the collection on whose path this one stands."""

    name: str
    collection: str
    schema: Schema
    attributes: Mapping[str, Attribute]
    parent: str | None = None

    @property
    def url(self) -> str:
        """Below `/v2.0/lbaas`, as a routing rule."""
        return f"/{self.parent}/<parent_id>/{self.collection}" if self.parent else f"/{self.collection}"

    def created(self, given: Any) -> Values:
        """The attributes of an object that is to be made.

        :raises Fault: the body is not as declared; the message names the attribute.
        """
        for name in _checked_names(self, given):
            if not self.attributes[name].post:
                raise errors.bad_request(f"Attribute '{name}' not allowed in POST")
        for attribute in self.attributes.values():
            if attribute.required and attribute.name not in given:
                raise errors.bad_request(f"Failed to parse request. Required attribute '{attribute.name}' not specified")
        return {name: _value(self.attributes[name], value) for name, value in given.items()}

    def updated(self, given: Any) -> Values:
        """The attributes that are to be changed.

        :raises Fault: as `created()`.
        """
        for name in _checked_names(self, given):
            if not self.attributes[name].put:
                raise errors.bad_request(f"Cannot update read-only attribute {name}")
        return {name: _value(self.attributes[name], value) for name, value in given.items()}


def _checked_names(resource: Resource, given: Any) -> list[str]:
    if not isinstance(given, dict):
        raise errors.bad_request(f"Resource body required: '{resource.name}' must be an object")
    unknown = sorted(set(given) - set(resource.attributes))
    if unknown:
        raise errors.bad_request(f"Unrecognized attribute(s) '{', '.join(unknown)[:300]}'")
    return list(given)


def _value(attribute: Attribute, value: Any) -> Any:
    if value is None and attribute.nullable:
        return None
    try:
        return attribute.kind(value)
    except kinds.Reject as reason:
        raise errors.bad_request(f"Invalid input for {attribute.name}. Reason: {str(value)[:300]!r}: {reason}.") from None


def _read_only(*names: str) -> list[Attribute]:
    return [Attribute(name=name, post=False, put=False) for name in names]


def _common(*, description: bool = True, name: bool = True) -> list[Attribute]:
    found = [
        *_read_only("id"),
        Attribute(name="tenant_id", kind=kinds.text(36), put=False),
        Attribute(name="project_id", kind=kinds.text(36), put=False),
        Attribute(name="admin_state_up", kind=kinds.boolean),
    ]
    named = [Attribute(name="name")] if name else []
    return [*found, *named, *([Attribute(name="description", kind=kinds.description)] if description else [])]


def _persistence(value: Any) -> dict[str, Any] | None:
    """Nothing, or an object with a type and perhaps the name of a cookie."""
    if value == {}:
        return None
    if not isinstance(value, dict) or set(value) - {"type", "cookie_name"}:
        raise kinds.Reject("Value should be an object with type and cookie_name")
    return value


def _resource(name: str, collection: str, schema: Schema, attributes: list[Attribute], parent: str | None = None) -> Resource:
    by_name = {attribute.name: attribute for attribute in attributes}
    return Resource(name=name, collection=collection, schema=schema, attributes=by_name, parent=parent)


_reference = kinds.text(128)
_whole = kinds.integer(0, 86400)
_tries = kinds.integer(1, 10)

LOAD_BALANCER = _resource(
    "loadbalancer",
    "loadbalancers",
    load_balancer.SCHEMA,
    [
        *_common(),
        *_read_only("provisioning_status", "operating_status", "vip_port_id", "listeners", "pools"),
        Attribute(name="vip_subnet_id", kind=kinds.uuid, put=False, nullable=True),
        Attribute(name="vip_network_id", kind=kinds.uuid, put=False, nullable=True, shown=False),
        Attribute(name="vip_address", kind=kinds.ip_address, put=False, nullable=True),
        Attribute(name="provider", kind=kinds.text(64), put=False, nullable=True),
        Attribute(name="flavor_id", kind=kinds.uuid, put=False, nullable=True),
    ],
)
LISTENER = _resource(
    "listener",
    "listeners",
    listener.SCHEMA,
    [
        *_common(),
        *_read_only("loadbalancers", "l7policies", "default_tls_container_id"),
        Attribute(name="loadbalancer_id", kind=kinds.uuid, put=False, nullable=True, shown=False),
        Attribute(name="default_pool_id", kind=kinds.uuid, nullable=True),
        Attribute(name="protocol", kind=kinds.one_of("TCP", "HTTP", "HTTPS", "TERMINATED_HTTPS"), required=True, put=False),
        Attribute(name="protocol_port", kind=kinds.port, required=True, put=False),
        Attribute(name="connection_limit", kind=kinds.integer(-1, _HIGHEST)),
        Attribute(name="default_tls_container_ref", kind=_reference, nullable=True),
        Attribute(name="sni_container_refs", kind=kinds.list_of(_reference), nullable=True),
    ],
)
POOL = _resource(
    "pool",
    "pools",
    pool.SCHEMA,
    [
        *_common(),
        *_read_only("listeners", "loadbalancers", "l7_policies", "healthmonitor_id", "members"),
        Attribute(name="listener_id", kind=kinds.uuid, put=False, nullable=True, shown=False),
        Attribute(name="loadbalancer_id", kind=kinds.uuid, put=False, nullable=True, shown=False),
        Attribute(name="protocol", kind=kinds.one_of("TCP", "HTTP", "HTTPS"), required=True, put=False),
        Attribute(name="lb_algorithm", kind=kinds.one_of("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"), required=True),
        Attribute(name="session_persistence", kind=_persistence, nullable=True),
    ],
)
MEMBER = _resource(
    "member",
    "members",
    member.SCHEMA,
    [
        *_common(description=False),
        Attribute(name="address", kind=kinds.ip_address, required=True, put=False),
        Attribute(name="protocol_port", kind=kinds.port, required=True, put=False),
        Attribute(name="subnet_id", kind=kinds.uuid, required=True, put=False),
        Attribute(name="weight", kind=kinds.integer(0, 256)),
    ],
    parent="pools",
)
HEALTH_MONITOR = _resource(
    "healthmonitor",
    "healthmonitors",
    health_monitor.SCHEMA,
    [
        *_common(description=False),
        *_read_only("pools"),
        Attribute(name="pool_id", kind=kinds.uuid, required=True, put=False, shown=False),
        Attribute(name="type", kind=kinds.one_of("PING", "TCP", "HTTP", "HTTPS"), required=True, put=False),
        Attribute(name="delay", kind=_whole, required=True),
        Attribute(name="timeout", kind=_whole, required=True),
        Attribute(name="max_retries", kind=_tries, required=True),
        Attribute(name="max_retries_down", kind=_tries),
        Attribute(name="http_method", kind=kinds.one_of(*health_monitor.METHODS)),
        Attribute(name="url_path", kind=kinds.url_path),
        Attribute(name="expected_codes", kind=kinds.status_codes),
    ],
)
L7POLICY = _resource(
    "l7policy",
    "l7policies",
    l7policy.SCHEMA,
    [
        *_common(),
        *_read_only("rules", "status"),
        Attribute(name="listener_id", kind=kinds.uuid, required=True, put=False),
        Attribute(name="action", kind=kinds.one_of("REJECT", "REDIRECT_TO_POOL", "REDIRECT_TO_URL"), required=True),
        Attribute(name="redirect_pool_id", kind=kinds.uuid, nullable=True),
        Attribute(name="redirect_url", kind=kinds.text(255), nullable=True),
        Attribute(name="position", kind=kinds.integer(1, _HIGHEST)),
    ],
)
L7RULE = _resource(
    "rule",
    "rules",
    l7rule.SCHEMA,
    [
        *_common(description=False, name=False),
        Attribute(name="type", kind=kinds.one_of("HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE"), required=True),
        Attribute(name="compare_type", kind=kinds.one_of("REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO"), required=True),
        Attribute(name="invert", kind=kinds.boolean),
        Attribute(name="key", nullable=True),
        Attribute(name="value", required=True),
    ],
    parent="l7policies",
)
RESOURCES = (LOAD_BALANCER, LISTENER, POOL, MEMBER, HEALTH_MONITOR, L7POLICY, L7RULE)
