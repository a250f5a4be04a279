"""Counters of listeners that never fall: kept over reloads and restarts of HAProxy, and over restarts of the agent."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from amphora_agent import outages, system

LOG = logging.getLogger(__name__)
FIELDS = ("bytes_in", "bytes_out", "total_connections", "request_errors")
DAMAGED = ".damaged"
"""What a file is called that was set aside, behind its own name."""
_LARGEST = (1 << 63) - 1
"""What the controller can keep: nothing that was counted comes near to it."""
_ABSENT = 1000
"""So many listeners keep their totals that are not served at present: one that is switched on again goes on from there."""


class Counters:
    """Totals per listener: what workers that have ended counted, and what each of the others does."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._worker: int | None = None
        self.former_worker: int | None = None
        """The one before: while HAProxy hands over, both may answer for the one."""
        self._base: dict[str, list[int]] = {}
        self._last: dict[int, dict[str, list[int]]] = {}  # by worker
        self._saved: bytes | None = None
        self._keeping = outages.Outage(LOG, f"Keeping {path.name}")
        self._load()

    def take(self, worker: int, raw: Mapping[str, list[int]], former: Collection[int] = ()) -> dict[str, list[int]]:
        """Take in what a worker counts, and return the totals (`FIELDS`) of its listeners.

        `former` are workers that have a successor and are still asked: what others counted is final.
        """
        self.note(worker, raw, former)
        return {listener: self._total(listener) for listener in raw}

    def note(self, worker: int, raw: Mapping[str, list[int]], former: Collection[int] = ()) -> None:
        """The same, without totals."""
        self.take_former(worker, raw)
        if worker != self._worker and worker not in former:  # one that has a successor may still answer for it
            self._worker, self.former_worker = worker, self._worker
        for ended in self._last.keys() - {worker, self._worker, *former}:
            for listener, values in self._last.pop(ended).items():
                self._add(listener, values)
        self._forget_absent(raw)

    def take_former(self, worker: int, raw: Mapping[str, list[int]]) -> None:
        """Take in what a worker counts, whether it has a successor or not."""
        last = self._last.setdefault(worker, {})
        for listener, values in raw.items():
            before = last.get(listener)
            if before == values:
                continue
            if before is not None and any(now < then for now, then in zip(values, before, strict=True)):
                self._add(listener, before)  # another process of the same id
            last[listener] = list(values)

    def begin_anew(self, name: str) -> None:
        """What is counted by this name begins at zero again, though its worker is the same."""
        if self._worker is not None and (values := self._last.get(self._worker, {}).pop(name, None)) is not None:
            self._add(name, values)

    def begin_all_anew(self, is_gone: Callable[[str], bool]) -> None:
        """The same by all names of whom is gone. What was counted by others is forgotten after what was by theirs (`_ABSENT`)."""
        last = self._last.get(self._worker, {}) if self._worker is not None else {}
        for name in [name for name in last if is_gone(name)]:
            self._add(name, last.pop(name))
        self._base = dict(sorted(self._base.items(), key=lambda item: not is_gone(item[0])))

    def save(self) -> None:
        """Write them down, if they changed, so that totals once reported are never taken back."""
        content = json.dumps({"worker": self._worker, "base": self._base, "workers": self._last}).encode()
        if content == self._saved:
            return
        try:
            system.write_file(self._path, content, durable=False)
        except OSError as exc:  # a heartbeat is worth more than statistics that outlive the agent
            self._keeping.met(exc)
            return
        self._keeping.over()
        self._saved = content

    def forget(self) -> None:
        """Start from nothing, for another load balancer."""
        self._worker, self.former_worker, self._base, self._last, self._saved = None, None, {}, {}, None
        self._path.unlink(missing_ok=True)

    def _forget_absent(self, raw: Mapping[str, list[int]]) -> None:
        for absent in [listener for listener in self._base if listener not in raw][:-_ABSENT]:
            del self._base[absent]

    def _add(self, listener: str, values: list[int]) -> None:
        self._base[listener] = add(self._base.get(listener), values)

    def _total(self, listener: str) -> list[int]:
        total = self._base.get(listener)
        for last in self._last.values():
            if listener in last:
                total = add(total, last[listener])
        return total or [0] * len(FIELDS)

    def _load(self) -> None:
        """Go on from what was written down, as far as it makes sense: better wrong statistics than no amphora."""
        try:
            content = system.read_file(self._path)
            data = {} if content is None else json.loads(content)
            self._worker = data.get("worker")
            # Agents of before knew one worker at a time.
            workers = data.get("workers", {self._worker: data["last"]} if "last" in data and self._worker is not None else {})
            base, last = data.get("base", {}), {int(worker): known for worker, known in workers.items()}
            self._base, self._last = _sound(base), {worker: _sound(known) for worker, known in last.items()}
            whole = (self._base, self._last) == (base, last) and (self._worker is None or type(self._worker) is int)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            self._base, self._last, whole = {}, {}, False
        if not whole:
            self._set_aside()

    def _set_aside(self) -> None:
        LOG.error("%s is damaged: it is kept as %s%s, and counting goes on from what can be read", self._path, self._path.name, DAMAGED)
        self._worker = self._worker if type(self._worker) is int else None
        with contextlib.suppress(OSError):
            self._path.replace(f"{self._path}{DAMAGED}")


def _sound(known: Mapping[str, Any]) -> dict[str, list[int]]:
    """Those that may have been counted."""
    return {name: values for name, values in known.items() if _is_count(values)}


def _is_count(values: object) -> bool:
    return isinstance(values, list) and len(values) == len(FIELDS) and all(type(one) is int and 0 <= one <= _LARGEST for one in values)


def add(base: list[int] | None, values: list[int]) -> list[int]:
    """What both count together; a base of None counts nothing."""
    return list(values) if base is None else [a + b for a, b in zip(base, values, strict=True)]
