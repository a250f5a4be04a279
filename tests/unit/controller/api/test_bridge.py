"""How a whole request becomes one of WSGI, and what is answered where it can't."""

from __future__ import annotations

import asyncio
import errno
import json
import tempfile
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from controller.api.serving import bridge


class Client:
    """Sends a body in parts, and hears the answer."""

    def __init__(self, *parts: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._parts = list(parts) or [b""]
        self.headers = [*headers]
        self.status = 0
        self.heard: dict[bytes, bytes] = {}
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        part = self._parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.heard = message["status"], dict(message["headers"])
        else:
            self.body = message["body"]

    def ask(self, application: Any, **options: Any) -> Client:
        chosen = {"threads": 2, "max_body": 1_000_000, "max_on_disk": 10_000_000, "answer_timeout": 5.0, **options}
        made = bridge.Bridge(application, **chosen)
        scope = {"type": "http", "method": "POST", "raw_path": b"/v2/%C3%A9", "query_string": b"a=b", "http_version": "1.1"}
        asyncio.run(
            made({**scope, "headers": self.headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}, self.receive, self.send)
        )
        return self


class Application:
    """Answers with what it was asked."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.body = b""
        self.closed = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.environ, self.body = environ, environ["wsgi.input"].read()
        start_response("200 OK", [("X-Said", "é")])
        return [b"o", b"k"]


@pytest.mark.parametrize("size", [0, 1, bridge.IN_MEMORY, bridge.IN_MEMORY + 1, 900_000])
def test_a_body_of_any_size_arrives_as_it_was_sent(size: int) -> None:
    sent, application = bytes(range(256)) * (size // 256) + b"x" * (size % 256), Application()
    parts = [sent[start : start + 7000] for start in range(0, size, 7000)]
    client = Client(*parts).ask(application)
    assert (client.status, client.body, client.heard) == (200, b"ok", {b"X-Said": b"\xe9"})
    assert application.body == sent
    assert application.environ["CONTENT_LENGTH"] == str(size)
    assert application.environ["PATH_INFO"] == "/v2/Ã©"


def test_of_a_body_that_is_too_large_only_the_size_is_told() -> None:
    application = Application()
    Client(*[b"x" * 60_000] * 20, headers=((b"transfer-encoding", b"chunked"),)).ask(application)
    assert (application.body, application.environ["CONTENT_LENGTH"]) == (b"", "1200000")
    assert "HTTP_TRANSFER_ENCODING" not in application.environ


def test_a_large_body_that_does_not_fit_on_the_disk_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/tmp/figlina-body-x")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    client = Client(b"x" * 100_000, b"x" * 100_000).ask(Application())
    assert (client.status, client.heard[b"retry-after"], client.heard[b"connection"]) == (503, b"5", b"close")
    assert json.loads(client.body)["faultstring"] == "There is no room for the request now. Please repeat it later."


@pytest.mark.parametrize("size", [60_000, 100_000, 190_000])
def test_bodies_that_come_slowly_take_no_more_of_the_disk_together_than_they_may(size: int) -> None:
    """Fifty clients send most of a body each and then wait; when they are gone, the room is free again."""
    application, most = Application(), 1_000_000
    made = bridge.Bridge(application, threads=1, max_body=200_000, max_on_disk=most, answer_timeout=5.0)
    scope = {"type": "http", "method": "POST", "raw_path": b"/", "query_string": b"", "http_version": "1.1", "headers": []}

    class Slow(Client):
        async def receive(self) -> dict[str, Any]:
            if self._parts:
                return {"type": "http.request", "body": self._parts.pop(0), "more_body": True}
            await gone.wait()
            return {"type": "http.disconnect"}

    async def all_of_them() -> None:
        slow = [Slow(*[b"x" * 10_000] * (size // 10_000)) for _ in range(50)]
        waiting = [asyncio.ensure_future(made(dict(scope), one.receive, one.send)) for one in slow]
        await asyncio.sleep(0.1)
        assert made._room._left >= 0
        expected = 50 if size <= bridge.IN_MEMORY else most // size
        assert [one.status for one in slow].count(503) == 50 - expected
        small = Client(b"{}")
        await made(dict(scope), small.receive, small.send)
        assert small.status == 200, "who sends little needs no room"
        gone.set()
        await asyncio.gather(*waiting)
        late = Client(b"x" * 150_000, b"x" * 40_000)
        await made(dict(scope), late.receive, late.send)
        assert late.status == 200

    gone = asyncio.Event()
    asyncio.run(all_of_them())
    assert made._room._left == most


def test_a_request_that_found_no_thread_in_time_was_not_begun() -> None:
    asked, go_on = [], threading.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(environ)
        go_on.wait(10)
        start_response("200 OK", [])
        return [b""]

    made = bridge.Bridge(slow, threads=1, max_body=10, max_on_disk=100, answer_timeout=0.3)
    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b"", "http_version": "1.1", "headers": []}
    clients = [Client(), Client()]

    async def both() -> None:
        waiting = [asyncio.ensure_future(made(dict(scope), client.receive, client.send)) for client in clients]
        await asyncio.sleep(0.5)
        go_on.set()
        await asyncio.gather(*waiting)

    asyncio.run(both())
    assert sorted(client.status for client in clients) == [200, 503]
    assert len(asked) == 1
    refused = next(client for client in clients if client.status == 503)
    assert refused.heard[b"retry-after"] == b"5"
    assert "nothing was done" in json.loads(refused.body)["faultstring"]


def test_who_waits_for_a_thread_that_hangs_is_told_and_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_PATIENCE_WITH_THREADS", 0.2)
    go_on = threading.Event()

    def hangs(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        go_on.wait(10)
        return []

    started = time.monotonic()
    client = Client()
    threading.Timer(1.0, go_on.set).start()  # asyncio.run() waits for no thread of ours; the test's own end would
    client.ask(hangs, answer_timeout=0.2)
    assert time.monotonic() - started < 0.9
    assert (client.status, b"retry-after" in client.heard) == (503, True)


def test_a_fault_of_the_application_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("/srv/secret")

    client = Client().ask(broken)
    assert client.status == 500
    assert b"/srv/secret" not in client.body
    assert "/srv/secret" in caplog.text


def test_a_header_that_would_pass_for_another_one_is_left_out() -> None:
    application = Application()
    headers = ((b"x-project-id", b"mine"), (b"x_project_id", b"forged"), (b"accept", b"a"), (b"accept", b"b"))
    Client(headers=headers).ask(application)
    assert application.environ["HTTP_X_PROJECT_ID"] == "mine"
    assert application.environ["HTTP_ACCEPT"] == "a,b"
    assert application.environ["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(("told", "scheme"), [(b"https", "https"), (b"http", "http"), (b"HTTPS", "https"), (b"evil", "http")])
def test_a_proxy_on_this_machine_may_say_that_it_spoke_tls(told: bytes, scheme: str) -> None:
    application = Application()
    Client(headers=((b"x-forwarded-proto", told),)).ask(application)
    assert application.environ["wsgi.url_scheme"] == scheme
