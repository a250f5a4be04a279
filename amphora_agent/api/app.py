"""The Flask application."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flask

from amphora_agent import configuration, identity, load_balancer, orders
from amphora_agent.api import certificates, config, errors, info, load_balancers
from amphora_agent.api import identity as identity_routes
from amphora_agent.protocol import boot, rest


def create_app(
    boot_config: boot.BootConfig,
    kept: configuration.Kept,
    own: identity.Identity,
    balancer: load_balancer.LoadBalancer,
    started_at: float,
    followed: orders.Orders,
) -> flask.Flask:
    """Routes over one load balancer; `started_at` is monotonic. Whatever changes something is done by an order that is not stale."""
    app = flask.Flask("figlina-agent", static_folder=None, template_folder=None)
    errors.register(app)

    @app.get("/")
    def version() -> dict[str, str]:
        return {"api_version": rest.VERSION}

    for blueprint in (
        load_balancers.blueprint(balancer),
        certificates.blueprint(balancer),
        config.blueprint(kept),
        identity_routes.blueprint(own),
        info.blueprint(boot_config, kept, balancer, started_at),
    ):
        app.register_blueprint(blueprint, url_prefix=rest.PREFIX)
    for rule in app.url_map.iter_rules():
        if (rule.methods or set()) - _LOOKING:
            app.view_functions[rule.endpoint] = _by_order(app.view_functions[rule.endpoint], followed)
    return app


_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})


def _by_order(view: Callable[..., Any], followed: orders.Orders) -> Callable[..., Any]:
    @functools.wraps(view)
    def checked(**arguments: object) -> Any:
        token = rest.lease_token(flask.request.headers.get(rest.LEASE_HEADER))
        flask.request.get_data()  # a body that comes slowly keeps nobody else waiting
        with followed.following(token):
            return view(**arguments)

    return checked
