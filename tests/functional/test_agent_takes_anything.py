"""Whatever is put to an agent is answered, and never with a fault of its own: generated bodies, one wrong place or several in each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import flask.testing
import hypothesis
import pytest
from hypothesis import strategies as st

from amphora_agent import configuration, identity, interfaces, load_balancer, orders, system
from amphora_agent.api import app
from amphora_agent.protocol import boot, rest
from tests import recorded
from tests.integration import agent_amphora

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
ID = "11111111-2222-4333-8444-555555555555"
BOOTED = boot.BootConfig(
    amphora_id="aaaaaaaa-0000-4000-8000-000000000001",
    management_address="192.0.2.1/24",
    management_mac="02:00:00:00:00:01",
    management_mtu=1500,
    health_managers=(("192.0.2.2", 5555),),
    heartbeat_key="00" * 32,
    haproxy_command="false",  # refuses everything that comes so far
    keepalived_command="false",
)
WANTED = rest.WantedState(
    load_balancer_id=ID,
    generation=1,
    programs={"haproxy": (GOLDEN / "http-single.cfg").read_text(), "keepalived": (GOLDEN / "vrrp-ipv4-master.conf").read_text()},
    peer_name="peer",
    interfaces=(
        rest.Interface(
            mac="02:00:00:00:00:02", name="eth1", mtu=1500, addresses=("10.0.0.1/24",), routes=(rest.Route("default", "10.0.0.254"),)
        ),
    ),
    certificates=(f"{'0' * 64}.pem",),
)
STATUSES = {200, 204, 400, 404, 409, 413, 422, 428}


class Nics(interfaces.Interfaces):
    """Has whatever it is told to have."""

    def ensure(self, wanted: Any) -> None:
        for interface in wanted:
            assert isinstance(interface, rest.Interface)

    def take_vips(self, wanted: Any) -> None:
        """Without a namespace."""

    def drop(self, known: Any, wanted: Any) -> None:
        """Without a namespace."""

    def drop_vips(self, known: Any) -> None:
        """Without a namespace."""


def an_agent(folder: pathlib.Path, booted: boot.BootConfig = BOOTED) -> flask.testing.FlaskClient:
    authority = agent_amphora.Authority("anybody")
    certificates = folder / "certs"
    certificates.mkdir()
    (certificates / "server.pem").write_bytes(authority.issue("agent"))
    (certificates / "client_roots.pem").write_bytes(authority.root)
    balancer = load_balancer.LoadBalancer(booted, folder / "state", folder / "run", Nics())
    own = identity.Identity(certificates, folder / "state", folder / "run")
    return app.create_app(
        booted, configuration.Kept(booted, folder / "state"), own, balancer, 0.0, orders.Orders(folder / "state")
    ).test_client()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> flask.testing.FlaskClient:
    return an_agent(tmp_path_factory.mktemp("agent"))


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64, -1, 10**400, 1e308, -0.0]),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["\x00", "\ud800", "10.0.0.1", "::1/129", "10.0.0.1/33", "global\n lua-load /x", "}", "default", "a" * 5000]),
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)), max_leaves=8
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a document."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in items for place in _places(value, (*path, key)))]


def _changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    inner = document
    for key in path[:-1]:
        if not _has(inner, key):
            return document  # an earlier change took the place away
        inner = inner[key]
    if _has(inner, path[-1]):
        inner[path[-1]] = value
    return document


def _has(data: Any, key: Any) -> bool:
    """Whether JSON can have something there: a dictionary of Python would take a number for a key as well."""
    return key in data if isinstance(data, dict) else isinstance(data, list) and isinstance(key, int) and key < len(data)


def _documents(base: Any) -> st.SearchStrategy[Any]:
    changes = st.lists(st.tuples(st.sampled_from(_places(base)), _VALUES), min_size=1, max_size=3)

    def apply(some: list[tuple[tuple[Any, ...], Any]]) -> Any:
        document = json.loads(json.dumps(base))
        for path, value in some:
            document = _changed(document, path, value)
        return document

    return changes.map(apply)


def _hash(data: Any) -> Any:
    """With the hash that fits, as far as there can be one: else nothing would be looked at."""
    if isinstance(data, dict):
        body = {key: value for key, value in data.items() if key not in ("hash", "generation")}
        data = {**data, "hash": hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()}
    return data


def _put(agent: flask.testing.FlaskClient, path: str, body: bytes) -> int:
    answer = agent.put(path, data=body)
    assert answer.status_code in STATUSES, (answer.status_code, answer.data, body[:2000])
    if answer.status_code >= 400:
        assert answer.json is not None
        assert answer.json["message"]
    return answer.status_code


def test_a_usual_state_gets_as_far_as_the_programs(agent: flask.testing.FlaskClient) -> None:
    path = rest.load_balancer_path(ID)
    assert _put(agent, path, WANTED.dump()) == rest.MISSING_CERTIFICATES
    assert _put(agent, path, dataclasses.replace(WANTED, certificates=()).dump()) == rest.CONFIG_REFUSED


@pytest.mark.lengthy
@hypothesis.settings(max_examples=300)
@hypothesis.given(_documents(json.loads(dataclasses.replace(WANTED, certificates=()).dump())))
def test_no_wanted_state_is_a_fault_of_the_agents(agent: flask.testing.FlaskClient, document: Any) -> None:
    _put(agent, rest.load_balancer_path(ID), json.dumps(_hash(document)).encode())


@pytest.mark.lengthy
@hypothesis.settings(max_examples=200)
@hypothesis.given(_documents(json.loads(BOOTED.agent.dump())))
def test_no_configuration_is_a_fault_of_the_agents(agent: flask.testing.FlaskClient, document: Any) -> None:
    _put(agent, rest.CONFIG_PATH, json.dumps(document).encode())


_BODIES = (b"\xff", b'{"x.pem": 1}', b'{"x.pem": "\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000)


@hypothesis.given(st.one_of(st.binary(max_size=200), st.sampled_from(_BODIES)), st.data())
def test_no_body_is_a_fault_of_the_agents(agent: flask.testing.FlaskClient, body: bytes, data: st.DataObject) -> None:
    name = f"{hashlib.sha256(body).hexdigest()}.pem"
    paths = [
        rest.load_balancer_path(ID),
        rest.CONFIG_PATH,
        rest.IDENTITY_PATH,
        rest.certificates_path(ID),
        rest.certificate_path(ID, name),
        rest.certificate_path(ID, "x.pem"),
    ]
    _put(agent, data.draw(st.sampled_from(paths)), body)


@pytest.mark.parametrize("mtu", [0, -1, 67, 65536, 2**31])
def test_an_impossible_mtu_is_named(agent: flask.testing.FlaskClient, mtu: int) -> None:
    wanted = dataclasses.replace(WANTED, certificates=(), interfaces=(dataclasses.replace(WANTED.interfaces[0], mtu=mtu),))
    answer = agent.put(rest.load_balancer_path(ID), data=wanted.dump())
    assert answer.status_code == 400
    assert answer.json is not None
    assert f"{mtu} is no MTU" in answer.json["message"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [("/nowhere/haproxy", "No such file"), ("hangs", "no answer within"), ("dies", "ended by signal 9"), ("refuses", None)],
)
def test_what_became_of_a_program_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, command: str, reason: str | None
) -> None:
    """A program that says nothing has refused nothing."""
    scripts = {"hangs": "exec sleep 60", "dies": "kill -9 $$", "refuses": f"cat <<'E'\n{recorded.haproxy('refused').strip()}\nE\nexit 1"}
    if command in scripts:
        script = tmp_path / command
        script.write_text(f"#!/bin/sh\n{scripts[command]}\n")
        script.chmod(0o755)
        command = str(script)
    run = system.run
    monkeypatch.setattr(system, "run", lambda command, stdin=None, timeout=1.0: run(command, stdin, 1.0))
    client = an_agent(tmp_path, dataclasses.replace(BOOTED, haproxy_command=command))
    alone = dataclasses.replace(WANTED, certificates=(), programs={"haproxy": WANTED.programs["haproxy"]})
    answer = client.put(rest.load_balancer_path(ID), data=alone.dump())
    assert answer.json is not None
    if reason is None:
        assert (answer.status_code, answer.json["details"]) == (rest.CONFIG_REFUSED, recorded.refusal())
    else:
        assert answer.json["code"] == rest.PROGRAM_FAILED
        assert reason in answer.json["message"]
        assert str(tmp_path) not in answer.json["message"]
