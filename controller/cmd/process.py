"""What all processes share: how they ring the workers, and how they end."""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from oslo_config import cfg

from controller.jobs import wakeup

LOG = logging.getLogger(__name__)
OTHER_FILES = 200
"""Of the files that a process may open, those that are no connections to clients or agents: database, services, logs, libraries."""
_FILES = 65_536
"""That a process may have open, if the hard limit lets it."""


class Startable(Protocol):
    """Something that works in threads of its own."""

    def start(self) -> None:
        """Start these threads."""

    def stop(self) -> bool:
        """End; False if a thread did not end in time."""


def bell(conf: cfg.ConfigOpts) -> Callable[[], Any]:
    """A function that rings the workers."""
    return functools.partial(wakeup.ring, conf.task_flow.wakeup_directory)


def allow_files(needed: int) -> int:
    """Let this process have as many files open as it may, for most of those who start it let it have 1,024 at first (systemd's soft limit).

    Returns how many that are; if they are fewer than it may need, the log says so.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(_FILES, needed)
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        limit = wanted if soft == resource.RLIM_INFINITY else soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    if limit < needed:
        LOG.warning(
            "This process may open %d files, and may need %d: let it have more (LimitNOFILE= of its unit, ulimit -n)", limit, needed
        )
    return limit


def on_end(act: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT do this instead of ending the process at once; SIGUSR1 prints what every thread is doing."""
    faulthandler.register(signal.SIGUSR1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: act())


def leave(clean: bool) -> int:
    """The exit code; if a thread did not end in time, the process ends here and now, without waiting for it."""
    if not clean:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    return 0


def serve(running: Startable) -> int:
    """Run until a signal asks to stop."""
    asked = threading.Event()
    on_end(asked.set)
    running.start()
    asked.wait()
    LOG.info("Stopping")
    return leave(running.stop())
