"""/providers."""

from __future__ import annotations

import flask

from controller.api import answers, current

blueprint = flask.Blueprint("providers", __name__)


@blueprint.get("/providers")
def list_providers() -> flask.Response:
    """Those that load balancers may name."""
    context = current.context()
    current.authorize("provider:get_all", context.project_id)
    views = [{"name": name, "description": text} for name, text in current.settings().providers.items()]
    chosen = answers.selection()
    return answers.json({"providers": [answers.select(view, chosen) for view in views] if chosen else views})
