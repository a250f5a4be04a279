"""What a route reaches for: the services, settings and caller of the request in hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import flask

from controller.api import policy
from controller.api.auth import Context
from controller.api.settings import Settings
from controller.db import database
from controller.drivers.compute import interface as compute_interface
from controller.drivers.network import interface

EXTENSION = "figlina"


class Services(Protocol):
    """What the API needs of the world: `wake` tells the workers that a job was posted."""

    @property
    def db(self) -> database.Database:
        """The rows."""

    @property
    def network(self) -> interface.NetworkDriver:
        """Asked for VIP ports, so that the answer to a create shows the address."""

    @property
    def compute(self) -> compute_interface.ComputeDriver:
        """Asked whether what profiles name exists."""

    @property
    def wake(self) -> Callable[[], Any]:
        """Rings; never raises, and never waits for an answer."""


def services() -> Services:
    """The services of this application."""
    return cast("Services", flask.current_app.extensions[EXTENSION][0])


def settings() -> Settings:
    """The settings of this application."""
    return cast("Settings", flask.current_app.extensions[EXTENSION][1])


def context() -> Context:
    """Who is calling."""
    return cast("Context", flask.g.context)


def authorize(action: str, project_id: str | None) -> None:
    """Let the caller do this with an object of that project.

    :raises Forbidden: he may not.
    """
    policy.authorize(action, project_id, context())
