"""Lines about connections that outlive a reload, where these go over a connection (TCP, TLS).

HAProxy writes such lines into a ring of the worker, and a worker that has a successor sends nothing of its ring any more: the connection
would keep it from ending. What it writes can still be read on its own socket, so the agent does, and sends it where the present
configuration says. As long as somebody reads, a worker does not end; it is let go when no other connection is left.

A worker marks what it writes once it has a successor by a blank before the last brace (`controller/render/access_log.py`): what it has
sent itself is not sent again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator

from amphora_agent import haproxy_config, haproxy_runtime, outages, system

LOG = logging.getLogger(__name__)
_CONNECT_TIMEOUT, _SEND_TIMEOUT = 5.0, 10.0
"""Seconds that a target has, as HAProxy gives it (`timeout connect`, `timeout server`)."""
_PAUSE = 1.0
"""Seconds between two looks at a worker, and at a target that is away."""
_IDLE = 10.0
"""Seconds after which a connection that nobody needs is closed."""
_PATIENCE = 10.0
"""Seconds for which a worker that has finished is kept because a target does not take its last lines."""
_AS_LONG_AS_IT_LASTS = 1_000_000  # seconds: a command line's connection that says nothing is closed otherwise
_CHUNK = 65_536
_NAME = re.compile(r"str\(([^()\s]+)\)").fullmatch


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Who is told: over TLS if there is an authority (a file) by which it is verified, and by its name if that is known."""

    ring: str
    address: str
    port: int
    authority: str | None = None
    name: str | None = None


@dataclasses.dataclass(slots=True)
class _Former:
    """A worker with a successor: what it tells comes on `lines`, how it does is asked on `asked`."""

    lines: socket.socket
    asked: haproxy_runtime.Session
    held: contextlib.ExitStack
    begun: bytes = b""  # the part of a line that has come
    finished_at: float | None = None


class FormerLogs:
    """Reads and sends what workers with a successor still write. One thread in the tenant's namespace, started when needed, does it."""

    def __init__(self, namespace: str, config: Callable[[], str], certificates: pathlib.Path) -> None:
        self._namespace, self._config, self._certificates = namespace, config, certificates
        self._changed = threading.Condition()
        self._former: dict[int, _Former] = {}
        self._thread: threading.Thread | None = None
        self._unsent = b""
        self._connection: tuple[Target, socket.socket] | None = None
        self._needed_at = self._looked_at = 0.0
        self._is_away = False

    @contextlib.contextmanager
    def beside(self, runtime: haproxy_runtime.RuntimeApi, old: str | None, former: Collection[int]) -> Iterator[Callable[[], None]]:
        """Around a reload from the configuration `old`: what is yielded is to be called once the present worker has a successor, as the
        `former` ones have.
        """
        told = None if old is None else target(old)
        with contextlib.ExitStack() as stack:
            sessions: list[tuple[haproxy_runtime.Session, int]] = []
            try:
                if told is not None:
                    sessions = [stack.enter_context(runtime.present_session(former)) for _ in range(2)]
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.warning("What goes on in the old worker will not be in the access log: %s", exc)

            def succeeded() -> None:
                if told is not None and len({worker for _, worker in sessions}) == 1 and len(sessions) == 2:
                    (lines, worker), (asked, _) = sessions
                    self._follow(worker, lines, asked, told.ring, stack)

            yield succeeded

    def _follow(
        self, worker: int, lines: haproxy_runtime.Session, asked: haproxy_runtime.Session, ring: str, stack: contextlib.ExitStack
    ) -> None:
        try:
            lines.ask(f"set timeout cli {_AS_LONG_AS_IT_LASTS}")
            stream = lines.follow(f"show events {ring} -w")
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("What goes on in worker %s will not be in the access log: %s", worker, exc)
            return
        with self._changed:
            self._former[worker] = _Former(stream, asked, stack.pop_all())
            self._changed.notify()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="former-logs", daemon=True)
                try:
                    thread.start()
                except RuntimeError as exc:
                    LOG.warning("What goes on in worker %s will not be in the access log: %s", worker, exc)
                    self._former.pop(worker).held.close()
                else:
                    self._thread = thread

    def _run(self) -> None:
        if self._namespace:
            system.move_to_namespace(self._namespace)
        trouble = outages.Outage(LOG, "What tells of connections of before a reload")
        while True:
            with self._changed:
                is_needed = self._changed.wait_for(lambda: bool(self._former or self._unsent), None if self._connection is None else _IDLE)
            if not is_needed:
                self._hang_up()
                continue
            try:
                self._turn()
                trouble.over()
            except Exception as exc:
                trouble.met(exc)
                time.sleep(_PAUSE)

    def _turn(self) -> None:
        former = dict(self._former)
        silent = set(former) if self._unsent else set(former) - self._read(former)
        self._send()
        if time.monotonic() - self._looked_at >= _PAUSE:
            self._looked_at = time.monotonic()
            for worker in silent & self._former.keys():
                if self._has_ended(former[worker]):
                    self._let_go(worker)

    def _read(self, former: dict[int, _Former]) -> set[int]:
        """Take in what has come; who had something to say."""
        waiting = select.poll()  # select(2) knows no descriptor beyond 1,023
        by_descriptor = {one.lines.fileno(): (worker, one) for worker, one in former.items()}
        for descriptor in by_descriptor:
            waiting.register(descriptor, select.POLLIN)
        spoke = set()
        for descriptor, _ in waiting.poll(_PAUSE * 1000):
            worker, one = by_descriptor[descriptor]
            try:
                chunk = one.lines.recv(_CHUNK)
            except OSError:
                chunk = b""
            if not chunk:
                self._let_go(worker)
                continue
            spoke.add(worker)
            *whole, one.begun = (one.begun + chunk).split(b"\n")
            self._unsent += b"".join(b"%d %s" % (len(line), line) for line in whole if _is_of_a_former_worker(line))
        return spoke

    def _send(self) -> None:
        """Send what is there; while the target is away, workers keep what comes, in their rings."""
        told = target(self._config()) if self._unsent else None
        if told is None:
            self._unsent = b""
            if time.monotonic() - self._needed_at > _IDLE:
                self._hang_up()
            return
        self._needed_at = time.monotonic()
        try:
            self._to(told).sendall(self._unsent)
        except OSError as exc:
            if not self._is_away:
                LOG.info("The access log's target is away: %s", exc)
            self._is_away = True
            self._hang_up()
            time.sleep(_PAUSE)
        else:
            self._unsent, self._is_away = b"", False

    def _to(self, told: Target) -> socket.socket:
        """A connection that the other side has not closed.

        :raises OSError: nobody is there, or not who should be.
        """
        if self._connection is not None:
            known, connection = self._connection
            if known == told and _is_open(connection):
                return connection
        self._hang_up()
        with contextlib.ExitStack() as on_failure:
            connection = on_failure.enter_context(socket.create_connection((told.address, told.port), _CONNECT_TIMEOUT))
            if told.authority is not None:
                connection = on_failure.enter_context(_verified(connection, told, self._certificates))
            connection.settimeout(_SEND_TIMEOUT)
            on_failure.pop_all()
        self._connection = told, connection
        return connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None

    def _has_ended(self, one: _Former) -> bool:
        """Whether it has finished, and said all; what a target does not take is not waited for without end."""
        try:
            answer = one.asked.ask_again("show info")
        except haproxy_runtime.RuntimeFailed:
            return True
        if answer is not None and haproxy_runtime.has_finished(answer) and one.finished_at is None:
            one.finished_at = time.monotonic()
            return False  # its last line may be on its way
        return one.finished_at is not None and (not self._unsent or time.monotonic() - one.finished_at > _PATIENCE)

    def _let_go(self, worker: int) -> None:
        with self._changed:
            former = self._former.pop(worker, None)
        if former is not None:
            former.held.close()


def target(config: str) -> Target | None:
    """The target that a configuration names, if it is told over a connection."""
    for chunk in haproxy_config.cut(config):
        if chunk.startswith("ring "):
            for server in haproxy_config.parse(chunk)[0].servers.values():
                address, _, port = server.address.rpartition(":")
                words = dict(zip(server.words, server.words[1:], strict=False))
                named = _NAME(words.get("sni", ""))
                authority = words.get("ca-file") if "ssl" in server.words else None
                return Target(chunk.split(maxsplit=2)[1], address.strip("[]"), int(port), authority, named[1] if named else None)
    return None


def _is_of_a_former_worker(line: bytes) -> bool:
    return line.startswith(b"<") and line.endswith(b" }")


def _verified(connection: socket.socket, told: Target, certificates: pathlib.Path) -> ssl.SSLSocket:
    """:raises OSError: it does not show the right certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = told.name is not None
    context.load_verify_locations(certificates / (told.authority or ""))
    return context.wrap_socket(connection, server_hostname=told.name)


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(_CHUNK))
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(_SEND_TIMEOUT)
