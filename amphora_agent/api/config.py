"""The agent's own configuration."""

from __future__ import annotations

import flask
from flask.typing import ResponseReturnValue

from amphora_agent import configuration
from amphora_agent.protocol import boot, rest


def blueprint(kept: configuration.Kept) -> flask.Blueprint:
    """The route `/config`."""
    routes = flask.Blueprint("config", __name__)

    @routes.put(rest.CONFIG_PATH.removeprefix(rest.PREFIX))
    def put_config() -> ResponseReturnValue:
        """Live by another configuration from now on; what serves is not touched."""
        kept.replace(boot.AgentConfig.parse(flask.request.get_data()))
        return "", 204

    return routes
