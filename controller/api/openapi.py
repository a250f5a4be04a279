"""The OpenAPI 3.1 document of an application: the routes of its URL map, each with its operation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import flask

from controller.api import discovery, examples, operations, policies

Json = dict[str, Any]

OUTSIDE = frozenset({"networking", "networking_extensions", "lbaasv2", "discovery", "documentation"})
"""Blueprints that are no part of the versioned API: other services' APIs, and what is asked without a token."""

_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_BRACES = re.compile(r"\{[^{}]*\}")
_METHODS = ("GET", "POST", "PUT", "DELETE")
_DESCRIPTION = """Load balancers as a service, as Octavia's clients know it. The same paths are served below `/v2.0` instead of `/v2`, \
without `/lbaas`, and with a slash at the end. A write is answered at once; a worker brings it about, and `provisioning_status` tells: \
`PENDING_*` until then, `ACTIVE` or `ERROR` afterwards."""
_ERRORS = {
    400: "The request is not as declared, or breaks a rule; the sentence says which.",
    403: "The policy does not allow it, or a quota has been met.",
    404: "No such object, or an object that the body names does not exist.",
    406: "The client takes no JSON.",
    409: "It conflicts with what exists, or the load balancer takes no changes now.",
    413: "The body is too large.",
    501: "A valid request for what the data plane can't do as yet.",
    503: "The database or another service is busy or away, or the database has another schema; nothing was changed.",
}
_SUCCESSES = {
    200: "What was asked for, or what was changed, as it is stored now.",
    201: "It was created, and is shown as it is stored.",
    202: "It was accepted; what takes time goes on in the background.",
    204: "It was accepted. The answer has no body.",
}
_READ_ERRORS = (400, 403, 404, 406, 503)
_WRITE_ERRORS = (400, 403, 404, 406, 409, 413, 501, 503)


def routes(app: flask.Flask) -> Iterator[tuple[str, str, str]]:
    """Method, path below `/v2` and endpoint of each route of the versioned API."""
    for rule in app.url_map.iter_rules():
        blueprint, _, function = rule.endpoint.rpartition(".")
        if not function or not blueprint or blueprint.split(".")[0] in OUTSIDE:
            continue
        for method in sorted(set(_METHODS) & (rule.methods or set())):
            yield method, rule.rule.removeprefix("/v2"), rule.endpoint


def blank(path: str) -> str:
    """A path of the URL map as `operations` has it, without the names of its parameters."""
    return _BRACES.sub("{}", _PARAMETER.sub("{}", path))


def document(app: flask.Flask) -> Json:
    """The whole document; `servers` is left to who answers, since it depends on where the client asked.

    A route without an operation is left out; a test tells that there is none.
    """
    paths = _open_paths()
    catalogue, rules, components = operations.catalogue(), asked_rules(), operations.components()
    for method, path, endpoint in routes(app):
        operation = catalogue.get((method, blank(path)))
        if operation is not None:
            shown = paths.setdefault(public(path), _parameters(path))
            shown[method.lower()] = _operation(operation, endpoint, path, app.view_functions[endpoint], components)
            shown[method.lower()]["x-policy"] = rules.get((method, blank(public(path))), [])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Figlina", "version": f"v2.{max(discovery.MINOR_VERSIONS)}", "description": _DESCRIPTION},
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "responses": {str(code): _error(text) for code, text in _ERRORS.items()},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }


def asked_rules() -> dict[tuple[str, str], list[str]]:
    """The policy rules of each operation, by method and blank public path."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in policies.list_rules():
        for operation in getattr(rule, "operations", ()):
            found.setdefault((operation["method"], blank(operation["path"])), []).append(rule.name)
    return found


def public(path: str) -> str:
    """The path that clients use."""
    below = path if path.startswith(operations.ADMIN) else f"/lbaas{path}"
    return "/v2" + _PARAMETER.sub(r"{\1}", below)


def _parameters(path: str) -> Json:
    names = _PARAMETER.findall(path)
    return {"parameters": [operations.in_path(name) for name in names]} if names else {}


def _operation(operation: operations.Operation, endpoint: str, path: str, view: Any, components: Json) -> Json:
    group, _, name = endpoint.partition(".")
    last = path.rsplit("/", 1)[-1]
    summary, _, more = (inspect.getdoc(view) or "").partition("\n\n")
    answer: Json = {"description": _SUCCESSES[operation.status]}
    if operation.answer is not None:
        answer["content"] = _content(operation.answer, components)
    shown: Json = {
        "operationId": name if not last.startswith("status") else f"{name}_{last}",
        "tags": [group],
        "summary": " ".join(summary.split()),
        "responses": {str(operation.status): answer} | _errors(operation, bool(_PARAMETER.search(path))),
    }
    if more:
        shown["description"] = more
    if operation.query:
        shown["parameters"] = list(operation.query)
    if operation.body is not None:
        shown["requestBody"] = {"required": True, "content": _content(operation.body, components)}
    return shown


def _content(schema: Json, components: Json) -> Json:
    return {"application/json": {"schema": schema, "example": examples.of(schema, components)}}


def _errors(operation: operations.Operation, names_an_object: bool) -> Json:
    codes = [
        code for code in (_WRITE_ERRORS if operation.is_write else _READ_ERRORS) if code != 404 or names_an_object or operation.is_write
    ]
    shared = {str(code): {"$ref": f"#/components/responses/{code}"} for code in codes}
    return shared | {"401": {"description": "The token is missing or not valid."}}


def _error(text: str) -> Json:
    return {"description": text, "content": {"application/json": {"schema": operations.ref("error")}}}


def _open_paths() -> dict[str, Json]:
    """What is asked without a token, outside of the versions."""

    def get(name: str, summary: str, media: str, schema: Json, **more: Json) -> Json:
        answers = {"200": {"description": _SUCCESSES[200], "content": {media: {"schema": schema}}}} | more
        return {"get": {"operationId": name, "tags": ["discovery"], "summary": summary, "security": [], "responses": answers}}

    refused = {"406": {"$ref": "#/components/responses/406"}}
    off = {"404": {"description": "It is switched off."}}
    word = {"const": "v2"}
    return {
        "/": get(
            "list_versions",
            "List the minor versions of the API; the last one is what runs.",
            "application/json",
            operations.ref("versions"),
            **refused,
        ),
        "/v2": get("name_version", "Tell that version 2 of the API is served here.", "application/json", word, **refused),
        "/v2/octavia": get(
            "name_admin_version", "Tell that version 2 of the operators' API is served here.", "application/json", word, **refused
        ),
        "/healthcheck": get("check_health", "Tell whether the API answers.", "text/plain", {"type": "string"}, **off),
        "/openapi.json": get("get_document", "Show this document.", "application/json", {"type": "object"}, **refused),
        "/docs": get("get_page", "Show this document as a page for people.", "text/html", {"type": "string"}),
    }
