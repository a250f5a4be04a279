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
from controller.drivers.secrets import interface as secrets_interface

EXTENSION = "figlina"
LENT = "figlina.lent"
"""The key of the WSGI environment under which a caller inside the process lends services and settings to a request (`lbaasv2/first.py`)."""


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
    def secrets(self) -> secrets_interface.SecretStore:
        """Asked whether the certificates that a body names are there, and good."""

    @property
    def wake(self) -> Callable[[], Any]:
        """Rings; never raises, and never waits for an answer."""


def services() -> Services:
    """The services of this application, or those that were lent to the request."""
    return _given()[0]


def settings() -> Settings:
    """The settings of this application, or those that were lent to the request."""
    return _given()[1]


def _given() -> tuple[Services, Settings]:
    return cast("tuple[Services, Settings]", flask.request.environ.get(LENT) or flask.current_app.extensions[EXTENSION])


def context() -> Context:
    """Who is calling."""
    return cast("Context", flask.g.context)


def authorize(action: str, project_id: str | None) -> None:
    """Let the caller do this with an object of that project.

    :raises Forbidden: he may not.
    """
    policy.authorize(action, project_id, context())
