"""/openapi.json and /docs: the API's own description, for programs and for people, without a token."""

from __future__ import annotations

import threading
from typing import Any

import flask
import orjson

from controller.api import current, docs_viewer, openapi

blueprint = flask.Blueprint("documentation", __name__)

_EXTENSION = "figlina.document"
_MAKING = threading.Lock()


@blueprint.get("/openapi.json")
def get_document() -> flask.Response:
    """The OpenAPI document, for the address that it was asked at."""
    document = b'{"servers":%s,%s' % (orjson.dumps([{"url": current.base_url()}]), _made()[1:])
    return flask.Response(document, content_type="application/json")


@blueprint.get("/docs")
def get_page() -> flask.Response:
    """The same for people: a page that shows it."""
    asked_for = str(flask.request.environ.get(current.ORIGINAL_PATH, flask.request.path))
    page = docs_viewer.page("Figlina: the API", "../" if asked_for.endswith("/") else "")
    answer = flask.Response(page, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = docs_viewer.POLICY
    return answer


def get_page_file() -> flask.Response:
    """A file of the page, which stays what it is: its version is part of its address."""
    content, media = docs_viewer.read(flask.request.path.rpartition("/")[2])
    answer = flask.Response(content, content_type=media)
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


for _path in docs_viewer.PATHS:
    blueprint.add_url_rule(_path, view_func=get_page_file)


def _made() -> bytes:
    """The document, without the address that it was asked at."""
    made: dict[str, Any] = flask.current_app.extensions
    with _MAKING:
        if _EXTENSION not in made:
            made[_EXTENSION] = orjson.dumps(openapi.document(flask.current_app))
    document: bytes = made[_EXTENSION]
    return document
