"""The network service and the secret store, of which a test learns when they are asked; while rows are locked they refuse to be."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from controller import services
from controller.db import database

DRIVERS = ("network", "secrets")


class AskedTooLate(AssertionError):
    """Somebody outside was asked by a thread that has a write transaction open: all who write would wait for the answer."""


class _Guarded:
    """A driver that may be asked only while its thread writes nothing."""

    def __init__(self, inner: Any, writing: threading.local, calls: list[str]) -> None:
        self._inner, self._writing, self._calls = inner, writing, calls

    def __getattr__(self, name: str) -> Any:
        if getattr(self._writing, "now", False):
            raise AskedTooLate(f"{name}() was called within a write transaction")
        self._calls.append(name)
        return getattr(self._inner, name)


@contextlib.contextmanager
def guarded(world: services.Services) -> Iterator[list[str]]:
    """The names of the methods that are called within the block."""
    calls: list[str] = []
    writing, begin, made = threading.local(), world.db.begin, dict(world.made)

    @contextlib.contextmanager
    def watched(*arguments: Any, **named: Any) -> Iterator[database.Transaction]:
        with begin(*arguments, **named) as tx:
            writing.now = True
            try:
                yield tx
            finally:
                writing.now = False

    world.db.begin = watched  # type: ignore[method-assign]
    world.made |= {kind: _Guarded(getattr(world, kind), writing, calls) for kind in DRIVERS}
    try:
        yield calls
    finally:
        del world.db.begin
        world.made |= made
