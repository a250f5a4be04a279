"""What each route takes and gives, said once for the OpenAPI document: from a resource's declaration for the usual five operations, route
by route where it has a shape of its own. Summaries are the docstrings of the routes, paths and their parameters stand in the URL map, and
`policies` tells which rules are asked.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from controller.providers import amphora as amphora_provider
from controller.resources import (
    amphora,
    event,
    health_monitor,
    json_schema,
    kinds,
    l7policy,
    l7rule,
    listener,
    load_balancer,
    member,
    offering,
    pool,
    quota,
    secret,
)
from controller.resources.catalog import SCHEMAS
from controller.resources.declare import Field, Schema
from controller.resources.kinds import REFERENCE

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


_PATHS = {
    "availability_zone_name": "The name of the availability zone.",
    "monitor_id": "The id of the health monitor.",
    "policy_id": "The id of the L7 policy.",
    "provider": "The name of the provider.",
    "reference": "The reference of the secret, with which its creation was answered.",
    "rule_id": "The id of the L7 rule.",
}


def in_path(name: str) -> Json:
    """The description of a parameter in the path."""
    about = _PATHS.get(name) or f"The id of the {name.removesuffix('_id').replace('_', ' ')}."
    return {"name": name, "in": "path", "required": True, "description": about, "schema": dict(_WORD)}


def parameter(name: str, schema: Mapping[str, Any], about: str) -> Json:
    """The description of a parameter in the query string."""
    return {"name": name, "in": "query", "description": about, "schema": dict(schema)}


_WORD: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_FIELDS = parameter("fields", an_array(_WORD), "Show these keys only; unknown ones are ignored.")
_PAGING = (
    parameter("limit", {"anyOf": [{"type": "integer"}, {"const": "infinite"}]}, "The length of a page; the operator's limit holds too."),
    parameter("marker", _WORD, "The id of the last item of the page before."),
    parameter("page_reverse", {"type": "boolean"}, "The page before the marker; only the literal `True` counts."),
    parameter("sort", _WORD, "The keys to sort by, each with its direction (`key[:asc|desc]`), separated by commas."),
    parameter("sort_key", _WORD, "The keys to sort by, separated by commas; not looked at beside `sort`."),
    parameter("sort_dir", _WORD, "The directions of `sort_key` (`asc` or `desc`), separated by commas."),
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
        *(parameter(name, shape, schema.filters[name].about) for name, shape in sorted(plain.items())),
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
        made[schema.name] = json_schema.for_view(schema) | {"examples": [json_schema.example_of_view(schema)]}
        if asked := json_schema.example_of_post(schema):
            made[f"{schema.name}_create"] = _bounded(schema, json_schema.for_post(schema)) | {"examples": [asked]}
        if changes := json_schema.example_of_put(schema):
            made[f"{schema.name}_update"] = _bounded(schema, json_schema.for_put(schema)) | {"examples": [changes]}
    usage = {"type": "object", "description": "How much is used, by kind.", "additionalProperties": _COUNT}
    made["quota_with_usage"] = _with(made["quota"], usage=usage)
    return dict(sorted((made | _whole(made)).items()))


def _bounded(schema: Schema, asked: Json) -> Json:
    """With a word about what the provider of ours can't do as yet."""
    words = {}
    for name, possible in amphora_provider.SUPPORTED.get(schema.name, {}).items():
        if name in asked["properties"]:
            described = asked["properties"][name]
            some = ", ".join(sorted({str(value) for value in possible if value not in (None, "", [], {})}))
            limit = f"The provider amphora can't do other values than {some or 'none at all'} as yet (501)."
            words[name] = described | {"description": f"{described['description']} {limit}"}
    return _with(asked, **words)


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


def _said(about: str, example: Any, **schema: Any) -> Json:
    """A value with words about it, a string unless the schema says otherwise."""
    return {"type": "string", **schema, "description": about, "examples": [example]}


def _counted(about: str, example: int) -> Json:
    return _said(about, example, **_COUNT)


def _of(field: Field) -> Json:
    """A field of a resource that is shown elsewhere too."""
    about = {"description": field.about, "examples": [kinds.example_of(field.kind)]}
    return {**(kinds.schema_of(field.kind) or {}), **about}


_REFERENCE = dict(REFERENCE)
_FAULT = envelope(
    faultcode={
        "type": "string",
        "enum": ["Client", "Server"],
        "description": "Whose fault it is: the client has to ask otherwise, or the server has to be mended.",
    },
    faultstring=_said("What is wrong, for people.", "Listener 8f2a3c1e-5d64-4b1f-9c0a-7e6b2d9f4a10 not found."),
    debuginfo={"type": "null", "description": "Nothing: details are in the log, under the request id."},
)
_ROUTING_ERROR = envelope(
    code={"type": "integer", "description": "The status code of the answer.", "examples": [404]},
    title=_said("What the status code is called.", "Not Found"),
    description={"type": ["string", "null"], "description": "What is wrong, for people.", "examples": [None]},
)
_COUNTERS = {
    "active_connections": _counted("Connections that are open now.", 12),
    "bytes_in": _counted("Bytes that clients sent.", 65671420),
    "bytes_out": _counted("Bytes that clients were sent.", 774771186),
    "request_errors": _counted("Requests that could not be understood.", 0),
    "total_connections": _counted("Connections that were ever opened.", 26189172),
}
_BOTH_STATUSES = {name: _of(load_balancer.SCHEMA.fields[name]) for name in ("id", "name", "operating_status", "provisioning_status")} | {
    "name": _said("The name of the object.", "shop")
}


def _tree() -> Json:
    server = {
        "address": _said("The address of the server.", "192.0.2.10"),
        "protocol_port": {"type": "integer", "description": "The port of the server.", "examples": [8080]},
    }
    monitor = envelope(**_BOTH_STATUSES, type=_said("How members are checked.", "HTTP"))
    pool_node = _with(envelope(**_BOTH_STATUSES, members=an_array(envelope(**_BOTH_STATUSES, **server))), health_monitor=monitor)
    listener_node = envelope(**_BOTH_STATUSES, pools=an_array(pool_node))
    return envelope(loadbalancer=envelope(**_BOTH_STATUSES, listeners=an_array(listener_node)))


_SHAPES: Json = {
    "links": {
        "type": ["array", "null"],
        "description": "The pages before and after; null where paging is switched off.",
        "items": envelope(
            rel={"type": "string", "enum": ["next", "previous"], "description": "Whether it is the page after this one or before it."},
            href=_said(
                "The URL of the page.",
                "https://balancers.example.com/v2/lbaas/listeners?limit=1&marker=8f2a3c1e-5d64-4b1f-9c0a-7e6b2d9f4a10",
            ),
        ),
    },
    "description": {
        "type": "object",
        "properties": {
            "name": _said("The name of the provider or of the capability.", "amphora"),
            "description": _said("What it is, for people.", "A pair of machines."),
        },
        "additionalProperties": False,
    },
    "stats": envelope(**_COUNTERS),
    "status_tree": _tree(),
    "amphora_stats": envelope(
        id=_of(amphora.SCHEMA.fields["id"]),
        loadbalancer_id=_of(amphora.SCHEMA.fields["loadbalancer_id"]),
        listener_id=_said("The listener that is counted.", kinds.uuid.example, format="uuid"),
        **_COUNTERS,
    ),
    "versions": envelope(
        versions=an_array(
            envelope(
                id=_said("The name of the version.", "v2.28"),
                status={"type": "string", "enum": ["CURRENT", "SUPPORTED"], "description": "CURRENT is the newest."},
                updated=_said("When it was made.", "2026-01-31T12:00:00Z"),
                links=an_array(envelope(href=_said("The URL of the version.", "https://balancers.example.com/v2"), rel={"const": "self"})),
            )
        )
    ),
}


def catalogue() -> dict[tuple[str, str], Operation]:
    """All operations of the versioned API, by method and path."""
    groups = (_load_balancers(), _children(), _secrets(), _quotas(), _offerings(), _amphorae())
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
    probed_by = parameter("healthmonitor_id", kinds.schema_of(kinds.uuid) or _WORD, pool.SCHEMA.fields["healthmonitor_id"].about)
    yield from _usual("/pools", pool.SCHEMA, asked_too=[probed_by])
    yield Operation(method="GET", path="/pools/{}/stats", answer=envelope(stats=ref("stats")))
    yield from _usual("/pools/{}/members", member.SCHEMA)
    yield Operation(method="GET", path="/pools/{}/members/{}/stats", answer=envelope(stats=ref("stats")))
    additive = parameter("additive_only", {"type": "boolean"}, "Keep the members that the body does not name, instead of deleting them.")
    batch = envelope(members=an_array(ref("member_create"), maxItems=kinds.MOST_OBJECTS))
    yield Operation(method="PUT", path="/pools/{}/members", status=202, body=batch, query=(additive,))
    yield from _usual("/healthmonitors", health_monitor.SCHEMA)
    yield from _usual("/l7policies", l7policy.SCHEMA)
    yield from _usual("/l7policies/{}/rules", l7rule.SCHEMA)


def _secrets() -> Iterator[Operation]:
    reference = _said("What listeners and pools name.", "local:5d1f8d3a-7b0a-4a3f-9a35-6f1b1d1f2c3e")
    body = envelope(secret=json_schema.for_post(secret.SCHEMA))
    yield Operation(method="POST", path="/secrets", status=201, answer=envelope(secret=envelope(ref=reference)), body=body)
    yield Operation(method="DELETE", path="/secrets/{}", status=204)


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
    yield from _usual("/flavors", offering.FLAVOR)
    yield from _usual("/flavorprofiles", offering.FLAVOR_PROFILE)
    yield from _usual("/availabilityzones", offering.AVAILABILITY_ZONE)
    yield from _usual("/availabilityzoneprofiles", offering.AVAILABILITY_ZONE_PROFILE)
    query = (
        _FIELDS,
        parameter("name", _WORD, "Show what has this name only."),
        parameter("description", _WORD, "Show what has this description only."),
    )
    for path in ("/providers", "/providers/{}/flavor_capabilities", "/providers/{}/availability_zone_capabilities"):
        yield Operation(method="GET", path=path, answer=envelope(**{path.rsplit("/", 1)[-1]: an_array(ref("description"))}), query=query)


def _amphorae() -> Iterator[Operation]:
    path = f"{ADMIN}/amphorae"
    yield from _usual(path, amphora.SCHEMA, ("list", "get", "delete"))
    for action in ("failover", "config"):
        yield Operation(method="PUT", path=f"{path}/{{}}/{action}", status=202)
    yield Operation(method="GET", path=f"{path}/{{}}/stats", answer=envelope(amphora_stats=an_array(ref("amphora_stats"))))
