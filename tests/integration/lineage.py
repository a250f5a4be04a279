"""Which process has begun which: what a program has just begun looks like it for a moment."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable


def parent(pid: int) -> int:
    """Of a process; 0 if it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def program_and_child(pids: Iterable[int]) -> list[int]:
    """Of processes that look like one program, itself and its children; not what these have begun, such as a script before its exec."""
    found = {pid: own for pid in pids if (own := parent(pid))}
    parents = [pid for pid, own in found.items() if own not in found]
    return [*parents, *(pid for pid, own in found.items() if own in parents)]
