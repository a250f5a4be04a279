"""/secrets: certificates for the `local` secret store, which are written and never read here. Not part of the compatible API."""

from __future__ import annotations

import flask

from controller.api import current
from controller.changes import secrets
from controller.resources import declare
from controller.resources.secret import SCHEMA

blueprint = flask.Blueprint("secrets", __name__)


@blueprint.post("/secrets")
def create_secret() -> flask.Response:
    """Store a certificate with its key, a CA or a list of revocations; the answer is the reference that listeners and pools name."""
    given = declare.envelope(flask.request.get_data(), SCHEMA.argument, SCHEMA.name, repeats=False)
    values = SCHEMA.created(given, SCHEMA.argument)
    return current.json({"secret": {"ref": secrets.store(current.asking(), values)}}, 201)


@blueprint.delete("/secrets/<reference>")
def delete_secret(reference: str) -> flask.Response:
    """Forget a secret of your project. What is served with it is served on, until it is changed."""
    secrets.forget(current.asking(), reference)
    return current.empty(204)
