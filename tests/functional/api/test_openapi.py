"""The API's description of itself: complete, true to its own rules, and readable without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from controller import exceptions
from controller.api import docs_viewer, openapi, operations
from controller.resources import kinds
from controller.resources.catalog import SCHEMAS
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


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_every_field_says_what_it_takes_and_shows(schema: Schema) -> None:
    for field in schema.fields.values():
        assert field.ignored or kinds.schema_of(field.kind) is not None, f"{schema.name}.{field.name}: its kind has no JSON Schema"
        if field.is_shown and field.show is not None:
            wrapped = kinds.schema_of(field.show) or kinds.schema_of(field.kind)
            assert wrapped is not None, f"{schema.name}.{field.name}: what it shows has no JSON Schema"


@pytest.mark.lengthy
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
        assert re.fullmatch(r"[A-Z]\w+( \S+){2,}\.", operation["summary"]), where  # a sentence, which says what of
        assert operation.get("security") == [] or operation["x-policy"], where


def test_every_parameter_and_property_is_described_in_a_sentence(document: Any) -> None:
    said = {where: described.get("description", "") for where, described in _described("", document)}
    assert len(said) > 500
    thin = {where: words for where, words in said.items() if not re.fullmatch(r"\S+( \S+){2,}[.:]", words, re.DOTALL)}
    assert not thin


def _described(where: str, part: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What users look words up for: parameters, and values in bodies of which something is said."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    if not isinstance(part, dict):
        return
    if part.get("in") in ("path", "query"):
        yield where, part
    for name, value in part.get("properties", {}).items():
        if "description" in value:
            yield f"{where} {name}", value
    for name, value in part.items():
        if name not in ("example", "examples"):
            yield from _described(f"{where}/{name}", value)


def test_the_addresses_in_the_document_are_those_that_the_client_used(api: Api, document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "http://localhost"}]
    elsewhere = api.send("GET", "//openapi.json", headers={"Host": "balancers.example.org"}).get_json()
    assert elsewhere["servers"] == [{"url": "http://balancers.example.org"}]


def test_the_page_loads_files_of_ours_alone_and_runs_nothing_else(api: Api) -> None:
    answer = api.send("GET", "//docs", headers={"Accept": "text/html"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|style=|\son\w+=|https?:", page)
    files = re.findall(r'(?:src|href)="(docs/[^"]+)"(?: integrity="([^"]+)")?', page)
    assert {name.rsplit(".")[-1] for name, _hash in files} == {"js", "css", "png"}
    for name, integrity in files:
        file = api.send("GET", f"//{name}", headers={"Accept": "*/*"})
        assert file.status_code == 200, name
        assert integrity == f"sha384-{base64.b64encode(hashlib.sha384(file.data).digest()).decode()}" or name.endswith(".png"), name
        assert "immutable" in file.headers["Cache-Control"]
    assert 'data-document="openapi.json"' in page


def test_the_page_finds_its_files_with_a_slash_at_its_end_too(api: Api) -> None:
    page = api.send("GET", "//docs/", headers={"Accept": "text/html"}).get_data(as_text=True)
    assert re.findall(r'(?:src|href|data-document)="(?!\.\./)[^"]*"', page) == []


@pytest.mark.parametrize("name", ["index.template.html", "swagger-ui.js", "..%2F__init__.py", "VERSION"])
def test_no_other_file_of_the_viewer_is_served(api: Api, name: str) -> None:
    assert api.send("GET", f"//docs/{docs_viewer.VERSION}/{name}", headers={"Accept": "*/*"}).status_code == 404


def test_a_viewer_of_another_version_is_told_and_not_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    docs_viewer.read.cache_clear()
    monkeypatch.setitem(docs_viewer.INTEGRITY, "swagger-ui.css", docs_viewer.integrity(b"another"))
    with pytest.raises(exceptions.Misconfigured, match="pip install --force-reinstall flask-swagger-ui=="):
        docs_viewer.read("swagger-ui.css")
    assert api.send("GET", f"//docs/{docs_viewer.VERSION}/swagger-ui.css", headers={"Accept": "*/*"}).status_code == 500


def test_every_request_and_every_answer_has_an_example_that_fits(document: Any) -> None:
    for where, operation in _operations(document):
        if operation.get("security") == []:  # a word, or a page
            continue
        sides = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in [content for side in sides for content in side.get("content", {}).values()]:
            assert "example" in content, where
            jsonschema.Draft202012Validator(content["schema"] | {"components": document["components"]}).validate(content["example"])


def test_every_property_of_every_shape_says_what_it_is(document: Any) -> None:
    silent = [where for name, shape in document["components"]["schemas"].items() for where in _silent(shape, name)]
    assert silent == []


def _silent(shape: Any, where: str) -> Iterator[str]:
    for name, part in shape.get("properties", {}).items():
        if part.keys().isdisjoint({"description", "$ref", "anyOf", "properties", "items", "const"}):
            yield f"{where}.{name}"
        yield from _silent(part, f"{where}.{name}")
        yield from _silent(part.get("items", {}), f"{where}.{name}[]")
