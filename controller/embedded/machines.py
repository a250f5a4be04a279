"""Machines on this host: what namespaces and virtual machines have in common.

<state>/amphorae/<amphora id>/      what is left of a machine when everything else is lost; removed last
    machine.json                    the ports it was booted with
    process.stat                    its outermost process, written by that process itself
    boot.lock                       held while a machine is being booted or deleted
    console.log                     what it has said last; what it said before lies in console.log.1, and earlier words are gone
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller import exceptions
from controller.drivers.compute import interface
from controller.embedded import linux
from controller.model.network import Port

LOG = logging.getLogger(__name__)

ZONE = "nova"
"""There is one host, and this is its zone."""

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_LOCK_PATIENCE = 20.0

# The working directory is the machine's folder, for the path of a socket may be 107 bytes long. What a machine says passes through a pipe,
# so that one that says the same for days does not fill the host's disk. dd writes at once, and ends after half of what is kept (its blocks
# are bytes, because it counts what it got by one read for one). Who reads is none of the machine's processes, and goes when they all have
# gone, even before the first of them (the pipe is open as 3 meanwhile); on a full disk it reads on, so that nobody waits for it.
_START = """\
cd "$1" && shift || exit 1
rm -f words && mkfifo -m 600 words || exit 1
exec 3<> words
({
    while dd bs=1 count=512K oflag=append conv=notrunc of=console.log status=none && [ "$(wc -c < console.log)" -ge 524288 ]; do
        mv console.log console.log.1
    done
    cat > /dev/null
} < words 3>&- &)
exec "$@" > words 2>&1 3>&-
"""


class LocalCompute(interface.ComputeDriver):
    """Machines on this host; a machine's id is the amphora's id."""

    flavors: Mapping[str, int]
    """Sizes of machines: the name, and the memory in MiB (0: as large as the host)."""
    image_tag = "amphora"
    image_id: str

    def __init__(self, state_path: pathlib.Path, host: linux.Host | None = None) -> None:
        self._root = state_path / "amphorae"
        self._host = host or linux.Host()

    # What a kind of machines does

    @abc.abstractmethod
    def _make(self, folder: pathlib.Path, request: interface.BootRequest) -> None:
        """Have all that a machine needs before it starts, whatever an earlier, interrupted call left."""

    @abc.abstractmethod
    def _command(self, folder: pathlib.Path, request: interface.BootRequest) -> Sequence[str]:
        """What starts it."""

    @abc.abstractmethod
    def _plug(self, folder: pathlib.Path, port: Port) -> None:
        """Give a port to a machine that was made already, and may run."""

    def _outside_of_folders(self) -> set[str]:
        """Amphorae of which there is something outside of their folders, other than cables."""
        return set()

    def _remove(self, amphora_id: str) -> None:
        """Take away what is outside of the folder, when the processes are gone."""

    # What there is

    def check_flavor(self, flavor: str) -> None:
        if flavor not in self.flavors:
            raise exceptions.NotFound("Compute flavor", flavor)

    def check_image_tag(self, tag: str) -> None:
        if tag != self.image_tag:
            raise exceptions.NotFound("Image with the tag", tag)

    def check_zone(self, zone: str) -> None:
        if zone != ZONE:
            raise exceptions.NotFound("Compute zone", zone)

    # Boot

    def boot(self, request: interface.BootRequest) -> interface.Instance:
        folder = self._folder(request.amphora_id)
        if not process_of(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(folder) as lock:
                if not process_of(folder):
                    self._start(folder, request, lock)
            said = ""
            with locked(folder):  # by now the machine has let go of it
                if not process_of(folder):
                    with contextlib.suppress(OSError):
                        said = (folder / "console.log").read_bytes()[-500:].decode(errors="replace").strip()
                    raise exceptions.Transient(f"the machine of amphora {request.amphora_id} did not start: {said}")
        return self.get(request.amphora_id)

    def _start(self, folder: pathlib.Path, request: interface.BootRequest, lock: int) -> None:
        """Make and start the machine; one that once ran never comes here."""
        started = time.monotonic()
        flavor = request.flavor if request.flavor in self.flavors else next(iter(self.flavors))
        dataclasses.replace(Record.of(request, str(flavor)), image_id=self.image_id).write(folder)
        self._make(folder, request)
        # The machine lets go of the lock as soon as it is recorded, so that the lock does not live as long as the machine.
        linux.launch(
            ["sh", "-c", _START, "machine", str(folder), *self._command(folder, request)],
            record=folder / "process.stat",
            log=folder / "console.log",
            environment=environment(),
            lock=lock,
        )
        LOG.info("amphora %s: machine started in %.0f ms", request.amphora_id, (time.monotonic() - started) * 1000)

    # Looking

    def get(self, compute_id: str) -> interface.Instance:
        folder = self._folder(compute_id)
        if not folder.is_dir() and compute_id not in self._outside_of_folders():
            raise exceptions.NotFound("Instance", compute_id)
        process = process_of(folder)
        status = interface.InstanceStatus.BUILD
        if process is not None:
            status = interface.InstanceStatus.ACTIVE if process.alive else interface.InstanceStatus.SHUTOFF
        record = Record.read(folder)
        return interface.Instance(
            id=compute_id,
            amphora_id=compute_id,
            status=status,
            management_address=record.management_address,
            zone=ZONE,
            image_id=record.image_id,
            flavor=record.flavor or next(iter(self.flavors)),
        )

    def find(self, amphora_id: str) -> interface.Instance | None:
        try:
            return self.get(amphora_id)
        except exceptions.NotFound:
            return None

    def list_ours(self) -> Iterable[interface.Instance]:
        names = self._outside_of_folders()
        if self._root.is_dir():
            names |= {folder.name for folder in self._root.iterdir() if folder.is_dir()}
        return [found for found in map(self.find, sorted(names)) if found is not None]

    def pids(self, amphora_id: str) -> list[int]:
        """Every process of a machine, the outermost first; empty when it is dead."""
        process = process_of(self._folder(amphora_id))
        return linux.descendants(process.pid) if process is not None and process.alive else []

    # The end

    def delete(self, amphora_id: str) -> None:
        folder = self._folder(amphora_id)
        if not folder.is_dir():
            self._remove(amphora_id)
            return
        with locked(folder):
            _kill(folder)
            # From the bridge's side, for a namespace that is deleted gives its interfaces back only some time later.
            for bridge_namespace, port_ids in Record.read(folder).cables.items():
                linux.cut_cables(self._host, bridge_namespace, port_ids)
            self._remove(amphora_id)
            shutil.rmtree(folder, ignore_errors=True)

    # Ports

    def attach_port(self, compute_id: str, port: Port) -> None:
        folder = self._folder(compute_id)
        if not folder.is_dir():
            raise exceptions.NotFound("Instance", compute_id)
        with locked(folder):
            Record.read(folder).with_cable(port).write(folder)
            self._plug(folder, port)

    def detach_port(self, compute_id: str, port: Port) -> None:
        if port.attachment is not None and port.attachment.namespace is not None:
            linux.cut_cables(self._host, port.attachment.namespace, [port.id])

    # One host keeps nothing apart

    def ensure_server_group(self, load_balancer_id: str) -> str | None:
        return None

    def delete_server_group(self, load_balancer_id: str) -> None:
        pass

    def list_server_groups(self) -> Iterable[str]:
        return ()

    # Names

    def _folder(self, amphora_id: str) -> pathlib.Path:
        if not _SAFE_ID.fullmatch(amphora_id):
            raise exceptions.NotFound("Instance", amphora_id)
        return self._root / amphora_id


def _kill(folder: pathlib.Path) -> None:
    process = process_of(folder)
    if process is None or not process.alive:
        return
    for left in linux.kill(linux.marks(linux.descendants(process.pid))):
        raise exceptions.Transient(f"process {left.pid} of amphora {folder.name} does not end")


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[int]:
    """Hold the lock of a machine, against other processes and threads.

    :raises Transient: somebody else holds it for too long, or the machine was deleted meanwhile.
    """
    lock = _take_lock(folder)
    try:
        yield lock
    finally:
        os.close(lock)


def _take_lock(folder: pathlib.Path) -> int:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while time.monotonic() < deadline:
        try:
            lock = os.open(folder / "boot.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as exc:
            raise exceptions.Transient(f"amphora {folder.name} was deleted meanwhile") from exc
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), (folder / "boot.lock").stat()):
                return lock
        os.close(lock)
        time.sleep(0.002)
    raise exceptions.Transient(f"amphora {folder.name} is being booted or deleted by another process")


def process_of(folder: pathlib.Path) -> linux.ProcessMark | None:
    """The outermost process of a machine; None if it was never started."""
    return linux.recorded(folder / "process.stat")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a machine was booted with. `cables` maps the namespace of bridges to the ids of ports plugged there."""

    name: str = ""
    flavor: str = ""
    image_id: str | None = None
    management_address: str | None = None
    cables: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, request: interface.BootRequest, flavor: str) -> Record:
        """The record of a machine that is to be booted."""
        record = cls(name=request.name, flavor=flavor, management_address=request.management_address)
        for port in request.ports:
            record = record.with_cable(port)
        return record

    @classmethod
    def read(cls, folder: pathlib.Path) -> Record:
        """What is written in a machine's folder; an empty record if there is none, or none that can be read."""
        try:
            found = json.loads((folder / "machine.json").read_bytes())
            return cls(**{field.name: found[field.name] for field in dataclasses.fields(cls) if field.name in found})
        except (FileNotFoundError, NotADirectoryError, TypeError, ValueError):
            return cls()

    def with_cable(self, port: Port) -> Record:
        """The same with one more port plugged; a port that is plugged already changes nothing.

        :raises ComputeFault: the port has no bridge on this machine.
        """
        namespace = bridge_namespace(port)
        there = self.cables.get(namespace, ())
        return self if port.id in there else dataclasses.replace(self, cables={**self.cables, namespace: [*there, port.id]})

    def write(self, folder: pathlib.Path) -> None:
        """Keep it in the machine's folder, in one step."""
        write(folder / "machine.json", json.dumps(dataclasses.asdict(self)).encode())


def bridge_namespace(port: Port) -> str:
    """The network namespace in which the bridge of a port is.

    :raises ComputeFault: it has none on this machine.
    """
    if port.attachment is None or port.attachment.namespace is None:
        raise exceptions.ComputeFault(f"port {port.id} has no bridge in a namespace of this machine: its network driver does not fit")
    return port.attachment.namespace


def inner_path(folder: pathlib.Path, path: str) -> pathlib.Path:
    """Where, in a machine's folder, the file lies that the machine sees at an absolute path.

    :raises ComputeFault: the path is not absolute, or leads out of the folder.
    """
    inner = pathlib.PurePosixPath(path)
    if not inner.is_absolute() or ".." in inner.parts:
        raise exceptions.ComputeFault(f"{path!r} is not an absolute path")
    return folder / "files" / inner.relative_to("/")


def write(path: pathlib.Path, content: bytes) -> None:
    """Whole or not at all; readable by us alone, for it may be a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def environment() -> Mapping[str, str]:
    """A machine gets nothing of its maker's environment but where programs are and which language they speak."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED": "1", **kept}
