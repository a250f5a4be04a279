"""How the agent lives: as it was booted, unless it was told otherwise since. What it was told is kept on its own disk, for what it was
booted with may be put back at each boot of the machine.
"""

from __future__ import annotations

import logging
import pathlib
import threading
from collections.abc import Callable

from amphora_agent import system
from amphora_agent.protocol import boot

LOG = logging.getLogger(__name__)
SERVED = "state.json"
"""Beside it: what is served (`load_balancer`). Where it is not, nothing is."""


class Kept:
    """The configuration of now. `on_change` is called with each new one; methods may be called from any thread."""

    def __init__(self, booted: boot.BootConfig, state: pathlib.Path) -> None:
        self._path = state / "agent.json"
        self._lock = threading.Lock()
        self.on_change: Callable[[boot.AgentConfig], None] = lambda _: None
        self.current = system.recall(self._path, boot.AgentConfig.parse) or booted.agent

    def replace(self, config: boot.AgentConfig) -> None:
        """Live by this one from now on.

        :raises OSError: it can't be kept, and so is not taken.
        """
        with self._lock:
            system.write_file(self._path, config.dump())
            self.current = config
            self.on_change(config)
        LOG.info("Configured: a heartbeat each %s s to %s", config.heartbeat_interval, config.health_managers)
