"""Some thousand of the generated requests of `tests.fuzz` (`python -m tests.fuzz --count 100000` sends all that one wants to wait for)."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from controller.render import haproxy, safe
from tests import builders
from tests.functional.api.conftest import Api
from tests.fuzz import rendered
from tests.fuzz.run import Run


@pytest.mark.slow
def test_whatever_is_sent_breaks_nothing_and_becomes_no_line_of_a_configuration(api: Api, tmp_path: pathlib.Path) -> None:
    run = Run(api, 1, tmp_path)
    run.go(2500)
    assert run.failures == {}
    assert run.figures["POST 201"] > 250
    assert run.figures["PUT 200"] > 150
    assert run.figures["rendered"] > 50
    assert run.figures["rendered with TLS"] > 10
    assert run.figures["checked by keepalived"] > 3


def _snapshot(**fields: Any) -> Any:
    pool = builders.a_pool()
    listener = builders.a_listener(name="shop", default_pool_id=pool.id)
    policy = builders.an_l7policy(listener_id=listener.id, action="REDIRECT_TO_URL", redirect_url="http://x.example")
    rule = dataclasses.replace(builders.an_l7rule(l7policy_id=policy.id, type="PATH"), **fields)
    return builders.a_snapshot(listeners=[listener], pools=[pool], l7policies=[policy], l7rules=[rule])


@pytest.mark.parametrize("value", ["/api", "it's", "a # b", 'say "hi"', "$HOME", "\\"])
def test_a_value_in_its_place_is_found_to_be_one(value: str) -> None:
    assert rendered.checked(_snapshot(value=value))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("x\n    server evil 203.0.113.1:80", "lines instead of"),
        ("x or TRUE", "words"),
        ("x # y", "comment"),
        ('"$HOME"', "environment"),
        ("it's", "open quote"),
        ("a\x1bb", "x1b"),
    ],
)
def test_a_value_that_leaves_its_place_is_found(monkeypatch: pytest.MonkeyPatch, value: str, complaint: str) -> None:
    monkeypatch.setattr(safe, "quoted", lambda _field, written: written)
    with pytest.raises(rendered.Injected, match=complaint):
        rendered.checked(_snapshot(value=value))


@pytest.mark.parametrize("value", ["ECDHE-RSA-AES128-GCM-SHA256 verify none", "X\n    bind *:1", "X # y"])
def test_ciphers_that_leave_their_place_are_found(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    snapshot = _snapshot(value="/api")
    ending = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "local:1", "tls_ciphers": value}
    hostile = dataclasses.replace(snapshot, listeners=(dataclasses.replace(snapshot.listeners[0], **ending),))
    with pytest.raises(rendered.Injected, match="refused by the renderer"):
        rendered.checked(hostile)
    monkeypatch.setattr(safe, "ciphers", lambda _field, written: written)
    with pytest.raises(rendered.Injected, match=r"words|lines|comment"):
        rendered.checked(hostile)


def test_a_name_in_the_configuration_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = haproxy.config
    monkeypatch.setattr(haproxy, "config", lambda snapshot, *more: f"{real(snapshot, *more)}# {snapshot.listeners[0].name}\n")
    with pytest.raises(rendered.Injected, match="a name"):
        rendered.checked(_snapshot())


def test_what_the_renderer_refuses_should_not_have_been_accepted() -> None:
    with pytest.raises(rendered.Injected, match="refused by the renderer"):
        rendered.checked(_snapshot(value="a\nb"))
