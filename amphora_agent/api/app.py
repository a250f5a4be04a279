"""The Flask application."""

from __future__ import annotations

import flask

from amphora_agent import configuration, identity, load_balancer
from amphora_agent.api import certificates, config, errors, info, load_balancers
from amphora_agent.api import identity as identity_routes
from amphora_agent.protocol import boot, rest


def create_app(
    boot_config: boot.BootConfig,
    kept: configuration.Kept,
    own: identity.Identity,
    balancer: load_balancer.LoadBalancer,
    started_at: float,
) -> flask.Flask:
    """Routes over one load balancer; `started_at` is monotonic."""
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
    return app
