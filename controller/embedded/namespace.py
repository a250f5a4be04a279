"""An amphora as a set of Linux namespaces on this machine: its own network, processes, mounts and folder.

    <state>/amphorae/<amphora id>/      what is left of a machine when everything else is lost; removed last
        machine.json                    the ports it was booted with
        process.stat                    its outermost process, written by that process itself
        boot.lock                       held while a machine is being booted or deleted
        files/...                       what the boot request put into it
        state/                          the agent's disk
        console.log                     what its processes print

The network namespace `<prefix>-amp-<amphora id>` outlives the processes, as a NIC outlives a crashed guest. Inside, process 1 is a small
shell that keeps the agent running; `kill -9` of it, or of the process that made it, ends everything inside: the death of a machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import re
import shlex
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

from oslo_config import cfg

from amphora_agent.protocol import boot
from controller import exceptions
from controller.drivers.compute import interface
from controller.embedded import linux
from controller.model.network import Port

LOG = logging.getLogger(__name__)

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_LOCK_PATIENCE = 20.0

FLAVOR, IMAGE_TAG, ZONE = "namespace", "amphora", "nova"
"""There is one host, its zone is `nova`; one size of machine, as large as the host; and one image, the agent that is installed here."""
_IMAGE_ID = str(uuid.uuid5(uuid.NAMESPACE_OID, f"figlina/{IMAGE_TAG}"))

# Process 1. /run is its own, so the agent's namespaces and sockets are; /sys shows the interfaces of its own network namespace.
_INIT = """\
mount -t tmpfs -o mode=755 tmpfs /run && mount -t sysfs sysfs /sys && mkdir -p /run/netns || exit 1
echo "$1" > /proc/sys/kernel/hostname
shift
while :; do "$@"; sleep 0.2; done
"""


class NamespaceCompute(interface.ComputeDriver):
    """Machines on this host; a machine's id is the amphora's id."""

    def __init__(
        self, *, state_path: pathlib.Path, namespace_prefix: str, agent_command: Sequence[str], host: linux.Host | None = None
    ) -> None:
        self._root = state_path / "amphorae"
        self._prefix = f"{namespace_prefix}-amp-"
        self._agent_command = list(agent_command)
        self._host = host or linux.Host()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> NamespaceCompute:
        """As `[embedded]` says."""
        command = conf.embedded.agent_command or shlex.quote(str(pathlib.Path(sys.executable).with_name("figlina-agent")))
        return cls(
            state_path=pathlib.Path(conf.embedded.state_path),
            namespace_prefix=conf.embedded.namespace_prefix,
            agent_command=shlex.split(command),
        )

    # What there is

    def check_flavor(self, flavor: str) -> None:
        if flavor != FLAVOR:
            raise exceptions.NotFound("Compute flavor", flavor)

    def check_image_tag(self, tag: str) -> None:
        if tag != IMAGE_TAG:
            raise exceptions.NotFound("Image with the tag", tag)

    def check_zone(self, zone: str) -> None:
        if zone != ZONE:
            raise exceptions.NotFound("Compute zone", zone)

    # Boot

    def boot(self, request: interface.BootRequest) -> interface.Instance:
        folder = self._folder(request.amphora_id)
        if not _process(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(folder) as lock:
                if not _process(folder):
                    self._build(folder, request, lock)
            with _locked(folder):  # by now the machine has let go of it
                if not _process(folder):
                    raise exceptions.Transient(f"the machine of amphora {request.amphora_id} did not start: {_last_words(folder)}")
        return self.get(request.amphora_id)

    def _build(self, folder: pathlib.Path, request: interface.BootRequest, lock: int) -> None:
        """Make the machine whatever an earlier, interrupted call left; a machine that once ran never comes here."""
        started = time.monotonic()
        namespace = self._namespace(request.amphora_id)
        _Record.of(request).write(folder)
        for path, content in request.files.items():
            _write(_inner_path(folder, path), content)
        (folder / "state").mkdir(exist_ok=True)
        linux.ensure_namespace(self._host, namespace)
        for index, port in enumerate(request.ports):
            self._plug(port, namespace, f"eth{index}")
        self._launch(folder, request.name, namespace, lock)
        LOG.info("amphora %s: machine started in %.0f ms", request.amphora_id, (time.monotonic() - started) * 1000)

    def _launch(self, folder: pathlib.Path, name: str, namespace: str, lock: int) -> None:
        agent = [
            *self._agent_command,
            *("--config", str(_inner_path(folder, boot.CONFIG_PATH))),
            *("--state-directory", str(folder / "state")),
            *("--run-directory", "/run/figlina"),
        ]
        init = ["sh", "-c", _INIT, "init", name, *agent]
        machine = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", *init]
        # The machine lets go of the lock as soon as it is recorded, so that the lock does not live as long as the machine.
        linux.launch(
            [*linux.enter(namespace), *machine],
            record=folder / "process.stat",
            log=folder / "console.log",
            environment=_environment(),
            lock=lock,
        )

    # Looking

    def get(self, compute_id: str) -> interface.Instance:
        folder = self._folder(compute_id)
        if not folder.is_dir() and not linux.namespace_exists(self._namespace(compute_id)):
            raise exceptions.NotFound("Instance", compute_id)
        process = _process(folder)
        status = interface.InstanceStatus.BUILD
        if process is not None:
            status = interface.InstanceStatus.ACTIVE if process.alive else interface.InstanceStatus.SHUTOFF
        record = _Record.read(folder)
        return interface.Instance(
            id=compute_id,
            amphora_id=compute_id,
            status=status,
            management_address=record.management_address,
            zone=ZONE,
            image_id=_IMAGE_ID,
            flavor=FLAVOR,
        )

    def find(self, amphora_id: str) -> interface.Instance | None:
        try:
            return self.get(amphora_id)
        except exceptions.NotFound:
            return None

    def list_ours(self) -> Iterable[interface.Instance]:
        names = {name.removeprefix(self._prefix) for name in linux.namespaces(self._prefix)}
        if self._root.is_dir():
            names |= {folder.name for folder in self._root.iterdir() if folder.is_dir()}
        return [found for found in map(self.find, sorted(names)) if found is not None]

    def namespace_of(self, amphora_id: str) -> str:
        """The network namespace with the amphora's NICs."""
        return self._namespace(amphora_id)

    def pids(self, amphora_id: str) -> list[int]:
        """Every process of a machine, the outermost first; empty when it is dead."""
        process = _process(self._folder(amphora_id))
        return linux.descendants(process.pid) if process is not None and process.alive else []

    # The end

    def delete(self, amphora_id: str) -> None:
        folder, namespace = self._folder(amphora_id), self._namespace(amphora_id)
        if folder.is_dir():
            with _locked(folder):
                self._kill(folder)
                self._unplug_all(folder)
                linux.delete_namespace(self._host, namespace)
                shutil.rmtree(folder, ignore_errors=True)
        elif linux.namespace_exists(namespace):
            linux.kill_inside(self._host, namespace)  # somebody removed the folder, and with it the record of the process
            linux.delete_namespace(self._host, namespace)

    def _kill(self, folder: pathlib.Path) -> None:
        process = _process(folder)
        if process is None or not process.alive:
            return
        inside = [mark for pid in linux.descendants(process.pid) if (mark := linux.ProcessMark.of(pid))]
        for mark in inside:
            mark.send(signal.SIGKILL)
        for mark in inside:
            if not mark.wait_gone(5.0):
                raise exceptions.Transient(f"process {mark.pid} of amphora {folder.name} does not end")

    def _unplug_all(self, folder: pathlib.Path) -> None:
        """Cut the cables from the bridge's side, for a namespace that is deleted gives its interfaces back only some time later."""
        for bridge_namespace, port_ids in _Record.read(folder).cables.items():
            linux.cut_cables(self._host, bridge_namespace, port_ids)

    # Ports

    def attach_port(self, compute_id: str, port: Port) -> None:
        folder = self._folder(compute_id)
        if not folder.is_dir():
            raise exceptions.NotFound("Instance", compute_id)
        with _locked(folder):
            namespace = self._namespace(compute_id)
            if not linux.namespace_exists(namespace):
                raise exceptions.NotFound("Instance", compute_id)
            _Record.read(folder).with_cable(port).write(folder)
            self._plug(port, namespace, "eth%d", running=self.get(compute_id).status is interface.InstanceStatus.ACTIVE)

    def detach_port(self, compute_id: str, port: Port) -> None:
        if port.attachment is not None and port.attachment.namespace is not None:
            linux.cut_cables(self._host, port.attachment.namespace, [port.id])

    def _plug(self, port: Port, namespace: str, name: str, running: bool = False) -> None:
        """Have a cable from the port's bridge into a machine. In one that runs, the agent may have taken its end further inside."""
        linux.ensure_cable(self._host, _bridge_namespace(port), port, namespace, name, running)

    # Names

    def _folder(self, amphora_id: str) -> pathlib.Path:
        if not _SAFE_ID.fullmatch(amphora_id):
            raise exceptions.NotFound("Instance", amphora_id)
        return self._root / amphora_id

    def _namespace(self, amphora_id: str) -> str:
        return self._prefix + amphora_id


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[int]:
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


def _process(folder: pathlib.Path) -> linux.ProcessMark | None:
    """The outermost process of a machine; None if it was never started."""
    return linux.recorded(folder / "process.stat")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What a machine was booted with. `cables` maps the namespace of bridges to the ids of ports plugged there."""

    name: str = ""
    management_address: str | None = None
    cables: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, request: interface.BootRequest) -> _Record:
        addresses = [fixed.ip_address for port in request.ports[:1] for fixed in port.fixed_ips]
        record = cls(name=request.name, management_address=next(iter(addresses), None))
        for port in request.ports:
            record = record.with_cable(port)
        return record

    @classmethod
    def read(cls, folder: pathlib.Path) -> _Record:
        try:
            found = json.loads((folder / "machine.json").read_bytes())
            return cls(**{field.name: found[field.name] for field in dataclasses.fields(cls) if field.name in found})
        except (FileNotFoundError, NotADirectoryError, TypeError, ValueError):
            return cls()

    def with_cable(self, port: Port) -> _Record:
        namespace = _bridge_namespace(port)
        there = self.cables.get(namespace, ())
        return self if port.id in there else dataclasses.replace(self, cables={**self.cables, namespace: [*there, port.id]})

    def write(self, folder: pathlib.Path) -> None:
        _write(folder / "machine.json", json.dumps(dataclasses.asdict(self)).encode())


def _bridge_namespace(port: Port) -> str:
    if port.attachment is None or port.attachment.namespace is None:
        raise exceptions.ComputeFault(f"port {port.id} has no bridge in a namespace of this machine: its network driver does not fit")
    return port.attachment.namespace


def _last_words(folder: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / "console.log").read_bytes()[-500:].decode(errors="replace").strip()
    return ""


def _inner_path(folder: pathlib.Path, path: str) -> pathlib.Path:
    """Where a file of the machine lies in its folder."""
    inner = pathlib.PurePosixPath(path)
    if not inner.is_absolute() or ".." in inner.parts:
        raise exceptions.ComputeFault(f"{path!r} is not an absolute path")
    return folder / "files" / inner.relative_to("/")


def _write(path: pathlib.Path, content: bytes) -> None:
    """Whole or not at all; readable by us alone, for it may be a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def _environment() -> Mapping[str, str]:
    """A machine gets nothing of its maker's environment but where programs are and which language they speak."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED": "1", **kept}
