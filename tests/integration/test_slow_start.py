"""The first HAProxy of a machine that gets little of a processor."""

from __future__ import annotations

import pathlib
import urllib.request

import pytest

from amphora_agent import haproxy
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
