"""Marks for changes of the kernel that the inventory does not know of yet: whoever dies between the two leaves one.

A mark is a file that names its process. The next change that finds the mark of a dead one, or of a change that was undone, first makes the
kernel say what the inventory says.
"""

import contextlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator

from controller.embedded import linux
from controller.embedded.contents import Contents

_PREFIX = "unsettled."


class Marks:
    """The marks in a folder. `settle` brings the kernel to what the inventory says."""

    def __init__(self, folder: pathlib.Path, settle: Callable[[Contents], None]) -> None:
        self._folder = folder
        self._settle = settle
        self._thread = threading.local()

    @contextlib.contextmanager
    def guard(self, contents: Contents) -> Iterator[None]:
        """Around one change of the inventory, in the time in which nobody else can make one."""
        left = [path for path in self._folder.glob(f"{_PREFIX}*") if not _is_alive(path)]
        if left:
            self._settle(contents)
            for path in left:
                path.unlink(missing_ok=True)
        self._thread.path = None
        try:
            yield
        except BaseException:
            if (path := self._thread.path) is not None:  # the inventory took it back, and the kernel has it: the next one puts that right
                path.write_text("")
            raise
        if self._thread.path is not None:
            self._thread.path.unlink(missing_ok=True)

    def mark(self) -> None:
        """Before the kernel is changed."""
        if getattr(self._thread, "path", None) is None:
            path = self._folder / f"{_PREFIX}{os.getpid()}.{threading.get_native_id()}"
            path.write_text(pathlib.Path("/proc/self/stat").read_text())
            self._thread.path = path


def _is_alive(path: pathlib.Path) -> bool:
    process = linux.recorded(path)
    return process.alive if process else not path.exists()  # settled meanwhile; or killed while it was written
