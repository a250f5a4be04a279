"""A worker that dies like one whose machine lost its power: SIGKILL to itself when the n-th task has finished (or begins).

    python tests/crashing_worker.py --after 3 --config-file F           kill -9 after the third task that finished, in whatever flow
    python tests/crashing_worker.py --after 3 --when started ...        ... or when the third one begins
    python tests/crashing_worker.py --list --config-file F              no crash: a line per finished task, `flow task state`, until SIGTERM

Finished means: executed, failed or reverted, and its record written. Tasks are counted over all flows of this process. `--catalog MODULE`
runs the flows of another catalog than `controller.flows.catalog`. All other arguments go to `figlina-worker`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from taskflow import states
from taskflow.listeners import base

from controller.cmd import worker

_FINISHED = (states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE)
_STARTED = (states.RUNNING, states.REVERTING)


class TaskListener(base.Listener):
    """Calls back at some states of tasks."""

    def __init__(self, engine: Any, listen_for: tuple[str, ...], tell: Callable[[str, str, str], None]) -> None:
        super().__init__(engine, task_listen_for=listen_for, flow_listen_for=(), retry_listen_for=())
        self._tell = tell

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._tell(self._engine.storage.flow_name, details["task_name"], state)


class Crash:
    """Counts tasks, and ends this process at the n-th."""

    def __init__(self, after: int) -> None:
        self._left = after
        self._lock = threading.Lock()

    def __call__(self, flow: str, task: str, state: str) -> None:
        """One more."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                _print("crash at", f"{flow} {task}", state)
                os.kill(os.getpid(), signal.SIGKILL)


def _print(flow: str, task: str, state: str) -> None:
    sys.stdout.write(f"{flow} {task} {state}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the worker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--after", type=int, help="the task at which to die, counted from 1")
    what.add_argument("--list", action="store_true", help="print the tasks instead")
    parser.add_argument("--when", choices=("finished", "started"), default="finished")
    parser.add_argument("--catalog", help="module with look(), admit() and build()")
    options, others = parser.parse_known_args()
    tell = _print if options.list else Crash(options.after)
    listen_for = _FINISHED if options.when == "finished" else _STARTED
    catalog: Any = importlib.import_module(options.catalog) if options.catalog else None
    return worker.main(others, [lambda engine: TaskListener(engine, listen_for, tell)], catalog)


if __name__ == "__main__":
    sys.exit(main())
