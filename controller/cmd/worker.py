"""`figlina-worker`: run jobs until SIGTERM or SIGINT."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from oslo_config import cfg

from controller import conf as configuration
from controller import exceptions, services
from controller.cmd import logging_setup, process
from controller.flows import catalog as flows_catalog
from controller.worker import conductor, engine


def main(
    arguments: Sequence[str] | None = None,
    listener_factories: Sequence[Callable[[engine.FlowEngine], contextlib.AbstractContextManager[Any]]] = (),
    catalog: conductor.Catalog | None = None,
) -> int:
    """Read the configuration, run jobs; exit code 0 if everything under way came to a clean end, 2 if the configuration can't be used."""
    conf = configuration.load(sys.argv[1:] if arguments is None else arguments)
    logging_setup.setup(conf, "figlina-worker")
    process.allow_files(files(conf))
    everything = services.Services.load(conf, wake=process.bell(conf))
    try:
        if catalog is None:
            refuse_unusable(everything)
    except (ValueError, LookupError, exceptions.Misconfigured) as exc:
        print(f"figlina-worker: {exc}", file=sys.stderr)
        return 2
    try:
        return serve(conductor.Conductor(everything, catalog or flows_catalog, options(conf), listener_factories))
    finally:
        everything.close()


def refuse_unusable(everything: services.Services) -> None:
    """Have the secrets and authorities that the configuration names looked at now rather than in the middle of somebody's create.

    :raises ValueError: the heartbeat key is missing, or could be guessed.
    :raises Misconfigured: the certificate authority or the secret store can't be used; the message says what to do.
    """
    assert everything.settings is not None
    assert everything.ca is not None
    assert everything.secrets is not None
    assert everything.cipher is not None


def options(conf: cfg.ConfigOpts) -> conductor.Options:
    """The conductor's values from the configuration."""
    worker, task_flow = conf.controller_worker, conf.task_flow
    return conductor.Options(
        host=worker.host,
        max_workers=task_flow.max_workers,
        max_waiting=task_flow.max_waiting,
        poll_interval=task_flow.poll_interval,
        coalesce_interval=task_flow.coalesce_interval,
        claim_expiry=worker.claim_expiry,
        retry_backoff=worker.retry_backoff,
        retry_backoff_max=worker.retry_backoff_max,
        shutdown_timeout=task_flow.shutdown_timeout,
        wakeup_directory=task_flow.wakeup_directory,
    )


def files(conf: cfg.ConfigOpts) -> int:
    """How many files a worker may have open at once: each flow speaks to both halves of a pair, and connections to agents are kept."""
    kept: int = conf.haproxy_amphora.connection_pool_size
    return 2 * options(conf).most + 2 * kept + process.OTHER_FILES


def serve(worker: conductor.Conductor) -> int:
    """Run a conductor until a signal asks it to stop. If a step does not end in time, the process ends without waiting for its thread."""
    process.on_end(worker.stop)
    return process.leave(worker.run())


if __name__ == "__main__":
    sys.exit(main())
