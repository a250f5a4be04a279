"""What HAProxy says of itself: its counters, its servers, whether it answers."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from amphora_agent import (
    certificates,
    counters,
    exporter,
    former_counts,
    haproxy_changes,
    haproxy_drains,
    haproxy_runtime,
    member_counters,
    program,
    programs,
    watch,
)
from amphora_agent import report as reports

LOG = logging.getLogger(__name__)
HANDOVER_POLLS = 5
"""So often HAProxy is asked again while a worker answers that has a successor already: the two share a socket for a moment."""
QUESTION_TIMEOUT = 0.5
"""Seconds that worker and master have for an answer when they are asked whether they live; it takes them a tenth of a millisecond."""


class ReportingHAProxy(program.Program):
    """The half of `haproxy.HAProxy` that is asked and reports; the other half changes. No lock has to be held for a report."""

    name = programs.HAPROXY

    def __init__(
        self,
        socket: pathlib.Path,
        counted: pathlib.Path,
        drains: pathlib.Path,
        certificates: certificates.Certificates,
        exported: pathlib.Path,
        exported_sums: pathlib.Path,
    ) -> None:
        self.runtime = haproxy_runtime.RuntimeApi(socket)
        self.changes = haproxy_changes.Changes(self.runtime, certificates, haproxy_drains.Drains(drains, self.runtime))
        self._counters = counters.Counters(counted)
        self._members = member_counters.MemberCounters(counted.with_name(f"members-{counted.name}"))
        self._exporter = exporter.Exporter(exported, self.runtime, exported_sums)
        self._former_counts = former_counts.FormerCounts(self._counters, self._members, self._exporter)
        self._exporter.former = self._former_counts.active
        self._counting = threading.Lock()
        self.changes.before_renewals, self.changes.on_deleted = self._count_quietly, self._count_anew
        self._is_replacing = False  # True while it is being replaced because somebody wants another state

    def tell_also(self, others: Callable[[], Iterable[Mapping[str, str]]]) -> None:
        """Have scrapers told of what somebody else serves, by rows as of `show stat`."""
        self._exporter.others = others

    def is_busy(self) -> bool:
        """Whether the newest worker works or waits for a processor; older ones may be busy with connections that they finish."""
        raise NotImplementedError

    def report(self, state: str | None) -> program.Part | None:
        if state != programs.RUNS:
            return program.Part()
        try:
            with self._counting:
                self._former_counts.look()
            statistics, totals, by_id = self._count()
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("Nothing can be reported of HAProxy: %s", exc)
            return None
        for name, number in self._former_counts.active().items():
            statistics.active[name] = statistics.active.get(name, 0) + number
        return reports.part(statistics, totals, by_id)

    def last_counts(self) -> program.Part:
        return (self.report(programs.RUNS) if self.runtime.answers(QUESTION_TIMEOUT) else None) or program.Part()

    def save(self) -> None:
        with self._counting:
            self._counters.save()
            self._members.save()

    def end(self) -> None:
        self.save()
        self._exporter.sums.save()

    def forget(self) -> None:
        self._counters.forget()
        self._members.forget()
        self._exporter.sums.forget()

    @property
    def awaits(self) -> bool:
        """First checks, whose passing is to be told to HAProxy and to everybody."""
        return self.changes.first_checks.waiting

    def look_closely(self) -> bool:
        if not self.runtime.answers(QUESTION_TIMEOUT):
            return False
        self.changes.first_checks.look()
        return True

    def hangs(self) -> bool | None:
        """Ask its worker whether it lives; None if it may answer yet, for it has work to do or is being replaced by us."""
        if self.runtime.answers(watch.PATIENCE):
            return False
        if self._is_replacing or self.is_busy():  # no lock is asked for: whoever waits for a HAProxy that hangs holds it, too
            return None
        return True

    @contextlib.contextmanager
    def _replacing(self) -> Iterator[None]:
        self._is_replacing = True
        try:
            yield
        finally:
            self._is_replacing = False

    def _count(self) -> tuple[reports.Statistics, dict[str, list[int]], dict[str, list[int]]]:
        """What the present worker says, totals of listeners, and those of pools and members by id.

        Asked and taken in one go, so that an old worker is never counted after a new one.

        :raises RuntimeFailed: HAProxy does not answer.
        """
        with self._counting:
            answer = self._ask_present_worker("show info;show stat -1 7 -1")
            statistics = reports.read_statistics(answer, self.changes.lingering)
            worker, former = haproxy_runtime.worker_in(answer) or 0, self._former_counts.workers
            self._members.note(worker, statistics.raw_of_members, former)
            return statistics, self._counters.take(worker, statistics.raw, former), self._members.by_id()

    def _ask_present_worker(self, question: str) -> str:
        """:raises RuntimeFailed: HAProxy does not answer."""
        for _ in range(HANDOVER_POLLS):
            answer = self.runtime.ask(question)
            if haproxy_runtime.worker_in(answer) != self._counters.former_worker:
                break
            time.sleep(0.02)
        return answer

    def _count_quietly(self) -> None:
        """Take in the counters of a worker that is about to go."""
        with contextlib.suppress(haproxy_runtime.RuntimeFailed):
            self._count()

    def _count_anew(self, backend: str, server: str) -> None:
        """HAProxy knows a server no more: one that comes by its name begins at zero."""
        with self._counting:
            self._members.begin_anew(member_counters.of_member(backend, server))
