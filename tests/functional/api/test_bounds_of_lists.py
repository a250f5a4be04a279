"""Every list in a body has a bound that the OpenAPI document tells, and free text is free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controller.resources import kinds
from tests.functional.api.conftest import Api


def _bodies(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for content in operation.get("requestBody", {}).get("content", {}).values() if isinstance(operation, dict) else ():
                yield f"{method} {path}", content["schema"]


def _lists(document: Any, schema: Any, where: str, seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    if not isinstance(schema, dict):
        return
    if (name := schema.get("$ref")) is not None:
        if name not in seen:
            yield from _lists(document, document["components"]["schemas"][name.rpartition("/")[2]], f"{where} {name}", seen | {name})
        return
    if "array" in schema.get("type", ()):
        yield where, schema
        yield from _lists(document, schema.get("items"), f"{where}[]", seen)
    for key, inner in schema.get("properties", {}).items():
        yield from _lists(document, inner, f"{where}.{key}", seen)
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _lists(document, inner, where, seen)


def test_every_list_in_a_body_has_a_bound_that_is_told(api: Api) -> None:
    document = api.send("GET", "//openapi.json").get_json()
    found = [item for where, schema in _bodies(document) for item in _lists(document, schema, where)]
    assert len(found) > 30
    assert [where for where, schema in found if "maxItems" not in schema] == []


@pytest.mark.parametrize(
    ("field", "value", "most"),
    [("tags", [str(n) for n in range(101)], 100), ("vip_sg_ids", ["11111111-1111-4111-8111-111111111111"] * 1001, kinds.MOST_ITEMS)],
)
def test_a_list_beyond_its_bound_is_refused(api: Api, field: str, value: list[str], most: int) -> None:
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, field: value}}
    assert f"at most {most} items" in api.refused(400, "POST", "/loadbalancers", body)


def test_a_batch_beyond_its_bound_is_refused(api: Api) -> None:
    pool = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
    members = [{"address": "10.0.0.1", "protocol_port": 80}] * (kinds.MOST_OBJECTS + 1)
    assert f"at most {kinds.MOST_OBJECTS} items" in api.refused(400, "PUT", f"/pools/{pool}/members", {"members": members})


def test_a_description_may_have_lines_and_tabs(api: Api) -> None:
    text = "first line\r\n\tsecond line\n"
    owner = api.load_balancer(description=text)
    assert owner["description"] == text
    listener = api.listener(owner["id"], description=text)
    assert api.ok("GET", f"/listeners/{listener['id']}")["listener"]["description"] == text
    api.ok("PUT", f"/loadbalancers/{owner['id']}", {"loadbalancer": {"description": f"{text}!"}})
