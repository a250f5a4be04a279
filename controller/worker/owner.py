"""Who a worker is, in claims and leases: `host:pid:start`, so that it can be told whether a worker of this host is dead."""

import os


def name(host: str) -> str:
    """The name under which this process holds claims and leases on this host."""
    return f"{host}:{os.getpid()}:{_start(os.getpid())}"


def is_dead(owner: str, host: str) -> bool:
    """Whether this is a process of this host that has ended; False if it can't be told from here.

    The start is the kernel's, so a process that got the number of a dead one is not taken for it, and carries the number space of
    processes, so that containers that share a host's name don't judge each other.
    """
    pieces = owner.rsplit(":", 2)
    if len(pieces) != 3 or pieces[0] != host or not pieces[1].isdigit():
        return False
    if pieces[2].rpartition("-")[2] != _space():
        return False
    pid = int(pieces[1])
    start = _start(pid)
    return not _exists(pid) if start is None else start != pieces[2]


def _start(pid: int) -> str | None:
    """When a process began, in the kernel's count; None if it can't be read, and "ended" if only its parent still knows it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else f"{fields[19]}-{_space()}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _space() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""
