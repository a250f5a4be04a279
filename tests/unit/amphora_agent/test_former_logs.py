"""Who is told of connections of before a reload, by the configuration that HAProxy has."""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from amphora_agent import former_logs
from controller.model import load_balancer as model
from tests import builders
from tests.unit.controller.render import tools


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (None, None),
        (model.AccessLog(protocol="UDP", address="198.19.10.99", port=514), None),
        (model.AccessLog(protocol="TCP", address="fd00::9", port=601), ("fd00::9", 601, None, None)),
        (
            model.AccessLog(
                protocol="TLS", address="198.19.10.99", port=6514, ca_tls_container_ref="https://s/secrets/1", host_name="logs.example"
            ),
            ("198.19.10.99", 6514, "access-log-ca.pem", "logs.example"),
        ),
        (
            model.AccessLog(protocol="TLS", address="198.19.10.99", port=6514, ca_tls_container_ref="https://s/secrets/1"),
            ("198.19.10.99", 6514, "access-log-ca.pem", None),
        ),
    ],
)
def test_it_is_who_the_present_configuration_names(
    log: model.AccessLog | None, told: tuple[str, int, str | None, str | None] | None
) -> None:
    text = tools.haproxy_config(_snapshot(log))
    assert former_logs.target(text) == (None if told is None else former_logs.Target("access-log", *told))


class Runtime:
    """A HAProxy whose worker has two connections for us."""

    def __init__(self) -> None:
        self.open = 0

    @contextlib.contextmanager
    def present_session(self, former: Collection[int]) -> Iterator[tuple[Any, int]]:
        self.open += 1
        yield self, 7
        self.open -= 1

    def ask(self, command: str) -> str:
        return ""

    def follow(self, command: str) -> None:
        return None


def test_a_worker_is_let_go_where_there_is_no_thread_to_read_what_it_tells(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload has succeeded all the same."""
    text = tools.haproxy_config(_snapshot(model.AccessLog(protocol="TCP", address="198.19.10.99", port=601)))
    runtime, logs = Runtime(), former_logs.FormerLogs("", lambda: text, tmp_path)
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    with logs.beside(runtime, text, ()) as succeeded:  # type: ignore[arg-type]
        assert runtime.open == 2
        succeeded()
    assert runtime.open == 0


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def _snapshot(log: model.AccessLog | None) -> model.Snapshot:
    listener = builders.a_listener()
    return builders.a_snapshot(load_balancer=builders.a_load_balancer(access_log=log), listeners=[listener])
