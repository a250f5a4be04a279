"""Whatever a client sends, it is never answered with 500, and every refusal has its sentence."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from typing import Any
from urllib import parse as urls

import hypothesis
import pytest
from hypothesis import strategies as st

from controller.resources import health_monitor, listener, load_balancer, member, pool
from tests.functional.api.conftest import Api, an_api

UNKNOWN = "11111111-1111-4111-8111-111111111111"
_SCHEMAS = {schema.SCHEMA.name: schema.SCHEMA for schema in (load_balancer, listener, pool, member, health_monitor)}
_FIELDS = sorted(
    {name for schema in _SCHEMAS.values() for name in (*schema.fields, "tenant_id", "default_pool", "members", "healthmonitor")}
)

settings = hypothesis.settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)


class Site:
    """An API with one of each object, made anew when a request removed it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.ids: dict[str, str] = {}
        self.renew()

    def renew(self) -> None:
        """One of each, settled."""
        api = self.api
        self.ids["loadbalancer"] = api.load_balancer()["id"]
        self.ids["listener"] = api.listener(self.ids["loadbalancer"])["id"]
        self.ids["pool"] = api.pool(listener_id=self.ids["listener"])["id"]
        self.ids["member"] = api.member(self.ids["pool"])["id"]
        self.ids["healthmonitor"] = api.monitor(self.ids["pool"])["id"]
        self.ids["subnet"] = api.network.subnet_id
        api.settle()

    def fill(self, value: Any) -> Any:
        """Put ids where a value says `{pool}`."""
        if isinstance(value, str):
            for name, object_id in self.ids.items():
                value = value.replace(f"{{{name}}}", object_id)
            return value
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        return [self.fill(item) for item in value] if isinstance(value, list) else value

    def check(self, method: str, path: str, data: bytes | None = None) -> int:
        """Send it; the answer is a success, or a refusal in one of the two shapes."""
        answer = self.api.send(method, f"//{path}", data=data)
        said = answer.get_data(as_text=True)
        assert answer.status_code < 500 or answer.status_code == 501, (method, path, data, said)
        if answer.status_code >= 400 and method != "HEAD":
            shape = set(json.loads(said))
            assert shape in ({"faultcode", "faultstring", "debuginfo"}, {"code", "title", "description"}), said
            assert json.loads(said).get("faultstring", "x"), "a refusal without a sentence"
            assert "pydantic" not in said
            assert "Traceback" not in said
        if method == "DELETE" and answer.status_code == 204:
            self.api.settle()
            self.renew()
        return int(answer.status_code)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One API for all examples."""
    with an_api() as api:
        yield Site(api)


_ids = st.sampled_from(["{loadbalancer}", "{listener}", "{pool}", "{member}", "{healthmonitor}", "{subnet}", UNKNOWN])
_awkward = st.sampled_from(
    ["", " ", "\n", "\x00", "\u2028", "é", "🏺", "x" * 300, "a\r\nbind *:1", "' ; drop table pools", "{}", "%00", "-1", "1e400", "10.0.0.1",
     "::1", "fe80::1%eth0", "10.0.0.0/8", "HTTP", "TCP", "ROUND_ROBIN", "HTTP_COOKIE", "APP_COOKIE", "true", "None", "9" * 30]
)  # fmt: skip
_strings = _awkward | _ids | st.text(max_size=20).filter(lambda value: value.isprintable() or value.isascii())
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 2, 80, 256, 65535, 65536])
    | st.floats(allow_nan=False, allow_infinity=False)
    | _strings
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS) | _strings, inner, max_size=4),
    max_leaves=8,
)
_VALID: dict[str, dict[str, Any]] = {
    "loadbalancer": {"vip_subnet_id": "{subnet}"},
    "listener": {"loadbalancer_id": "{loadbalancer}", "protocol": "HTTP", "protocol_port": 81},
    "pool": {"loadbalancer_id": "{loadbalancer}", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
    "member": {"address": "10.0.0.9", "protocol_port": 80},
    "healthmonitor": {"pool_id": "{pool}", "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1},
}
_COLLECTIONS = {
    "loadbalancer": "loadbalancers",
    "listener": "listeners",
    "pool": "pools",
    "member": "pools/{pool}/members",
    "healthmonitor": "healthmonitors",
}


@pytest.mark.parametrize("kind", sorted(_VALID))
def test_the_bodies_that_are_spoilt_below_are_good_ones(site: Site, kind: str) -> None:
    if kind == "healthmonitor":
        site.api.ok("DELETE", site.fill("/healthmonitors/{healthmonitor}"), status=204)
    body = json.dumps({kind: site.fill(_VALID[kind])}).encode()
    assert site.check("POST", site.fill(f"v2/{_COLLECTIONS[kind]}"), body) == 201


@pytest.mark.lengthy
@settings
@hypothesis.given(data=st.data())
def test_a_body_with_wrong_values_is_refused_or_accepted_but_never_breaks(site: Site, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(_VALID)))
    creating = data.draw(st.booleans())
    known = st.sampled_from(sorted(_SCHEMAS[kind].fields))
    changed = data.draw(st.dictionaries(known | st.sampled_from(_FIELDS), _values, min_size=1, max_size=3))
    fields = (_VALID[kind] if creating else {}) | changed
    body = {kind: data.draw(st.just(fields) | _values)} if data.draw(st.integers(0, 9)) else data.draw(_values)
    path = _COLLECTIONS[kind] if creating else f"{_COLLECTIONS[kind]}/{{{kind}}}"
    site.check("POST" if creating else "PUT", site.fill(f"v2/{path}"), json.dumps(site.fill(body)).encode())


@pytest.mark.lengthy
@settings
@hypothesis.given(items=_values | st.lists(st.dictionaries(st.sampled_from(sorted(member.SCHEMA.fields)), _values, max_size=4), max_size=4))
def test_a_batch_of_anything_never_breaks(site: Site, items: Any) -> None:
    site.check("PUT", site.fill("v2/pools/{pool}/members"), json.dumps({"members": site.fill(items)}).encode())


@settings
@hypothesis.given(
    body=st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode), kind=st.sampled_from(sorted(_VALID))
)
def test_bytes_that_are_no_json_never_break(site: Site, body: bytes, kind: str) -> None:
    site.check("POST", site.fill(f"v2/{_COLLECTIONS[kind]}"), body)


_QUERY_NAMES = st.sampled_from(
    ["limit", "marker", "page_reverse", "sort", "sort_key", "sort_dir", "fields", "tags", "tags-any", "not-tags", "not-tags-any", "cascade",
     "additive_only", *_FIELDS]
)  # fmt: skip
_LISTS = st.sampled_from([*_COLLECTIONS.values(), "octavia/amphorae", "providers"])
_QUERY_VALUES = _strings | st.sampled_from(
    ["name:asc", "name:desc,id", "id:x", "created_at", "infinite", "-5", "0", "2", "True", "name", "id,name"]
)


@settings
@hypothesis.given(path=_LISTS, query=st.lists(st.tuples(_QUERY_NAMES | _strings, _QUERY_VALUES), max_size=4))
def test_a_query_of_anything_never_breaks(site: Site, path: str, query: list[tuple[str, str]]) -> None:
    filled = [(site.fill(name), site.fill(value)) for name, value in query]
    site.check("GET", f"{site.fill(f'v2/{path}')}?{urls.urlencode(filled)}")


_WORDS = st.sampled_from(
    ["v2", "v2.0", "v1", "lbaas", "octavia", "loadbalancers", "listeners", "pools", "members", "healthmonitors", "amphorae", "providers",
     "stats", "status", "failover", "config", "", "..", "l7policies", "quotas"]
)  # fmt: skip


@settings
@hypothesis.given(
    words=st.lists(_WORDS | _ids | _strings, max_size=6),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]),
    body=st.sampled_from([None, b"", b"{}", b'{"pool": {}}', b'{"members": []}', b"[]"]),
)
def test_a_path_of_anything_never_breaks(site: Site, words: list[str], method: str, body: bytes | None) -> None:
    site.check(method, "/".join(urls.quote(site.fill(word), safe="") for word in words), body)


@pytest.mark.parametrize("kind", sorted(_VALID))
@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"])
def test_no_string_field_takes_a_control_character(site: Site, kind: str, character: str) -> None:
    """But for descriptions: they reach no configuration, and may have lines."""
    tried = 0
    for name, field in _SCHEMAS[kind].fields.items():
        if not field.post or field.ignored or (name == "description" and character in "\n\r"):
            continue
        for value in (f"a{character}b", [f"a{character}b"], {"type": "APP_COOKIE", "cookie_name": f"a{character}b"},
                      {"X-Forwarded-For": f"a{character}b"}, {f"a{character}b": "true"}):  # fmt: skip
            body = {kind: site.fill(_VALID[kind] | {name: value})}
            path = site.fill(f"//v2/{_COLLECTIONS[kind]}")
            answer = site.api.send("POST", path, body)
            said = answer.get_json()["faultstring"]
            assert answer.status_code == 400
            assert said.startswith(("Invalid input for field/attribute", "Unknown attribute for argument")), said
            tried += 1
    assert tried > 20
