"""What workers of HAProxy count that have a successor and finish their connections.

HAProxy adds the last bytes of a connection to its counters when the connection ends, and a worker that has a successor ends with the last
one. So from before a reload on there is a connection to the socket of the old worker: as long as it lasts, that worker does not end. It is
closed when no other connection is left, which is when all has been counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterator

from amphora_agent import counters, exporter, haproxy_runtime, member_counters, report, system

LOG = logging.getLogger(__name__)
_QUESTION = ("show info", "show stat -1 7 -1")
_LOOK = 0.25
"""Seconds after which a look goes on another time with those that it has not come to: many workers may have many members each."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Former:
    """`answer()` is what it says to `_QUESTION`, None if it has not answered yet. One that is `held` does not end before it is let go."""

    answer: Callable[[], str | None]
    session: haproxy_runtime.Session | None = None
    held: contextlib.ExitStack | None = None


class FormerCounts:
    """Counts what workers with a successor still carry. One thread may look while another one reloads; of each there is one at a time."""

    def __init__(self, counted: counters.Counters, members: member_counters.MemberCounters, exporting: exporter.Exporter) -> None:
        self._counters, self._members, self._exporter = counted, members, exporting
        self._former: dict[int, _Former] = {}
        self._active: dict[int, dict[str, int]] = {}  # connections that each of them has open
        self._looked_at: int | None = None  # last
        self._leaving: int | None = None  # is about to get a successor

    @property
    def workers(self) -> Collection[int]:
        """Whose counts are not final, though another one may serve by now."""
        return {*self._former} | ({self._leaving} if self._leaving is not None else set())

    def active(self) -> dict[str, int]:
        """Connections that they have open, by the names of `report.Statistics.active`, as far as they have said so."""
        found: dict[str, int] = {}
        for known in list(self._active.values()):
            for name, number in known.items():
                found[name] = found.get(name, 0) + number
        return found

    @contextlib.contextmanager
    def beside(self, runtime: haproxy_runtime.RuntimeApi) -> Iterator[Callable[[], None]]:
        """Around a reload: what is yielded is to be called once the present worker has a successor."""
        with contextlib.ExitStack() as stack:
            session: haproxy_runtime.Session | None = None
            try:
                session, self._leaving = stack.enter_context(runtime.present_session(self._former))
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.warning("What the old worker still counts will not be in the statistics: %s", exc)

            def succeeded() -> None:
                if session is not None and (worker := self._leaving) is not None:
                    self._note(worker, session)
                    self._former[worker] = _Former(lambda: session.ask_again(*_QUESTION), session, stack.pop_all())

            try:
                yield succeeded
            finally:
                self._leaving = None

    def adopt(self, workers: Collection[int], master: haproxy_runtime.RuntimeApi) -> None:
        """Of workers that an agent before this one has left, the master tells the counts; those of their last connection are lost."""
        for worker in workers:

            def answer(worker: int = worker) -> str | None:
                try:
                    said = "".join(master.ask(f"@!{worker} {one}", 0.5) for one in _QUESTION)
                except haproxy_runtime.RuntimeFailed:  # a master that starts a worker is away for a moment
                    if not system.is_running(worker):
                        raise
                    return None
                return None if haproxy_runtime.worker_in(said) is None and system.is_running(worker) else said

            self._former[worker] = _Former(answer)

    def look(self) -> None:
        """Take in what they count, and let those go that have no connection left. Nobody is waited for."""
        until = time.monotonic() + _LOOK
        for worker, former in self._in_turn():
            if time.monotonic() > until:
                return
            self._looked_at = worker
            try:
                answer = former.answer()
                if answer is not None and haproxy_runtime.worker_in(answer) != worker:
                    raise haproxy_runtime.RuntimeFailed(f"another one answers, {haproxy_runtime.worker_in(answer)}")
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.info("Worker %s, which has a successor, counts no more: %s", worker, exc)
                self._let_go(worker)
                continue
            if answer is not None:
                statistics = report.read_statistics(answer)
                self._counters.take_former(worker, statistics.raw)
                self._members.take_former(worker, statistics.raw_of_members)
                self._active[worker] = statistics.active
                if haproxy_runtime.has_finished(answer):
                    if former.session is not None:
                        self._note(worker, former.session)
                    self._let_go(worker)

    def _in_turn(self) -> Iterator[tuple[int, _Former]]:
        """All of them, from the one behind that which was looked at last."""
        all_of_them = list(self._former.items())
        begin = next((place for place, (worker, _) in enumerate(all_of_them, 1) if worker == self._looked_at), 0)
        yield from (*all_of_them[begin:], *all_of_them[:begin])

    def _note(self, worker: int, session: haproxy_runtime.Session) -> None:
        try:
            self._exporter.note(worker, session)
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("What worker %s has counted will be missing in the metrics: %s", worker, exc)

    def _let_go(self, worker: int) -> None:
        self._exporter.sums.end(worker)
        self._active.pop(worker, None)
        held = self._former.pop(worker).held
        if held is not None:
            held.close()
