"""What every benchmark shares: CPU seconds, a calibration in the same run, and one JSON line a figure.

Seconds are not stable from machine to machine, nor from run to run on a busy one. So each line carries the time of a fixed piece of pure
Python, taken in the same process: compare `cpu_seconds / calibration_seconds`.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def calibrate() -> float:
    """CPU seconds of a fixed piece of pure Python (dictionaries, strings, integers), the best of five."""
    return min(_fixed_work() for _ in range(5))


def _fixed_work() -> float:
    started = time.process_time()
    table: dict[str, int] = {}
    total = 0
    for number in range(100_000):
        key = f"key-{number % 1000}"
        table[key] = table.get(key, 0) + number
        total += len(key) + table[key] % 7
    assert total == 946_954, total
    return time.process_time() - started


class Stopwatch:
    """CPU and wall seconds of a block, of this process and of the children that it waited for."""

    cpu_seconds = 0.0
    wall_seconds = 0.0


@contextmanager
def measured() -> Iterator[Stopwatch]:
    """Measure a block, however it ends."""
    watch = Stopwatch()
    cpu, wall = _cpu(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.cpu_seconds, watch.wall_seconds = _cpu() - cpu, time.perf_counter() - wall


def _cpu() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cpu_of(work: Callable[[], object], *, runs: int = 7, warm_up: int = 1) -> float:
    """The median of the CPU seconds that a call takes in this process."""
    for _ in range(warm_up):
        work()
    return statistics.median(_one_run(work) for _ in range(runs))


def _one_run(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def percentile(values: list[float], share: float) -> float:
    """The value below which a share (0 to 1) of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def emit(name: str, **figures: Any) -> None:
    """Print one line; floats with as many digits as mean something."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"benchmark": name, **rounded}), flush=True)
    sys.stdout.flush()
