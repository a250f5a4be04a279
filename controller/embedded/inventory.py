"""What exists in the embedded network: networks, subnets, ports, addresses and security groups, in one SQLite file.

API and worker processes use it at once: every change is one short `BEGIN IMMEDIATE` transaction.
"""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator

import sqlalchemy as sa

from controller import exceptions, outages
from controller.db import database
from controller.embedded import contents, tables

_PATIENCE = 30.0
"""Seconds that a change waits for another one, if nobody is waiting for it."""


class InventoryAway(exceptions.Transient):
    """The inventory can't be read or changed now; the message is the operator's."""

    @property
    def for_clients(self) -> str:
        """The sentence for clients, who are not shown the file's path."""
        return "The network's inventory is busy or away, so nothing was done. Please repeat the request."


class InventoryOfAnotherVersion(exceptions.Transient):
    """The inventory lacks a table or a column that this program knows; the message is the operator's. To wait is of no use to clients."""

    @property
    def for_clients(self) -> str:
        """The sentence for clients, who are not shown the file's path."""
        return (
            "The network's inventory was made by another version of Figlina, so nothing was done. Its operator has to run that version; "
            "please repeat the request then."
        )


class Inventory:
    """Opens the file, and hands out transactions."""

    def __init__(self, path: pathlib.Path, effects: contents.Effects | None = None) -> None:
        self._path = path
        self._effects = effects or contents.Effects()
        self._lock = threading.Lock()
        self._opened: tuple[int, database.Database] | None = None

    def _database(self) -> database.Database:
        """One per process: a connection must not be carried over a fork."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                made = database.Database(f"sqlite:///{self._path}", _PATIENCE)
                with made.begin() as tx:
                    for statement in tables.SCHEMA:
                        tx.connection.exec_driver_sql(statement)
                self._opened = os.getpid(), made
            return self._opened[1]

    @contextlib.contextmanager
    def read(self) -> Iterator[contents.Contents]:
        """Look without locking anybody out.

        :raises Transient: the file can't be read, or is that of another version.
        """
        with self._told("can't be read"), self._database().read() as tx:
            yield contents.Contents(tx.connection, self._effects)

    @contextlib.contextmanager
    def change(self) -> Iterator[contents.Contents]:
        """One transaction: all of it happens, or nothing.

        :raises Transient: another process held the file too long, or it is that of another version.
        """
        with self._told("is busy or can't be changed"), contextlib.ExitStack() as around, self._database().begin() as tx:
            changed = contents.Contents(tx.connection, self._effects)
            around.enter_context(self._effects.guard(changed))
            yield changed

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """:raises InventoryAway: the file is locked, its disk is full, or it can't be reached.
        :raises InventoryOfAnotherVersion: it can be, and is not laid out as this program knows it.
        """
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.TimeoutError, OSError) as exc:
            words = getattr(exc, "orig", exc)
            if outages.is_of_another_schema(exc):
                other = "was made by another version of Figlina, which alone can go on with it"
                raise InventoryOfAnotherVersion(f"the network inventory {self._path} {other}: {words}") from exc
            raise InventoryAway(f"the network inventory {self._path} {what}: {words}") from exc
