"""What the rows say that the amphorae of a load balancer can have to report on; looked up for many at once, and kept for a while."""

import dataclasses
from collections.abc import Collection

from controller import clock as clocks
from controller.db import database
from controller.health_manager import reports

_KEPT_FOR = 300.0
_AGAIN_AFTER = 1.0
"""Seconds after which a report that names more than was there is worth another look; a liar's are, too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The listeners of a load balancer, and how many bytes a report on it may have, unpacked."""

    listeners: frozenset[str]
    room: int
    looked_up_at: float


NOTHING = Known(frozenset(), reports.room(None), float("inf"))
"""Of an amphora that has no load balancer."""


class Extents:
    """Used by the recorder's thread only."""

    def __init__(self, db: database.Database, clock: clocks.Clock) -> None:
        self._db = db
        self._clock = clock
        self._known: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def look_up(self, load_balancer_ids: Collection[str], doubted: bool = False) -> dict[str, Known]:
        """What is known of these load balancers, of the rows' state if it is not known, or not for sure any more.

        Those in doubt are looked up again, unless that was done just now. A load balancer without a row has nothing to report on.
        """
        now = self._clock.monotonic()
        oldest = now - (_AGAIN_AFTER if doubted else _KEPT_FOR)
        unknown = [key for key in load_balancer_ids if key not in self._known or self._known[key].looked_up_at <= oldest]
        if unknown:
            with self._db.read() as tx:
                found = tx.health.extents(unknown)
            self._known |= {key: Known(extent.listeners, reports.room(extent), now) for key, extent in found.items()}
        return {key: self._known[key] for key in load_balancer_ids}

    def prune(self, load_balancer_ids: Collection[str]) -> None:
        """Forget all but these."""
        self._known = {key: known for key, known in self._known.items() if key in load_balancer_ids}
