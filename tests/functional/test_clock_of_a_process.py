"""A real health manager whose wall clock is set while it runs, by libfaketime (Debian: libfaketime); the machine's own is left alone."""

from __future__ import annotations

import glob
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import database, tables
from tests import builders
from tests.functional import heartbeat_fleet
from tests.functional.heartbeat_fleet import SimulatedAmphora, a_report

_LIBRARY = next(iter(sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))), None)
_KEY = "the key of one test and of nothing else"
_CONFIGURATION = """
[database]
connection = sqlite:///{folder}/figlina.db

[controller_worker]
compute_driver = fake
network_driver = fake
amphora_driver = fake
ca_driver = fake
secrets_driver = fake

[health_manager]
bind_ip = 127.0.0.1
bind_port = {port}
heartbeat_key = {key}
heartbeat_interval = 0.2
heartbeat_timeout = 3.0
health_check_interval = 0.1
question_timeout = 0.5
"""

pytestmark = pytest.mark.skipif(_LIBRARY is None, reason="libfaketime is not installed: the clock of a process can't be set")


class Process:
    """The health manager, and the file that says how its clock is off."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # so that nobody gets the port who takes any of all addresses
        self._keeper.bind(("127.0.0.2", 0))
        self.port = self._keeper.getsockname()[1]
        self._file = folder / "clock"
        self.set_clock(0)
        configuration = folder / "figlina.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, port=self.port, key=_KEY))
        clock = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "controller.cmd.health_manager", "--config-file", str(configuration)],
            env=os.environ | clock | {"LD_PRELOAD": str(_LIBRARY)},
            stdout=self.log,
            stderr=self.log,
        )

    def set_clock(self, seconds: int) -> None:
        """Let its wall clock be off by so much from now on."""
        self._file.write_text(f"{seconds:+d}")

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(20)
        self.log.seek(0)
        print(self.log.read())
        self.log.close()
        self._keeper.close()


@pytest.fixture
def process(tmp_path: pathlib.Path) -> Iterator[Process]:
    heartbeat_fleet.make_database(str(tmp_path / "figlina.db")).close()
    made = Process(tmp_path)
    yield made
    made.end()


def _eventually(is_so: Callable[[], object], within: float) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-600, 600])
def test_a_living_amphora_is_left_alone_and_a_dead_one_is_found_by_a_process_whose_clock_was_set(
    process: Process, tmp_path: pathlib.Path, jump: int
) -> None:
    db = database.Database(f"sqlite:///{tmp_path}/figlina.db")
    amphora = builders.an_amphora(applied_generation=1)  # asked over TLS, the fake agents answer that nothing runs
    snapshot = builders.a_snapshot(amphorae=[amphora])
    heartbeat_fleet.store(db, snapshot)
    simulated = SimulatedAmphora(amphora.id, ("127.0.0.1", process.port), a_report(snapshot), _KEY.encode(), answers=True)

    def heard() -> bool:
        simulated.beat()
        with db.read() as tx:
            return tx.amphorae.get(amphora.id).first_heartbeat_at is not None

    def failed_over() -> bool:
        with db.read() as tx:
            kinds = tx.connection.execute(sa.select(tables.jobs.c.kind)).scalars().all()
        return jobs.FailoverAmphora.kind in kinds

    def keep_beating(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            simulated.beat()
            time.sleep(0.2)

    try:
        _eventually(heard, within=30)
        keep_beating(4.0)
        process.set_clock(jump)
        keep_beating(5.0)
        assert not failed_over()
        _eventually(failed_over, within=20)
    finally:
        simulated.close()
        db.close()
