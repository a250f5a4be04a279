"""Who this agent is, and how it does."""

from __future__ import annotations

import functools
import os
import re
import socket
import time

import flask
from flask.typing import ResponseReturnValue

import amphora_agent
from amphora_agent import configuration, load_balancer, system
from amphora_agent.protocol import boot, rest

_MEMORY = {"total": "MemTotal", "free": "MemFree", "available": "MemAvailable", "buffers": "Buffers", "cached": "Cached"}


def blueprint(
    config: boot.BootConfig, kept: configuration.Kept, balancer: load_balancer.LoadBalancer, started_at: float
) -> flask.Blueprint:
    """The route `/info`."""
    routes = flask.Blueprint("info", __name__)

    @routes.get(rest.INFO_PATH.removeprefix(rest.PREFIX))
    def info() -> ResponseReturnValue:
        """Versions, what runs, and the machine's load."""
        memory = system.memory()
        return {
            "amphora_id": config.amphora_id,
            "hostname": socket.gethostname(),
            "api_version": rest.VERSION,
            "agent_version": amphora_agent.__version__,
            "haproxy_version": version_of(config.haproxy_command, "-v"),
            "keepalived_version": version_of(config.keepalived_command, "--version"),
            "heartbeat_interval": kept.current.heartbeat_interval,
            "load_balancers": balancer.generations(),
            "uptime": round(time.monotonic() - started_at, 1),
            "load": list(os.getloadavg()),
            "memory": {name: memory[of] for name, of in _MEMORY.items() if of in memory},
        }

    return routes


@functools.cache
def version_of(command: str, option: str) -> str:
    """What a program calls its version, asked once because asking costs a fork; empty if it can't be asked."""
    try:
        said = system.run([command, option], timeout=10)
    except system.CommandFailed:
        return ""
    found = re.search(r"\d+\.\d+\S*", said)
    return found.group() if found else ""
