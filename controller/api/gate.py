"""What every request passes before its route, and its answer after it.

The gate finds out who calls, by `[api_settings] auth_strategy`, or sends the caller away; then each path gets its one spelling, and what no
route would answer rightly is refused.

Behind the gate, `caller(environ)` tells who calls. What clients read before they have a token, and the questions that browsers ask
before they send one, need no caller.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import flask
import werkzeug.exceptions
from keystoneauth1 import exceptions as keystone_exceptions

from controller.api import current, docs_viewer, policy
from controller.api.policy import Context
from controller.api.serving import refusals

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

PUBLIC = frozenset({"/", "/v2", "/v2/octavia", "/healthcheck", "/openapi.json", "/docs", *docs_viewer.PATHS, "/network"})
"""Normalised paths that anybody may GET: versions, signs of life, descriptions of the API. They tell nothing about anybody's objects."""

AWAY = "The identity service can't be asked who you are, so nothing was done. Please repeat the request."
BROKEN = "The identity of the caller could not be checked, so nothing was done."

Identify = Callable[["WSGIEnvironment"], Context]
Guard = Callable[["WSGIApplication"], "WSGIApplication"]

CONTEXT = "figlina.context"
"""The key of the WSGI environment under which the gate leaves the `Context`."""

_VARIANT = "89ab"
_GLOBAL_ID = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_WRITES = frozenset({"POST", "PUT", "DELETE"})
_FOR_PEOPLE = ("/healthcheck", "/docs")
_JSON_RANGES = frozenset({"*/*", "application/*", "application/json"})
_PREFIXES = (("/v2.0", "/v2"), ("/v2", "/v2"))


class Gate:
    """Lets a request in with its `Context`, or answers it."""

    def __init__(self, application: WSGIApplication, identify: Identify, guard: Guard | None = None) -> None:
        """`guard` is a middleware that lets proved callers pass; whoever passes is identified by `identify`."""
        self._application = application
        self._identify = identify
        self._guarded = self._let_in if guard is None else guard(self._let_in)
        self._is_guarded = guard is not None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        environ.pop(CONTEXT, None)
        if not self._is_guarded:
            return self._let_in(environ, start_response)
        if is_public(environ):
            environ[CONTEXT] = _anonymous(environ)
            return self._application(environ, start_response)
        return self._ask(environ, start_response)

    def _let_in(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[CONTEXT] = self._identify(environ)
        return self._application(environ, start_response)

    def _ask(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Have the guard judge. What it answers by itself is a refusal, to which we add what all our answers have."""
        held: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if CONTEXT in environ:
                return start_response(status, headers, exc_info)
            held[:] = [(status, headers)]
            return bytearray().extend

        try:
            body = self._guarded(environ, begin)
        except Exception as error:
            if CONTEXT in environ:  # the caller was let in, so it is not about them
                raise
            away = isinstance(error, keystone_exceptions.ClientException)
            LOG.error("A caller could not be identified: %s", error, exc_info=None if away else error)
            return self._refuse(start_response, "503 Service Unavailable" if away else "500 Internal Server Error")
        if CONTEXT in environ:
            return body
        status, headers = held[0]
        if not status.startswith("401"):
            return self._refuse(start_response, status)
        start_response(status, [*headers, _named()])
        return body

    def _refuse(self, start_response: StartResponse, status: str) -> Iterable[bytes]:
        _, headers, said = refusals.refusal(int(status[:3]), AWAY if status.startswith("503") else BROKEN)
        start_response(status, [(name.decode(), value.decode()) for name, value in headers])
        return [said]


def _named() -> tuple[str, str]:
    return "x-openstack-request-id", new_request_id()


def is_public(environ: WSGIEnvironment) -> bool:
    """Whether anybody may ask this, without a token."""
    method = environ["REQUEST_METHOD"]
    return method == "OPTIONS" or (method in ("GET", "HEAD") and normalised(environ.get("PATH_INFO", "")) in PUBLIC)


def new_request_id() -> str:
    """The id that the answer carries, and every log line, job and fault that comes of it."""
    made = os.urandom(16).hex()  # as `uuid.uuid4()` makes one (RFC 9562, 5.4), which takes five times as long
    return f"req-{made[:8]}-{made[8:12]}-4{made[13:16]}-{_VARIANT[int(made[16], 16) % 4]}{made[17:20]}-{made[20:]}"


def caller(environ: Mapping[str, Any]) -> Context:
    """The caller of the request with this WSGI environment."""
    return cast("Context", environ[CONTEXT])


def _anonymous(environ: Mapping[str, Any]) -> Context:
    """Nobody: who asks for what everybody may see."""
    return _context(environ, project_id=None)


def noauth(environ: Mapping[str, Any], default_project: str | None) -> Context:
    """Everybody is an administrator, in the project of the header X-Project-Id, or in the default one."""
    project = environ.get("HTTP_X_PROJECT_ID") or default_project or ""
    return _context(
        environ,
        project_id=project if project and len(project) <= 36 and project.isprintable() else None,
        is_admin=True,
        token=environ.get("HTTP_X_AUTH_TOKEN"),
    )


def _testing(environ: Mapping[str, Any]) -> Context:
    """Callers are who they say they are in the headers that Keystone's middleware would set: to try policies without a Keystone."""
    return _context(
        environ,
        project_id=environ.get("HTTP_X_PROJECT_ID") or None,
        user_id=environ.get("HTTP_X_USER_ID") or None,
        roles=frozenset(role.strip() for role in environ.get("HTTP_X_ROLES", "").split(",") if role.strip()),
        domain_id=environ.get("HTTP_X_DOMAIN_ID") or None,
        system_scope=environ.get("HTTP_OPENSTACK_SYSTEM_SCOPE") or None,
        token=environ.get("HTTP_X_AUTH_TOKEN"),
    )


def _by_keystone(environ: Mapping[str, Any]) -> Context:
    """The owner of the token that Keystone's middleware has proved. Its own object is read, not headers: no client can forge that."""
    proved = environ["keystone.token_auth"]
    user, service = proved.user, proved.service
    return _context(
        environ,
        project_id=user.project_id,
        user_id=user.user_id,
        roles=frozenset(user.role_names),
        service_roles=frozenset(service.role_names if service is not None else ()),
        domain_id=user.domain_id,
        user_domain_id=user.user_domain_id,
        project_domain_id=user.project_domain_id,
        system_scope="all" if user.system_scoped else None,
        token=user.auth_token,
    )


def _context(environ: Mapping[str, Any], *, is_admin: bool = False, **known: Any) -> Context:
    """The caller, with the id that they gave to all that they do in the whole cloud, if it has the form of one: it goes into logs."""
    given = environ.get("HTTP_X_OPENSTACK_REQUEST_ID", "")
    of_all = given if _GLOBAL_ID.fullmatch(given) else None
    return Context(request_id=new_request_id(), is_admin=is_admin, global_request_id=of_all, **known)


def build(application: WSGIApplication, conf: Any, rules: policy.Policy) -> Gate:
    """The gate that the configuration wants.

    :raises Misconfigured: the identity service can't be asked with what `[keystone_authtoken]` says.
    """
    api = conf.api_settings
    if api.auth_strategy == "keystone":
        from controller.api import keystone  # takes a second to import, and other strategies need nothing of it

        return Gate(application, lambda environ: rules.known(_by_keystone(environ)), keystone.guard(conf))
    if api.auth_strategy == "testing":
        return Gate(application, lambda environ: rules.known(_testing(environ)))
    return Gate(application, lambda environ: noauth(environ, api.noauth_project_id))


def check(conf: Any) -> None:
    """Whether the API can start with this configuration; asked before processes are forked, so that the reason is told once.

    :raises Misconfigured: the policies, or the identity service, can't be used as they are configured.
    """
    build(_nobody, conf, policy.Policy(conf))
    api = conf.api_settings
    if api.auth_strategy != "keystone" and api.bind_host not in ("127.0.0.1", "::1", "localhost"):
        LOG.warning("auth_strategy is %s: whoever can reach %s administers every load balancer", api.auth_strategy, api.bind_host)


def _nobody(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise NotImplementedError


def normalised(path: str) -> str:
    """The short spelling of a path: `/v2.0/lbaas/listeners/` is `/v2/listeners`. Routes know that one only.

    What is wrong stays wrong: load balancers are not below `/octavia`, nor amphorae below `/lbaas`.
    """
    trimmed = path[:-1] if len(path) > 1 and path.endswith("/") else path
    for spelling, short in _PREFIXES:
        if trimmed == spelling or trimmed.startswith(f"{spelling}/"):
            rest = trimmed[len(spelling) :]
            if rest == "/lbaas" or (rest.startswith("/lbaas/") and not rest.startswith("/lbaas/octavia")):
                rest = rest[len("/lbaas") :]
            return short + rest
    return trimmed or "/"  # where a proxy mounts us, the root has no path at all


def shorten(environ: WSGIEnvironment) -> None:
    """Exchange the path of a request for its short spelling, and remember the one that the client asked for."""
    path = environ.get("PATH_INFO", "")
    environ[current.ORIGINAL_PATH] = path
    environ["PATH_INFO"] = normalised(path)


class Application(current.Application):
    """Its routes know the short spelling of each path only."""

    def request_context(self, environ: WSGIEnvironment) -> flask.ctx.RequestContext:
        """A request, whatever spelling its client prefers."""
        shorten(environ)
        return super().request_context(environ)


def begin() -> None:
    """Name the caller; refuse what no route would answer rightly."""
    environ = flask.request.environ
    flask.g.context = caller(environ)
    if environ["REQUEST_METHOD"] == "HEAD" and flask.request.path != "/healthcheck":
        raise werkzeug.exceptions.MethodNotAllowed
    accepted = environ.get("HTTP_ACCEPT")
    if accepted and not _accepts_json(accepted) and not flask.request.path.startswith(_FOR_PEOPLE):
        raise werkzeug.exceptions.NotAcceptable


def _accepts_json(accepted: str) -> bool:
    if accepted in _JSON_RANGES:
        return True
    ranges = [media.split(";") for media in accepted.split(",")]
    return any(media[0].strip() in _JSON_RANGES and not _refused(media[1:]) for media in ranges)


def _refused(parameters: list[str]) -> bool:
    return any(parameter.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for parameter in parameters)


def end(answer: flask.Response) -> flask.Response:
    context = flask.g.get("context")
    if context is not None:
        answer.headers["x-openstack-request-id"] = context.request_id
        if flask.request.method in _WRITES:
            path, named = flask.request.path, context.global_request_id or "-"
            LOG.info("%s (%s) %s %r: %d", context.request_id, named, flask.request.method, path, answer.status_code)
    return answer
