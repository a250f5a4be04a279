"""A small client of HAProxy's runtime API: one command, one answer, on its own socket in the file system."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import select
import socket
import time
from collections.abc import Collection, Iterator

_ASKED_IN_ONE_LINE = 50
"""So many backends with their long names fit into HAProxy's buffer of 16 KiB for a line of commands."""


class RuntimeFailed(Exception):
    """HAProxy does not answer on its socket, or answers something unexpected."""


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """The process that serves: its id, and the `description` that it was started with."""

    pid: int
    description: str


_PROMPT = b"\n> "
_MOMENT = 0.05  # seconds
_TRIES = 10


class Session:
    """A connection to one worker, which answers on it even when another one has taken over the socket.

    HAProxy ends the answer to each command with a prompt, also if several came at once: an answer is whole when all prompts are there.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._asked: tuple[str, ...] = ()  # what is not answered yet
        self._awaited = 0  # answers to come: to that, and before them those to what was given up

    def ask_again(self, *commands: str) -> str | None:
        """The answers to commands that are asked again and again, or None if they are not all there yet; waits for a moment only.

        :raises RuntimeFailed: the worker has ended.
        """
        try:
            if self._asked != commands:
                self._send(commands)
            waiting = select.poll()  # select(2) knows no descriptor beyond 1,023
            waiting.register(self._connection, select.POLLIN)
            while (answers := self._answers(len(commands))) is None:
                if not waiting.poll(_MOMENT * 1000):
                    return None
                self._receive()
        except OSError as exc:
            raise RuntimeFailed(str(exc)) from exc
        return answers

    def ask(self, command: str) -> str:
        """The answer to a command.

        :raises RuntimeFailed: no answer in time, or the worker has ended.
        """
        try:
            self._send((command,))
            while (answer := self._answers(1)) is None:
                self._receive()
        except OSError as exc:
            raise RuntimeFailed(f"an old worker of HAProxy does not answer `{command}`: {exc}") from exc
        return answer

    def follow(self, command: str) -> socket.socket:
        """Give a command that tells without end: the connection, on which comes what it tells and nothing else.

        :raises RuntimeFailed: the worker has ended.
        """
        try:
            self._connection.sendall(f"{command}\n".encode())
        except OSError as exc:
            raise RuntimeFailed(f"an old worker of HAProxy does not take `{command}`: {exc}") from exc
        return self._connection

    def _send(self, commands: tuple[str, ...]) -> None:
        self._asked, self._awaited = commands, self._awaited + len(commands)
        self._connection.sendall("".join(f"{command}\n" for command in commands).encode())

    def _receive(self) -> None:
        chunk = self._connection.recv(262_144)
        if not chunk:
            raise RuntimeFailed("an old worker of HAProxy has ended")
        self._received += chunk

    def _answers(self, count: int) -> str | None:
        *whole, begun = self._received.split(_PROMPT)
        if len(whole) < self._awaited:
            return None
        self._received, self._asked, self._awaited = begun, (), 0
        return b"".join(whole[-count:]).decode(errors="replace")


class RuntimeApi:
    """Speaks to the socket at `path`, which is a worker's, or a master's (`-S`)."""

    def __init__(self, path: pathlib.Path, timeout: float = 3.0, of_master: bool = False) -> None:
        self._path = str(path)
        self._timeout = timeout
        self._of_master = of_master

    def ask(self, command: str, timeout: float | None = None) -> str:
        """The answer to a command, or to several joined by `;`.

        :raises RuntimeFailed: no answer in time.
        """
        chunks: list[bytes] = []
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
                connection.settimeout(timeout or self._timeout)
                connection.connect(self._path)
                connection.sendall(command.encode() + b"\n")
                if self._of_master:
                    connection.shutdown(socket.SHUT_WR)  # it ends the connection only when no further command can come
                while chunk := connection.recv(262_144):
                    chunks.append(chunk)
        except OSError as exc:
            raise RuntimeFailed(f"HAProxy does not answer `{command.split(' ')[0]}`: {exc}") from exc
        return b"".join(chunks).decode(errors="replace")

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A connection to the present worker that stays.

        :raises RuntimeFailed: it does not answer.
        """
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(self._timeout)
            try:
                connection.connect(self._path)
            except OSError as exc:
                raise RuntimeFailed(f"HAProxy does not answer: {exc}") from exc
            session = Session(connection)
            session.ask("prompt")
            yield session

    @contextlib.contextmanager
    def present_session(self, former: Collection[int]) -> Iterator[tuple[Session, int]]:
        """A connection to the present worker that stays, and its process id: one of the `former` may still answer for a moment, as two that
        follow each other share a socket.

        :raises RuntimeFailed: it does not answer.
        """
        with contextlib.ExitStack() as stack:
            for _ in range(_TRIES):
                with contextlib.ExitStack() as attempt:
                    session = attempt.enter_context(self.session())
                    worker = worker_in(session.ask("show info"))
                    if worker is not None and worker not in former:
                        stack.push(attempt.pop_all())
                        yield session, worker
                        return
                time.sleep(_MOMENT)
            raise RuntimeFailed(f"worker {worker}, which has a successor, answers for it")

    def order(self, command: str, expected: str = "") -> None:
        """Give a command that answers with exactly `expected` when it works.

        :raises RuntimeFailed: it answered something else, or nothing in time.
        """
        answer = self.ask(command).strip()
        if answer != expected:
            raise RuntimeFailed(f"HAProxy answers `{command}` with: {answer}")

    def answers(self, timeout: float) -> bool:
        """Whether the process answers the cheapest of all questions within some seconds."""
        try:
            return bool(self.ask("show version", timeout))
        except RuntimeFailed:
            return False

    def worker(self) -> Worker | None:
        """The worker that serves now; None if nobody answers."""
        try:
            info = self.ask("show info", timeout=1.5)
        except RuntimeFailed:
            return None
        pid = worker_in(info)
        return None if pid is None else Worker(pid, _value(info, "description") or "")

    def server_states(self, backends: Collection[str] | None = None) -> str:
        """The table of all servers, or of those of some backends, as it is.

        :raises RuntimeFailed: no answer in time.
        """
        if backends is None or len(backends) > _ASKED_IN_ONE_LINE:
            return self.ask("show servers state")
        return self.ask(";".join(f"show servers state {backend}" for backend in backends)) if backends else ""


def worker_in(info: str) -> int | None:
    """The worker's process id in the answer to `show info`."""
    value = _value(info, "Pid")
    return None if value is None else int(value)


def has_finished(info: str) -> bool:
    """Whether a worker, by its answer to `show info`, takes no connections and has none, those to its own socket left out."""
    return _value(info, "Stopping") == "1" and _value(info, "CurrConns") == "0"


def _value(info: str, name: str) -> str | None:
    for line in info.splitlines():
        if line.startswith(f"{name}: "):
            return line[len(name) + 2 :]
    return None
