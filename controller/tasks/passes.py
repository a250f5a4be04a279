"""What one run of a flow knows of its load balancer in memory: nothing of it reaches a job or the record of a flow.

A flow in which no step changes what the next one has to know reads its load balancer once, and hands that on. Whoever goes on with such a
flow after a death, a stop or a wait builds it anew, and so reads again. A flow that boots, replaces or deletes amphorae has steps that each
look for themselves (`db.recent.RecentSnapshots`), which has the same `get()`.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Protocol

from controller.db import database
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model.network import Port


class Snapshots(Protocol):
    """Where a step finds its load balancer."""

    def get(self, load_balancer_id: str) -> model.Snapshot:
        """The load balancer, with everything below it.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """A load balancer as it was when its job was admitted. Unless it `is_whole`, without what is below it."""

    snapshot: model.Snapshot
    is_whole: bool


class Pass:
    """One snapshot for all steps of a run, and what amphorae confirmed of it until that is written down; threads share it."""

    def __init__(self, snapshots: Snapshots, look: Look | None = None) -> None:
        """Goes on with what was seen already, if that is enough."""
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._seen = look.snapshot if look is not None and look.is_whole else None
        self.confirmed: dict[str, str] = {}  # by amphora, the hash of what it runs

    def get(self, load_balancer_id: str) -> model.Snapshot:
        """The load balancer as it was when it was first asked for.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        with self._lock:
            if self._seen is None:
                self._seen = self._snapshots.get(load_balancer_id)
            return self._seen

    def note(self, amphora: amphora_model.Amphora) -> None:
        """Take into the snapshot an amphora as a step has just written it down."""
        with self._lock:
            if self._seen is not None:
                known = self._seen.amphorae
                self._seen = dataclasses.replace(self._seen, amphorae=tuple(amphora if one.id == amphora.id else one for one in known))


class Ports:
    """Ports that a run has just made, for the step that boots a machine with them; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Port] = {}

    def note(self, *made: Port) -> None:
        """Remember them."""
        with self._lock:
            self._made |= {port.id: port for port in made}

    def take(self, port_id: str) -> Port | None:
        """One of them, once: who tries again looks at the network service."""
        with self._lock:
            return self._made.pop(port_id, None)


class Ending(Protocol):
    """What the worker writes in the transaction of a flow's last step: that the job is done, and what follows."""

    def write(self, tx: database.Transaction) -> None:
        """Write it.

        :raises StaleLease: the job or the load balancer is another worker's; nothing of this transaction may stand.
        """

    def done(self) -> None:
        """The transaction is committed: nothing more may be written for this job."""
