"""Tell the workers of this machine that there is something to do, so that none sleeps until its next look at the board.

A worker binds a Unix datagram socket in a folder; whoever posts a job sends a byte to every socket there. Sockets with a path are reached
from all network namespaces. A bell may go unheard (a full queue, another machine): workers look at the board now and then anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import uuid
from collections.abc import Iterator

_SUFFIX = ".bell"
_BYTE = b"!"


class Bell:
    """What a worker waits at. Without a directory only the process itself can ring it."""

    def __init__(self, directory: str = "") -> None:
        self._inner, self._outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sockets = [self._inner]
        self._outer.setblocking(False)
        self.path = ""
        if directory:
            os.makedirs(directory, exist_ok=True)
            self.path = os.path.join(directory, f"{os.getpid()}-{uuid.uuid4().hex[:8]}{_SUFFIX}")
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            with _short(directory) as folder:
                bound.bind(f"{folder}/{os.path.basename(self.path)}")
            self._sockets.append(bound)
        for each in self._sockets:
            each.setblocking(False)

    def wait(self, timeout: float) -> bool:
        """Wait until somebody rings, at most `timeout` seconds; True if somebody did. Several rings count as one."""
        try:
            rung, _, _ = select.select(self._sockets, [], [], max(0.0, timeout))
        except (OSError, ValueError):  # closed meanwhile
            return False
        for each in rung:
            with contextlib.suppress(OSError):
                while each.recv(64):
                    pass
        return bool(rung)

    def ring(self) -> None:
        """Ring this bell only; may be called from a signal handler."""
        with contextlib.suppress(OSError):
            self._outer.send(_BYTE)

    def close(self) -> None:
        """Take the bell down."""
        if self.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        for each in (*self._sockets, self._outer):
            each.close()


def ring(directory: str) -> int:
    """Ring every bell in a folder, without waiting; returns how many were reached. Bells of dead workers are taken down."""
    if not directory:
        return 0
    reached = 0
    with contextlib.suppress(FileNotFoundError), _short(directory) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for name in os.listdir(directory):
            if name.endswith(_SUFFIX):
                reached += _ring_one(sender, f"{folder}/{name}")
    return reached


def _ring_one(sender: socket.socket, path: str) -> bool:
    try:
        sender.sendto(_BYTE, path)
    except BlockingIOError:
        return True  # its queue is full of rings that it has not heard yet
    except OSError as exc:
        if exc.errno == errno.ECONNREFUSED:  # nobody listens any more
            with contextlib.suppress(OSError):
                os.unlink(path)
        return False
    return True


@contextlib.contextmanager
def _short(directory: str) -> Iterator[str]:
    """A short name of a folder: addresses of Unix sockets have 107 bytes at most."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
