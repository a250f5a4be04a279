"""Runs tempest's tests of load balancing as they are published, and tells what became of each."""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import subprocess
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-tempest" / "bin"
ALL = r"^octavia_tempest_plugin\.tests\.api\."
_STESTR = "[DEFAULT]\ntest_path={discovery}\ntop_dir={discovery}\ngroup_regex=([^\\.]*\\.)*\n"


class NotInstalled(Exception):
    """tempest can't be had here; the message holds pip's last words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Of one test: its id, and `success`, `failure`, `skip` or another word that means a failure."""

    test: str
    status: str


def install() -> None:
    """Have tempest's programs.

    :raises NotInstalled: they can't be had.
    """
    made = subprocess.run([ROOT / "scripts" / "make-tool-venv", "tempest"], capture_output=True, text=True, check=False)
    if made.returncode:
        raise NotInstalled(" ".join(made.stderr.strip().splitlines()[-1:]))


def run(folder: pathlib.Path, configuration: str, *, select: str = ALL, jobs: int = 2, limit: float = 3600) -> list[Result]:
    """Run the tests whose ids match `select`, for at most `limit` seconds; logs are left in `folder`.

    :raises subprocess.TimeoutExpired: they took longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tempest.conf").write_text(configuration)
    found = _ask("-c", "import pathlib, tempest; print(pathlib.Path(tempest.__file__).parent / 'test_discover')")
    (folder / ".stestr.conf").write_text(_STESTR.format(discovery=found.strip()))
    environment = {**os.environ, "TEMPEST_CONFIG_DIR": str(folder), "TEMPEST_CONFIG": "tempest.conf", "OS_LOG_CAPTURE": "1"}
    environment["PYTHON"] = str(PROGRAMS / "python")  # stestr runs the tests with it, and make exports another one
    with (folder / "run.log").open("wb") as log:
        command: list[str | pathlib.Path] = [PROGRAMS / "stestr", "run", "--concurrency", str(jobs), "--suppress-attachments", select]
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False)
    return list(_results(folder))


def _ask(*arguments: str) -> str:
    return subprocess.run([PROGRAMS / "python", *arguments], capture_output=True, text=True, check=True).stdout


def _results(folder: pathlib.Path) -> Iterable[Result]:
    last = subprocess.run([PROGRAMS / "stestr", "last", "--subunit"], cwd=folder, capture_output=True, check=False).stdout
    (folder / "results.subunit").write_bytes(last)
    table = subprocess.run([PROGRAMS / "subunit2csv", "--no-passthrough"], input=last, capture_output=True, check=False).stdout.decode()
    for row in csv.DictReader(table.splitlines()):
        yield Result(row["test"], row["status"])
