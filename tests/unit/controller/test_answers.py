"""Whoever takes or answers what is asked of them has so much time, whatever is sent meanwhile."""

from __future__ import annotations

import contextlib
import io
import pathlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import urllib3

from controller import answers
from tests import tls_material

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LONG = 60.0
"""Seconds after which a test ends what should have been ended long before."""


class _Library(io.RawIOBase):
    """Reads what has no data for as long as it comes, as a library of TLS does within one call."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while self._socket.recv(1):
            pass
        return 0


@pytest.fixture
def secured(tmp_path: pathlib.Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Both ends of a connection."""
    ends = socket.socketpair()
    material = tls_material.issue("agent.example", is_ca=True)
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    file = tmp_path / "agent.pem"
    file.write_bytes(material.pem + material.key_pem())
    serving.load_cert_chain(file)
    found: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: found.append(serving.wrap_socket(ends[0], server_side=True)))
    thread.start()
    mine = asking.wrap_socket(ends[1])
    thread.join()
    yield found[0], mine
    found[0].close()
    mine.close()


def test_messages_without_data_hold_nobody_longer_than_the_time_that_there_is(secured: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    theirs, mine = secured
    cut = threading.Event()

    def flood() -> None:
        ends_at = time.monotonic() + LONG
        try:
            while time.monotonic() < ends_at:
                theirs.sendall(b"x" * 1000)
        except OSError:
            cut.set()
        finally:
            theirs.close()

    thread = threading.Thread(target=flood)
    thread.start()
    bounded = answers._Bounded(mine, _Library(mine), time.monotonic() + 0.3, 1 << 20)
    with pytest.raises(TimeoutError):
        bounded.read(1)
    thread.join()
    assert cut.is_set(), "the connection was shut"


def test_a_connection_whose_answer_is_there_is_left_alone(secured: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    theirs, mine = secured
    theirs.sendall(b"whole")
    bounded = answers._Bounded(mine, socket.SocketIO(mine, "r"), time.monotonic() + 0.3, 1 << 20)
    assert bounded.read(5) == b"whole"
    bounded.close()
    other = socket.socketpair()
    last = answers._Bounded(other[0], socket.SocketIO(other[0], "r"), time.monotonic() + 0.5, 1)
    with pytest.raises(TimeoutError):
        last.read(1)  # so the time of the first one is over
    theirs.sendall(b"more")
    assert mine.recv(4) == b"more"


def test_answers_have_an_end_again_after_there_was_no_thread_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ends, (mine, other) = answers._Ends(), socket.socketpair()
    with mine, other:
        mine.settimeout(LONG)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            ends.forget(ends.await_(other, time.monotonic() + LONG))
        ends.await_(mine, time.monotonic())
        assert mine.recv(1) == b""


def test_who_takes_what_is_sent_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_PATIENCE", 0.5)
    listening = socket.create_server(("127.0.0.1", 0))
    given_up, late = threading.Event(), threading.Event()

    def serve() -> None:
        taken, _ = listening.accept()
        with taken, contextlib.suppress(OSError):
            taken.recv(65536)
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            ends_at = time.monotonic() + LONG
            while not given_up.wait(0.05):
                taken.recv(1)
                if time.monotonic() > ends_at:
                    late.set()
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    manager = urllib3.PoolManager(retries=False)
    manager.pool_classes_by_scheme = answers.pools(1 << 20)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    assert manager.request("GET", url, timeout=urllib3.Timeout(LONG)).status == 200
    with pytest.raises((urllib3.exceptions.HTTPError, OSError)):
        manager.request("PUT", url, body=b"x" * (64 << 20), timeout=urllib3.Timeout(LONG))
    given_up.set()
    thread.join()
    manager.clear()
    listening.close()
    assert not late.is_set(), "it was sent to for as long as it took it"
