"""The health manager as a whole: its threads, in the order in which they start and stop."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Sequence

from controller import clock as clocks
from controller.db import database
from controller.drivers.amphora import interface as driver
from controller.health_manager import receiver, recorder, repairs, replacements, watcher

_RECORD_EACH = 1.0
_PUNCTUAL = 0.9  # a beat that comes a little early is the one that is written, not the one after it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of [health_manager] that more than the watcher needs; times in seconds."""

    watcher: watcher.Settings = dataclasses.field(default_factory=watcher.Settings)
    time_window: float = 300.0
    boot_timeout: float = 120.0
    repair_grace: float = 5.0
    replacement_interval: float = replacements.INTERVAL


def record_interval(heartbeat_interval: float, heartbeat_timeout: float) -> float:
    """How often the time of an amphora's last beat is written: each few beats, as seldom as judging by another manager allows."""
    return heartbeat_interval * max(1, int(heartbeat_timeout / heartbeat_interval / 3))


class HealthManager:
    """Receiver, recorder, watcher and repairs on one socket and one database."""

    def __init__(
        self,
        db: database.Database,
        sock: socket.socket,
        deployment_keys: Sequence[bytes],
        amphora: driver.AmphoraDriver,
        ring: Callable[[], None],
        settings: Settings,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        self._socket = sock
        judging = settings.watcher
        self.receiver = receiver.Receiver(
            sock,
            deployment_keys,
            record_interval=judging.record_interval * _PUNCTUAL,
            time_window=settings.time_window,
            load_window=judging.heartbeat_timeout,
            clock=clock,
        )
        self.recorder = recorder.Recorder(db, self.receiver, ring, _RECORD_EACH, clock=clock)
        self.watcher = watcher.Watcher(db, self.receiver, self.recorder, amphora, ring, judging, clock=clock)
        self.repairs = repairs.Repairs(
            db,
            self.recorder,
            ring,
            grace=min(settings.repair_grace, judging.heartbeat_timeout),
            boot_timeout=settings.boot_timeout,
            interval=min(settings.repair_grace, judging.heartbeat_timeout),
            replacement_interval=settings.replacement_interval,
            clock=clock,
        )
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=part.run, args=(self._stop,), name=type(part).__name__.lower(), daemon=True)
            for part in (self.receiver, self.recorder, self.watcher, self.repairs)
        ]

    def start(self) -> None:
        """Begin to receive, record, judge and repair, each in a thread of its own."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 1.8) -> bool:
        """Stop all threads, the last batch is written; False if a thread did not end in time."""
        self._stop.set()
        self.receiver.wake()
        for thread in self._threads:
            thread.join(timeout)
        self._socket.close()
        return not any(thread.is_alive() for thread in self._threads)
