"""What a boot of the amphora image costs under emulation: QEMU's CPU seconds from power-on to the first signed heartbeat, and to the first
answer over mutual TLS; the same again with another image if `FIGLINA_OTHER_IMAGE` names its folder, in turns.

In turns with them, if `FIGLINA_REFERENCE` names an image that boots in a flavor of 1 GB, and `FIGLINA_REFERENCE_DRIVE` its configuration
drive: what that costs until its serial console says `FIGLINA_REFERENCE_SAYS`, with a card `FIGLINA_REFERENCE_MAC` on a network on which
`FIGLINA_REFERENCE_MANAGER` is, who is sent heartbeats. All have the same hardware: one card, and nothing that one of
them would not use, since the kernel asks ACPI for the interrupt of each device, which costs an emulated one 0.1 s and more. And all have
QEMU's own settings, as machines of a compute service have: with less room for translated code, as machines of ours have it
(`controller/embedded/qemu.py`), whatever boots for long takes less.

Needs root, QEMU and the image (`FIGLINA_IMAGE_FOLDER`, or `build/image`), and prints one JSON line. Run: `python -m benchmarks.image_boot`.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time

from amphora_agent import system
from benchmarks import harness
from controller.embedded import qemu
from tests.integration import agent_amphora
from tests.vm import machine as vm

RUNS = int(os.environ.get("FIGLINA_BENCHMARK_RUNS", "3"))
REFERENCE, REFERENCE_DRIVE = os.environ.get("FIGLINA_REFERENCE"), os.environ.get("FIGLINA_REFERENCE_DRIVE", "")
REFERENCE_SAYS = os.environ.get("FIGLINA_REFERENCE_SAYS", "first_heartbeat_sent")
REFERENCE_MAC = os.environ.get("FIGLINA_REFERENCE_MAC", "52:54:00:12:34:56")
REFERENCE_MANAGER = os.environ.get("FIGLINA_REFERENCE_MANAGER", "10.0.2.2/24")
_HARDWARE = vm.Hardware(drive="ide")
_PATIENCE = 600.0


class _OneCard(vm.Machine):
    """A machine without a card for a VIP, which an amphora gets later."""

    def plug(self, name: str, mac: str, outside_address: str) -> None:
        if name != "ten":
            super().plug(name, mac, outside_address)

    def _command(self) -> list[str]:
        return ["tcg" if word == qemu.EMULATION else word for word in super()._command()]


class _Reference(_OneCard):
    """A machine of another image, with a drive of its own, and the card that this drive speaks of."""

    def plug(self, name: str, mac: str, outside_address: str) -> None:
        super().plug(name, REFERENCE_MAC, REFERENCE_MANAGER)

    def make(self) -> None:
        super().make()
        shutil.copyfile(REFERENCE_DRIVE, self.folder / "drive")
        disk = self.folder / "disk.qcow2"
        disk.unlink()
        system.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(pathlib.Path(str(REFERENCE)).resolve()), str(disk)])


def main() -> None:
    """Medians of a few runs."""
    folders = {"": pathlib.Path(os.environ.get("FIGLINA_IMAGE_FOLDER", "build/image"))}
    if "FIGLINA_OTHER_IMAGE" in os.environ:
        folders["other_"] = pathlib.Path(os.environ["FIGLINA_OTHER_IMAGE"])
    runs = []
    for _ in range(RUNS):
        measured = [{f"{prefix}{key}": value for key, value in _measure(folder).items()} for prefix, folder in folders.items()]
        reference = [_measure_reference(folders[""])] if REFERENCE else []
        runs.append({key: value for part in (*measured, *reference) for key, value in part.items()})
        if REFERENCE:
            runs[-1]["ratio"] = runs[-1]["first_heartbeat_cpu_seconds"] / runs[-1]["reference_cpu_seconds"]
        print(json.dumps({key: round(value, 3) for key, value in runs[-1].items()}), flush=True)
    result = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    print(json.dumps({"benchmark": "image_boot", "calibration_seconds": round(harness.calibrate(), 3), **result}))


def _measure(images: pathlib.Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        machine = _OneCard(pathlib.Path(folder) / "vm", images.resolve(), _HARDWARE)
        try:
            machine.make()
            beats = machine.beats()
            started = time.monotonic()
            machine.start()
            beats.next(240)
            first = {"first_heartbeat_cpu_seconds": machine.cpu_seconds(), "first_heartbeat_seconds": time.monotonic() - started}
            agent_amphora.eventually(lambda: machine.call("GET", "/")[0] == 200, within=60)
            return {**first, "answers_cpu_seconds": machine.cpu_seconds(), "qcow2_mb": (images / "amphora.qcow2").stat().st_size / 1e6}
        finally:
            machine.destroy()


def _measure_reference(images: pathlib.Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        machine = _Reference(pathlib.Path(folder) / "vm", images.resolve(), vm.Hardware(drive="ide", memory=1024))
        try:
            machine.make()
            machine.start()
            agent_amphora.eventually(lambda: REFERENCE_SAYS in machine.log(), within=_PATIENCE)
            return {"reference_cpu_seconds": machine.cpu_seconds()}
        finally:
            machine.destroy()


if __name__ == "__main__":
    main()
