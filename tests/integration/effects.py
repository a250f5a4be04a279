"""Every change that can be asked for, from every state of health that a server can be in: cells of a matrix, made from the API's own
declarations, each with a listener, a pool and members of its own, side by side in one load balancer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from controller.model import load_balancer as model
from controller.providers import amphora
from controller.resources import declare, health_monitor, l7policy, listener, member, pool
from tests import builders

SCHEMAS = {
    "listener": listener.SCHEMA,
    "pool": pool.SCHEMA,
    "member": member.SCHEMA,
    "monitor": health_monitor.SCHEMA,
    "policy": l7policy.SCHEMA,
}
WELL, SICK, SLOW = "198.19.20", "198.19.21", "198.19.22"
"""Networks of web servers: fit, with a health page that answers 503, and with a health page that answers only when it is let."""
WEB_PORT, SLOW_PORT, DEAD_PORT = 8000, 8001, 8009
FIRST_PORT = 10_000
STATES = ("up", "down", "unchecked", "maint", "drain", "weight-0", "backup")

Parts = dict[str, Any]
"""The objects of a cell by their part in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A change of one field: what the object is before, and what it becomes; `gone` and `new`: the object itself comes or goes."""

    kind: str
    field: str
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gone: bool = False
    new: bool = False
    word: str = ""

    @property
    def name(self) -> str:
        """It, in a word."""
        return f"{self.kind}.{self.field}" + (f"({self.word})" if self.word else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """A change from a state, at its own port of the VIP."""

    change: Change
    state: str
    port: int
    before: Parts
    after: Parts

    @property
    def name(self) -> str:
        """It, in a word."""
        return f"{self.change.name} from {self.state}"

    @property
    def server(self) -> tuple[str, str]:
        """Backend and name of the member that the state is about."""
        return f"{self.before['pool'].id}:{self.before['listener'].id}", self.before["member"].id

    @property
    def paths(self) -> tuple[str, ...]:
        """What clients ask for."""
        return ("/", "/api") if "policy" in self.before else ("/",)

    @property
    def sticky(self) -> bool:
        """Whether a client stays where it came to first."""
        pools = [parts[part] for parts in (self.before, self.after) for part in ("pool", "other_pool") if part in parts]
        return any(one.session_persistence is not None for one in pools)


def _value(field: str, *values: Any, before: Any = None, word: str = "") -> Callable[[str], list[Change]]:
    """Changes of a field to each of these values; from `before`, where that is not what the builder makes."""

    def changes(kind: str) -> list[Change]:
        earlier = {} if before is None else {field: before}
        return [Change(kind, field, earlier, {field: value}, word=word or (str(value) if len(values) > 1 else "")) for value in values]

    return changes


def _persistence(kind: str | None, cookie: str | None = None) -> model.SessionPersistence | None:
    return None if kind is None else model.SessionPersistence(type=kind, cookie_name=cookie)


_COMMON = (_value("name", "another"), _value("description", "another"), _value("tags", ("another",)))
_SWITCH = (_value("admin_state_up", False, word="off"), _value("admin_state_up", True, before=False, word="on"))
_URL = "http://www.example.com/there"
_TO_URL = {"action": "REDIRECT_TO_URL", "redirect_url": _URL}
_FIXED = model.FixedResponse(status=200, content_type="text/plain", body="fixed")
_APP_COOKIE = _persistence("APP_COOKIE", "session")
OTHER_POOL = "the other pool"  # stands for the id of the cell's second pool

_CHANGES: dict[str, tuple[Callable[[str], list[Change]], ...]] = {
    "listener": (
        *_COMMON,
        *_SWITCH,
        _value("connection_limit", 100),
        _value("connection_limit", -1, before=100, word="unset"),
        _value("default_pool_id", OTHER_POOL, None),
        _value("insert_headers", {"X-Forwarded-For": "true"}),
        *(_value(name, 7000) for name in listener.SCHEMA.operators),
        _value("allowed_cidrs", ("198.19.0.0/16",)),
        _value("error_page", model.Page(content_type="text/plain", body="Closed.")),
        _value("rate_limit", model.RateLimit(requests=1, period=3600)),
    ),
    "pool": (
        *_COMMON,
        *_SWITCH,
        _value("lb_algorithm", "LEAST_CONNECTIONS", "SOURCE_IP"),
        _value("session_persistence", _persistence("SOURCE_IP"), word="SOURCE_IP"),
        _value("session_persistence", _persistence("HTTP_COOKIE"), word="HTTP_COOKIE"),
        _value("session_persistence", _APP_COOKIE, word="APP_COOKIE"),
        _value("session_persistence", None, before=_persistence("HTTP_COOKIE"), word="unset"),
        _value("session_persistence", _persistence("APP_COOKIE", "another"), before=_APP_COOKIE, word="cookie_name"),
        _value("slow_start", 1),
        _value("drain_timeout", 2),
    ),
    "member": (
        _COMMON[0],
        _COMMON[2],
        *_SWITCH,
        _value("weight", 2, 0),
        _value("weight", 1, before=0, word="from 0"),
        _value("backup", True),
        _value("backup", False, before=True, word="no more"),
        _value("monitor_address", f"{WELL}.9", f"{SICK}.9"),
        _value("monitor_address", None, before=f"{WELL}.9", word="unset"),
        _value("monitor_address", None, before=f"{SICK}.9", word="unset from sick"),
        _value("monitor_port", DEAD_PORT, word="dead"),
        _value("monitor_port", None, before=DEAD_PORT, word="unset"),
        _value("monitor_port", WEB_PORT, before=DEAD_PORT, word="mended"),
    ),
    "monitor": (
        _COMMON[0],
        _COMMON[2],
        *_SWITCH,
        _value("delay", 1),
        _value("timeout", 8),
        _value("max_retries", 2),
        _value("max_retries_down", 2),
        _value("http_method", "HEAD"),
        _value("url_path", "/", "/other"),
        _value("expected_codes", "418", "200,503"),
        _value("http_version", 1.1),
        _value("domain_name", "www.example.com"),
        _value("grpc_service", "", "shop"),
        _value("grpc_service", None, before="", word="unset"),
    ),
    "policy": (
        *_COMMON,
        *_SWITCH,
        lambda kind: [Change(kind, "action", {}, _TO_URL)],
        lambda kind: [Change(kind, "redirect_pool_id", {}, {"action": "REDIRECT_TO_POOL", "redirect_pool_id": OTHER_POOL})],
        lambda kind: [Change(kind, "redirect_url", _TO_URL, {"redirect_url": f"{_URL}/too"})],
        lambda kind: [Change(kind, "redirect_prefix", {}, {"action": "REDIRECT_PREFIX", "redirect_prefix": "http://www.example.com"})],
        lambda kind: [Change(kind, "redirect_http_code", _TO_URL, {"redirect_http_code": 308})],
        lambda kind: [Change(kind, "fixed_response", {}, {"action": "FIXED_RESPONSE", "fixed_response": _FIXED})],
        lambda kind: [Change(kind, "split", {}, {"action": "REDIRECT_TO_POOL", "split": OTHER_POOL})],
        _value("position", 7),
    ),
}
_OF_TLS = {
    "listener": {
        *(
            "alpn_protocols",
            "client_authentication",
            "client_ca_tls_container_ref",
            "client_crl_container_ref",
            "default_tls_container_ref",
        ),
        *("hsts_include_subdomains", "hsts_max_age", "hsts_preload", "sni_container_refs", "tls_ciphers", "tls_versions"),
    },
    "pool": {
        "alpn_protocols",
        "ca_tls_container_ref",
        "crl_container_ref",
        "tls_ciphers",
        "tls_container_ref",
        "tls_enabled",
        "tls_versions",
    },
}
"""These need listeners and members that speak TLS: `test_terminated_https.py` has them."""
_OF_DATAGRAMS = {"pool": {"preserve_client_ip"}}
"""Pools over TCP can't have it: `test_netfilter.py` and `test_udp.py` do."""
_EXISTENCE = (
    Change("monitor", "itself", gone=True, word="deleted"),
    Change("monitor", "itself", new=True, word="created"),
    Change("member", "itself", gone=True, word="deleted"),
    Change("member", "itself", new=True, word="created"),
)


def changes() -> list[Change]:
    """All changes of the matrix.

    :raises AssertionError: a field that can be changed is not in it.
    """
    found = [change for kind, makers in _CHANGES.items() for make in makers for change in make(kind)]
    for kind, schema in SCHEMAS.items():
        here = {change.field for change in found if change.kind == kind}
        elsewhere = _OF_TLS.get(kind, set()) | _OF_DATAGRAMS.get(kind, set())
        declared = {field.name for field in schema.fields.values() if _can_be_changed(schema, field)} - elsewhere
        assert here == declared, f"{kind}: say in this table to what {sorted(here ^ declared)} can be changed"
    return [*found, *_EXISTENCE]


def _can_be_changed(schema: declare.Schema, field: declare.Field) -> bool:
    """Whether a PUT may name it with more than one value that has an effect."""
    possible = amphora.SUPPORTED.get(schema.name, {}).get(field.name)
    return field.put and not field.ignored and (possible is None or len({str(value) for value in possible if value}) > 1)


def cells() -> list[Cell]:
    """The whole matrix."""
    pairs = [(change, state) for change in changes() for state in STATES]
    return [_cell(change, state, FIRST_PORT + number) for number, (change, state) in enumerate(pairs)]


def snapshot(owner: model.LoadBalancer, parts: Iterator[Parts]) -> model.Snapshot:
    """One load balancer of many cells."""
    found = [list(one.items()) for one in parts]
    named = [(part, thing) for one in found for part, thing in one]

    def all_of(kind: type[Any]) -> tuple[Any, ...]:
        return tuple(thing for _, thing in named if isinstance(thing, kind))

    return builders.a_snapshot(
        owner,
        listeners=all_of(model.Listener),
        pools=all_of(model.Pool),
        members=all_of(model.Member),
        health_monitors=all_of(model.HealthMonitor),
        l7policies=all_of(model.L7Policy),
        l7rules=all_of(model.L7Rule),
    )


def without_maintenance(cell: Cell) -> Parts:
    """The cell's objects before the change, and before its member was switched off."""
    member = cell.before["member"]
    return cell.before | ({"member": dataclasses.replace(member, admin_state_up=True)} if cell.state == "maint" else {})


def _cell(change: Change, state: str, port: int) -> Cell:
    base = _parts(f"effects {port}", state, port, change)
    before = _with(base, change, change.before)
    after = _with(before, change, change.after)
    if change.new and change.kind == "member":
        third = {"id": builders.an_id(f"{port} third"), "address": before["second"].address.removesuffix(".2") + ".3"}
        after = after | {"third": dataclasses.replace(before["second"], **third)}
    elif change.new:
        del before[change.kind]
    elif change.gone:
        del after[change.kind]
    return Cell(change, state, port, before, after)


def _with(parts: Parts, change: Change, values: Mapping[str, Any]) -> Parts:
    named = {key: _other_pool(parts, key) if value == OTHER_POOL else value for key, value in values.items()}
    return parts | {change.kind: dataclasses.replace(parts[change.kind], **named)}


def _other_pool(parts: Parts, field: str) -> model.Split | str:
    """How a field names it: a split beside the pool, any other by its id."""
    other: str = parts["other_pool"].id
    if field != "split":
        return other
    return model.Split(by="REQUEST", pools=tuple(model.Share(pool_id=one, weight=1) for one in (other, parts["pool"].id)))


def _parts(word: str, state: str, port: int, change: Change) -> Parts:
    pool_id, other_id, listener_id, policy_id = (builders.an_id(f"{word} {part}") for part in ("pool", "other", "listener", "policy"))
    network, web = {"down": (SICK, WEB_PORT), "backup": (SICK, WEB_PORT), "unchecked": (SLOW, SLOW_PORT)}.get(state, (WELL, WEB_PORT))
    second = WELL if state == "backup" else network

    def a_member(part: str, address: str, **fields: Any) -> model.Member:
        own = {"id": builders.an_id(f"{word} {part}"), "pool_id": pool_id, "address": address, "protocol_port": web}
        return builders.a_member(**(own | fields))

    parts: Parts = {
        "listener": builders.a_listener(id=listener_id, protocol_port=port, default_pool_id=pool_id),
        "pool": builders.a_pool(id=pool_id),
        "member": a_member("member", f"{network}.1", admin_state_up=state != "maint", weight=0 if state == "weight-0" else 1),
        "second": a_member("second", f"{second}.2", backup=state == "backup"),
        "monitor": builders.a_health_monitor(
            id=builders.an_id(f"{word} monitor"),
            pool_id=pool_id,
            url_path="/health",
            delay=2,
            timeout=60 if state == "unchecked" else 5,
            max_retries=1,
            max_retries_down=1,
        ),
    }
    if change.kind in ("listener", "policy"):
        parts["other_pool"] = builders.a_pool(id=other_id)
        parts["other_member"] = a_member("other member", f"{WELL}.5", pool_id=other_id, protocol_port=WEB_PORT)
    if change.kind == "policy":
        parts["policy"] = builders.an_l7policy(id=policy_id, listener_id=listener_id)
        parts["rule"] = builders.an_l7rule(id=builders.an_id(f"{word} rule"), l7policy_id=policy_id)
    return parts
