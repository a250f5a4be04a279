"""Some thousand of the generated requests of `tests.fuzz` (`python -m tests.fuzz --count 100000` sends all that one wants to wait for)."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from amphora_agent import datagram_shares
from controller.model.load_balancer import SessionPersistence
from controller.render import datagrams, haproxy, safe
from tests import builders
from tests.functional.api.conftest import Api
from tests.fuzz import rendered
from tests.fuzz.run import Run


@pytest.mark.slow
def test_whatever_is_sent_breaks_nothing_and_becomes_no_line_of_a_configuration(api: Api, tmp_path: pathlib.Path) -> None:
    run = Run(api, 1, tmp_path)
    run.go(3200)
    assert run.failures == {}
    assert run.figures["POST 201"] > 250
    assert run.figures["PUT 200"] > 150
    assert run.figures["rendered"] > 50
    assert run.figures["rendered with TLS"] > 10
    assert run.figures["checked by keepalived"] > 3
    assert run.figures["checked by nft"] > 10


def _services(**pool: Any) -> rendered.Texts:
    made = builders.a_pool(protocol="UDP", lb_algorithm="SOURCE_IP", **pool)
    listener = builders.a_listener(name="shop", protocol="UDP", default_pool_id=made.id)
    members = [builders.a_member(id=builders.an_id(f"m-{weight}"), pool_id=made.id, weight=weight) for weight in (256, 1)]
    return rendered.checked(builders.a_snapshot(listeners=[listener], pools=[made], members=members))


def test_a_number_that_nft_refuses_is_found(api: Api, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "_FOR_EVER", 2**31 - 1)
    found = [_services(session_persistence=SessionPersistence(type="SOURCE_IP", persistence_timeout=wanted)) for wanted in (60, 10**8)]
    good, bad = (one.services for one in found)
    other = tuple(dataclasses.replace(one, id=f"{one.id}-2", pool_id="other", port=one.port + 1) for one in good)
    run = Run(api, 1, tmp_path)
    run._check_datagrams([good, other])
    assert run.failures == {}
    run._check_datagrams([bad, other])
    assert ["value too large" in text for text in run.failures.values()] == [True]
    assert run.figures["failures"] == 1


def test_a_member_that_the_agent_can_not_leave_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    services = _services().services
    assert rendered.rules(services)
    real = datagram_shares.by_hash

    def fails(weights: datagram_shares.Weights, present: Collection[str]) -> Sequence[str]:
        if len(present) == 1:
            raise LookupError("nobody")
        return real(weights, present)

    monkeypatch.setattr(datagram_shares, "by_hash", fails)
    with pytest.raises(rendered.Injected, match="the agent fails: LookupError"):
        rendered.rules(services)


def test_a_name_in_what_is_told_of_datagrams_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = datagrams.config
    monkeypatch.setattr(datagrams, "config", lambda snapshot: f"{real(snapshot)}{snapshot.listeners[0].name}")
    with pytest.raises(rendered.Injected, match="a name"):
        _services()


def test_what_the_agent_can_not_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "config", lambda _snapshot: "[{}]")
    with pytest.raises(rendered.Injected, match="refused by the agent"):
        _services()


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
