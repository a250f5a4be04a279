"""The agent's own certificate."""

from __future__ import annotations

import flask
from flask.typing import ResponseReturnValue

from amphora_agent import identity
from amphora_agent.protocol import boot, rest


def blueprint(own: identity.Identity) -> flask.Blueprint:
    """The route `/identity`."""
    routes = flask.Blueprint("identity", __name__)

    @routes.put(rest.IDENTITY_PATH.removeprefix(rest.PREFIX))
    def put_identity() -> ResponseReturnValue:
        """Serve with another certificate, and trust other roots, from the next connection on."""
        own.replace(boot.Identity.parse(flask.request.get_data()))
        return "", 204

    return routes
