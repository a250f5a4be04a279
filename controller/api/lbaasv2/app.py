"""The application of LBaaS v2, and where it is mounted: below /network, beside the first API, behind the same gate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import flask

from controller.api import current, gate, networking
from controller.api import errors as first_errors
from controller.api.lbaasv2 import agents, errors, load_balancers, neutron, quotas, resources, service

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PREFIX = "/network"


def create_app(first: flask.Flask, conf: Any) -> flask.Flask:
    """The application. It shares services, settings and policies with the first API's, and what every request passes."""
    app = current.Application("figlina-lbaasv2", static_folder=None)
    app.url_map.merge_slashes = False
    app.extensions = first.extensions
    app.config["MAX_CONTENT_LENGTH"] = first.config["MAX_CONTENT_LENGTH"]
    app.before_request(gate.begin)
    app.after_request(gate.end)
    first_errors.register(app, errors.refused, errors.not_routed, errors.broken)
    app.register_blueprint(service.blueprint)
    for module in (resources, load_balancers):
        app.register_blueprint(module.blueprint, url_prefix="/v2.0/lbaas")
    for other in (agents, quotas):
        app.register_blueprint(other.blueprint, url_prefix="/v2.0")
    if conf.lbaasv2.passthrough_url:
        app.extensions[neutron.EXTENSION] = neutron.Neutron(conf.lbaasv2)
    elif first.extensions[current.EXTENSION][1].embedded_networking:
        networking.register(app, first.extensions[current.EXTENSION][0].network, "/v2.0", extensions=False)
    return app


class Mounted:
    """What stands below the prefix: it is LBaaS v2's, or the network service's."""

    def __init__(self, application: flask.Flask) -> None:
        self._application = application
        self._neutron: neutron.Neutron | None = application.extensions.get(neutron.EXTENSION)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        environ[current.MOUNTED_AT] = PREFIX
        environ[current.ORIGINAL_PATH] = path = environ["PATH_INFO"]
        if self._neutron is not None and not neutron.is_ours(environ["REQUEST_METHOD"], path):
            return self._pass_on(self._neutron, environ, start_response)
        environ["PATH_INFO"] = shortened(path)
        return self._application.wsgi_app(environ, start_response)

    def _pass_on(self, service: neutron.Neutron, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._application.request_context(environ):
            try:
                return service.forward(environ, start_response, current.base_url())
            except errors.Fault as fault:
                return errors.refused(fault)(environ, start_response)


def shortened(path: str) -> str:
    """The path without a slash, or `.json`, at its end."""
    trimmed = path[:-1] if len(path) > 1 and path.endswith("/") else path
    return trimmed.removesuffix(".json") or "/"
