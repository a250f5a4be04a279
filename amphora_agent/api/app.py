"""The Flask application."""

from __future__ import annotations

import contextlib

import flask

from amphora_agent import configuration, identity, load_balancer, orders
from amphora_agent.api import errors, info, routes
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

    for blueprint in (routes.blueprint(kept, own, balancer), info.blueprint(boot_config, kept, balancer, started_at)):
        app.register_blueprint(blueprint, url_prefix=rest.PREFIX)
    _follow_orders(app, followed)
    return app


_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})


def _follow_orders(app: flask.Flask, followed: orders.Orders) -> None:
    """Let nothing else be done by anybody's order from the beginning of a request that changes something to its end."""

    @app.before_request
    def begin() -> None:
        request = flask.request
        if request.method in _LOOKING or request.routing_exception is not None:
            return
        token = rest.lease_token(request.headers.get(rest.LEASE_HEADER))
        request.get_data()  # a body that comes slowly keeps nobody else waiting
        flask.g.order = contextlib.ExitStack()
        flask.g.order.enter_context(followed.following(token))

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        order = flask.g.pop("order", None)
        if order is not None:
            order.close()
