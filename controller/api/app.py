"""The application: routes, the error table, and what stands around them."""

from __future__ import annotations

from typing import Any

import flask
from werkzeug.middleware import dispatcher

from controller import exceptions
from controller import providers as provider_drivers
from controller.api import current, discovery, documentation, errors, gate, middleware, networking, policy, settings
from controller.api.lbaasv2 import app as lbaasv2
from controller.api.v2 import (
    amphorae,
    collections,
    events,
    listeners,
    load_balancers,
    members,
    offerings,
    pools,
    providers,
    quotas,
    secrets,
)
from controller.services import Services

_OF_TENANTS = ("/loadbalancers", "/listeners", "/pools", "/healthmonitors", "/l7policies")
_COLLECTIONS = (*_OF_TENANTS, "/flavors", "/flavorprofiles", "/availabilityzones", "/availabilityzoneprofiles")


def create_app(services: Services, conf: Any) -> flask.Flask:
    """The WSGI application over these services, as the configuration (with all options of ours registered) has it.

    :raises Misconfigured: the policy files, or the identity service, can't be used as they are configured.
    """
    middleware.register_options(conf)
    app = gate.Application("figlina-api", static_folder=None)
    app.url_map.merge_slashes = False  # a doubled slash is a wrong path, not a redirect
    values = settings.load(conf)
    app.extensions[current.EXTENSION] = services, values
    app.extensions[current.PROVIDERS] = provider_drivers.load(values.providers, conf)
    app.config["MAX_CONTENT_LENGTH"] = middleware.largest_body(conf)
    app.before_request(gate.begin)
    app.after_request(gate.end)
    errors.register(app, errors.refused, errors.not_routed, errors.broken)
    app.register_blueprint(discovery.blueprint)
    app.register_blueprint(documentation.blueprint)
    modules = (load_balancers, listeners, pools, members, providers, quotas, events, secrets)
    for blueprint in (*(module.blueprint for module in modules), *collections.BLUEPRINTS, *offerings.BLUEPRINTS):
        app.register_blueprint(blueprint, url_prefix="/v2")
    app.register_blueprint(amphorae.blueprint, url_prefix="/v2/octavia")
    if values.embedded_networking:
        networking.register(app, services.network, "/v2")
    for path in _COLLECTIONS:
        app.add_url_rule(f"/v2{path}", f"no id {path}", _needs_id, methods=["PUT", "DELETE"])
    app.add_url_rule("/v2/pools/<pool_id>/members", "no member id", _needs_id, methods=["DELETE"])
    app.add_url_rule("/v2/l7policies/<policy_id>/rules", "no rule id", _needs_id, methods=["PUT", "DELETE"])
    app.add_url_rule("/v2/octavia/amphorae", "no amphora id", _needs_id, methods=["PUT", "DELETE"])
    if conf.lbaasv2.enabled:
        below: dict[str, Any] = {lbaasv2.PREFIX: lbaasv2.Mounted(lbaasv2.create_app(app, conf))}
        app.wsgi_app = dispatcher.DispatcherMiddleware(app.wsgi_app, below)  # type: ignore[method-assign]
    rules = app.extensions[current.POLICY] = policy.Policy(conf)
    # The last and outermost: whatever else is mounted must be mounted above this line, or nobody asks who calls.
    gated = gate.build(app.wsgi_app, conf, rules)
    middleware.install(app, conf)
    app.wsgi_app = middleware.around(gated, conf)  # type: ignore[method-assign, assignment]
    return app


def _needs_id(**_in_path: str) -> flask.Response:
    raise exceptions.InvalidRequest('Missing argument: "id"')
