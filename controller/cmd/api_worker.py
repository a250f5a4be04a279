"""A process that answers requests: a loop that takes them in, and threads, as a worker of gunicorn, which starts, watches and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import resource
import signal
from typing import TYPE_CHECKING, Any, cast

import uvloop
from gunicorn.workers import base

from controller.api import middleware
from controller.api.serving import connections, refusals, threads
from controller.cmd import process

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)

_ENDS = (signal.SIGTERM, signal.SIGINT)


def hold_signals_while_forking() -> None:
    """A new process that is told to end before it heeds signals must hear it when it does, or it serves on until it is killed."""
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS),
    )


class Worker(base.Worker):
    """One process; its configuration is that of the application that gunicorn was given."""

    def init_signals(self) -> None:
        """SIGUSR1 prints what every thread is doing."""
        super().init_signals()
        signal.set_wakeup_fd(-1)  # the loop has its own
        faulthandler.register(signal.SIGUSR1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)

    def run(self) -> None:
        """Serve until a signal, or the death of the process that started us, ends it; requests in flight are finished."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        conf = self.app.conf  # type: ignore[attr-defined]
        options, largest = conf.api_settings, middleware.largest_body(conf)
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        for number in _ENDS:
            loop.add_signal_handler(number, asked.set)
        limits = connections.Limits(
            request_timeout=options.request_timeout,
            answer_timeout=options.answer_timeout,
            connections=_affordable(options.max_connections),
            body=largest,
            bodies=max(options.max_bodies_on_disk, largest),
        )
        # A server's database is waited for in every statement, a file's in hardly any.
        patience = None if str(conf.database.connection).startswith("sqlite") else 0.0
        application = cast("WSGIApplication", self.wsgi)
        answering = threads.Threads(
            application,
            count=options.threads,
            answer_timeout=options.answer_timeout,
            patience=patience,
            refusing=middleware.for_pages(refusals.application, conf),
        )
        door = connections.Door(limits, answering)
        listening = [
            await loop.create_server(lambda: connections.Connection(door), sock=one.sock, backlog=2048)
            for one in cast("list[Any]", self.sockets)
        ]
        while self.alive and not asked.is_set():  # `alive`: it may have been told to end while the application was being loaded
            self.notify()
            if os.getppid() != self.ppid:
                LOG.warning("The process that started us is gone: ending")
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), 1)
        for server in listening:
            server.close()
        await door.close(options.graceful_timeout, self.notify)


def _affordable(wanted: int) -> int:
    """How many connections this process may have: each takes a file, and a second one while a large body is held."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + process.OTHER_FILES
    limit = needed if most == resource.RLIM_INFINITY else min(needed, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    affordable = max(1, min(wanted, (limit - process.OTHER_FILES) // 2))
    if affordable < wanted:
        LOG.warning("This process may open %s files, so that only %s of %s connections can be open at once", limit, affordable, wanted)
    return affordable
