"""Snapshots of load balancers, of which the part that can't have changed since the last look is kept in memory.

What is wanted of a load balancer changes only with its generation. So a flow, each of whose steps looks at the rows, reads what is below
the load balancer once, and the next flow only what has changed since; its own row and its amphorae are read each time. Statuses of what is
below may be older than that, except PENDING_DELETE, which comes with a new generation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading

import cachetools

from controller.db import database, tables
from controller.model import load_balancer as model

_OBJECTS = 200_000
"""Children of all snapshots in memory, at most (some 200 MB)."""


class RecentSnapshots:
    """Threads share it."""

    def __init__(self, db: database.Database, objects: int = _OBJECTS) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._kept = cachetools.LRUCache[str, model.Snapshot](objects, _size)
        self._losses = db.losses

    def get(self, load_balancer_id: str) -> model.Snapshot:
        """The load balancer as it is now: two statements if its generation is known, seven otherwise.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        with self._db.read() as tx:
            return self.read(tx, load_balancer_id)

    def read(self, tx: database.Transaction, load_balancer_id: str) -> model.Snapshot:
        """The same, by a transaction that reads more than that.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        with self._lock:
            if self._losses != self._db.losses:  # what came back may have given the same generations to other changes
                self._losses = self._db.losses
                self._kept.clear()
            kept = self._kept.get(load_balancer_id)
            losses = self._losses
        if kept is None:
            return self._keep(tx.snapshots.get(load_balancer_id), losses)
        now = tx.snapshots.outline(load_balancer_id)
        if now.generation < kept.generation:  # the database was restored from a copy
            return self._keep(tx.snapshots.get(load_balancer_id), losses)
        if now.generation > kept.generation:
            return self._keep(tx.snapshots.advance(kept), losses)
        return dataclasses.replace(kept, load_balancer=now.load_balancer, amphorae=now.amphorae)

    def forget(self, load_balancer_id: str) -> None:
        """Forget a load balancer that will not be asked for again."""
        with self._lock:
            self._kept.pop(load_balancer_id, None)

    def _keep(self, snapshot: model.Snapshot, losses: int) -> model.Snapshot:
        with self._lock, contextlib.suppress(ValueError):  # it is larger than all that is kept
            self._kept.pop(snapshot.load_balancer.id, None)
            if losses == self._db.losses:
                self._kept[snapshot.load_balancer.id] = snapshot
        return snapshot


def _size(snapshot: model.Snapshot) -> int:
    return 1 + sum(len(getattr(snapshot, table.name)) for table in tables.CHILDREN.values())
