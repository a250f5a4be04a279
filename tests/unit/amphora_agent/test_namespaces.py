"""The tenant's namespace, where there is no thread to enter it: it may be full of what serves."""

from __future__ import annotations

import pathlib
import threading

import pytest

from amphora_agent import interfaces, system

NAME = "figlina-t-nowhere"


@pytest.fixture(autouse=True)
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_one_that_nobody_can_enter_now_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="can't start new thread"):
        system.inside_namespace(NAME, lambda: None)


def test_one_that_nobody_can_enter_now_is_not_made_anew(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).touch()
    ran: list[object] = []
    monkeypatch.setattr(system, "NAMESPACES", tmp_path)
    monkeypatch.setattr(system, "run", lambda command, **_: ran.append(command))
    with pytest.raises(OSError, match="can't start new thread"):
        interfaces.Interfaces(NAME).ensure_namespace()
    assert ran == []
