"""How the programs of this amphora fare: whether they answer, and how often each died or hung and was started again."""

from __future__ import annotations

import json
import logging
import pathlib
import threading
import time
from typing import Any

from amphora_agent import system

LOG = logging.getLogger(__name__)
AGENT, HAPROXY, KEEPALIVED = "agent", "haproxy", "keepalived"
FORMER = "former"
"""HAProxy's workers of before a reload: `died` counts those that were ended for want of memory."""
RUNS, SILENT, DOWN = "runs", "silent", "down"
DIED, HUNG = "died", "hung"
HUNG_AFTER = 2.0
"""Seconds for which a program has owed an answer when it is taken for hung. Most answers take a millisecond."""
BUSY_AFTER = 30.0
"""The same while it has work on a processor or waits for one: it may answer yet."""
_QUESTIONS = 3


class Pulse:
    """For how long a program has owed an answer. Several questions: one may have met a moment in which this process slept itself."""

    def __init__(self) -> None:
        self._missed = 0
        self._since = 0.0

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last question was not answered."""
        return self._missed > 0

    def answered(self) -> None:
        """The program answered: it lives."""
        self._missed = 0

    def missed(self, asked_at: float, busy: bool = False) -> bool:
        """A question was not answered, asked at a time of the monotonic clock; whether the program is to be taken for hung."""
        if not self._missed:
            self._since = asked_at
        self._missed += 1
        return self._missed >= _QUESTIONS and time.monotonic() - self._since >= (BUSY_AFTER if busy else HUNG_AFTER)


class Restarts:
    """How soon a program may be started again: at once, and one that dies again and again after growing waits."""

    SHORTEST, LONGEST = 1.0, 10.0
    """Seconds. A program that lived for `LONGEST` beyond its wait starts with a clean slate."""

    def __init__(self) -> None:
        self._started_at = float("-inf")
        self._wait = 0.0

    def may_start(self) -> bool:
        """Whether it may be started now; if so, it is taken to be."""
        now = time.monotonic()
        lived = now - self._started_at
        if lived < self._wait:
            return False
        self._wait = self.SHORTEST if lived > self._wait + self.LONGEST else min(max(2 * self._wait, self.SHORTEST), self.LONGEST)
        self._started_at = now
        return True


class Record:
    """Counts of restarts by program and cause. They outlive the agent, and never fall while the amphora lives."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = {}
        self._states: dict[str, str] = {}
        self._load()

    def begin(self) -> None:
        """This agent begins. If there was one before that did not end by itself, that one died."""
        with self._lock:
            died = self._states.get(AGENT) == RUNS
            self._states[AGENT] = RUNS
        if died:
            self.note(AGENT, DIED)
        else:
            self._save()

    def end(self) -> None:
        """This agent ends as it was told to."""
        with self._lock:
            self._states[AGENT] = DOWN
        self._save()

    def note(self, program: str, cause: str) -> None:
        """A program died or hung, and is started again."""
        with self._lock:
            counts = self._counts.setdefault(program, {DIED: 0, HUNG: 0})
            counts[cause] += 1
        if program != FORMER:
            LOG.warning("%s %s and is started again", program, cause)
        self._save()

    def show(self, states: dict[str, str]) -> dict[str, dict[str, Any]]:
        """As a report carries it: the agent, and the programs that are meant to run, with their states."""
        with self._lock:
            return {
                program: {"state": state, DIED: 0, HUNG: 0, **self._counts.get(program, {})}
                for program, state in sorted({AGENT: RUNS, **states, **dict.fromkeys(self._counts.keys() & {FORMER}, RUNS)}.items())
            }

    def _save(self) -> None:
        with self._lock:
            content = json.dumps({"agent": self._states.get(AGENT), "counts": self._counts}).encode()
        try:
            system.write_file(self._path, content, durable=False)
        except OSError as exc:  # a full disk must not keep a program from being started again
            LOG.warning("What became of the programs can't be written down: %s", exc)

    def _load(self) -> None:
        try:
            data = json.loads(system.read_file(self._path) or b"{}")
            self._counts = {str(key): {cause: int(counts[cause]) for cause in (DIED, HUNG)} for key, counts in data["counts"].items()}
            self._states[AGENT] = str(data["agent"])
        except (ValueError, TypeError, KeyError, AttributeError):
            self._counts = {}
