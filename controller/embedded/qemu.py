"""An amphora as a virtual machine on this host: QEMU with the amphora image, on the bridges of the embedded network.

    disk.qcow2   in the machine's folder: what the machine has written, a layer above the image
    drive.img    its configuration drive, as Nova makes them
    monitor      the socket of QEMU's monitor (QMP), by which network cards are plugged while it runs

QEMU runs in the network namespace of the bridges; each port is a tap there. It uses KVM where the host has it, and emulates otherwise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import pathlib
import select
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oslo_config import cfg

from controller import exceptions
from controller.drivers.compute import interface, user_data
from controller.embedded import linux, machines
from controller.model.network import Port

LOG = logging.getLogger(__name__)

FLAVORS = {"small": 256, "medium": 512, "large": 1024}
"""Sizes of machines, with their memory in MiB; the first is that of machines for which no flavor was chosen."""

EMULATION = "tcg,tb-size=128"
"""Where there is no KVM. What was translated is kept in 128 MiB at most, of which a boot fills more than half. QEMU's own limit is 1 GiB of
the host's memory for each machine; and a reset of a machine goes by all that is kept, since each page is written anew: the more it has run,
the longer it took to be up again.
"""

_DRIVE_MIB = 4
_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mkfs.vfat": "dosfstools", "mcopy": "mtools"}
_MONITOR_PATIENCE = 20.0  # seconds
_STATE_PATIENCE = 3.0
_PROBE_PATIENCE = 10.0
_STOPPED = {"internal-error", "guest-panicked", "io-error", "paused", "shutdown"}
"""What QEMU says of a machine whose processors stand still, though its process lives. It goes on only if somebody tells it to."""
_LAST_WORDS = b"No bootable device"
"""What SeaBIOS says at its end, when it has found nothing."""
_LET_GO, _LET_GO_BEFORE_PLUGGING = 5.0, 20.0
"""Seconds that a guest has to let go of a card: one that boots can't yet."""


class QemuCompute(machines.LocalCompute):
    """Virtual machines of one image."""

    flavors = FLAVORS

    def __init__(self, *, state_path: pathlib.Path, image: pathlib.Path, host: linux.Host | None = None) -> None:
        super().__init__(state_path, host)
        self._image = image
        self.image_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"figlina/{image}"))

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> QemuCompute:
        """The driver as `[embedded]` configures it.

        :raises Misconfigured: the image, or a program, is missing.
        """
        image = pathlib.Path(conf.embedded.image)
        if not image.is_file():
            raise exceptions.Misconfigured(f"[embedded] image: there is no {image}; `make image` builds one")
        missing = sorted(package for program, package in _PROGRAMS.items() if shutil.which(program) is None)
        if missing:
            raise exceptions.Misconfigured(f"compute driver `qemu` needs packages that are missing: {', '.join(missing)}")
        return cls(state_path=pathlib.Path(conf.embedded.state_path), image=image.resolve())

    def get(self, compute_id: str) -> interface.Instance:
        """The process may live while the machine stands still: QEMU's monitor says so. One that does not answer says nothing against it."""
        found = super().get(compute_id)
        if found.status is not interface.InstanceStatus.ACTIVE or (words := _stands_still(self._folder(compute_id))) is None:
            return found
        return dataclasses.replace(found, status=interface.InstanceStatus.ERROR, fault=words)

    def _make(self, folder: pathlib.Path, request: interface.BootRequest) -> None:
        _make_drive(self._host, folder, request)
        disk = folder / "disk.qcow2"
        disk.unlink(missing_ok=True)
        self._host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(self._image), str(disk)])
        for port in request.ports:
            _ensure_tap(self._host, port)

    def _command(self, folder: pathlib.Path, request: interface.BootRequest) -> Sequence[str]:
        memory = self.flavors[machines.Record.read(folder).flavor]
        qemu = ["qemu-system-x86_64", "-name", request.name, "-machine", "pc,usb=off", "-cpu", "max,la57=off"]
        qemu += ["-accel", "kvm"] * has_kvm() + ["-accel", EMULATION]
        qemu += ["-m", str(memory), "-nodefaults", "-display", "none", "-vga", "none", "-serial", "stdio"]
        qemu += ["-qmp", "unix:monitor,server=on,wait=off", "-object", "rng-random,id=rng,filename=/dev/urandom"]
        qemu += ["-device", "virtio-rng-pci,rng=rng", "-device", "virtio-scsi-pci,id=scsi"]
        qemu += ["-drive", "file=disk.qcow2,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk,bootindex=0"]
        qemu += ["-drive", "file=drive.img,if=none,id=drive,format=raw,readonly=on", "-device", "scsi-hd,bus=scsi.0,drive=drive"]
        for port in request.ports:
            for kind, arguments in _card(port).items():
                named = ",".join(f"{name}={value}" for name, value in arguments.items() if name not in ("type", "driver"))
                qemu += [f"-{kind}", f"{arguments.get('type') or arguments['driver']},{named}"]
        return [*linux.enter(machines.bridge_namespace(request.ports[0])), *qemu]

    def _plug(self, folder: pathlib.Path, port: Port) -> None:
        fresh, card = _ensure_tap(self._host, port), _card(port)
        machine = self.get(folder.name)
        if machine.status is interface.InstanceStatus.ERROR:
            raise exceptions.ComputeFault(f"the machine of amphora {folder.name} takes no network card: {machine.fault}")
        if machine.status is not interface.InstanceStatus.ACTIVE:
            raise exceptions.NotFound("Instance", folder.name)
        # Whether there is the network side of the card. That it is up is said in passing: what is not there is refused.
        connected = not fresh and _tell(folder, "set_link", {"name": card["netdev"]["id"], "up": True}) is not None
        if not connected:
            if not _let_go(folder, port, _LET_GO_BEFORE_PLUGGING):  # QEMU would take the card that the guest still has for the new one
                raise exceptions.Transient(f"the machine of amphora {folder.name} does not let go of a network card that was unplugged")
            _tell(folder, "netdev_add", card["netdev"])
        if not connected or not _has_card(folder, port):
            _tell(folder, "device_add", card["device"])

    def detach_port(self, compute_id: str, port: Port) -> None:
        folder = self._folder(compute_id)
        with contextlib.suppress(exceptions.Transient, exceptions.NotFound):  # without its tap, the card is of no use anyway
            _let_go(folder, port, _LET_GO)
        super().detach_port(compute_id, port)


@functools.cache
def has_kvm() -> bool:
    """Whether this host runs virtual machines by itself; otherwise they are emulated.

    The device may be there and of little use (in a virtual machine of another kind, for instance): then it carries a BIOS to its end, forty
    times slower than by emulation, and stops with an internal error in what is loaded next. So it has to be about as fast.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    emulated = seconds_of_a_bios("tcg", _PROBE_PATIENCE)
    return emulated is not None and seconds_of_a_bios("kvm", 1.0 + 2 * emulated) is not None


def seconds_of_a_bios(accelerator: str, patience: float) -> float | None:
    """How long a BIOS without any disk runs, by one of QEMU's accelerators, until it has found nothing to boot; None if it does not get
    there within so many seconds."""
    probe = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-m", "32", "-nodefaults", "-display", "none"]
    probe += ["-chardev", "stdio,id=said", "-device", "isa-debugcon,iobase=0x402,chardev=said"]
    said, began = b"", time.monotonic()
    with subprocess.Popen(probe, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as machine:
        assert machine.stdout is not None
        waiting = select.poll()  # select(2) knows no descriptor beyond 1,023
        waiting.register(machine.stdout, select.POLLIN)
        while _LAST_WORDS not in said:
            left = began + patience - time.monotonic()
            if left < 0 or not waiting.poll(left * 1000):
                break
            more = os.read(machine.stdout.fileno(), 4096)  # often no more than a letter
            if not more:
                break
            said += more
        took = time.monotonic() - began
        machine.kill()
    return took if _LAST_WORDS in said else None


def _card(port: Port) -> dict[str, dict[str, str]]:
    """The network card of a port, as QEMU's command line and its monitor have it: what is outside, and what the guest sees."""
    tap = linux.cable_name(port.id)
    return {
        "netdev": {"type": "tap", "id": tap, "ifname": tap, "script": "no", "downscript": "no"},
        "device": {"driver": "virtio-net-pci", "netdev": tap, "id": f"card-{tap}", "mac": port.mac_address, "romfile": ""},
    }


def _ensure_tap(host: linux.Host, port: Port) -> bool:
    """Have a port's tap on its bridge; whether it is a new one."""
    namespace, tap = machines.bridge_namespace(port), linux.cable_name(port.id)
    if port.attachment is None:
        raise exceptions.ComputeFault(f"port {port.id} has no bridge on this machine: its network driver does not fit")
    made = [] if linux.has_cable(host, namespace, port.id) else [f"tuntap add dev {tap} mode tap"]
    host.ip_batch(namespace, [*made, f"link set {tap} mtu {port.mtu} master {port.attachment.bridge} up"])
    return bool(made)


def _has_card(folder: pathlib.Path, port: Port) -> bool:
    """Whether the guest has a port's card, be it on its way out."""
    return _tell(folder, "qom-list", {"path": f"/machine/peripheral/{_card(port)['device']['id']}"}) is not None


def _let_go(folder: pathlib.Path, port: Port, patience: float) -> bool:
    """Take a port's card away; whether it is gone. QEMU answers before the guest has let go; one that boots may not have heard it.

    The network side goes first: so a card is known for one that is on its way out, whoever asks, and whenever we are interrupted.
    """
    ends_at = time.monotonic() + patience
    _tell(folder, "netdev_del", {"id": _card(port)["netdev"]["id"]})
    while _has_card(folder, port):
        if time.monotonic() > ends_at:
            LOG.info("amphora %s: its guest has not let go of the card of port %s within %.0f s", folder.name, port.id, patience)
            return False
        with contextlib.suppress(exceptions.Transient):  # it is being unplugged already
            _tell(folder, "device_del", {"id": _card(port)["device"]["id"]})
        time.sleep(0.1)
    return True


def _stands_still(folder: pathlib.Path) -> str | None:
    """Why a machine does nothing, if its monitor says that it does nothing."""
    if not (folder / "monitor").exists():
        return None
    try:
        said = _tell(folder, "query-status", {}, _STATE_PATIENCE)
    except exceptions.ControllerError as exc:
        LOG.info("amphora %s: nobody knows whether it runs: %s", folder.name, exc)
        return None
    state = said.get("status") if isinstance(said, dict) else None
    return f"QEMU has stopped it ({state})" if state in _STOPPED else None


def _tell(folder: pathlib.Path, command: str, arguments: Mapping[str, object], patience: float = _MONITOR_PATIENCE) -> object:
    """Say something to a machine's monitor, and return its answer; None: what it is about is not there.

    :raises ComputeFault: the machine has no room for another card.
    :raises Transient: it does not answer, or refuses.
    """
    try:
        with _monitor(folder, patience) as monitor:
            answers = monitor.makefile("rwb")
            answers.readline()
            for words in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": dict(arguments)}):
                answers.write(json.dumps(words).encode() + b"\n")
                answers.flush()
                answer: dict[str, Any] = next(found for line in answers if "event" not in (found := json.loads(line)))
    except (OSError, ValueError, StopIteration) as exc:
        raise exceptions.Transient(f"the monitor of amphora {folder.name} does not answer: {exc}") from exc
    said = str(answer.get("error", {}).get("desc", ""))
    if not said or "not found" in said:
        return answer.get("return")
    if "no slot" in said:
        raise exceptions.ComputeFault(f"the machine of amphora {folder.name} has no room for another network card: {said}")
    raise exceptions.Transient(f"the machine of amphora {folder.name} refuses {command}: {said}")


@contextlib.contextmanager
def _monitor(folder: pathlib.Path, patience: float) -> Iterator[socket.socket]:
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(patience)
            ends_at = time.monotonic() + patience
            process = machines.process_of(folder)
            while not (folder / "monitor").exists() and process and process.alive and time.monotonic() < ends_at:
                time.sleep(0.02)  # it begins to listen some time after the machine was started
            monitor.connect(f"/proc/self/fd/{handle}/monitor")
            yield monitor
    finally:
        os.close(handle)


def _make_drive(host: linux.Host, folder: pathlib.Path, request: interface.BootRequest) -> None:
    """The configuration drive: the files of the request as user data."""
    links = [{"id": port.id, "type": "bridge", "mtu": port.mtu, "ethernet_mac_address": port.mac_address} for port in request.ports]
    documents = {
        "meta_data.json": json.dumps({"uuid": request.amphora_id, "name": request.name, "hostname": request.name}),
        "network_data.json": json.dumps({"links": links, "networks": [], "services": []}),
        "user_data": user_data.of_files(request.files),
    }
    drive = folder / "drive.img"
    with open(os.open(drive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.truncate(_DRIVE_MIB * 1024 * 1024)
    host.run(["mkfs.vfat", "-n", "config-2", str(drive)])
    with tempfile.TemporaryDirectory(dir=folder) as place:
        latest = pathlib.Path(place) / "openstack" / "latest"
        latest.mkdir(parents=True)
        for name, content in documents.items():
            (latest / name).write_text(content)
        host.run(["mcopy", "-s", "-i", str(drive), str(latest.parent), "::"])
