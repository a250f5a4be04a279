"""The request in hand: who asks with what, for changes; the services and settings behind it; its own address; and its answer.

Our applications are Flask without what none of their routes needs: sessions, async views, routes that differ by host, bodies that are made
while they are sent. With all of that, GET of one object takes a quarter more. Only what Flask and Werkzeug document as
to be replaced is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import flask
import orjson
from flask import sessions
from werkzeug import routing

from controller import exceptions
from controller.api import policy
from controller.api.policy import Context
from controller.api.settings import Settings
from controller.changes.asking import Asking
from controller.changes.dialect import OCTAVIA, Dialect
from controller.resources import declare, kinds
from controller.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EXTENSION = "figlina"
PROVIDERS = "figlina.providers"
POLICY = "figlina.policy"

ORIGINAL_PATH = "figlina.path"
"""Where the path that the client asked for stands in the WSGI environment, after `gate.shorten()`."""

MOUNTED_AT = "figlina.mounted_at"
"""Where stands below which prefix the application answers, if it is not the first one."""

_BODILESS = frozenset({204, 304})


class Answer(flask.Response):
    """Its body is whole and its headers are final, so that nothing about them has to be found out."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self.status_code in _BODILESS or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response  # type: ignore[return-value]


class _NoSessions(sessions.SessionInterface):
    _NONE = sessions.NullSession()

    def open_session(self, app: flask.Flask, request: flask.Request) -> sessions.SessionMixin:
        return self._NONE

    def is_null_session(self, obj: object) -> bool:
        return True


class Application(flask.Flask):
    """The base of our applications."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """All our functions are synchronous."""
        return func

    def create_url_adapter(self, request: flask.Request | None) -> routing.MapAdapter | None:
        """Routes are found by their path, and redirect nobody."""
        if request is None:
            return None
        return routing.MapAdapter(self.url_map, "", "/", "", "http", request.path, request.method)


def services() -> Services:
    """The services of this application."""
    return _given()[0]


def settings() -> Settings:
    """The settings of this application."""
    return _given()[1]


def _given() -> tuple[Services, Settings]:
    return cast("tuple[Services, Settings]", flask.current_app.extensions[EXTENSION])


def context() -> Context:
    """The caller of the request in hand."""
    return cast("Context", flask.g.context)


def asking(dialect: Dialect = OCTAVIA) -> Asking:
    """The first argument of every change: the caller, what policy lets them do, and with what it is made."""
    world, values = _given()
    return Asking(
        caller=context(), may=_may, settings=values, services=world, providers=flask.current_app.extensions[PROVIDERS], dialect=dialect
    )


def _may(action: str, project_id: str | None) -> bool:
    rules: policy.Policy = flask.current_app.extensions[POLICY]
    return rules.allows(action, project_id, context())


def authorize(action: str, project_id: str | None) -> None:
    """Let the caller do this with an object of that project.

    :raises Forbidden: they may not.
    """
    if not _may(action, project_id):
        raise exceptions.Forbidden


def visible_project(resource: str) -> str | None:
    """The only project whose objects a list may show; None: those of all. A filter by project asks for leave to see that one.

    :raises Forbidden: the caller may see none, or not the one that they ask for.
    """
    asked = {name for key in ("project_id", "tenant_id") for name in flask.request.args.getlist(key) if name}
    wanted = asked.pop() if len(asked) == 1 else context().project_id
    if _may(f"{resource}:get_all-global", wanted):
        return None
    authorize(f"{resource}:get_all", wanted)
    if wanted is None:  # nobody's objects are nobody's to see, whatever a policy file says
        raise exceptions.Forbidden
    return wanted


def switch(name: str) -> bool:
    """A switch in the query string, which is off unless it is given.

    :raises InvalidRequest: it is neither on nor off.
    """
    word = flask.request.args.get(name)
    if word is None:
        return False
    try:
        return kinds.boolean(word)
    except kinds.Reject as reason:
        raise declare.invalid(name, word, str(reason)) from None


def base_url() -> str:
    """How addresses begin, without a slash at the end: `api_base_uri`, or where the request was sent to."""
    configured = settings().api_base_uri
    if configured:
        return configured.rstrip("/") + str(flask.request.environ.get(MOUNTED_AT, ""))
    return (flask.request.host_url + flask.request.script_root.lstrip("/")).rstrip("/")


def url() -> str:
    """The address of this request, without its query."""
    return base_url() + str(flask.request.environ.get(ORIGINAL_PATH, flask.request.path))


def json(body: Any, status: int = 200) -> flask.Response:
    """An answer with this body."""
    return Answer(orjson.dumps(body), status, content_type="application/json")


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
    if not flask.request.query_string or not settings().allow_field_selection:
        return frozenset()
    return frozenset(name for words in flask.request.args.getlist("fields") for name in words.split(",") if name)


def select(view: dict[str, Any], chosen: frozenset[str]) -> dict[str, Any]:
    """Only the chosen keys; unknown ones are ignored."""
    return {key: value for key, value in view.items() if key in chosen}
