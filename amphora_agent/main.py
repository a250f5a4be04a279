"""The agent's life: boot configuration, management NIC, first heartbeat, and only then the web application."""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Sequence

from amphora_agent import configuration, errors, heartbeat, interfaces, load_balancer, orders, privileges, system
from amphora_agent.protocol import boot

LOG = logging.getLogger(__name__)
FIRST_BEAT_TIMEOUT = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `figlina-agent`."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    threading.stack_size(512 * 1024)
    try:
        config = boot.BootConfig.parse(options.config.read_bytes())
    except (OSError, ValueError) as exc:
        LOG.error("No boot configuration at %s: %s", options.config, exc)
        return 1
    try:
        _run(config, options)
    except (errors.AgentError, system.CommandFailed, OSError) as exc:  # whoever started us starts us again
        LOG.error("The agent ends: %s", exc)
        return 1
    return 0


def _run(config: boot.BootConfig, options: argparse.Namespace) -> None:
    started_at = time.monotonic()
    nics = interfaces.Interfaces()
    nics.configure_management(config)
    nics.ensure_namespace()
    address = (config.management_address.partition("/")[0], config.agent_port)
    rights, sockets = privileges.Rights(), None
    if options.user is not None:
        sockets = privileges.Sockets(address)
        rights = privileges.give_up(options.user, config.management_mac, options.state_directory, options.run_directory, options.config)
        nics = interfaces.Interfaces("", fetch=privileges.fetch)
    balancer = load_balancer.LoadBalancer(config, options.state_directory, options.run_directory, nics, rights)
    kept = configuration.Kept(config, options.state_directory)
    balancer.live_by(kept.current)
    balancer.resume()
    sender = None if sockets is None else sockets.sender
    heart = heartbeat.Heart(config.amphora_id, kept.current, balancer.look, balancer.save, sender)

    def live_by(current: boot.AgentConfig) -> None:
        heart.configure(current)
        balancer.live_by(current)

    kept.on_change = live_by
    balancer.on_change = heart.nudge
    threading.Thread(target=heart.run, name="heartbeat", daemon=True).start()
    threading.Thread(target=balancer.roster.watch(heart.nudge).run, name="watch", daemon=True).start()
    heart.first_sent.wait(FIRST_BEAT_TIMEOUT)

    from amphora_agent import identity  # the first heartbeat did not wait for TLS and Flask
    from amphora_agent.api import app, server

    system.write_file(options.run_directory / "agent.pid", f"{os.getpid()}\n".encode(), durable=False)
    own = identity.Identity(options.config.parent / "certs", options.state_directory, options.run_directory)
    web = server.Server(
        address,
        app.create_app(config, kept, own, balancer, started_at, orders.Orders(options.state_directory)),
        own,
        None if sockets is None else sockets.bound,
    )
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=web.shutdown, daemon=True).start())
    LOG.info("Serving on %s port %s", config.management_address, config.agent_port)
    web.serve_forever(poll_interval=1.0)
    balancer.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="figlina-agent", description="The agent of an amphora.")
    parser.add_argument(
        "--config", type=pathlib.Path, default=pathlib.Path(boot.CONFIG_PATH), help="boot configuration; certs/ lies beside it"
    )
    parser.add_argument("--state-directory", type=pathlib.Path, default=pathlib.Path("/var/lib/figlina"), help="what survives a restart")
    parser.add_argument("--user", help="give up root's rights and be this user, in the tenant's network namespace (a machine of one's own)")
    parser.add_argument("--run-directory", type=pathlib.Path, default=pathlib.Path("/run/figlina"), help="sockets and pid files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
