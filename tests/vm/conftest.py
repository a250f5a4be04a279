"""The image of this checkout, built once: `FIGLINA_IMAGE_FOLDER` names one that is there already."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
from collections.abc import Generator

import pytest

from tests.vm import machine as vm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def image_folder() -> pathlib.Path:
    """The folder with `amphora.qcow2`, `vmlinuz` and `initrd.img`."""
    if os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None or shutil.which("mmdebstrap") is None:
        pytest.skip("needs root, QEMU and mmdebstrap: scripts/install-system-packages image")
    if "FIGLINA_IMAGE_FOLDER" in os.environ:
        return pathlib.Path(os.environ["FIGLINA_IMAGE_FOLDER"])
    folder = REPOSITORY / "build" / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # two workers of one run want the same image
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_of_today(folder / "amphora.qcow2"):
            subprocess.run([REPOSITORY / "images" / "build", "--output", folder], check=True, timeout=900)
    return folder


def _is_of_today(image: pathlib.Path) -> bool:
    """Whether nothing that goes into an image has changed since it was built."""
    sources = [path for name in ("images", "amphora_agent") for path in (REPOSITORY / name).rglob("*") if "__pycache__" not in path.parts]
    return image.exists() and image.stat().st_mtime > max(path.stat().st_mtime for path in sources)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that fails what its machines have said at last: a fixture of the module does not see the failure."""
    report = yield
    if report.failed:
        for name, found in getattr(item, "funcargs", {}).items():
            if isinstance(found, vm.Machine) and found.console.exists():
                report.sections.append((f"console of {name}", found.log()[-8000:]))
    return report
