"""/openapi.json and /docs: the API's own description, for programs and for people, without a token. Both are made once per application."""

from __future__ import annotations

import threading
from typing import Any

import flask
import orjson

from controller.api import docs_page, links, openapi

blueprint = flask.Blueprint("documentation", __name__)

_EXTENSION = "figlina.document"
_MAKING = threading.Lock()
_SHUT = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""The page loads nothing from anywhere, and runs nothing."""


@blueprint.get("/openapi.json")
def get_document() -> flask.Response:
    """The OpenAPI document, for the address that it was asked at."""
    document = b'{"servers":%s,%s' % (orjson.dumps([{"url": links.base()}]), _made()[0][1:])
    return flask.Response(document, content_type="application/json")


@blueprint.get("/docs")
def get_page() -> flask.Response:
    """The same as a page to read."""
    answer = flask.Response(_made()[1], content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = _SHUT
    return answer


def _made() -> tuple[bytes, bytes]:
    """The document and the page."""
    made: dict[str, Any] = flask.current_app.extensions
    with _MAKING:
        if _EXTENSION not in made:
            document = openapi.document(flask.current_app)
            made[_EXTENSION] = orjson.dumps(document), docs_page.page(document).encode()
    pair: tuple[bytes, bytes] = made[_EXTENSION]
    return pair
