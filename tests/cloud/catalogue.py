"""The catalogue of a cloud has one service of a type: whoever registers load balancing has it alone meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
import tempfile
from collections.abc import Iterator

WAIT = 2400.0
"""Seconds that a test may have to wait until another one is through: its time limit."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other test of this machine has it."""
    with (pathlib.Path(tempfile.gettempdir()) / "figlina-catalogue.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
