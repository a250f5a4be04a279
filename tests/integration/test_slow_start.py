"""HAProxy on a machine that gets little of a processor: its first start, and reloads."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from amphora_agent import errors, haproxy
from amphora_agent.protocol import rest
from tests.ports import free_port

pytestmark = [pytest.mark.integration]

_CONFIG = """
frontend web
    mode http
    timeout client 5s
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "served"
"""


def test_it_has_longer_than_a_start_beside_one_that_serves(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "START_TIMEOUT", 0.3)
    slow = tmp_path / "haproxy"
    slow.write_text('#!/bin/sh\ncase " $* " in *" -W "*) sleep 2;; esac\nexec haproxy "$@"\n')
    slow.chmod(0o755)
    one, port = haproxy.HAProxy(haproxy.Places(tmp_path / "state", tmp_path / "run"), str(slow), ""), free_port()
    try:
        one.apply(_CONFIG.format(port=port), rest.WantedState(load_balancer_id="lb", generation=1, peer_name="p"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            assert answer.read() == b"served"
    finally:
        one.stop()


# The master executes itself anew for a reload, by the name that it was started with, or by that of its program if a loader runs it.
_BUSY_AT_RELOADS = """#!/bin/bash
if [ -e {folder}/serves ]; then
    until=$(($(date +%s) + {seconds}))
    while [ $(date +%s) -lt $until ]; do :; done
fi
exec -a "$0" {program} "$@"
"""


@contextlib.contextmanager
def _asked(port: int) -> Iterator[list[str]]:
    """What went wrong with requests that are made one after the other meanwhile."""
    wrong: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.02):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                    answer.read()
            except OSError as exc:
                wrong.append(str(exc))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("patience", "comes"), [(60.0, True), (0.5, False)], ids=["in time", "too late"])
def test_what_serves_goes_on_while_a_new_worker_waits_for_a_processor(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, patience: float, comes: bool
) -> None:
    monkeypatch.setattr(haproxy, "START_TIMEOUT", 0.3)
    slow = tmp_path / "haproxy"
    slow.write_text(_BUSY_AT_RELOADS.format(folder=tmp_path, seconds=3, program=shutil.which("haproxy")))
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    one, port = haproxy.HAProxy(haproxy.Places(tmp_path / "state", tmp_path / "run"), str(slow), ""), free_port()
    wanted = rest.WantedState(load_balancer_id="lb", generation=1, peer_name="p")
    config = _CONFIG.format(port=port)
    try:
        one.apply(config, wanted)
        (tmp_path / "serves").touch()
        monkeypatch.setattr(haproxy, "FIRST_START_TIMEOUT", patience)
        served_by = one.runtime.worker()
        with _asked(port) as wrong:
            if comes:
                one.apply(config.replace("served", "anew"), wanted)
            else:
                with pytest.raises(errors.ProgramFailed, match="in time"):
                    one.apply(config.replace("served", "anew"), wanted)
        assert wrong == []
        assert (one.runtime.worker() != served_by) is comes
    finally:
        one.stop()
