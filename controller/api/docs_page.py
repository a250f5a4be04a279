"""The OpenAPI document as one page of HTML, which needs no script, no other file and no network."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

Json = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; --line: #8884; --soft: #8881 }
body { max-width: 70rem; margin: 0 auto; padding: 1rem }
nav a { margin-right: .9em; white-space: nowrap }
h2 { margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line) }
details { border: 1px solid var(--line); border-radius: .3rem; margin: .3rem 0; padding: .35rem .7rem }
summary { cursor: pointer }
code, pre { font: 13px/1.4 ui-monospace, monospace }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 .8rem }
td, th { border-top: 1px solid var(--line); padding: .2rem .5rem; text-align: left; vertical-align: top }
.method { display: inline-block; min-width: 4.2em; font-weight: 600 }
.about { opacity: .75 }
"""
_METHODS = ("get", "post", "put", "delete")


def page(document: Json) -> str:
    """The page."""
    info = document["info"]
    groups = _groups(document)
    parts = [
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1>",
        f"<p>{_text(info['description'])}</p>",
        '<p>For programs: <a href="openapi.json">openapi.json</a></p>',
        "<nav>" + "".join(f'<a href="#{_text(name)}">{_text(_words(name))}</a>' for name in [*groups, "shapes"]) + "</nav>",
        *itertools.chain.from_iterable(_group(name, operations, document) for name, operations in groups.items()),
        '<h2 id="shapes">Shapes</h2>',
        *(_component(name, schema) for name, schema in document["components"]["schemas"].items()),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(info["title"])}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _groups(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """Method, path and operation, by tag."""
    found: dict[str, list[tuple[str, str, Json]]] = {}
    for path, described in document["paths"].items():
        for method in _METHODS:
            if method in described:
                found.setdefault(described[method]["tags"][0], []).append((method, path, described[method]))
    return dict(sorted(found.items()))


def _group(name: str, operations: list[tuple[str, str, Json]], document: Json) -> Iterator[str]:
    yield f'<h2 id="{_text(name)}">{_text(_words(name))}</h2>'
    for method, path, operation in operations:
        head = f'<span class="method">{method.upper()}</span> <code>{_text(path)}</code> {_text(operation["summary"])}'
        yield f"<details><summary>{head}</summary>{''.join(_details(operation, document))}</details>"


def _details(operation: Json, document: Json) -> Iterator[str]:
    if "description" in operation:
        yield f"<p>{_text(operation['description'])}</p>"
    if operation.get("x-policy"):
        yield "<p>Policy: " + ", ".join(f"<code>{_text(name)}</code>" for name in operation["x-policy"]) + "</p>"
    if operation.get("parameters"):
        yield "<h4>Query</h4>" + _table((item["name"], item["schema"], item.get("description", "")) for item in operation["parameters"])
    if "requestBody" in operation:
        yield "<h4>Body</h4>" + _schema(operation["requestBody"]["content"]["application/json"]["schema"])
    yield "<h4>Answers</h4><table>"
    for code, answer in operation["responses"].items():
        described = document["components"]["responses"][code] if "$ref" in answer else answer
        shape = "".join(f"<code>{_type(body['schema'])}</code> " for body in answer.get("content", {}).values())
        yield f"<tr><td>{_text(code)}</td><td>{shape}{_text(described['description'])}</td></tr>"
    yield "</table>"


def _component(name: str, schema: Json) -> str:
    return f'<details id="shape-{_text(name)}"><summary><code>{_text(name)}</code></summary>{_schema(schema)}</details>'


def _schema(schema: Json) -> str:
    """A table of the keys of an object; of anything else, its type."""
    if "properties" not in schema:
        return f"<p><code>{_type(schema)}</code> {_text(schema.get('description', ''))}</p>"
    required = schema.get("required", ())
    return _table(
        (f"{name} *" if name in required else name, shape, shape.get("description", "")) for name, shape in schema["properties"].items()
    )


def _table(rows: Iterator[tuple[str, Json, str]]) -> str:
    cells = (
        f"<tr><td><code>{_text(name)}</code></td><td><code>{_type(schema)}</code> {_limits(schema)}</td>"
        f'<td class="about">{_text(about)}</td></tr>'
        for name, schema, about in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _type(schema: Json) -> str:
    """The type in one line, with links to the shapes."""
    if "$ref" in schema:
        name = _text(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#shape-{name}">{name}</a>'
    if "const" in schema:
        return _text(orjson.dumps(schema["const"]).decode())
    if "enum" in schema:
        return " | ".join(_text(str("null" if value is None else value)) for value in schema["enum"])
    kinds = schema.get("type", [])
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    if not names:
        return " | ".join(_type(choice) for choice in schema.get("anyOf", ())) or "anything"
    if "items" in schema:
        names[names.index("array")] = "array of"
        return f"{_text(' | '.join(names))} {_type(schema['items'])}"
    if schema.get("properties") and "object" in names:
        inner = ", ".join(f"{_text(name)}: {_type(shape)}" for name, shape in schema["properties"].items())
        return f"{{{inner}}}" + "".join(f" | {_text(name)}" for name in names if name != "object")
    return _text(" | ".join(names))


def _limits(schema: Json) -> str:
    words = [schema["format"]] if "format" in schema else []
    words += [f"{name} {schema[key]}" for key, name in (("minimum", "from"), ("maximum", "to"), ("maxLength", "longest")) if key in schema]
    if "default" in schema:
        words.append(f"default {orjson.dumps(schema['default']).decode()}")
    return f'<span class="about">{_text(", ".join(words))}</span>' if words else ""


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _text(value: str) -> str:
    return html.escape(value)
