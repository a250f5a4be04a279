"""By whose order the agent acts: a worker that lost its lease on the load balancer, and does not know it yet, is refused.

A worker sends the token of its lease with every request that changes something (`rest.LEASE_HEADER`). Tokens rise with each taking of the
lease, so whoever sends a lower one than was seen has been replaced. A request without a token, as workers of older releases send, is
taken as it always was.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
from collections.abc import Iterator

from amphora_agent import errors, system


class Orders:
    """The highest token that was seen, kept on the amphora's disk: it outlives the agent, the machine's reboots, and what it served."""

    def __init__(self, state: pathlib.Path) -> None:
        self._path = state / "order.json"
        self._lock = threading.RLock()
        self._token = system.recall(self._path, lambda content: int(json.loads(content)["lease_token"])) or 0  # then any is taken

    @contextlib.contextmanager
    def following(self, token: int | None) -> Iterator[None]:
        """Do something by the order of this lease. Nothing else is done by anybody's order meanwhile, so none can come in between.

        :raises StaleOrder: a newer order was followed already.
        :raises OSError: the token can't be kept, so the order is not followed.
        """
        with self._lock:
            if token is not None:
                self._take(token)
            yield

    def _take(self, token: int) -> None:
        if token < self._token:
            raise errors.StaleOrder(token, self._token)
        if token > self._token:
            system.write_file(self._path, json.dumps({"lease_token": token}).encode())
            self._token = token
