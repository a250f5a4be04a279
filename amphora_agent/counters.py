"""Counters of listeners that never fall: kept over reloads and restarts of HAProxy, and over restarts of the agent."""

from __future__ import annotations

import json
import logging
import pathlib
from collections.abc import Mapping

from amphora_agent import system

LOG = logging.getLogger(__name__)
FIELDS = ("bytes_in", "bytes_out", "total_connections", "request_errors")


class Counters:
    """Totals per listener: what former workers counted, and what the present one does."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._worker: int | None = None
        self.former_worker: int | None = None
        """The one before: while HAProxy hands over, both may answer, and whoever takes the old one's count again counts it twice."""
        self._base: dict[str, list[int]] = {}
        self._last: dict[str, list[int]] = {}
        self._saved: bytes | None = None
        self._load()

    def take(self, worker: int, raw: Mapping[str, list[int]]) -> dict[str, list[int]]:
        """Take in what a worker counts, and return the totals (`FIELDS`) of its listeners."""
        for listener, values in raw.items():
            last = self._last.get(listener)
            if last is not None and (worker != self._worker or any(now < before for now, before in zip(values, last, strict=True))):
                self._base[listener] = _sum(self._base.get(listener), last)
        for gone in self._last.keys() - raw.keys():
            self._base.pop(gone, None)
        if worker != self._worker:
            self._worker, self.former_worker = worker, self._worker
        self._last = {listener: list(values) for listener, values in raw.items()}
        return {listener: _sum(self._base.get(listener), values) for listener, values in raw.items()}

    def save(self) -> None:
        """Write them down, if they changed, so that totals once reported are never taken back."""
        content = json.dumps({"worker": self._worker, "base": self._base, "last": self._last}).encode()
        if content == self._saved:
            return
        try:
            system.write_file(self._path, content, durable=False)
        except OSError as exc:  # a heartbeat is worth more than statistics that outlive the agent
            LOG.warning("Counters can't be kept: %s", exc)
            return
        self._saved = content

    def forget(self) -> None:
        """Start from nothing, for another load balancer."""
        self._worker, self.former_worker, self._base, self._last, self._saved = None, None, {}, {}, None
        self._path.unlink(missing_ok=True)

    def _load(self) -> None:
        try:
            data = json.loads(system.read_file(self._path) or b"{}")
            self._worker = data.get("worker")
            self._base, self._last = dict(data.get("base", {})), dict(data.get("last", {}))
        except (ValueError, TypeError, AttributeError):
            self._base, self._last = {}, {}  # better wrong statistics than no amphora


def _sum(base: list[int] | None, values: list[int]) -> list[int]:
    return list(values) if base is None else [a + b for a, b in zip(base, values, strict=True)]
