"""A process that answers requests: uvicorn's server as a worker of gunicorn, which starts, watches and ends it."""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import resource
import signal
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from gunicorn.workers import base

from controller.api.serving import bridge, connections

if TYPE_CHECKING:
    from types import FrameType

    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: more than the minute for which proxies usually keep theirs."""
_OTHER_FILES = 200
"""Of the files that a process may open, those that are not connections or bodies: database, logs, libraries."""


class Worker(base.Worker):
    """One process; its options come from `Server.options` of the application that gunicorn was given."""

    _server: uvicorn.Server | None = None

    def init_signals(self) -> None:
        """SIGTERM and SIGINT are uvicorn's; SIGUSR1 prints what every thread is doing."""
        super().init_signals()
        signal.set_wakeup_fd(-1)  # asyncio has its own
        faulthandler.register(signal.SIGUSR1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End, though told so before uvicorn heeds signals: while the application is being loaded."""
        super().handle_exit(sig, frame)
        if self._server is not None:
            self._server.should_exit = True

    def run(self) -> None:
        """Serve until a signal, or the death of the process that started us, ends it; requests in flight are finished."""
        options: Any = self.app.options  # type: ignore[attr-defined]
        door = connections.Door(
            connections.Limits(request_timeout=options.request_timeout, connections=_affordable(options.max_connections))
        )
        application = bridge.Bridge(
            cast("WSGIApplication", self.wsgi),
            threads=options.threads,
            max_body=options.max_request_body_size,
            max_on_disk=max(options.max_bodies_on_disk, options.max_request_body_size),
            answer_timeout=options.answer_timeout,
        )
        config = uvicorn.Config(
            application,
            http=functools.partial(connections.Connection, door=door),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            loop="uvloop",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=options.graceful_timeout,
            callback_notify=self._tell_that_we_live,
            timeout_notify=1,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # or whoever sends nonsense fills our logs
        self._server = uvicorn.Server(config)
        if not self.alive:
            self._server.should_exit = True
        self._server.run(sockets=[listening.sock for listening in cast("list[Any]", self.sockets)])

    async def _tell_that_we_live(self) -> None:
        self.notify()
        if self._server is not None and os.getppid() != self.ppid:
            LOG.warning("The process that started us is gone: ending")
            self._server.should_exit = True


def _affordable(wanted: int) -> int:
    """How many connections this process may have: each takes a file, and a second one while a large body is held."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + _OTHER_FILES
    limit = needed if most == resource.RLIM_INFINITY else min(needed, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    affordable = max(1, min(wanted, (limit - _OTHER_FILES) // 2))
    if affordable < wanted:
        LOG.warning("This process may open %s files, so that only %s of %s connections can be open at once", limit, affordable, wanted)
    return affordable
