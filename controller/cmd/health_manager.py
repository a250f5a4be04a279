"""`figlina-health-manager`: receive heartbeats, record and judge them, until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from oslo_config import cfg

from controller import conf as configuration
from controller import services
from controller.cmd import logging_setup, process
from controller.conf import health_manager as options
from controller.health_manager import manager, receiver, watcher

LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the configuration and run; exit code 0 after a clean end, 2 if the configuration or the address can't be used."""
    conf = configuration.load(sys.argv[1:] if arguments is None else arguments)
    logging_setup.setup(conf, "figlina-health-manager")
    section = conf.health_manager
    process.allow_files(section.failover_threads + 2 * conf.haproxy_amphora.connection_pool_size + process.OTHER_FILES)
    try:
        keys = options.deployment_keys(section.heartbeat_key)
        sock = receiver.open_socket(section.bind_ip, section.bind_port, section.receive_buffer)
    except (ValueError, OSError) as exc:
        print(f"figlina-health-manager: {exc}", file=sys.stderr)
        return 2
    ring = process.bell(conf)
    everything = services.Services.load(conf, wake=ring)
    running = manager.HealthManager(everything.db, sock, keys, everything.amphora, ring, settings(conf))
    return process.serve(running)


def settings(conf: cfg.ConfigOpts) -> manager.Settings:
    """The manager's values from the configuration."""
    section = conf.health_manager
    if section.heartbeat_timeout < 3 * section.heartbeat_interval:
        LOG.warning("[health_manager] heartbeat_timeout is less than three heartbeat_intervals: a lost packet may look like a death")
    return manager.Settings(
        watcher=watcher.Settings(
            heartbeat_interval=section.heartbeat_interval,
            heartbeat_timeout=section.heartbeat_timeout,
            health_check_interval=section.health_check_interval,
            record_interval=manager.record_interval(section.heartbeat_interval, section.heartbeat_timeout),
            failover_threshold=section.failover_threshold,
            failover_threads=section.failover_threads,
            failovers_per_minute=section.failovers_per_minute,
            question_timeout=section.question_timeout,
        ),
        time_window=section.time_window,
        boot_timeout=section.boot_timeout,
        replacement_interval=section.replacement_interval,
    )


if __name__ == "__main__":
    sys.exit(main())
