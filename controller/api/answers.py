"""Answers: JSON with the keys that were asked for, or nothing at all."""

from __future__ import annotations

from typing import Any

import flask
import orjson

from controller.api import current


def json(body: Any, status: int = 200) -> flask.Response:
    """A body."""
    return flask.Response(orjson.dumps(body), status, content_type="application/json")


def empty(status: int) -> flask.Response:
    """Neither a body nor a content type."""
    answer = flask.Response(status=status)
    del answer.headers["Content-Type"]
    return answer


def one(key: str, view: dict[str, Any], status: int = 200) -> flask.Response:
    """One object in its envelope; a GET may choose its fields."""
    if flask.request.method == "GET":
        chosen = selection()
        if chosen:
            view = select(view, chosen)
    return json({key: view}, status)


def selection() -> frozenset[str]:
    """The names in `fields=`, repeated or with commas; empty: all."""
    if not flask.request.query_string or not current.settings().allow_field_selection:
        return frozenset()
    return frozenset(name for words in flask.request.args.getlist("fields") for name in words.split(",") if name)


def select(view: dict[str, Any], chosen: frozenset[str]) -> dict[str, Any]:
    """Only the chosen keys; unknown ones are ignored."""
    return {key: value for key, value in view.items() if key in chosen}
