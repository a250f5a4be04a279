"""`figlina-api`: the REST API, in one or more processes under gunicorn; in each, a loop takes requests and threads answer them."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.app import base

from controller import conf as configuration
from controller import exceptions, services
from controller.api import app, gate, middleware
from controller.cmd import api_worker, logging_setup, process

LOG = logging.getLogger(__name__)


class Server(base.BaseApplication):
    """gunicorn, with options from our configuration file and none of its own."""

    def __init__(self, conf: Any) -> None:
        self.conf = conf
        super().__init__()

    def load_config(self) -> None:
        """Where to listen, and with how many processes."""
        api = self.conf.api_settings
        host = f"[{api.bind_host}]" if ":" in api.bind_host else api.bind_host
        options = {
            "bind": f"{host}:{api.bind_port}",
            "workers": api.workers,
            "worker_class": "controller.cmd.api_worker.Worker",
            "graceful_timeout": api.graceful_timeout,
            "proc_name": "figlina-api",
            "errorlog": "-",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI application, made in each process after the fork: connections to the database can't be shared."""
        application = app.create_app(services.Services.load(self.conf, wake=process.bell(self.conf)), self.conf)
        spare_the_collector()
        return application


def spare_the_collector() -> None:
    """Look for cycles less often: a page of a thousand objects makes no cycle, yet a third of its time went into looking for some."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the configuration and serve until SIGTERM; requests in flight are finished. 1: the log says what has to be configured first."""
    conf = configuration.load(sys.argv[1:] if arguments is None else arguments)
    middleware.register_options(conf)
    logging_setup.setup(conf, "figlina-api")
    try:
        gate.check(conf)
    except exceptions.Misconfigured as error:
        LOG.error("%s", error)
        return 1
    api_worker.hold_signals_while_forking()
    Server(conf).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
