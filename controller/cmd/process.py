"""What all processes share: how they ring the workers, and how they end."""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from oslo_config import cfg

from controller.jobs import wakeup

LOG = logging.getLogger(__name__)


class Startable(Protocol):
    """Something that works in threads of its own."""

    def start(self) -> None:
        """Start these threads."""

    def stop(self) -> bool:
        """End; False if a thread did not end in time."""


def bell(conf: cfg.ConfigOpts) -> Callable[[], Any]:
    """A function that rings the workers."""
    return functools.partial(wakeup.ring, conf.task_flow.wakeup_directory)


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
