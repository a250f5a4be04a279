"""What all processes do at their start: have the files that they need."""

from __future__ import annotations

import pathlib
import re
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from controller import conf as configuration
from controller.cmd import health_manager, housekeeping, logging_setup, process, worker

ROOT = pathlib.Path(__file__).parents[4]
SYSTEMD = 1024
"""The soft limit of whatever it starts, unless a unit says otherwise."""


@pytest.fixture(autouse=True)
def soft_limit() -> Iterator[None]:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def test_the_soft_limit_of_whoever_starts_a_process_is_not_what_it_lives_by(caplog: pytest.LogCaptureFixture) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(SYSTEMD, most), most))
    allowed = process.allow_files(100)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, most)
    assert allowed == (65_536 if most == resource.RLIM_INFINITY else min(65_536, most))
    assert process.allow_files(100) == allowed
    assert caplog.text == ""


def test_a_process_that_may_open_too_few_files_says_so(caplog: pytest.LogCaptureFixture) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY:
        pytest.skip("there is no limit here")
    assert process.allow_files(most + 1) == most
    assert f"may open {most} files, and may need {most + 1}" in caplog.text


def test_a_worker_may_need_more_files_than_systemd_lets_it_have_at_first_and_its_unit_has_room() -> None:
    needed = worker.files(configuration.load([]))
    unit = (ROOT / "etc/systemd/system/figlina-worker.service").read_text()
    (allowed,) = re.findall(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)
    assert SYSTEMD < needed < int(allowed) // 4


@pytest.mark.parametrize("program", [worker, health_manager, housekeeping])
def test_each_process_sees_to_it_at_its_start(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def allow_files(needed: int) -> int:
        raise Asked(needed)

    monkeypatch.setattr(process, "allow_files", allow_files)
    monkeypatch.setattr(logging_setup, "setup", lambda *_: None)
    with pytest.raises(Asked):
        program.main([])
