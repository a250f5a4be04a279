"""The catalogue of a cloud has one service of a type: whoever registers load balancing has it alone meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
import tempfile
from collections.abc import Iterator
from typing import cast

from openstack.connection import Connection
from openstack.identity.v3 import _proxy

WAIT = 2400.0
"""Seconds that a test may have to wait until another one is through: its time limit."""


def identity(connection: Connection) -> _proxy.Proxy:
    """The service that has the catalogue; in version 3, as every cloud of today."""
    return cast(_proxy.Proxy, connection.identity)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other test of this machine has it."""
    with (pathlib.Path(tempfile.gettempdir()) / "figlina-catalogue.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
