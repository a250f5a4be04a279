"""The agent and clients that begin something and don't end it: without a certificate they lock nobody out, with one they have an end."""

from __future__ import annotations

import contextlib
import http.client
import pathlib
import resource
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from amphora_agent import identity
from amphora_agent.api import doorway, server
from controller.dev.client import eventually
from tests import descriptors, siege
from tests.integration import agent_amphora

_HELLO_ONLY = "whole hello, then silence"


def _hello(context: ssl.SSLContext) -> bytes:
    """The first message of a client."""
    read, written = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(read, written, server_hostname="agent").do_handshake()
    return written.read()


class Agent:
    """A server, and who may ask it."""

    def __init__(self, folder: pathlib.Path) -> None:
        servers, self._clients = agent_amphora.Authority("servers"), agent_amphora.Authority("clients")
        for name, content in (
            ("server.pem", servers.issue("agent", "127.0.0.1")),
            ("client.pem", self._clients.issue("controller")),
            ("client_roots.pem", self._clients.root),
            ("server_roots.pem", servers.root),
        ):
            (folder / name).write_bytes(content)
        self._folder = folder
        own = identity.Identity(folder, folder, folder)
        self.server = server.Server(("127.0.0.1", 0), _application, own)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._folder / "server_roots.pem"))
        context.load_cert_chain(self._folder / "client.pem")
        return context

    def connect(self) -> ssl.SSLSocket:
        """As the controller."""
        return self.tls().wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=20), server_hostname="127.0.0.1")

    def get(self) -> float:
        """Seconds that a request takes on a new connection."""
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.sock = self.connect()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        connection.close()
        return time.monotonic() - started

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


@pytest.fixture
def agent(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """It waits three seconds for hand-shakes and for requests."""
    monkeypatch.setattr(doorway.Doorway.__init__, "__defaults__", (3.0,))
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 3.0)
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    made = Agent(tmp_path)
    yield made
    made.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def _kinds(agent: Agent) -> dict[str, siege.Kind]:
    hello = _hello(agent.tls())
    return {
        "silence": siege.Kind(b""),
        "half a hello": siege.Kind(hello[:100]),
        "two bytes": siege.Kind(hello[:2]),
        "one byte per second": siege.Kind(hello[:6], b"\0"),
        _HELLO_ONLY: siege.Kind(hello),
        "HTTP without TLS": siege.Kind(b"GET / HTTP/1.1\r\n\r\n"),
        "a record of 64 KiB": siege.Kind(b"\x16\x03\x01\xff\xff" + b"\0" * 1000),
    }


def test_without_descriptors_it_asks_now_and_then_for_the_next_client_who_is_served_once_there_are_some(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []
    accept = socketserver.TCPServer.get_request

    def counted(self: socketserver.TCPServer) -> tuple[Any, Any]:
        tries.append(1)
        return accept(self)

    monkeypatch.setattr(socketserver.TCPServer, "get_request", counted)
    with socket.socket() as waiting:
        waiting.settimeout(20)
        with descriptors.none_left():
            waiting.connect(("127.0.0.1", agent.port))
            eventually(lambda: len(tries) > 2, 30, "nobody tried to let the client in", 0.1)
            seen = len(tries)
            time.sleep(1)
            assert len(tries) - seen <= 1 / server.REST + 1, "it asks again and again"
        with agent.tls().wrap_socket(waiting, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
            assert b"".join(iter(lambda: connection.recv(4096), b"")).endswith(b"ok")
    assert caplog.text.count("Who lets clients in met an error") == 1
    assert "Who lets clients in is well again" in caplog.text


@pytest.mark.lengthy
def test_hundreds_without_a_certificate_lock_nobody_out_and_have_an_end(agent: Agent) -> None:
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        sieges = []
        for name, kind in _kinds(agent).items():
            sieges.append(stack.enter_context(siege.besieged(agent.port, {name: kind}, 150))[name])
            waited = [agent.get() for _ in range(3)]
            assert max(waited) < 2.5, (name, waited)
        for one in sieges:
            assert one.wait(20)
            assert not any(outcome.status for outcome in one.outcomes)
        assert threading.active_count() <= threads + len(sieges) + 3


@pytest.mark.lengthy
def test_who_proved_himself_and_is_slow_has_an_end_too(agent: Agent) -> None:
    begun = [
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
    ]
    clients = [(agent.connect(), first) for first in begun]
    for client, first in clients:
        client.sendall(first)
    started, over = time.monotonic(), threading.Event()

    def drip() -> None:
        while not over.wait(0.5):
            for client, _ in clients:
                try:
                    client.send(b"a")
                except OSError:
                    return

    threading.Thread(target=drip, daemon=True).start()
    for client, first in clients:
        heard = b""
        try:
            while part := client.recv(4096):
                heard += part
        except OSError:
            pass
        assert time.monotonic() - started < 8, first
        assert (b" 408 " in heard) == first.startswith(b"PUT")
    over.set()


def test_idle_connections_of_the_controller_make_room(agent: Agent) -> None:
    idle = []
    for _ in range(server.MAX_SESSIONS + 10):
        connection = http.client.HTTPConnection("127.0.0.1", agent.port)
        connection.sock = agent.connect()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        idle.append(connection)
    newest = idle[-1]
    newest.request("GET", "/")
    assert newest.getresponse().read() == b"ok"
    assert idle[0].sock is not None
    idle[0].sock.settimeout(5)
    assert idle[0].sock.recv(1) == b"", "the one that was idle for longest is still there"
    for connection in idle:
        connection.close()


@pytest.mark.lengthy
def test_a_connection_is_used_again_after_any_pause_shorter_than_its_patience(agent: Agent) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", agent.port)
    connection.sock = agent.connect()
    for _ in range(3):
        connection.request("PUT", "/", b"x" * 200_000)
        assert connection.getresponse().read() == b"ok"
        time.sleep(1.5)
    connection.close()


def test_a_connection_for_which_there_is_no_thread_takes_no_place(agent: Agent) -> None:
    """Each that could not be served stayed in the list of those that are; after 64 of them nobody was let in any more."""
    for _ in range(server.MAX_SESSIONS + 1):
        usual = threading.stack_size(2**46)  # more than there is room for, so that no thread starts
        try:
            with contextlib.closing(agent.connect()) as connection, contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b"", "it was served"
        finally:
            threading.stack_size(usual)
    assert not agent.server._sessions
    agent.get()
