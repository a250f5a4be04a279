"""What a route reaches for: who asks with what, for changes; and the services and settings of the request in hand."""

from __future__ import annotations

from typing import cast

import flask

from controller.api import policy
from controller.api.auth import Context
from controller.api.settings import Settings
from controller.changes.asking import Asking, Services
from controller.changes.dialect import OCTAVIA, Dialect

EXTENSION = "figlina"
PROVIDERS = "figlina.providers"


def services() -> Services:
    """The services of this application."""
    return _given()[0]


def settings() -> Settings:
    """The settings of this application."""
    return _given()[1]


def _given() -> tuple[Services, Settings]:
    return cast("tuple[Services, Settings]", flask.current_app.extensions[EXTENSION])


def context() -> Context:
    """Who is calling."""
    return cast("Context", flask.g.context)


def asking(dialect: Dialect = OCTAVIA) -> Asking:
    """The first argument of every change: the caller, what policy lets them do, and with what it is made."""
    world, values = _given()
    caller, rules = context(), policy.current()
    return Asking(
        caller=caller,
        may=lambda action, project_id: rules.allows(action, project_id, caller),
        settings=values,
        services=world,
        providers=flask.current_app.extensions[PROVIDERS],
        dialect=dialect,
    )


def authorize(action: str, project_id: str | None) -> None:
    """Let the caller do this with an object of that project.

    :raises Forbidden: they may not.
    """
    policy.authorize(action, project_id, context())
