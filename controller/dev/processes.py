"""The processes of one instance: started in the background, found again by id and start time, stopped for certain."""

import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterable, Sequence

from controller.embedded import linux

# In the environment of each process, and so of its children: the state folder of its instance, and which of its processes it is.
MARK, MARK_NAME = "FIGLINA_DEV", "FIGLINA_DEV_PROCESS"


class DevError(Exception):
    """Something that the user of `figlina dev` has to know; the message says what to do."""


class Processes:
    """Named processes; each has a record and a log in the state folder."""

    def __init__(self, state: pathlib.Path) -> None:
        self._state = state
        self._records = state / "run"
        self._logs = state / "logs"

    def log(self, name: str) -> pathlib.Path:
        """The file to which a process writes its standard output and error."""
        return self._logs / f"{name}.log"

    def running(self, name: str) -> bool:
        """Whether the process that was started under this name still runs."""
        process = linux.recorded(self._record(name))
        return process is not None and process.alive

    def pids(self, name: str) -> list[int]:
        """The process and its own children, first the one that we started; a command that it runs for a moment is not among them."""
        process = linux.recorded(self._record(name))
        if process is None or not process.alive:
            return []
        program = _program(process.pid)
        return [pid for pid in linux.descendants(process.pid) if pid == process.pid or (program and _program(pid) == program)]

    def start(self, name: str, argv: Sequence[str], namespace: str | None = None) -> bool:
        """Start a process, in a network namespace if one is given; False if it runs already.

        :raises DevError: it did not; the message holds its last words.
        """
        if self.running(name):
            return False
        self._reap(name)
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, MARK: str(self._state), MARK_NAME: name, "PYTHONUNBUFFERED": "1"}
        command = [*(linux.enter(namespace) if namespace else []), *argv]
        linux.launch(command, record=self._record(name), log=self.log(name), environment=environment)
        deadline = time.monotonic() + 10
        while linux.recorded(self._record(name)) is None:
            if time.monotonic() > deadline:
                raise DevError(f"{name} did not start: {self.last_words(name)}")
            time.sleep(0.002)
        return True

    def stop(self, names: Iterable[str], patience: float = 10.0) -> None:
        """Ask processes to end, all at once; after `patience` seconds kill what is left of them, children included."""
        found = {name: linux.recorded(self._record(name)) for name in names}
        living = [process for process in found.values() if process and process.alive]
        trees = linux.marks(pid for process in living for pid in linux.descendants(process.pid))
        for process in found.values():
            if process is not None:
                process.send(signal.SIGTERM)
        deadline = time.monotonic() + patience
        for process in found.values():
            if process is not None:
                process.wait_gone(max(0.0, deadline - time.monotonic()))
        linux.kill(trees)
        for name in found:
            self._reap(name)
            self._record(name).unlink(missing_ok=True)

    def stop_all(self) -> None:
        """Stop every process that was ever recorded, and whatever else bears our mark."""
        if self._records.is_dir():
            self.stop(sorted(path.stem for path in self._records.glob("*.stat")))
        linux.kill(_marked(self._state))

    def last_words(self, name: str, lines: int = 15) -> str:
        """The last lines of its log; empty if it has none."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _reap(self, name: str) -> None:
        """Children that outlived their killed parent would hold its ports: end them before it starts again, and after it was stopped."""
        if not self.running(name):
            linux.kill(_marked(self._state, name))

    def _record(self, name: str) -> pathlib.Path:
        return self._records / f"{name}.stat"


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module by the interpreter of this process."""
    return [sys.executable, "-m", module, *arguments]


def _marked(state: pathlib.Path, name: str | None = None) -> list[linux.ProcessMark]:
    """Processes that carry our mark (of one name, or of any) in their environment, whatever became of their record."""
    wanted = {f"{MARK}={state}".encode()} | ({f"{MARK_NAME}={name}".encode()} if name else set())
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")) and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return linux.marks(found)


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
