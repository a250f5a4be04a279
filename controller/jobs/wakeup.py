"""Tell the workers of this machine that there is something to do, so that none sleeps until its next look at the board.

A worker binds a Unix datagram socket in a folder; whoever posts a job sends a byte to every socket there. Sockets with a path are reached
from all network namespaces. A bell may go unheard (a full queue, another machine, no descriptor left to ring with): workers look at the
board now and then anyway.
"""

import contextlib
import errno
import logging
import os
import select
import socket
import uuid
from collections.abc import Iterator

LOG = logging.getLogger(__name__)
_SUFFIX = ".bell"
_BYTE = b"!"


class Bell:
    """What a worker waits at. Without a directory only the process itself can ring it."""

    def __init__(self, directory: str = "") -> None:
        self._inner, self._outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inner.setblocking(False)
        self._outer.setblocking(False)
        self._bound: socket.socket | None = None
        self._directory = directory
        self.path = ""
        if directory:
            self._hang()

    def _hang(self) -> None:
        os.makedirs(self._directory, exist_ok=True)
        self.path = os.path.join(self._directory, f"{os.getpid()}-{uuid.uuid4().hex[:8]}{_SUFFIX}")
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.setblocking(False)
        try:
            with _short(self._directory) as folder:
                bound.bind(f"{folder}/{os.path.basename(self.path)}")
        except OSError:
            bound.close()
            raise
        self._bound = bound

    def _hang_again(self) -> None:
        """Somebody cleared the folder: without this, the worker would only look now and then for the rest of its life."""
        if self._bound is not None:
            self._bound.close()
            self._bound = None
        with contextlib.suppress(OSError):
            self._hang()

    def wait(self, timeout: float) -> bool:
        """Wait until somebody rings, at most `timeout` seconds; True if somebody did. Several rings count as one."""
        if self.path and not os.path.exists(self.path):
            self._hang_again()
        sockets = [self._inner] if self._bound is None else [self._inner, self._bound]
        waiting = select.poll()  # select(2) knows no descriptor beyond 1,023
        try:
            for each in sockets:
                waiting.register(each, select.POLLIN)
            rung = {descriptor for descriptor, _ in waiting.poll(max(0.0, timeout) * 1000)}
        except (OSError, ValueError):  # closed meanwhile
            return False
        for each in sockets:
            if each.fileno() in rung:
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
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.path = ""
        for each in (self._inner, self._bound, self._outer):
            if each is not None:
                each.close()


def ring(directory: str) -> int:
    """Ring every bell in a folder, without waiting; returns how many were reached. Bells of dead workers are taken down.

    What it is rung for is written down already, so nothing that goes wrong here is an error of whoever rings.
    """
    if not directory:
        return 0
    reached = 0
    try:
        with _short(directory) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            for name in os.listdir(directory):
                if name.endswith(_SUFFIX):
                    reached += _ring_one(sender, f"{folder}/{name}")
    except FileNotFoundError:  # no worker has begun here
        pass
    except OSError as exc:
        LOG.warning("Workers of this machine were not woken, and find what there is to do by themselves: %s", exc)
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
