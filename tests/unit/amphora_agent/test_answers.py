"""How the agent's server ends what an application answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amphora_agent.api import server

_ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "192.0.2.1", "SERVER_PROTOCOL": "HTTP/1.1"}


def _breaks_off(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    yield b"12345"
    raise OSError("the client reads no more")


def test_an_answer_that_breaks_off_ends_its_connection() -> None:
    out = io.BytesIO()
    with pytest.raises(OSError, match="reads no more"):
        server._Answer(io.BytesIO(), out, sys.stderr, _ENVIRON).run(_breaks_off)
    assert out.getvalue().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1" not in out.getvalue()[8:]


def test_an_application_that_fails_at_once_is_answered_for_and_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fails(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        raise RuntimeError("a fault of ours")

    out = io.BytesIO()
    server._Answer(io.BytesIO(), out, sys.stderr, _ENVIRON).run(fails)
    assert out.getvalue().startswith(b"HTTP/1.1 500 ")
    assert "The answer to 192.0.2.1 failed" in caplog.text
    assert "a fault of ours" in caplog.text
