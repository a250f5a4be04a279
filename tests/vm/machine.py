"""An amphora of the real image in QEMU, with the surroundings of the agent's tests: web servers, clients and a health manager beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from amphora_agent import system
from amphora_agent.protocol import boot
from controller import render
from controller.embedded import qemu
from tests.integration import agent_amphora
from tests.vm import leases

COMMAND_LINE = "console=ttyS0,115200 loglevel=4 panic=5 net.ifnames=0 cryptomgr.notests"
BESIDES_OUTSIDE, BESIDES, BESIDES_ROUTE = "198.19.247.1", "198.19.247.2", "203.0.113.0"
"""Addresses on the second network of the operator's, and what is behind it."""
LEASED_OUTSIDE, LEASED, LEASED_ROUTE, LEASED_6 = "198.19.246.1", "198.19.246.2", "192.0.2.0", "fd19:246::2"
"""The same of a third one, of both versions of IP: the address of IPv4 and the routes come by DHCP, that of IPv6 stands on the drive."""
UEFI = pathlib.Path("/usr/share/OVMF/OVMF_CODE.fd")


@dataclasses.dataclass(frozen=True)
class Hardware:
    """How a machine is put together. `firmware` is bios, uefi, or kernel (kernel and initrd are handed over)."""

    firmware: str = "bios"
    disk: str = "virtio"  # or scsi
    drive: str = "iso9660"  # or vfat, or ide: ISO 9660 on the bus that machines of this type have had for ever
    memory: int = 256  # MiB
    ssh: bool = False  # whether its drive lets somebody log in
    besides: bool = False  # whether it has cards on a second and a third network of the operator's


@dataclasses.dataclass(frozen=True)
class Process:
    """What /proc/PID/status (proc(5)) says of a process. `capabilities` are its permitted ones, by their numbers."""

    user: int
    capabilities: frozenset[int]
    no_new_privileges: bool


class Machine(agent_amphora.Amphora):
    """A virtual machine; its cables are taps, whose other ends are in the `outside` namespace."""

    def __init__(self, folder: pathlib.Path, image_folder: pathlib.Path, hardware: Hardware, **boot_changes: Any) -> None:
        super().__init__(folder, **boot_changes)
        self._images = image_folder
        self._hardware = hardware
        self._taps: list[tuple[str, str]] = []
        self._leases: leases.Leases | None = None

    def make(self) -> None:
        """Everything but the machine; its disk is a layer above the image."""
        super().make()
        if self._hardware.besides:
            self.plug("besides", "02:f1:00:00:00:09", f"{BESIDES_OUTSIDE}/24")
            self.plug("leased", "02:f1:00:00:00:0a", f"{LEASED_OUTSIDE}/24")
            routes = [(f"{LEASED_ROUTE}/24", LEASED_OUTSIDE), ("0.0.0.0/0", LEASED_OUTSIDE)]
            self._leases = self.outdoors(lambda: leases.Leases("leased", f"{LEASED_OUTSIDE}/24", f"{LEASED}/24", routes))
        disk, image = self.folder / "disk.qcow2", self._images / "amphora.qcow2"
        system.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(disk)])
        self._make_drive()

    def destroy(self) -> None:
        if self._leases is not None:
            self._leases.close()
        super().destroy()

    def plug(self, name: str, mac: str, outside_address: str) -> None:
        """A tap with an address outside; the card comes with `start` or `hot_plug`."""
        for line in (f"tuntap add {name} mode tap", f"address add {outside_address} dev {name}", f"link set {name} up"):
            system.run(["ip", "-n", self.outside, *line.split()])
        self._taps.append((name, mac))

    def start(self) -> None:
        """Switch the machine on."""
        self._machine = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.outside}", "--", *self._command()], stdin=subprocess.DEVNULL)

    def _command(self) -> list[str]:
        hardware = self._hardware
        words = ["qemu-system-x86_64", "-machine", "pc,usb=off", "-accel", qemu.EMULATION, "-cpu", "max,la57=off"]
        words += ["-m", str(hardware.memory), "-nodefaults", "-display", "none", "-vga", "none"]
        words += ["-serial", f"file:{self.console}", "-qmp", f"unix:{self._monitor},server=on,wait=off"]
        words += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
        if hardware.disk == "scsi" or hardware.drive == "iso9660":
            words += ["-device", "virtio-scsi-pci,id=scsi"]
        words += ["-drive", f"file={self.folder / 'disk.qcow2'},if=none,id=disk,cache=unsafe"]
        words += ["-device", "virtio-blk-pci,drive=disk" if hardware.disk == "virtio" else "scsi-hd,bus=scsi.0,drive=disk"]
        words += ["-drive", f"file={self.folder / 'drive'},if=none,id=drive,format=raw,readonly=on", "-device"]
        cards = {"iso9660": "scsi-cd,bus=scsi.0", "ide": "ide-cd", "vfat": "virtio-blk-pci"}
        words += [f"{cards[hardware.drive]},drive=drive"]
        if hardware.firmware == "uefi":
            words += ["-drive", f"if=pflash,format=raw,readonly=on,file={UEFI}"]
        if hardware.firmware == "kernel":
            words += ["-kernel", str(self._images / "vmlinuz"), "-initrd", str(self._images / "initrd.img"), "-append", COMMAND_LINE]
        for name, mac in self._taps:
            words += ["-netdev", f"tap,id={name},ifname={name},script=no,downscript=no"]
            words += ["-device", f"virtio-net-pci,netdev={name},mac={mac},romfile="]
        return words

    def hot_plug(self, name: str, mac: str, outside_address: str) -> None:
        """A network card more while the machine runs."""
        self.plug(name, mac, outside_address)
        self.tell("netdev_add", type="tap", id=name, ifname=name, script="no", downscript="no")
        self.tell("device_add", driver="virtio-net-pci", netdev=name, id=f"card-{name}", mac=mac, romfile="")

    def tell(self, command: str, **arguments: Any) -> Any:
        """Say something to QEMU's monitor (QMP)."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as monitor:
            monitor.connect(str(self._monitor))
            lines = monitor.makefile("rw")
            lines.readline()
            for wanted in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(wanted) + "\n")
                lines.flush()
                answer = next(found for found in map(json.loads, lines) if "event" not in found)
                assert "error" not in answer, answer
        return answer["return"]

    def cut_power(self) -> None:
        """Switch the machine off as a failing host does: what the guest has not written is lost."""
        assert self._machine is not None
        self._machine.kill()
        self._machine.wait(10)

    def ended(self, within: float) -> bool:
        """Whether the machine switches itself off within that many seconds."""
        assert self._machine is not None
        try:
            self._machine.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ssh(self, command: str, key: str = "user_key", method: str = "publickey", script: str | None = None) -> str:
        """What a command says inside, which gets `script` to read.

        :raises system.CommandFailed: it failed, or the machine lets nobody in like this.
        """
        known = {"UserKnownHostsFile": self.folder / "known_hosts", "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes"}
        options = {**known, "BatchMode": "yes", "PreferredAuthentications": method, "ConnectTimeout": 20}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        login = ["ssh", "-F", "none", "-i", str(self.folder / key), *words, f"root@{agent_amphora.AGENT}", command]
        return system.run(["nsenter", f"--net=/run/netns/{self.outside}", "--", *login], timeout=120, stdin=script)

    def rights(self, program: str) -> list[Process]:
        """The processes of a program."""
        found = []
        for status in self.ssh(f"for pid in $(busybox pidof {program}); do cat /proc/$pid/status; echo ---; done").split("---\n"):
            said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if said:
                sets = {name: int(said[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")}
                held = frozenset(number for number in range(64) if (sets["CapPrm"] | sets["CapEff"]) >> number & 1)
                found.append(Process(int(said["Uid"].split()[0]), held, said["NoNewPrivs"] == "1"))
        return found

    def cpu_seconds(self) -> float:
        """Processor time that the machine has cost until now: proc(5), /proc/pid/stat, utime and stime, in ticks of 10 ms."""
        assert self._machine is not None
        return system.processor_time(self._machine.pid) / os.sysconf("SC_CLK_TCK")

    @property
    def console(self) -> pathlib.Path:
        """What the machine writes to its serial port."""
        return self.folder / "console.log"

    def log(self) -> str:
        return self.console.read_text(errors="replace")

    @property
    def _monitor(self) -> pathlib.Path:
        return self.folder / "qmp"

    def _make_drive(self) -> None:
        """A configuration drive as Nova makes it: one file by personality, the others in the user data."""
        tree = self.folder / "drive-files"
        latest, content = tree / "openstack" / "latest", tree / "openstack" / "content"
        latest.mkdir(parents=True)
        content.mkdir()
        etc = self.folder / "etc"
        (content / "0000").write_bytes((etc / "agent.json").read_bytes())
        about: dict[str, Any] = {"uuid": self.id, "name": f"amphora-{self.id}", "hostname": f"amphora-{self.id}.novalocal"}
        if self._hardware.ssh:
            for name in ("user_key", "other_key"):
                system.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)])
            about["public_keys"] = {"operator": (self.folder / "user_key.pub").read_text()}
        files = [{"content_path": "/content/0000", "path": boot.CONFIG_PATH}]
        (latest / "meta_data.json").write_text(json.dumps({**about, "files": files}))
        certificates = {boot.SERVER_PEM_PATH: etc / "certs/server.pem", boot.CLIENT_ROOTS_PATH: etc / "certs/client_roots.pem"}
        if self._hardware.ssh:
            private, public = render.boot.ssh_host_key(agent_amphora.DEPLOYMENT_KEY, self.id)
            (self.folder / "host_key").write_bytes(private)
            (self.folder / "known_hosts").write_text(f"{agent_amphora.AGENT} {public}\n")
            certificates[boot.SSH_HOST_KEY_PATH] = self.folder / "host_key"
        write = [{"path": path, "content": source.read_text(), "permissions": "0600"} for path, source in certificates.items()]
        write += [{"path": boot.BOOT_NETWORKS_PATH, "content": '["operators", "leased"]'}] if self._hardware.besides else []
        (latest / "user_data").write_text("#cloud-config\n" + json.dumps({"write_files": write}))
        links = [{"id": name, "type": "bridge", "mtu": 1400, "ethernet_mac_address": mac} for name, mac in self._taps]
        plain = {"type": "ipv4", "netmask": "255.255.255.0"}
        ways = [("0.0.0.0", "0.0.0.0"), (BESIDES_ROUTE, "255.255.255.0")]
        routes = [{"network": to, "netmask": mask, "gateway": BESIDES_OUTSIDE} for to, mask in ways]
        networks = [
            {**plain, "id": "network0", "network_id": "management", "link": "mgmt", "ip_address": agent_amphora.AGENT, "routes": []},
            {**plain, "id": "network1", "network_id": "operators", "link": "besides", "ip_address": BESIDES, "routes": routes},
            {"id": "network2", "network_id": "leased", "link": "leased", "type": "ipv4_dhcp"},
            {"id": "network3", "network_id": "leased", "link": "leased", "type": "ipv6_dhcpv6-stateful", "ip_address": LEASED_6}
            | {"netmask": "ffff:ffff:ffff:ffff::", "routes": []},
        ]
        (latest / "network_data.json").write_text(json.dumps({"links": links, "networks": networks, "services": []}))
        drive = self.folder / "drive"
        if self._hardware.drive != "vfat":
            system.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", str(drive), "-J", "-r", "-V", "config-2", str(tree)])
        else:
            with drive.open("wb") as file:
                file.truncate(64 * 1024 * 1024)
            system.run(["mkfs.vfat", "-n", "config-2", str(drive)])
            system.run(["mcopy", "-s", "-i", str(drive), str(tree / "openstack"), "::"])


@contextlib.contextmanager
def running(folder: pathlib.Path, image_folder: pathlib.Path, hardware: Hardware | None = None, **boot_changes: Any) -> Iterator[Machine]:
    """A machine that answers."""
    machine = Machine(folder, image_folder, hardware or Hardware(), **boot_changes)
    try:
        machine.make()
        machine.start()
        agent_amphora.eventually(lambda: machine.call("GET", "/")[0] == 200, within=480)
        yield machine
    except BaseException:
        with contextlib.suppress(OSError):
            sys.stderr.write(machine.log()[-8000:])
        raise
    finally:
        machine.destroy()
        shutil.rmtree(folder, ignore_errors=True)
