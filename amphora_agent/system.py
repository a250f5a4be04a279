"""The only module that runs commands, starts and ends processes, enters namespaces and writes files (atomically)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeVar

LOG = logging.getLogger(__name__)
NAMESPACES = pathlib.Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_Result = TypeVar("_Result")
_LOOKS, _MOMENT = 40, 0.005
"""How often, and after how many seconds, something is looked at again that is being made anew."""


class CommandFailed(Exception):
    """A program ended with a failure; `output` is its own words."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"{' '.join(command)} ended with {code}: {output.strip()}")
        self.code = code
        self.output = output


class NotRun(CommandFailed):
    """A program that said nothing, because it is not there, did not end in time, or was killed; `reason` says which."""

    def __init__(self, command: Sequence[str], code: int, reason: str) -> None:
        super().__init__(command, code, reason)
        self.reason = reason


def run(command: Sequence[str], stdin: str | None = None, timeout: float = 30.0, with_errors: bool = True) -> str:
    """Run a program and return what it said; what it said of errors stands between the rest, or is left out.

    :raises NotRun: it could not be found, did not end in time, or was killed.
    :raises CommandFailed: it failed by itself.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except OSError as exc:
        raise NotRun(command, 127, f"can't be run: {exc.strerror or exc}") from exc
    except subprocess.TimeoutExpired as exc:
        raise NotRun(command, 124, f"gave no answer within {timeout:g} seconds") from exc
    if done.returncode < 0:
        raise NotRun(command, done.returncode, f"was ended by signal {-done.returncode}")
    if done.returncode != 0:
        raise CommandFailed(command, done.returncode, done.stdout)
    return done.stdout


def in_tenant_namespace(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs a program inside a network namespace (empty: that of this process); the process id stays the same."""
    return ["ip", "netns", "exec", namespace, *command] if namespace else [*command]


def start(command: Sequence[str], log: pathlib.Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program that outlives this process (own session), its words appended to a file. No `environment`: that of this process.

    :raises CommandFailed: it can't be started.
    """
    with log.open("ab") as output:
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=environment
            )
        except OSError as exc:
            raise CommandFailed(command, 127, str(exc)) from exc


def trim(log: pathlib.Path, limit: int = 1_000_000) -> None:
    """Empty a log that nobody rotates once it is too long: what was said long ago helps nobody. Its writers append, so they go on."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > limit:
            os.truncate(log, 0)


FOR_PROGRAMS = 0o640
"""The mode of files that HAProxy reads: it may be another user, of the folder's group. Where all are root, that is nobody."""


def write_file(path: pathlib.Path, content: bytes, mode: int = 0o600, durable: bool = True) -> None:
    """Put a file in place as a whole or not at all.

    :raises OSError: it can't be written (the disk is full, for instance); what was there before still is.
    """
    write_files(path.parent, {path.name: content}, mode, durable)


def write_files(folder: pathlib.Path, contents: Mapping[str, bytes], mode: int = 0o600, durable: bool = True) -> None:
    """Put files in place, each as a whole or not at all; if `durable`, also if the machine dies: the disk writes all of them at once, and
    only then do they get their names.

    :raises OSError: they can't be written (the disk is full, for instance); what has no name by then is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = {folder / f".{name}.{threading.get_ident()}": name for name in contents}
    try:
        for path, name in beside.items():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(contents[name])
        for path in beside if durable else ():
            _sync(path)
        for path, name in beside.items():
            path.replace(folder / name)
        if durable:  # the names are part of the folder: without this, a machine that dies now comes back with the old files
            _sync(folder)
    except OSError:  # on a full disk what was begun would take the room that the next try needs
        for path in beside:
            path.unlink(missing_ok=True)
        raise


def link(path: pathlib.Path, target: str) -> None:
    """Have a path be a symbolic link to a target, in one step. What it leads to is part of what is remembered, so it need not be durable.

    :raises OSError: it can't be made.
    """
    with contextlib.suppress(OSError):  # it is not there, or is no link
        if os.readlink(path) == target:
            return
    beside = f"{path.parent}/.{path.name}.{threading.get_ident()}"
    try:
        os.symlink(target, beside)
    except (FileExistsError, FileNotFoundError):
        path.parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(beside).unlink(missing_ok=True)
        os.symlink(target, beside)
    os.replace(beside, path)


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(directory: pathlib.Path) -> None:
    """Remove what processes left that were killed while they wrote a file; nobody else may be writing there."""
    for path in directory.glob(".*"):
        if re.fullmatch(r"\..+\.\d+", path.name):
            path.unlink(missing_ok=True)


def read_file(path: pathlib.Path) -> bytes | None:
    """The content of a file; None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def names_in(directory: pathlib.Path) -> set[str]:
    """What there is in a directory; nothing if it is not there."""
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def recall(path: pathlib.Path, parse: Callable[[bytes], _Result]) -> _Result | None:
    """What was kept in a file, as `parse` reads it; None: nothing was, or it makes no sense, and it is better to live on without."""
    content = read_file(path)
    try:
        return None if content is None else parse(content)
    except (OSError, ValueError, TypeError, KeyError) as exc:
        LOG.error("%s is passed over: %s", path, exc)
        return None


def memory() -> dict[str, int]:
    """The machine's, in kB, by the kernel's names (proc(5), /proc/meminfo)."""
    lines = (line.split() for line in (read_file(pathlib.Path("/proc/meminfo")) or b"").decode().splitlines())
    return {name.rstrip(":"): int(value) for name, value, *_ in lines}


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    return _state(pid) not in (None, b"Z", b"X")


def is_stopped(pid: int) -> bool:
    """Whether a process was told to stop, and not yet to go on."""
    return _state(pid) == b"T"


def _state(pid: int) -> bytes | None:
    """The letter by which the kernel tells what a process does (proc(5), /proc/pid/stat)."""
    stat = _process_file(pid, "stat")
    return None if stat is None else stat.rpartition(b")")[2].split()[0]


def is_busy(pids: Collection[int]) -> bool:
    """Whether a thread of these processes runs or waits for a processor: such a one may answer yet. A stopped or sleeping one is not."""
    for pid in pids:
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError, IndexError):
                if path.read_bytes().rpartition(b")")[2].split()[0] == b"R":
                    return True
    return False


def environment_of(pid: int) -> list[str]:
    """The environment that a process was started with, as `NAME=value`."""
    return (_process_file(pid, "environ") or b"").decode(errors="replace").split("\0")


def children(pid: int) -> list[int]:
    """Process ids of what a process has started itself and not yet reaped."""
    found: list[int] = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found


def processor_time(pid: int) -> int:
    """Ticks that a process has spent on processors; 0 if it is gone. proc(5), /proc/pid/stat: utime and stime."""
    fields = _stat_fields(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def started_at(pid: int) -> int:
    """When a process was started, in ticks since the boot; 0 if it is gone."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


def _stat_fields(pid: int) -> list[bytes]:
    return (_process_file(pid, "stat") or b"").rpartition(b")")[2].split()


def processes_with_argument(argument: str) -> list[int]:
    """Process ids of programs that were started with exactly this argument (a path of ours, so that nobody else has it)."""
    wanted = argument.encode()
    return [pid for pid in _pids() if wanted in _arguments(pid) and is_running(pid)]


def _arguments(pid: int) -> list[bytes]:
    """What a process was started with. One that executes a program anew, as masters of HAProxy do at each reload, has none for a moment."""
    for _ in range(_LOOKS):
        words = (_process_file(pid, "cmdline") or b"").split(b"\0")
        if words != [b""] or not is_running(pid) or _is_of_kernel(pid):
            return words
        time.sleep(_MOMENT)
    return []


def _is_of_kernel(pid: int) -> bool:
    """Whether the kernel itself works there (PF_KTHREAD in the flags of proc(5), /proc/pid/stat)."""
    fields = _stat_fields(pid)
    return bool(fields) and bool(int(fields[6]) & 0x00200000)


def pid_from_file(path: pathlib.Path, argument: str) -> int | None:
    """The process of a pid file, if it still runs and still is the one that was started with this argument.

    A file that its program is just writing anew is looked at again.
    """
    pid = number_in(path)
    for _ in range(_LOOKS):
        if pid is not None or not path.exists():
            break
        time.sleep(_MOMENT)
        pid = number_in(path)
    return pid if pid is not None and argument.encode() in _arguments(pid) and is_running(pid) else None


def number_in(path: pathlib.Path) -> int | None:
    """The number that a file holds; None if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def send_signal(pid: int, number: int) -> None:
    """Signal a process; gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(pids: Sequence[int], grace: float) -> None:
    """End processes: ask first, and kill what is left after `grace` seconds."""
    for pid in pids:
        send_signal(pid, signal.SIGTERM)
    if wait_until(lambda: not any(is_running(pid) for pid in pids), grace):
        return
    for pid in pids:
        send_signal(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in pids), 2.0)


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.02) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(interval)
    return True


def inside_namespace(namespace: str, action: Callable[[], _Result]) -> _Result:
    """Do something inside a network namespace, on a thread of its own, which takes the namespace with it when it ends; empty: right here.

    :raises OSError: there is no such namespace, or no thread at present.
    """
    if not namespace:
        return action()

    def enter_and_act() -> _Result:
        move_to_namespace(namespace)
        return action()

    with futures.ThreadPoolExecutor(1, f"in-{namespace}") as thread:
        try:
            doing = thread.submit(enter_and_act)
        except RuntimeError as exc:
            raise OSError(errno.EAGAIN, str(exc)) from exc
        return doing.result()


def local_addresses(namespace: str) -> frozenset[str]:
    """The addresses that the kernel holds in a network namespace; none if there is no such namespace."""
    try:
        return inside_namespace(namespace, _local_addresses)
    except OSError as exc:
        LOG.info("The addresses of %s are not known: %s", namespace, exc)
        return frozenset()


def _local_addresses() -> frozenset[str]:
    """From the kernel's own tables, without a program: each look of the agent asks for them."""
    own = pathlib.Path("/proc/thread-self/net")
    trie = (own / "fib_trie").read_text()
    found = set(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", trie))
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        for line in (own / "if_inet6").read_text().splitlines():
            found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])))
    return frozenset(found)


def move_to_namespace(namespace: str) -> None:
    """Have this thread, and those that it starts, live in a network namespace.

    :raises OSError: there is no such namespace.
    """
    with (NAMESPACES / namespace).open("rb") as handle:
        _set_network_namespace(handle.fileno())


def _set_network_namespace(descriptor: int) -> None:
    setns: Any = getattr(os, "setns", None)
    if setns is not None:  # Python 3.12 and later
        setns(descriptor, _CLONE_NEWNET)
        return
    import ctypes  # imported here: the first heartbeat does not wait for it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            yield int(name)


def _process_file(pid: int, name: str) -> bytes | None:
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return None
