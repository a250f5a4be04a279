"""HAProxy of other releases of Debian: `make test` has rendered files checked by it where it can be had; any test can be run with it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from tests import conftest
from tests.unit.controller.render import tools

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
FETCH = 'echo "$1" >> fetched; mkdir -p "$2"; touch "$2/haproxy"'
FAIL = "echo Reading; echo 'Could not resolve the name'; exit 100"


class Checkout:
    """The script, beside one that stands in for `scripts/other-haproxy`."""

    def __init__(self, folder: pathlib.Path, codename: str) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        shutil.copy(SCRIPTS / "other-haproxies", folder / "scripts")
        (folder / "os-release").write_text(f'PRETTY_NAME="A system"\n{codename}\n')

    def run(self, stand_in: str) -> tuple[str, str]:
        """What it says, to programs and to people."""
        program(self.folder / "scripts" / "other-haproxy", stand_in)
        environment = {**os.environ, "OS_RELEASE": str(self.folder / "os-release")}
        done = subprocess.run([self.folder / "scripts" / "other-haproxies"], capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr

    @property
    def fetched(self) -> list[str]:
        return (self.folder / "fetched").read_text().split()


def program(path: pathlib.Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("codename", "others"),
    [
        ("VERSION_CODENAME=bookworm", ["trixie"]),
        ("VERSION_CODENAME=trixie", ["bookworm"]),
        ("VERSION_CODENAME=noble", ["bookworm", "trixie"]),
        ("", ["bookworm", "trixie"]),
    ],
)
def test_those_of_other_releases_are_fetched_once(tmp_path: pathlib.Path, codename: str, others: list[str]) -> None:
    checkout = Checkout(tmp_path, codename)
    expected = ":".join(f"{tmp_path}/build/haproxy-{one}/haproxy" for one in others)
    assert checkout.run(FETCH) == checkout.run(FETCH) == (expected, "")
    assert checkout.fetched == others


def test_one_that_can_not_be_had_is_said_to_be_missing_and_tried_again(tmp_path: pathlib.Path) -> None:
    checkout = Checkout(tmp_path, "VERSION_CODENAME=bookworm")
    found, said = checkout.run(FAIL)
    assert found == ""
    assert "trixie" in said
    assert "Could not resolve the name" in said
    assert len(said.splitlines()) == 1
    assert checkout.run(FETCH) == (f"{tmp_path}/build/haproxy-trixie/haproxy", "")


def test_one_that_was_fetched_elsewhere_is_fetched_anew(tmp_path: pathlib.Path) -> None:
    """It is run by paths that were written down."""
    checkout = Checkout(tmp_path, "VERSION_CODENAME=bookworm")
    checkout.run(FETCH)
    (tmp_path / "build" / "haproxy-trixie" / "complete").write_text("/elsewhere\n")
    checkout.run(FETCH)
    assert checkout.fetched == ["trixie", "trixie"]


def test_each_haproxy_is_asked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        program(folder / "haproxy", "exit 0")
    monkeypatch.setenv("PATH", str(own), prepend=os.pathsep)
    monkeypatch.setenv("FIGLINA_HAPROXIES", str(other / "haproxy"))
    tools.ask_haproxy("", tmp_path)
    for words in ("echo '[WARNING] obsolete' >&2", "echo '[ALERT] unknown' >&2; exit 1"):
        refusing = program(other / "haproxy", words)
        with pytest.raises(AssertionError, match=f"{refusing}: .*(obsolete|unknown)"):
            tools.ask_haproxy("", tmp_path)


def test_the_chosen_one_is_what_everything_finds(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])  # to be as it was afterwards
    chosen = program(tmp_path / "haproxy", "exit 0")
    monkeypatch.setenv("FIGLINA_TEST_HAPROXY", chosen)
    conftest._run_the_chosen_haproxy()
    assert shutil.which("haproxy") == chosen
    for wrong in (tmp_path / "nothing" / "haproxy", program(tmp_path / "haproxy-3", "exit 0")):
        monkeypatch.setenv("FIGLINA_TEST_HAPROXY", str(wrong))
        with pytest.raises(pytest.UsageError, match="other-haproxy"):
            conftest._run_the_chosen_haproxy()
