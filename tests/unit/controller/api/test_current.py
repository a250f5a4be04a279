"""What our applications leave out of Flask is missed by no answer."""

from __future__ import annotations

import flask
import pytest
import werkzeug.exceptions
from werkzeug.test import Client

from controller.api import current


@pytest.fixture
def client() -> Client:
    app = current.Application("current", static_folder=None)

    @app.get("/one/<name>")
    def one(name: str) -> flask.Response:
        return current.Answer(f'"{name}"'.encode(), 200, content_type="application/json")

    @app.delete("/one/<name>")
    def nothing(name: str) -> flask.Response:
        return current.Answer(status=204)

    @app.errorhandler(werkzeug.exceptions.HTTPException)
    def refused(error: werkzeug.exceptions.HTTPException) -> flask.Response:
        return current.Answer(b"{}", error.code, content_type="application/json")

    @app.after_request
    def end(answer: flask.Response) -> flask.Response:
        answer.headers["X-Path"] = flask.request.path
        return answer

    return Client(app)


def test_an_answer_says_each_thing_once(client: Client) -> None:
    answer = client.get("/one/\u00e9")
    assert (answer.status_code, answer.get_data(as_text=True)) == (200, '"\u00e9"')
    assert sorted(name for name, _ in answer.headers) == ["Content-Length", "Content-Type", "X-Path"]
    assert answer.headers["Content-Length"] == "4"


def test_an_answer_without_a_body_has_no_length(client: Client) -> None:
    answer = client.delete("/one/a")
    assert (answer.status_code, answer.get_data(), answer.headers.get("Content-Length")) == (204, b"", None)


def test_to_head_the_length_is_told_and_nothing_else(client: Client) -> None:
    answer = client.head("/one/abc")
    assert (answer.status_code, answer.get_data(), answer.headers["Content-Length"]) == (200, b"", "5")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/two", 404), ("PUT", "/one/a", 405), ("GET", "/one/a/", 404), ("GET", "//x", 404)]
)
def test_what_is_no_route_is_refused(client: Client, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method, environ_overrides={"PATH_INFO": path})
    assert (answer.status_code, answer.get_data()) == (status, b"{}")
