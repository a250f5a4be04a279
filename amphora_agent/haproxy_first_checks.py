"""Servers that HAProxy has never checked: they begin DOWN, and their first success brings them up, however many a later rise takes.

HAProxy 3.1 calls this `init-state down`. Before that a server begins UP, gets traffic, and is shown as UP until its first check fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from amphora_agent import haproxy_runtime, haproxy_states
from amphora_agent.haproxy_states import Key, Row

LOG = logging.getLogger(__name__)
POLL_INTERVAL = 0.02
PATIENCE, PATIENCE_FOR_ONLY_ONES, PATIENCE_BESIDE = 0.3, 1.0, 3.0
"""So many seconds at most a push waits for first checks, for those of a backend without another server, and for the same where others serve
until then: the dead may not hold it up.
"""


class FirstChecks:
    """Knows who waits for a first check, and brings up who passes it."""

    def __init__(self, runtime: haproxy_runtime.RuntimeApi) -> None:
        self._runtime = runtime
        self._waiting: set[Key] = set()
        self._began = 0.0  # when the last of them came

    @property
    def waiting(self) -> bool:
        """Whether somebody's first check is still under way."""
        return bool(self._waiting)

    def begin(self, servers: Iterable[Key]) -> None:
        """A new worker has started, with these servers DOWN until they are checked."""
        self._waiting, self._began = set(servers), time.monotonic()

    def add(self, servers: Iterable[Key]) -> None:
        """These servers came at run time, DOWN until they are checked."""
        self._waiting.update(servers)
        self._began = time.monotonic()

    def find(self) -> None:
        """Learn from a running HAProxy whom an earlier agent had left waiting."""
        try:
            running = haproxy_states.rows(self._runtime.server_states())
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("HAProxy does not say which members wait for their first check: %s", exc)
            return
        self._waiting.update(key for key, row in running.items() if row.stopped and row.unchecked and not row.maintenance)

    def wait(self, leaving: Collection[Key] = (), patience: float = PATIENCE_FOR_ONLY_ONES) -> None:
        """Give the first checks a moment: who is told that a change is made finds the new member serving, if it is fit. Those that are
        about to leave serve no more, so what follows upon this leaves nobody without a member. `patience`, in seconds, is for backends
        without another server; there is more where somebody serves until then.
        """
        if {backend for backend, _ in leaving} & {backend for backend, _ in self._waiting}:
            patience = max(patience, PATIENCE_BESIDE)
        while self._waiting and (waited := time.monotonic() - self._began) < patience:
            serving = {row.key[0] for row in self.look().values() if row.serves and row.key not in leaving}
            if waited > PATIENCE and all(backend in serving for backend, _ in self._waiting):
                return
            time.sleep(POLL_INTERVAL if self._waiting else 0)

    def look(self) -> Mapping[Key, Row]:
        """Bring up who has passed the first check, and forget who has failed it; the servers of their backends, as they were before."""
        if not self._waiting:
            return {}
        try:
            running = haproxy_states.rows(self._runtime.server_states(sorted({backend for backend, _ in self._waiting})))
            passed = [key for key in sorted(self._waiting) if key in running and running[key].stopped and running[key].passed]
            for backend, name in passed:
                self._runtime.order(f"set server {backend}/{name} health up")
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("First checks can't be looked at now, and are again in a moment: %s", exc)
            return {}
        self._waiting = {key for key in self._waiting if key in running and running[key].stopped and running[key].unchecked}
        return {**running, **{key: running[key].brought_up() for key in passed}}
