"""What oslo.middleware does for us: the health check, and addresses as a proxy in front of us tells them. Operators know its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import flask
from oslo_middleware import healthcheck, http_proxy_to_wsgi
from oslo_middleware.healthcheck import opts, pluginbase

from controller.api import current

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_CHECK = "figlina.healthcheck"
_PLUGINS = (opts.DISABLE_BY_FILE_OPTS, opts.DISABLE_BY_FILES_OPTS, opts.ENABLE_BY_FILES_OPTS)


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


def register_options(conf: Any) -> None:
    """[healthcheck] and [oslo_middleware]."""
    conf.register_opts(http_proxy_to_wsgi.OPTS, group="oslo_middleware")
    for options in (opts.HEALTHCHECK_OPTS, *_PLUGINS):
        conf.register_opts(options, group="healthcheck")


def behind_a_proxy(application: WSGIApplication, conf: Any) -> WSGIApplication:
    """The application; what `Forwarded` or `X-Forwarded-*` say is believed if `[oslo_middleware] enable_proxy_headers_parsing` says so.

    Otherwise it is not even asked, for that takes as long as a statement of the database.
    """
    if not conf.oslo_middleware.enable_proxy_headers_parsing:
        return application
    wrapped: WSGIApplication = http_proxy_to_wsgi.HTTPProxyToWSGI(application, conf)
    return wrapped


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
