"""A small client of HAProxy's runtime API: one command, one answer, on its own socket in the file system."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket


class RuntimeFailed(Exception):
    """HAProxy does not answer on its socket, or answers something unexpected."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerState:
    """One line of `show servers state`."""

    address: str
    port: int
    maintenance: bool
    weight: int


class RuntimeApi:
    """Speaks to the socket at `path`."""

    def __init__(self, path: pathlib.Path, timeout: float = 3.0) -> None:
        self._path = str(path)
        self._timeout = timeout

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
                while chunk := connection.recv(262_144):
                    chunks.append(chunk)
        except OSError as exc:
            raise RuntimeFailed(f"HAProxy does not answer `{command.split(' ')[0]}`: {exc}") from exc
        return b"".join(chunks).decode(errors="replace")

    def order(self, command: str, expected: str = "") -> None:
        """Give a command that answers with exactly `expected` when it works.

        :raises RuntimeFailed: it answered something else, or nothing in time.
        """
        answer = self.ask(command).strip()
        if answer != expected:
            raise RuntimeFailed(f"HAProxy answers `{command}` with: {answer}")

    def worker(self) -> int | None:
        """The process id of the worker that serves now; None if nobody answers."""
        try:
            return worker_in(self.ask("show info", timeout=1.5))
        except RuntimeFailed:
            return None

    def server_states(self, backend: str) -> dict[str, ServerState]:
        """The servers of a backend as they are.

        :raises RuntimeFailed: no answer in time, or not the table that was asked for.
        """
        states: dict[str, ServerState] = {}
        for line in self.ask(f"show servers state {backend}").splitlines():
            columns = line.split()
            if len(columns) < 20 or columns[0] == "#":
                continue
            states[columns[3]] = ServerState(columns[4], int(columns[18]), bool(int(columns[6]) & 0x63), int(columns[7]))
        return states


def worker_in(info: str) -> int | None:
    """The worker's process id in the answer to `show info`."""
    for line in info.splitlines():
        if line.startswith("Pid: "):
            return int(line[5:])
    return None
