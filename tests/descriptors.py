"""A process whose files run out: ours, for a moment, by its soft limit (RLIMIT_NOFILE)."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def none_left(spare: int = 0) -> Iterator[None]:
    """So many more descriptors can be opened, and no further one (EMFILE).

    What another thread closes meanwhile can be opened again if some are to spare: count them in a process that has no other threads.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = {number for number in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{number}")}  # not the list's own
    free = (number for number in itertools.count(3) if number not in held)
    limit = next(itertools.islice(free, spare - 1, None)) + 1 if spare else 3  # the standard streams stay open
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
