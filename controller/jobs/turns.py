"""Whose job is next where there is more to do than places: pure but for `Turns`, which remembers whose turn it was."""

from __future__ import annotations

import collections
import dataclasses
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_REMEMBERED = 64
"""Projects that had a turn last: who is not among them had one longer ago, or none."""


class Due(NamedTuple):
    """A job that may be claimed, its load balancer, and whose that is; None if there is no such load balancer any more."""

    id: str
    load_balancer_id: str
    project_id: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How many places projects hold now, and the projects that had a turn, the last one last."""

    held: Mapping[str | None, int] = dataclasses.field(default_factory=dict)
    recent: Sequence[str | None] = ()

    @property
    def behind(self) -> int:
        """Projects that may have to stand behind others, at most."""
        return sum(self.held.values()) + len(self.recent)


class Turns:
    """Who had a turn when. Not for several threads."""

    def __init__(self) -> None:
        self._had: dict[str | None, None] = {}

    def had(self, project_id: str | None) -> None:
        """A job of this project was begun."""
        self._had.pop(project_id, None)
        self._had[project_id] = None
        if len(self._had) > _REMEMBERED:
            del self._had[next(iter(self._had))]

    def standing(self, under_way: Iterable[str | None]) -> Standing:
        """Now that these hold a place each."""
        return Standing(collections.Counter(under_way), tuple(self._had))


def choose(due: Sequence[Due], most: int, standing: Standing) -> list[Due]:
    """As many of these as there are places: each place goes to the project that then has the fewest, of those to the one whose last turn
    was longest ago. Of one project, and among those that never had a turn, the order stays.
    """
    queues: dict[str | None, collections.deque[Due]] = {}
    for one in due:
        queues.setdefault(one.project_id, collections.deque()).append(one)
    since = {project: turn for turn, project in enumerate(standing.recent)}
    turns = [(standing.held.get(project, 0), since.get(project, -1), place, queues[project]) for place, project in enumerate(queues)]
    heapq.heapify(turns)
    chosen: list[Due] = []
    while turns and len(chosen) < most:
        held, last, place, queue = turns[0]
        chosen.append(queue.popleft())
        if queue:
            heapq.heapreplace(turns, (held + 1, last, place, queue))
        else:
            heapq.heappop(turns)
    return chosen
