"""The agent's life: boot configuration, management NIC, first heartbeat, and only then the web application."""

from __future__ import annotations

import logging
import os
import pathlib
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence

from amphora_agent import configuration, errors, heartbeat, management, programs, report, system
from amphora_agent.protocol import boot

LOG = logging.getLogger(__name__)
FIRST_BEAT_TIMEOUT = 5.0
_FILES = 65_536
"""That the agent may have open, if the hard limit lets it: checks of members by TCP or HTTP hold one each for as long as they wait."""
STATE_DIRECTORY, RUN_DIRECTORY = pathlib.Path("/var/lib/figlina"), pathlib.Path("/run/figlina")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `figlina-agent`."""
    import argparse  # a machine has no command line, and does not wait for it

    parser = argparse.ArgumentParser(prog="figlina-agent", description="The agent of an amphora.")
    parser.add_argument(
        "--config", type=pathlib.Path, default=pathlib.Path(boot.CONFIG_PATH), help="boot configuration; certs/ lies beside it"
    )
    parser.add_argument("--state-directory", type=pathlib.Path, default=STATE_DIRECTORY, help="what survives a restart")
    parser.add_argument("--user", help="give up root's rights and be this user, in the tenant's network namespace (a machine of one's own)")
    parser.add_argument("--run-directory", type=pathlib.Path, default=RUN_DIRECTORY, help="sockets and pid files")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    return live(options.config, options.user, options.state_directory, options.run_directory)


def live(place: pathlib.Path, user: str | None, state: pathlib.Path = STATE_DIRECTORY, run: pathlib.Path = RUN_DIRECTORY) -> int:
    """Be the agent of the boot configuration at `place` until told to end; 1: it could not be. `main` explains the others."""
    threading.stack_size(512 * 1024)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        config = boot.BootConfig.parse(place.read_bytes())
    except (OSError, ValueError) as exc:
        LOG.error("No boot configuration at %s: %s", place, exc)
        return 1
    try:
        _run(config, place, user, state, run)
    except (errors.AgentError, system.CommandFailed, OSError) as exc:  # whoever started us starts us again
        LOG.error("The agent ends: %s", exc)
        return 1
    return 0


def _run(config: boot.BootConfig, place: pathlib.Path, user: str | None, state: pathlib.Path, run: pathlib.Path) -> None:
    started_at = time.monotonic()
    management.configure(config)
    kept = configuration.Kept(config, state)
    heart = heartbeat.Heart(config.amphora_id, kept.current, lambda: report.idle(programs.Record(state / "programs.json")))
    if not (state / configuration.SERVED).exists():
        heart.turn()  # it serves nothing yet, so all that is to be said is known
    from amphora_agent import interfaces, load_balancer, orders, privileges  # the first heartbeat did not wait for these, TLS and Flask

    nics = interfaces.Interfaces()
    nics.ensure_namespace()
    address = (config.management_address.partition("/")[0], config.agent_port)
    rights, sockets = privileges.Rights(), None
    if user is not None:
        sockets = privileges.Sockets(address)
        rights = privileges.give_up(user, config.management_mac, state, run, place)
        nics = interfaces.Interfaces("", fetch=privileges.fetch)
    balancer = load_balancer.LoadBalancer(config, state, run, nics, rights)
    balancer.live_by(kept.current)
    balancer.resume()
    heart.tell_of(balancer.look, balancer.save, None if sockets is None else sockets.sender)

    def live_by(current: boot.AgentConfig) -> None:
        heart.configure(current)
        balancer.live_by(current)

    kept.on_change = live_by
    balancer.on_change = heart.nudge
    threading.Thread(target=heart.run, name="heartbeat", daemon=True).start()
    threading.Thread(target=balancer.roster.watch(heart.nudge).run, name="watch", daemon=True).start()
    heart.first_sent.wait(FIRST_BEAT_TIMEOUT)

    from amphora_agent import identity
    from amphora_agent.api import app, server

    system.write_file(run / "agent.pid", f"{os.getpid()}\n".encode(), durable=False)
    own = identity.Identity(place.parent / "certs", state, run)
    web = server.Server(
        address,
        app.create_app(config, kept, own, balancer, started_at, orders.Orders(state)),
        own,
        None if sockets is None else sockets.bound,
    )
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=web.shutdown, daemon=True).start())
    LOG.info("Serving on %s port %s", config.management_address, config.agent_port)
    web.serve_forever(poll_interval=1.0)
    balancer.end()


if __name__ == "__main__":
    sys.exit(main())
