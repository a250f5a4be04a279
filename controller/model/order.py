"""By whose authority something outside of the database is written."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """The lease under which a worker writes for a load balancer. Its token rises with each taking, so of two orders the higher counts.

    A worker that stands still (a paused machine, a hung disk) may go on after its lease was taken by another one. Whoever keeps the
    highest token that was seen can refuse what it writes then.
    """

    load_balancer_id: str
    token: int
