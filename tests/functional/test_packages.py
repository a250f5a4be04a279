"""What is handed on: the wheel and the source archive hold the licence, every module, and every file that a module reads."""

from __future__ import annotations

import email
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

pytestmark = pytest.mark.lengthy

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("controller", "amphora_agent")
_BUILT_FROM = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the wheel and the source archive, built from a copy so that nothing is left in the checkout."""
    folder = pathlib.Path(tmp_path_factory.mktemp("packages"))
    source = folder / "source"
    source.mkdir()
    for name in _BUILT_FROM:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: pathlib.Path) -> dict[str, bytes]:
    """The wheel's files."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture(scope="module")
def archive(built: pathlib.Path) -> dict[str, bytes]:
    """The source archive's files, without the folder that they lie in."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as file:
        found = {member.name.partition("/")[2]: file.extractfile(member) for member in file.getmembers() if member.isfile()}
        return {name: content.read() for name, content in found.items() if content is not None}


def _wanted() -> dict[str, bytes]:
    """Every file of the packages in the checkout, modules and data alike."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def test_wheel_and_archive_hold_the_licence(wheel: dict[str, bytes], archive: dict[str, bytes]) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    assert b"Apache License" in licence
    assert b"Version 2.0, January 2004" in licence
    assert [content for name, content in wheel.items() if name.endswith("/LICENSE")] == [licence]
    assert archive["LICENSE"] == licence
    said = email.message_from_bytes(next(content for name, content in wheel.items() if name.endswith("/METADATA")))
    assert said["License-File"] == "LICENSE"
    assert "Apache-2.0" in (said["License-Expression"], said["License"])


def test_wheel_holds_every_file_of_the_packages(wheel: dict[str, bytes]) -> None:
    wanted = _wanted()
    assert len([name for name in wanted if not name.endswith(".py")]) >= 5  # templates, the migrations' own template, markers of types
    assert {name for name, content in wanted.items() if wheel.get(name) != content} == set()


def test_archive_holds_every_file_of_the_packages(archive: dict[str, bytes]) -> None:
    assert {name for name, content in _wanted().items() if archive.get(name) != content} == set()
