"""Files with secrets in them: written whole or not at all, read only if nobody else can read them."""

import contextlib
import fcntl
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator

from controller import exceptions


def ensure_directory(path: pathlib.Path) -> None:
    """Make a directory that is ours alone.

    :raises Misconfigured: it can't be made, or others may enter it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise exceptions.Misconfigured(f"{path} can't be made: {exc.strerror}.") from exc
    _refuse_if_open_to_others(path)


def write(path: pathlib.Path, content: bytes) -> None:
    """Put a file of mode 0600 in its place in one step: whoever reads sees the old content or the new one, even after a power cut."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_directory(path.parent)


def read_private(path: pathlib.Path) -> bytes:
    """The content of a file that only we may read.

    :raises FileNotFoundError: there is none.
    :raises Misconfigured: others may read it.
    """
    _refuse_if_open_to_others(path)
    return path.read_bytes()


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
    """Keep other processes of ours from making the same files at the same time."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_if_open_to_others(path: pathlib.Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise exceptions.Misconfigured(
            f"{path} may be used by others (mode {mode:04o}): run `chmod go= {path}`, and replace what they may have read."
        )


def _sync_directory(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
