"""Counts that metrics go on from: what workers of HAProxy have counted that ended, kept over deaths of HAProxy and of the agent."""

from __future__ import annotations

import json
import logging
import math
import pathlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from amphora_agent import metrics, system

LOG = logging.getLogger(__name__)
_PAUSE = 5.0
"""Seconds at least between two writes that a scrape is the reason of."""
_SHARE = 20
"""And so many times as long as such a write has taken of a processor."""


class Sums:
    """What each worker has counted that may count on, and what all others have together. Of what the present worker does not serve any
    more nothing is kept, so there is no more to keep than it serves, a few times.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._lock, self._saving = threading.Lock(), threading.Lock()
        self._ended: metrics.Families = {}
        self._workers: dict[int, metrics.Families] = {}
        self._leaving: set[int] = set()  # those of the workers that have a successor, and will be said to have ended
        self._is_news, self._next_save = False, 0.0
        self._load()

    def take(self, worker: int, counted: metrics.Families) -> metrics.Families:
        """Take in what the worker that answers has counted; what all others have, of the same."""
        with self._lock:
            self._note(worker, counted)
            if worker not in self._leaving:
                self._ended = metrics.of_those_in(counted, self._ended)
            for other in list(self._workers.keys() - self._leaving - {worker}):
                if not system.is_running(other):  # it died; else it is about to be left
                    self._end(other)
            sums: metrics.Families = {}
            for other, known in self._workers.items():
                if other != worker:
                    metrics.add(sums, metrics.of_those_in(counted, known))
            metrics.add(sums, metrics.of_those_in(counted, self._ended))
            return sums

    def leave(self, worker: int, counted: metrics.Families) -> None:
        """Take in what a worker has counted that has a successor. What served before it and not under it any more is forgotten."""
        with self._lock:
            is_new = worker not in self._leaving  # at its end, others may have counted what it never served
            if is_new:
                self._ended = metrics.of_those_in(counted, self._ended)
                self._leaving.add(worker)
            self._note(worker, counted)
        if is_new:
            self.save()

    def end(self, worker: int) -> None:
        """What is known of a worker is all that it will have counted."""
        with self._lock:
            self._end(worker)
        self.save()

    def save(self) -> None:
        """Write down what is known, if it is news."""
        with self._saving:
            with self._lock:
                if not self._is_news:
                    return
                self._is_news = False
                content = self._content()
            try:
                system.write_file(self._path, content, durable=False)
            except OSError as exc:  # metrics are worth more than what they go on from when the agent dies
                LOG.warning("What metrics go on from can't be kept: %s", exc)

    def save_now_and_then(self) -> None:
        """The same, but not as often as anybody asks."""
        if time.monotonic() >= self._next_save:
            self._next_save = math.inf
            spent = time.thread_time()
            self.save()
            self._next_save = time.monotonic() + max(_PAUSE, _SHARE * (time.thread_time() - spent))

    def forget(self) -> None:
        """Start from nothing, for another load balancer."""
        with self._saving, self._lock:
            self._ended, self._workers, self._leaving, self._is_news = {}, {}, set(), False
            self._path.unlink(missing_ok=True)

    def _note(self, worker: int, counted: metrics.Families) -> None:
        fallen: metrics.Families = {}  # a server that was taken out and put in again, or another process of the same id
        for name, samples in self._workers.get(worker, {}).items():
            now = counted.get(name, {})
            less = {labels: value for labels, value in samples.items() if now.get(labels, value) < value}
            if less:
                fallen[name] = less
        metrics.add(self._ended, fallen)
        self._workers[worker] = counted
        self._is_news = True

    def _end(self, worker: int) -> None:
        self._leaving.discard(worker)
        if (known := self._workers.pop(worker, None)) is not None:
            metrics.add(self._ended, known)
            self._is_news = True

    def _content(self) -> bytes:
        """Of a worker that has a successor the agent after this one learns no more: it counts as one that has ended."""
        ended: metrics.Families = {}
        for known in (self._ended, *(self._workers[worker] for worker in self._leaving)):
            metrics.add(ended, known)
        places: dict[metrics.Labels, int] = {}
        told = {
            "ended": _packed(ended, places),
            "workers": {worker: _packed(known, places) for worker, known in self._workers.items() if worker not in self._leaving},
            "labels": list(places),
        }
        return json.dumps(told, separators=(",", ":")).encode()

    def _load(self) -> None:
        try:
            data = json.loads(system.read_file(self._path) or b'{"labels":[],"ended":{},"workers":{}}')
            labels = [tuple((str(name), str(word)) for name, word in pairs) for pairs in data["labels"]]
            ended = _unpacked(data["ended"], labels)
            workers = {int(worker): _unpacked(known, labels) for worker, known in data["workers"].items()}
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as exc:
            LOG.warning("%s is passed over, metrics begin at nothing: %s", self._path, exc)
            return
        self._ended, self._workers = ended, workers


def _packed(families: metrics.Families, places: dict[metrics.Labels, int]) -> dict[str, list[float]]:
    """By name, each value that is not 0 after the place of its labels."""
    packed: dict[str, list[float]] = {}
    for name, samples in families.items():
        if found := [part for labels, value in samples.items() if value for part in (places.setdefault(labels, len(places)), value)]:
            packed[name] = found
    return packed


def _unpacked(packed: Mapping[str, Sequence[Any]], labels: Sequence[metrics.Labels]) -> metrics.Families:
    """:raises ValueError: it is not what was packed."""
    families: metrics.Families = {}
    for name, found in packed.items():
        families[name] = {labels[place]: float(value) for place, value in zip(found[::2], found[1::2], strict=True)}
        if not all(0 <= value < math.inf for value in families[name].values()):
            raise ValueError(f"{name} is no count")
    return families
