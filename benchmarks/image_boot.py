"""What a boot of the amphora image costs under emulation: QEMU's CPU seconds from power-on to the first signed heartbeat, and to the first
answer over mutual TLS; the same again with another image if `FIGLINA_OTHER_IMAGE` names its folder, in turns.

Needs root, QEMU and the image (`FIGLINA_IMAGE_FOLDER`, or `build/image`), and prints one JSON line. Run: `python -m benchmarks.image_boot`.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import tempfile
import time

from benchmarks import harness
from tests.integration import agent_amphora
from tests.vm import machine as vm

RUNS = int(os.environ.get("FIGLINA_BENCHMARK_RUNS", "3"))


def main() -> None:
    """Medians of a few runs."""
    folders = {"": pathlib.Path(os.environ.get("FIGLINA_IMAGE_FOLDER", "build/image"))}
    if "FIGLINA_OTHER_IMAGE" in os.environ:
        folders["other_"] = pathlib.Path(os.environ["FIGLINA_OTHER_IMAGE"])
    runs = [{f"{prefix}{key}": value for prefix, folder in folders.items() for key, value in _measure(folder).items()} for _ in range(RUNS)]
    result = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
    print(json.dumps({"benchmark": "image_boot", "calibration_seconds": round(harness.calibrate(), 3), **result}))


def _measure(images: pathlib.Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        machine = vm.Machine(pathlib.Path(folder) / "vm", images.resolve(), vm.Hardware())
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


if __name__ == "__main__":
    main()
