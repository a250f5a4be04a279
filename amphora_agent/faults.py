"""Errors of programs that nobody expects: each is told once, its program counts as down, and the others and the heartbeat go on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from amphora_agent import outages

LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class Faults:
    """Of programs, by their names. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._met: dict[tuple[str, str], outages.Outage] = {}
        self._grave: set[tuple[str, str]] = set()

    def outlive(self, program: str, doing: str, call: Callable[[], _T], otherwise: _T, grave: bool = True) -> _T:
        """What `call` answers, or `otherwise` if it raises anything. A grave fault lasts until the same goes well, or `forget`."""
        key = program, doing
        try:
            answer = call()
        except Exception as exc:
            with self._lock:
                self._met.setdefault(key, outages.Outage(LOG, f"What the agent does for {program} ({doing})")).met(exc)
                self._grave |= {key} if grave else set()
            return otherwise
        with self._lock:
            self._grave.discard(key)
            if (outage := self._met.pop(key, None)) is not None:
                outage.over()
        return answer

    def has(self, program: str) -> bool:
        """Whether something of it is wrong that matters."""
        with self._lock:
            return any(name == program for name, _ in self._grave)

    def forget(self) -> None:
        """All programs were brought to a state anew: what was wrong before is over, or will be met again."""
        with self._lock:
            self._met.clear()
            self._grave.clear()
