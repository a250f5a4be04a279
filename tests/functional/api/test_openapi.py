"""The API's description of itself: complete, true to its own rules, and readable without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from controller.api import openapi, operations
from controller.resources import kinds
from controller.resources.declare import Schema
from tests.functional.api.conftest import Api


@pytest.fixture
def document(api: Api) -> Any:
    return api.send("GET", "//openapi.json").get_json()


def _operations(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, described in document["paths"].items():
        for method in ("get", "post", "put", "delete"):
            if method in described:
                yield f"{method.upper()} {path}", described[method]


def test_every_route_is_described_and_nothing_else_is(api: Api) -> None:
    routes = {(method, openapi.blank(path)) for method, path, _endpoint in openapi.routes(api.app)}
    assert routes == operations.catalogue().keys()


@pytest.mark.parametrize("schema", operations.SCHEMAS, ids=lambda schema: schema.name)
def test_every_field_says_what_it_takes_and_shows(schema: Schema) -> None:
    for field in schema.fields.values():
        assert field.ignored or kinds.schema_of(field.kind) is not None, f"{schema.name}.{field.name}: its kind has no JSON Schema"
        if field.is_shown and field.show is not None:
            wrapped = kinds.schema_of(field.show) or kinds.schema_of(field.kind)
            assert wrapped is not None, f"{schema.name}.{field.name}: what it shows has no JSON Schema"


def test_all_schemas_are_valid_and_all_references_lead_somewhere(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for name in re.findall(r'"\$ref": *"([^"]+)"', repr(document).replace("'", '"')):
        found = document
        for word in name.removeprefix("#/").split("/"):
            assert word in found, name
            found = found[word]


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_policy_rule(document: Any) -> None:
    names = [operation["operationId"] for _where, operation in _operations(document)]
    assert len(names) == len(set(names))
    for where, operation in _operations(document):
        assert re.fullmatch(r"\w.{2,}\.", operation["summary"]), where
        assert operation.get("security") == [] or operation["x-policy"], where


def test_the_addresses_in_the_document_are_those_that_the_client_used(api: Api, document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "http://localhost"}]
    elsewhere = api.send("GET", "//openapi.json", headers={"Host": "balancers.example.org"}).get_json()
    assert elsewhere["servers"] == [{"url": "http://balancers.example.org"}]


def test_the_page_shows_every_operation_and_loads_nothing(api: Api, document: Any) -> None:
    answer = api.send("GET", "//docs", headers={"Accept": "text/html"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|src=|url\(|@import", page)
    for where, _operation in _operations(document):
        method, path = where.split(" ")
        assert f'<span class="method">{method}</span> <code>{path}</code>' in page
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page, target
