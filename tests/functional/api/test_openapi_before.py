"""While declarations change places, the OpenAPI document says what it said before: all of it but descriptions, summaries and examples."""

from __future__ import annotations

import pathlib
from typing import Any

import orjson

from tests.functional.api.conftest import Api

BEFORE = pathlib.Path(__file__).parents[2] / "recorded" / "openapi-before.json"

_WORDS = frozenset({"description", "summary", "example", "examples"})
_BY_NAME = frozenset({"properties", "paths", "schemas", "responses", "content", "securitySchemes"})
"""Objects whose keys are names of something, and may be called `description`."""


def _without_words(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, list):
        return [_without_words(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {key: _without_words(value, names=key in _BY_NAME) for key, value in node.items() if names or key not in _WORDS}


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [line for key in keys for line in _differences(before.get(key), now.get(key), f"{where}/{key}")]
    return [] if before == now else [f"{where}: was {str(before)[:200]}, is {str(now)[:200]}"]


def test_the_document_is_the_one_before_but_for_its_words(api: Api) -> None:
    now = api.send("GET", "//openapi.json").get_json()
    del now["servers"]
    assert _differences(_without_words(orjson.loads(BEFORE.read_bytes())), _without_words(now)) == []


def test_a_difference_is_seen_wherever_it_is(api: Api) -> None:
    before = orjson.loads(BEFORE.read_bytes())
    now = orjson.loads(BEFORE.read_bytes())
    schemas = now["components"]["schemas"]
    schemas["listener"]["properties"]["description"]["maxLength"] = 254
    schemas["listener"]["properties"]["name"]["description"] = "other words"
    del schemas["member_create"]["properties"]["weight"]
    found = [line.partition(":")[0] for line in _differences(_without_words(before), _without_words(now))]
    assert found == ["/components/schemas/listener/properties/description/maxLength", "/components/schemas/member_create/properties/weight"]
