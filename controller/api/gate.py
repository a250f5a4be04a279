"""The gate before every application of ours: it finds out who calls, by `[api_settings] auth_strategy`, or sends the caller away.

Behind it, `auth.of(environ)` tells the caller. What clients read before they have a token, and the questions that browsers ask before they
send one, need no caller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import orjson
from keystoneauth1 import exceptions as keystone_exceptions

from controller.api import auth, cors, docs_viewer, paths, policy
from controller.api.serving import refusals

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

PUBLIC = frozenset({"/", "/v2", "/v2/octavia", "/healthcheck", "/openapi.json", "/docs", *docs_viewer.PATHS, "/network"})
"""Normalised paths that anybody may GET: versions, signs of life, descriptions of the API. They tell nothing about anybody's objects."""

AWAY = "The identity service can't be asked who you are, so nothing was done. Please repeat the request."
BROKEN = "The identity of the caller could not be checked, so nothing was done."

Identify = Callable[["WSGIEnvironment"], auth.Context]
Guard = Callable[["WSGIApplication"], "WSGIApplication"]


class Gate:
    """Lets a request in with its `Context`, or answers it."""

    def __init__(
        self,
        application: WSGIApplication,
        identify: Identify,
        guard: Guard | None = None,
        origins: Collection[str] = (),
    ) -> None:
        """`guard` is a middleware that lets proved callers pass; whoever passes is identified by `identify`."""
        self._application = application
        self._identify = identify
        self._guarded = self._let_in if guard is None else guard(self._let_in)
        self._is_guarded = guard is not None
        self._origins = origins

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        environ.pop(auth.CONTEXT, None)
        if not self._is_guarded:
            return self._let_in(environ, start_response)
        if is_public(environ):
            environ[auth.CONTEXT] = auth.anonymous(environ)
            return self._application(environ, start_response)
        return self._ask(environ, start_response)

    def _let_in(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[auth.CONTEXT] = self._identify(environ)
        return self._application(environ, start_response)

    def _ask(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Have the guard judge. What it answers by itself is a refusal, to which we add what all our answers have."""
        held: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if auth.CONTEXT in environ:
                return start_response(status, headers, exc_info)
            held[:] = [(status, headers)]
            return bytearray().extend

        try:
            body = self._guarded(environ, begin)
        except Exception as error:
            if auth.CONTEXT in environ:  # the caller was let in, so it is not about them
                raise
            away = isinstance(error, keystone_exceptions.ClientException)
            LOG.error("A caller could not be identified: %s", error, exc_info=None if away else error)
            return self._refuse(environ, start_response, "503 Service Unavailable" if away else "500 Internal Server Error")
        if auth.CONTEXT in environ:
            return body
        status, headers = held[0]
        if not status.startswith("401"):
            return self._refuse(environ, start_response, status)
        start_response(status, [*headers, *self._common(environ)])
        return body

    def _refuse(self, environ: WSGIEnvironment, start_response: StartResponse, status: str) -> Iterable[bytes]:
        text = AWAY if status.startswith("503") else BROKEN
        said = orjson.dumps({"faultcode": "Server", "faultstring": text, "debuginfo": None})
        kind = [("Content-Type", "application/json"), ("Content-Length", str(len(said)))]
        if status.startswith("503"):
            kind.append(("Retry-After", str(refusals.RETRY_AFTER)))
        start_response(status, [*kind, *self._common(environ)])
        return [said]

    def _common(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        shared = cors.headers(environ.get("HTTP_ORIGIN"), self._origins)
        return [("x-openstack-request-id", auth.new_request_id()), *shared.items()]


def is_public(environ: WSGIEnvironment) -> bool:
    """Whether anybody may ask this, without a token."""
    method = environ["REQUEST_METHOD"]
    return method == "OPTIONS" or (method in ("GET", "HEAD") and paths.normalised(environ.get("PATH_INFO", "")) in PUBLIC)


def build(application: WSGIApplication, conf: Any, rules: policy.Policy, origins: Collection[str]) -> Gate:
    """The gate that the configuration wants.

    :raises Misconfigured: the identity service can't be asked with what `[keystone_authtoken]` says.
    """
    api = conf.api_settings
    if api.auth_strategy == "keystone":
        from controller.api import keystone  # takes a second to import, and other strategies need nothing of it

        return Gate(application, lambda environ: rules.known(auth.keystone(environ)), keystone.guard(conf), origins)
    if api.auth_strategy == "testing":
        return Gate(application, lambda environ: rules.known(auth.testing(environ)))
    return Gate(application, lambda environ: auth.noauth(environ, api.noauth_project_id))


def check(conf: Any) -> None:
    """Whether the API can start with this configuration; asked before processes are forked, so that the reason is told once.

    :raises Misconfigured: the policies, or the identity service, can't be used as they are configured.
    """
    build(_nobody, conf, policy.Policy(conf), ())
    api = conf.api_settings
    if api.auth_strategy != "keystone" and api.bind_host not in ("127.0.0.1", "::1", "localhost"):
        LOG.warning("auth_strategy is %s: whoever can reach %s administers every load balancer", api.auth_strategy, api.bind_host)


def _nobody(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise NotImplementedError
