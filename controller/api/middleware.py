"""What oslo.middleware does for us: the health check, addresses as a proxy in front of us tells them, and what lets web pages of other
origins (a dashboard) read our answers. Operators know its options.

Each of its pieces parses a request anew, which takes as long as a statement of the database. So a request meets one only if it asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import flask
from oslo_config import cfg
from oslo_middleware import cors, healthcheck, http_proxy_to_wsgi, sizelimit
from oslo_middleware.healthcheck import opts, pluginbase

from controller.api import current

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CHECK = "figlina.healthcheck"
_PLUGINS = (opts.DISABLE_BY_FILE_OPTS, opts.DISABLE_BY_FILES_OPTS, opts.ENABLE_BY_FILES_OPTS)
_DEFAULTS: dict[str, Any] = {
    "allow_credentials": False,  # a token is a header that pages send themselves
    "allow_headers": ["Content-Type", "X-Auth-Token", "X-Openstack-Request-Id", "X-Project-Id"],
    "expose_headers": ["X-Auth-Token, X-Openstack-Request-Id"],  # as one, for it puts no blank between two
    "max_request_body_size": 1048576,  # room for a batch of 1,000 members with all their fields; the compatible API has 114688
}

_FORMER = {"allowed_origin": "cors_allowed_origins", "max_request_body_size": "max_request_body_size"}
"""Options by the names that they had in [api_settings], where they still count."""


class DatabaseCheck(pluginbase.HealthcheckBaseExtension):
    """`[healthcheck] backends = figlina_db_check`: whether the database answers."""

    def healthcheck(self, server_port: int) -> pluginbase.HealthcheckResult:
        """Ask it for a row that is not there."""
        try:
            with current.services().db.read() as tx:
                tx.jobs.is_posted("")
        except Exception as error:  # whatever it says, it does not serve
            return pluginbase.HealthcheckResult(available=False, reason="The database does not answer", details=type(error).__name__)
        return pluginbase.HealthcheckResult(available=True, reason="OK")


class _Cors(cors.CORS):
    """An OPTIONS that asks for no method is no preflight for oslo.middleware, which tells it nothing: of us, it learns what others do."""

    def process_response(self, response: Any, request: Any = None) -> Any:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" not in request.headers:
            request = request.copy_get()
        return super().process_response(response, request)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """[cors] and [oslo_middleware] with our defaults; for the sample of the configuration, too."""
    for options in (cors.OPTS, sizelimit.OPTS):
        cfg.set_defaults(options, **{name: value for name, value in _DEFAULTS.items() if name in {option.name for option in options}})
        for option in options:
            former = cfg.DeprecatedOpt(_FORMER[option.name], group="api_settings") if option.name in _FORMER else None
            if former is not None and former not in option.deprecated_opts:
                option.deprecated_opts.append(former)
    return [("cors", cors.OPTS), ("oslo_middleware", [*sizelimit.OPTS, *http_proxy_to_wsgi.OPTS])]


def register_options(conf: Any) -> None:
    """[cors], [healthcheck] and [oslo_middleware]."""
    for group, options in list_opts():
        conf.register_opts(options, group=group)
    for some in (opts.HEALTHCHECK_OPTS, *_PLUGINS):
        conf.register_opts(some, group="healthcheck")


def largest_body(conf: Any) -> int:
    """Bytes of a body; more is answered with 413, while it is read (`serving/`), for a middleware would come too late."""
    return int(conf.oslo_middleware.max_request_body_size)


def around(application: WSGIApplication, conf: Any) -> WSGIApplication:
    """The application, and around it what the configuration asks for.

    Pages of `[cors] allowed_origin` may read it; what `Forwarded` or `X-Forwarded-*` say is believed if `[oslo_middleware]
    enable_proxy_headers_parsing` says so.
    """
    made = for_pages(application, conf)
    if conf.oslo_middleware.enable_proxy_headers_parsing:
        made = http_proxy_to_wsgi.HTTPProxyToWSGI(made, conf)
    return made


def for_pages(application: WSGIApplication, conf: Any) -> WSGIApplication:
    """Let pages of `[cors] allowed_origin` read the answers of this application, if the configuration names any.

    Every answer tells caches that another origin gets another one, which oslo.middleware tells to origins that are allowed only.
    """
    if not conf.cors.allowed_origin:
        return application
    with_headers = _Cors(application, conf)

    def enter(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            told = headers if any(name.lower() == "vary" for name, _ in headers) else [*headers, ("Vary", "Origin")]
            return start_response(status, told, *([exc_info] if exc_info else []))

        return (with_headers if "HTTP_ORIGIN" in environ else application)(environ, begin)

    return enter


def install(app: flask.Flask, conf: Any) -> None:
    """Make the health check, whose back ends are found by entry point."""
    app.extensions[_CHECK] = healthcheck.Healthcheck(_elsewhere, conf)


def check_health() -> flask.Response:
    """The answer of the back ends that `[healthcheck] backends` names; without any, OK."""
    answer = cast("flask.Response", flask.Response.from_app(flask.current_app.extensions[_CHECK], flask.request.environ))
    if answer.status_code == 204:  # to HEAD
        answer.status_code = 200
    elif answer.status_code == 200 and not answer.get_data():
        answer.set_data("OK")
    return answer


def _elsewhere(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Who is not to be told, by `allowed_source_ranges` or `ignore_proxied_requests`."""
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []
