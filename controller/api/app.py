"""The application: routes, the error table, and what happens to every request before and after its route."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import flask
import werkzeug.exceptions
from werkzeug.middleware import dispatcher

from controller import exceptions
from controller import providers as provider_drivers
from controller.api import auth, cors, current, discovery, documentation, errors, gate, middleware, networking, paths, policy, settings
from controller.api.lbaasv2 import app as lbaasv2
from controller.api.v2 import (
    amphorae,
    choices,
    events,
    health_monitors,
    l7policies,
    l7rules,
    listeners,
    load_balancers,
    member_batch,
    members,
    pools,
    providers,
    quotas,
)
from controller.changes.asking import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOG = logging.getLogger(__name__)

_WRITES = frozenset({"POST", "PUT", "DELETE"})
_OF_TENANTS = ("/loadbalancers", "/listeners", "/pools", "/healthmonitors", "/l7policies")
_COLLECTIONS = (*_OF_TENANTS, "/flavors", "/flavorprofiles", "/availabilityzones", "/availabilityzoneprofiles")
_FOR_PEOPLE = ("/healthcheck", "/docs")
_JSON_RANGES = frozenset({"*/*", "application/*", "application/json"})


class Application(flask.Flask):
    """Its routes know the short spelling of each path only."""

    def request_context(self, environ: WSGIEnvironment) -> flask.ctx.RequestContext:
        """A request, whatever spelling its client prefers."""
        paths.shorten(environ)
        return super().request_context(environ)


def create_app(services: Services, conf: Any) -> flask.Flask:
    """The WSGI application over these services, as the configuration (with all options of ours registered) has it.

    :raises Misconfigured: the policy files, or the identity service, can't be used as they are configured.
    """
    app = Application("figlina-api", static_folder=None)
    app.url_map.merge_slashes = False  # a doubled slash is a wrong path, not a redirect
    app.extensions[current.EXTENSION] = services, settings.load(conf)
    app.extensions[current.PROVIDERS] = provider_drivers.load(current_settings(app).providers, conf)
    app.config["MAX_CONTENT_LENGTH"] = current_settings(app).max_request_body_size
    app.before_request(_begin)
    app.after_request(_end)
    errors.register(app)
    app.register_blueprint(discovery.blueprint)
    app.register_blueprint(documentation.blueprint)
    for module in (
        load_balancers,
        listeners,
        pools,
        members,
        member_batch,
        health_monitors,
        l7policies,
        l7rules,
        providers,
        quotas,
        events,
    ):
        app.register_blueprint(module.blueprint, url_prefix="/v2")
    for blueprint in choices.BLUEPRINTS:
        app.register_blueprint(blueprint, url_prefix="/v2")
    app.register_blueprint(amphorae.blueprint, url_prefix="/v2/octavia")
    if current_settings(app).embedded_networking:
        networking.register(app, services.network, "/v2")
    for path in _COLLECTIONS:
        app.add_url_rule(f"/v2{path}", f"no id {path}", _needs_id, methods=["PUT", "DELETE"])
    app.add_url_rule("/v2/pools/<pool_id>/members", "no member id", _needs_id, methods=["DELETE"])
    app.add_url_rule("/v2/l7policies/<policy_id>/rules", "no rule id", _needs_id, methods=["PUT", "DELETE"])
    app.add_url_rule("/v2/octavia/amphorae", "no amphora id", _needs_id, methods=["PUT", "DELETE"])
    if conf.lbaasv2.enabled:
        below: dict[str, Any] = {lbaasv2.PREFIX: lbaasv2.Mounted(lbaasv2.create_app(app, conf, _begin, _end))}
        app.wsgi_app = dispatcher.DispatcherMiddleware(app.wsgi_app, below)  # type: ignore[method-assign]
    rules = app.extensions[policy.EXTENSION] = policy.Policy(conf)
    # The last and outermost: whatever else is mounted must be mounted above this line, or nobody asks who calls.
    gated = gate.build(app.wsgi_app, conf, rules, current_settings(app).cors_allowed_origins)
    middleware.register_options(conf)
    middleware.install(app, conf)
    app.wsgi_app = middleware.behind_a_proxy(gated, conf)  # type: ignore[method-assign, assignment]
    return app


def current_settings(app: flask.Flask) -> settings.Settings:
    """The settings of an application, outside of a request."""
    found: settings.Settings = app.extensions[current.EXTENSION][1]
    return found


def _needs_id(**_in_path: str) -> flask.Response:
    raise exceptions.InvalidRequest('Missing argument: "id"')


def _begin() -> None:
    """Name the caller; refuse what no route would answer rightly."""
    request = flask.request
    flask.g.context = auth.of(request.environ)
    if request.method == "HEAD" and request.path != "/healthcheck":
        raise werkzeug.exceptions.MethodNotAllowed
    accepted = request.headers.get("Accept")
    if accepted and not _accepts_json(accepted) and not request.path.startswith(_FOR_PEOPLE):
        raise werkzeug.exceptions.NotAcceptable
    if "Transfer-Encoding" in request.headers:
        _take_chunks(request)


def _take_chunks(request: flask.Request) -> None:
    """Read a body whose length nobody told: it may break off in the middle, or be cut where it becomes too large."""
    try:
        body = request.get_data()
        longer = len(body) >= (request.max_content_length or len(body) + 1) and request.environ["wsgi.input"].read(1)
    except werkzeug.exceptions.HTTPException:
        raise
    except Exception as error:  # each WSGI server has errors of its own for chunks that make no sense
        raise exceptions.InvalidRequest("The body of the request could not be read.") from error
    if longer:
        raise werkzeug.exceptions.RequestEntityTooLarge


def _accepts_json(accepted: str) -> bool:
    ranges = [media.split(";") for media in accepted.split(",")]
    return any(media[0].strip() in _JSON_RANGES and not _refused(media[1:]) for media in ranges)


def _refused(parameters: list[str]) -> bool:
    return any(parameter.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for parameter in parameters)


def _end(answer: flask.Response) -> flask.Response:
    context = flask.g.get("context")
    if context is not None:
        answer.headers["x-openstack-request-id"] = context.request_id
        if flask.request.method in _WRITES:
            path, named = flask.request.path, context.global_request_id or "-"
            LOG.info("%s (%s) %s %r: %d", context.request_id, named, flask.request.method, path, answer.status_code)
    answer.headers.update(cors.headers(flask.request.headers.get("Origin"), current.settings().cors_allowed_origins))
    return answer
