"""What each route takes and gives, said once for the OpenAPI document: from a resource's declaration for the usual five operations, route
by route where it has a shape of its own. Summaries are the docstrings of the routes, paths and their parameters stand in the URL map, and
`policies` tells which rules are asked.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from controller.model import status
from controller.resources import (
    amphora,
    availability_zone,
    event,
    flavor,
    health_monitor,
    kinds,
    l7policy,
    l7rule,
    listener,
    load_balancer,
    member,
    pool,
    quota,
)
from controller.resources.declare import Schema

Json = dict[str, Any]

ADMIN: Final = "/octavia"
"""Amphorae stand below this word, everything else below `/lbaas`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """A method of a route; `path` is that of the URL map, below `/v2`, with `{}` where an id stands."""

    method: str
    path: str
    status: int = 200
    answer: Json | None = None
    body: Json | None = None
    query: tuple[Json, ...] = ()

    @property
    def is_write(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"


def ref(name: str) -> Json:
    """A component of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def envelope(**properties: Json) -> Json:
    """An object with exactly these keys."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def an_array(items: Json, **more: Any) -> Json:
    """A list."""
    return {"type": "array", "items": items, **more}


def parameter(name: str, schema: Mapping[str, Any], about: str = "") -> Json:
    """One in the query string."""
    described = {"description": about} if about else {}
    return {"name": name, "in": "query", "schema": dict(schema)} | described


_WORD: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_FIELDS = parameter("fields", an_array(_WORD), "Show these keys only; unknown ones are ignored.")
_PAGING = (
    parameter("limit", {"anyOf": [{"type": "integer"}, {"const": "infinite"}]}, "The length of a page; the operator's limit holds too."),
    parameter("marker", _WORD, "The id of the last item of the page before."),
    parameter("page_reverse", {"type": "boolean"}, "The page before the marker; only the literal `True` counts."),
    parameter("sort", _WORD, "`key[:asc|desc]`, with commas."),
    parameter("sort_key", _WORD, "Keys with commas; not looked at beside `sort`."),
    parameter("sort_dir", _WORD, "Directions with commas, for `sort_key`."),
    _FIELDS,
)
_TAGS = (
    parameter("tags", _WORD, "Items that have all these tags."),
    parameter("tags-any", _WORD, "Items that have any of them."),
    parameter("not-tags", _WORD, "Items that do not have all of them."),
    parameter("not-tags-any", _WORD, "Items that have none of them."),
)


def filters(schema: Schema) -> tuple[Json, ...]:
    """The parameters of a list: paging, tags if it has some, and a filter for each attribute that is one short value."""
    shapes = {name: kinds.schema_of(field.kind) or _WORD for name, field in schema.filters.items()}
    plain = {
        name: shape for name, shape in shapes.items() if shape.get("type") not in ("array", "object") and shape.get("maxLength", 0) < 999
    }
    return (
        *_PAGING,
        *(_TAGS if "tags" in schema.fields else ()),
        *(parameter(name, shape) for name, shape in sorted(plain.items())),
    )


def _usual(
    path: str,
    schema: Schema,
    methods: Collection[str] = ("list", "post", "get", "put", "delete"),
    *,
    created: str = "",
    put_status: int = 200,
    asked_too: Collection[Json] = (),
) -> Iterator[Operation]:
    """The usual operations of a resource; `created`: what a POST answers, if that is another shape; `asked_too`: more
    parameters of its list.
    """
    one, whole, asked, changes = (
        envelope(**{schema.name: ref(name)})
        for name in (schema.name, created or schema.name, f"{schema.name}_create", f"{schema.name}_update")
    )
    page = envelope(**{schema.collection: an_array(ref(schema.name)), schema.links: ref("links")})
    operations = {
        "list": Operation(method="GET", path=path, answer=page, query=(*filters(schema), *asked_too)),
        "post": Operation(method="POST", path=path, status=201, answer=whole, body=asked),
        "get": Operation(method="GET", path=f"{path}/{{}}", answer=one, query=(_FIELDS,)),
        "put": Operation(method="PUT", path=f"{path}/{{}}", status=put_status, answer=one, body=changes),
        "delete": Operation(method="DELETE", path=f"{path}/{{}}", status=204),
    }
    yield from (operations[method] for method in methods)


def components() -> Json:
    """The shapes that operations name."""
    made: Json = {"fault": _FAULT, "routing_error": _ROUTING_ERROR, "error": {"anyOf": [ref("fault"), ref("routing_error")]}, **_SHAPES}
    for schema in SCHEMAS:
        made[schema.name] = dict(schema.view_schema)
        for name, shape in (("create", schema.post_schema), ("update", schema.put_schema)):
            if shape["properties"]:
                made[f"{schema.name}_{name}"] = dict(shape)
    usage = {"type": "object", "description": "How much is used, by kind.", "additionalProperties": _COUNT}
    made["quota_with_usage"] = _with(made["quota"], usage=usage)
    return dict(sorted((made | _whole(made)).items()))


def _whole(made: Json) -> Json:
    """The answer to a load balancer that was created with everything below it holds the new objects themselves."""
    policy = _with(made["l7policy"], rules=an_array(ref("rule")))
    monitor = {"anyOf": [ref("healthmonitor"), {"type": "null"}]}
    return {
        "l7policy_whole": policy,
        "listener_whole": _with(made["listener"], l7policies=an_array({"anyOf": [_REFERENCE, ref("l7policy_whole")]})),
        "pool_whole": _with(made["pool"], members=an_array(ref("member")), healthmonitor=monitor),
        "loadbalancer_whole": _with(
            made["loadbalancer"],
            listeners=an_array({"anyOf": [_REFERENCE, ref("listener_whole")]}),
            pools=an_array({"anyOf": [_REFERENCE, ref("pool_whole")]}),
        ),
    }


def _with(schema: Json, **properties: Json) -> Json:
    return {**schema, "properties": schema["properties"] | properties}


_REFERENCE = envelope(id=dict(kinds.uuid.schema))
_FAULT = envelope(
    faultcode={"type": "string", "enum": ["Client", "Server"]},
    faultstring={"type": "string", "description": "What is wrong, for people."},
    debuginfo={"type": "null"},
)
_ROUTING_ERROR = envelope(code={"type": "integer"}, title=_WORD, description={"type": ["string", "null"]})
_COUNTERS = dict.fromkeys(("active_connections", "bytes_in", "bytes_out", "request_errors", "total_connections"), _COUNT)
_BOTH_STATUSES = {
    "id": dict(kinds.uuid.schema),
    "name": _WORD,
    "operating_status": {"type": "string", "enum": [str(value) for value in status.OperatingStatus]},
    "provisioning_status": {"type": "string", "enum": [str(value) for value in status.ProvisioningStatus]},
}


def _tree() -> Json:
    member_node = envelope(**_BOTH_STATUSES, address=_WORD, protocol_port={"type": "integer"})
    pool_node = _with(envelope(**_BOTH_STATUSES, members=an_array(member_node)), health_monitor=envelope(**_BOTH_STATUSES, type=_WORD))
    listener_node = envelope(**_BOTH_STATUSES, pools=an_array(pool_node))
    return envelope(loadbalancer=envelope(**_BOTH_STATUSES, listeners=an_array(listener_node)))


_SHAPES: Json = {
    "links": {
        "type": ["array", "null"],
        "description": "The pages before and after; null where paging is switched off.",
        "items": envelope(rel={"type": "string", "enum": ["next", "previous"]}, href=_WORD),
    },
    "description": {"type": "object", "properties": {"name": _WORD, "description": _WORD}, "additionalProperties": False},
    "stats": envelope(**_COUNTERS),
    "status_tree": _tree(),
    "amphora_stats": envelope(**{key: dict(kinds.uuid.schema) for key in ("id", "loadbalancer_id", "listener_id")}, **_COUNTERS),
    "versions": envelope(
        versions=an_array(
            envelope(
                id=_WORD,
                status={"type": "string", "enum": ["CURRENT", "SUPPORTED"]},
                updated=_WORD,
                links=an_array(envelope(href=_WORD, rel={"const": "self"})),
            )
        )
    ),
}

SCHEMAS: tuple[Schema, ...] = (
    load_balancer.SCHEMA,
    listener.SCHEMA,
    pool.SCHEMA,
    member.SCHEMA,
    health_monitor.SCHEMA,
    l7policy.SCHEMA,
    l7rule.SCHEMA,
    quota.SCHEMA,
    flavor.SCHEMA,
    flavor.PROFILE,
    availability_zone.SCHEMA,
    availability_zone.PROFILE,
    amphora.SCHEMA,
    event.SCHEMA,
)


def catalogue() -> dict[tuple[str, str], Operation]:
    """All operations of the versioned API, by method and path."""
    groups = (_load_balancers(), _children(), _quotas(), _offerings(), _amphorae())
    return {(operation.method, operation.path): operation for operation in itertools.chain.from_iterable(groups)}


def _load_balancers() -> Iterator[Operation]:
    path = "/loadbalancers"
    cascade = parameter("cascade", {"type": "boolean"}, "Delete everything below it too.")
    yield from _usual(path, load_balancer.SCHEMA, ("list", "post", "get", "put"), created="loadbalancer_whole")
    yield Operation(method="DELETE", path=f"{path}/{{}}", status=204, query=(cascade,))
    yield Operation(method="PUT", path=f"{path}/{{}}/failover", status=202)
    yield Operation(method="GET", path=f"{path}/{{}}/stats", answer=envelope(stats=ref("stats")))
    yield from _usual(f"{path}/{{}}/events", event.SCHEMA, ("list",))
    for word in ("status", "statuses"):
        yield Operation(method="GET", path=f"{path}/{{}}/{word}", answer=envelope(statuses=ref("status_tree")))


def _children() -> Iterator[Operation]:
    yield from _usual("/listeners", listener.SCHEMA)
    yield Operation(method="GET", path="/listeners/{}/stats", answer=envelope(stats=ref("stats")))
    yield from _usual("/pools", pool.SCHEMA, asked_too=[parameter("healthmonitor_id", kinds.schema_of(kinds.uuid) or _WORD)])
    yield from _usual("/pools/{}/members", member.SCHEMA)
    additive = parameter("additive_only", {"type": "boolean"}, "Delete none.")
    batch = envelope(members=an_array(ref("member_create"), maxItems=kinds.MOST_OBJECTS))
    yield Operation(method="PUT", path="/pools/{}/members", status=202, body=batch, query=(additive,))
    yield from _usual("/healthmonitors", health_monitor.SCHEMA)
    yield from _usual("/l7policies", l7policy.SCHEMA)
    yield from _usual("/l7policies/{}/rules", l7rule.SCHEMA)


def _quotas() -> Iterator[Operation]:
    path = "/quotas"
    yield from _usual(path, quota.SCHEMA, ("list", "put"), put_status=202)
    yield Operation(method="DELETE", path=f"{path}/{{}}", status=202)
    for defaults in (f"{path}/defaults", f"{path}/{{}}/default"):
        yield Operation(method="GET", path=defaults, answer=envelope(quota=ref("quota")), query=(_FIELDS,))
    usage = parameter("usage", {"type": "boolean"}, "Show how much is used, too.")
    shown = envelope(quota={"anyOf": [ref("quota"), ref("quota_with_usage")]})
    yield Operation(method="GET", path=f"{path}/{{}}", answer=shown, query=(_FIELDS, usage))


def _offerings() -> Iterator[Operation]:
    """What operators offer and tenants choose from."""
    yield from _usual("/flavors", flavor.SCHEMA)
    yield from _usual("/flavorprofiles", flavor.PROFILE)
    yield from _usual("/availabilityzones", availability_zone.SCHEMA)
    yield from _usual("/availabilityzoneprofiles", availability_zone.PROFILE)
    query = (_FIELDS, parameter("name", _WORD), parameter("description", _WORD))
    for path in ("/providers", "/providers/{}/flavor_capabilities", "/providers/{}/availability_zone_capabilities"):
        yield Operation(method="GET", path=path, answer=envelope(**{path.rsplit("/", 1)[-1]: an_array(ref("description"))}), query=query)


def _amphorae() -> Iterator[Operation]:
    path = f"{ADMIN}/amphorae"
    yield from _usual(path, amphora.SCHEMA, ("list", "get", "delete"))
    for action in ("failover", "config"):
        yield Operation(method="PUT", path=f"{path}/{{}}/{action}", status=202)
    yield Operation(method="GET", path=f"{path}/{{}}/stats", answer=envelope(amphora_stats=an_array(ref("amphora_stats"))))
