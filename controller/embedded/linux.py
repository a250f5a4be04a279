"""What the embedded drivers know of Linux: running commands, network namespaces, and cables (veth pairs) between them.

All work is done by short commands through one `Host`, many steps per command (`ip -batch`, `nft -f`), so that a host reached by SSH can
take its place. Nothing here touches an interface outside namespaces that were named by the caller.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence

from controller import deadlines, exceptions
from controller.model.network import Port

NAMESPACES = pathlib.Path("/run/netns")
COMMAND_TIMEOUT = 30.0


class CommandFailed(exceptions.Transient):
    """A command ended badly; `words` is what `argv` wrote. Transient, for the embedded drivers' steps may all be repeated."""

    code = "command"

    def __init__(self, argv: Sequence[str], words: str) -> None:
        super().__init__(f"`{' '.join(argv)}` failed: {words}")
        self.argv = tuple(argv)
        self.words = words

    @property
    def for_clients(self) -> str:
        """The sentence for clients, who are not shown the command."""
        return "The network could not be changed, so nothing was done. Please repeat the request."


class Host:
    """This machine, as a place to run commands."""

    def run(self, argv: Sequence[str], text: str = "") -> str:
        """Run a command with `text` as its input, and return its output.

        :raises CommandFailed: it ended badly, took too long, or is not installed.
        """
        timeout = max(1.0, deadlines.left(COMMAND_TIMEOUT))
        try:
            done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise CommandFailed(argv, str(exc)) from exc
        if done.returncode:
            raise CommandFailed(argv, (done.stderr or done.stdout).strip() or f"exit code {done.returncode}")
        return done.stdout

    def ip_batch(self, namespace: str, lines: Sequence[str]) -> str:
        """Run several `ip` commands inside a namespace, in one process; the first that fails ends them.

        :raises CommandFailed: with the words of `ip`.
        """
        return self.run(["ip", "-n", namespace, "-batch", "-"], "\n".join(lines) + "\n")

    def inside(self, namespace: str, argv: Sequence[str], text: str = "") -> str:
        """Run a command inside a network namespace, with everything else as it is outside.

        :raises CommandFailed: with the command's words.
        """
        return self.run([*enter(namespace), *argv], text)


def enter(namespace: str) -> list[str]:
    """The command prefix that runs something in a network namespace.

    Not `ip netns exec`: it gives a mount namespace of its own, and a namespace that the command makes would be invisible to everyone else.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--"]


def namespace_exists(namespace: str) -> bool:
    """True for a whole namespace; a name left by a crash between the two steps of `ip netns add` is only a plain file."""
    try:
        return (NAMESPACES / namespace).stat().st_dev == os.stat("/proc/self/ns/net").st_dev
    except FileNotFoundError:
        return False


def namespaces(prefix: str) -> list[str]:
    """The network namespaces of this machine whose names begin so, sorted."""
    if not NAMESPACES.is_dir():
        return []
    return sorted(entry.name for entry in NAMESPACES.iterdir() if entry.name.startswith(prefix))


def ensure_namespace(host: Host, namespace: str) -> None:
    """Make a namespace with its loopback up; there already is fine.

    :raises CommandFailed: it can't be made (not root, for instance).
    """
    if not namespace_exists(namespace):
        delete_namespace(host, namespace)
        try:
            host.run(["ip", "netns", "add", namespace])
        except CommandFailed as exc:
            if "File exists" not in exc.words or not namespace_exists(namespace):
                raise
    host.ip_batch(namespace, ["link set lo up"])


def delete_namespace(host: Host, namespace: str) -> None:
    """Delete a namespace's name; the namespace itself goes with its last process. Gone already is fine.

    :raises CommandFailed: it is there, and can't be deleted.
    """
    if not (NAMESPACES / namespace).exists():
        return
    try:
        host.run(["ip", "netns", "delete", namespace])
    except CommandFailed:
        if (NAMESPACES / namespace).exists():
            raise


def cable_name(port_id: str) -> str:
    """The interface on the bridge that belongs to a port: at most 15 characters, as the kernel asks."""
    return "tap" + port_id.replace("-", "")[:11]


def cable_lines(port: Port, namespace: str, name: str = "eth%d") -> list[str]:
    """`ip` commands, for the bridge's namespace, that put an interface with the port's MAC into another namespace. `%d` counts up there."""
    if port.attachment is None:
        raise exceptions.ComputeFault(f"port {port.id} has no bridge on this machine: its network driver does not fit")
    cable = cable_name(port.id)
    return [
        f"link add {cable} mtu {port.mtu} type veth peer name {name} address {port.mac_address} mtu {port.mtu} netns {namespace}",
        f"link set {cable} master {port.attachment.bridge} up",
    ]


def has_cable(host: Host, bridge_namespace: str, port_id: str) -> bool:
    """Whether the bridge's end of a port's cable is there; whether it is plugged into the bridge is another matter."""
    try:
        host.run(["ip", "-n", bridge_namespace, "link", "show", "dev", cable_name(port_id)])
    except CommandFailed:
        return False
    return True


def ensure_cable(host: Host, bridge_namespace: str, port: Port, namespace: str, name: str = "eth%d", running: bool = False) -> None:
    """Have a cable from the port's bridge into a namespace, whatever an interrupted call left of it.

    In a machine that is `running`, its end may have been taken further inside.

    :raises CommandFailed: it can't be; with the words of `ip`.
    """
    lines = cable_lines(port, namespace, name)
    try:
        there = has_cable(host, bridge_namespace, port.id)
        links = [] if not there or running else json.loads(host.run(["ip", "-json", "-netns", namespace, "link", "show"]) or "[]")
        mine = there and (running or port.mac_address in {link.get("address") for link in links})
        host.ip_batch(bridge_namespace, lines[1:] if mine else lines)  # a cable that is there may not reach the bridge yet
    except CommandFailed:
        # Or a machine that is gone may still hold its end.
        cut_cables(host, bridge_namespace, [port.id])
        host.ip_batch(bridge_namespace, lines)


def cut_cables(host: Host, bridge_namespace: str, port_ids: Iterable[str]) -> None:
    """Remove the cables of ports, both ends of each; those that are not there are fine.

    :raises CommandFailed: one is there, and can't be removed.
    """
    take_away(host, bridge_namespace, [f"link delete {cable_name(port_id)}" for port_id in port_ids])


_GONE = (
    "Cannot find device",  # `ip` looks a name up first ...
    "No such device",  # ... and by the time of the deletion the kernel had removed it
    "No such process",  # a route
    "Cannot assign requested address",  # an address
    "No such file or directory",  # the namespace itself
)


def take_away(host: Host, namespace: str, lines: Sequence[str]) -> None:
    """Run `ip` commands that remove something, each whatever became of the others; what is gone already is fine.

    We are not the only ones who remove: with one end of a cable goes the other, with an interface its addresses and routes, and with the
    last process of a nameless namespace all that is in it. The kernel does that in its own time, also in the middle of a command of ours.

    :raises CommandFailed: something is there, and can't be removed.
    """
    if not lines or not namespace_exists(namespace):
        return
    try:
        host.run(["ip", "-n", namespace, "-force", "-batch", "-"], "\n".join(lines) + "\n")
    except CommandFailed as exc:
        complaints = [line for line in exc.words.splitlines() if line.strip() and not line.startswith("Command failed")]
        if not complaints or not all(any(gone in line for gone in _GONE) for line in complaints):
            raise


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process for good: its id together with the time of its start, because ids are used again."""

    pid: int
    started: int

    @classmethod
    def parse(cls, stat: str) -> ProcessMark:
        """From the content of `/proc/<pid>/stat`.

        :raises ValueError: it is not such a line.
        """
        pid, _, rest = stat.partition(" (")
        fields = rest.rpartition(") ")[2].split()
        if len(fields) < 20:
            raise ValueError(f"not a process's stat: {stat!r}")
        return cls(int(pid), int(fields[19]))

    @classmethod
    def of(cls, pid: int) -> ProcessMark | None:
        """The process that has this id now; None if there is none, or only its remains."""
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            state = stat.rpartition(") ")[2][:1]
            return None if state in ("Z", "X") else cls.parse(stat)
        except (OSError, ValueError):
            return None

    @property
    def alive(self) -> bool:
        """Whether the same process still runs, and not another one that was given its number."""
        return ProcessMark.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_gone(self, timeout: float) -> bool:
        """Wait until the process is gone; False if it is still there after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.001
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return True


_LAUNCH = """\
cat /proc/$$/stat > "$1.new" && mv "$1.new" "$1" || exit 1
exec < /dev/null
shift
exec "$@"
"""


def launch(
    argv: Sequence[str], *, record: pathlib.Path, log: pathlib.Path, environment: Mapping[str, str], lock: int | None = None
) -> None:
    """Start a process that is nobody's child and outlives us. It writes its `ProcessMark` into `record` before it becomes `argv`.

    It holds `lock` until then: whoever gets the lock after the launch finds the process recorded, even if its launcher was killed.

    :raises CommandFailed: it could not be started.
    """
    with log.open("ab") as output:
        try:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _LAUNCH, "launch", str(record), *argv],
                stdin=subprocess.DEVNULL if lock is None else lock,
                stdout=output,
                stderr=output,
                env=environment,
                cwd="/",
                timeout=COMMAND_TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise CommandFailed(argv, str(exc)) from exc


def recorded(record: pathlib.Path) -> ProcessMark | None:
    """The process that wrote itself down there; None if none did."""
    try:
        return ProcessMark.parse(record.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def kill_inside(host: Host, namespace: str) -> None:
    """Kill every process that runs in a network namespace of ours, whoever started it; a namespace that is gone is fine.

    :raises CommandFailed: it is there, and does not tell its processes.
    """
    if not namespace_exists(namespace):
        return
    try:
        pids = host.run(["ip", "netns", "pids", namespace]).split()
    except CommandFailed:
        if namespace_exists(namespace):
            raise
        return
    kill(marks(map(int, pids)))


def kill(processes: Sequence[ProcessMark]) -> list[ProcessMark]:
    """Kill processes, all at once; returns those that do not end."""
    for one in processes:
        one.send(signal.SIGKILL)
    return [one for one in processes if not one.wait_gone(5.0)]


def marks(pids: Iterable[int]) -> list[ProcessMark]:
    """The processes that have these ids now."""
    return [mark for pid in pids if (mark := ProcessMark.of(pid))]


def descendants(pid: int) -> list[int]:
    """A process and all below it, parents first; empty when it is gone."""
    found = [pid] if ProcessMark.of(pid) else []
    for parent in found:
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
        except OSError:  # it ended meanwhile
            continue
        for task in tasks:
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in pathlib.Path(f"/proc/{parent}/task/{task}/children").read_text().split())
    return found
