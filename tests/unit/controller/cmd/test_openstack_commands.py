"""`openstack figlina ...`: every field that only we have can be set by it, and says what it wants."""

from __future__ import annotations

import argparse
import configparser
import importlib
import pathlib
import shlex
from typing import Any
from unittest import mock

import pytest
from osc_lib import exceptions

from controller.cmd import openstack_commands
from controller.resources import catalog, kinds
from controller.resources.declare import Schema
from controller.resources.fields import Field

FIELDS = [(schema, field) for schema in catalog.SCHEMAS for field in schema.fields.values() if field.added and field.put]
EVERY = pytest.mark.parametrize(("schema", "field"), FIELDS, ids=lambda one: one.name)
SETUP = pathlib.Path(__file__).parents[4] / "setup.cfg"


def _commands() -> dict[str, Any]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read(SETUP)
    lines = parser["options.entry_points"]["openstack.figlina.v1"].split("\n")
    pairs = (line.split(" = ") for line in lines if line)
    return {name: getattr(importlib.import_module(where.partition(":")[0]), where.partition(":")[2]) for name, where in pairs}


def _parsed(schema: Schema, *words: str) -> dict[str, Any]:
    command = _commands()[f"figlina_{schema.name}_set"](None, None)
    parsed: dict[str, Any] = vars(command.get_parser("set").parse_args(["it", *words]))
    return parsed


def test_there_is_a_command_for_each_resource_that_has_such_fields() -> None:
    others = {"figlina_show", "figlina_pool_stats_show"}
    assert _commands().keys() == others | {f"figlina_{schema.name}_set" for schema, _ in FIELDS}
    for name, made in _commands().items():
        if name not in others:
            assert name == f"figlina_{made.schema.name}_set"


@EVERY
def test_the_example_of_a_field_can_be_said(schema: Schema, field: Field) -> None:
    option = f"--{field.name.replace('_', '-')}"
    example = kinds.example_of(field.kind)
    words = openstack_commands.example(field).removeprefix("For example ").removesuffix(".")
    changes = openstack_commands.wanted(schema, _parsed(schema, option, *shlex.split(words)))
    assert changes[field.name] == example
    assert field.kind(changes[field.name]) is not None
    assert openstack_commands.wanted(schema, _parsed(schema, f"--no-{option[2:]}")) == {field.name: None}


def test_values_are_json_text_or_what_is_in_a_file(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<h1>Zürück um 12</h1>\n", encoding="utf-8")
    schema = openstack_commands.KINDS["listener"]
    said = ["--error-page", f"body=@{page}", "content_type=text/html", "--rate-limit", "requests=20", "period=3"]
    assert openstack_commands.wanted(schema, _parsed(schema, *said)) == {
        "error_page": {"body": "<h1>Zürück um 12</h1>\n", "content_type": "text/html"},
        "rate_limit": {"requests": 20, "period": 3},
    }
    policy = openstack_commands.KINDS["l7policy"]
    changes = openstack_commands.wanted(policy, _parsed(policy, "--fixed-response", "status=204"))
    assert changes == {"fixed_response": {"status": 204}, "action": "FIXED_RESPONSE"}, "no other command knows the action"


@pytest.mark.parametrize("kind", ["listener", "pool"])
def test_what_clients_do_not_write_is_shown_and_can_not_be_set(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema = openstack_commands.KINDS[kind]
    assert "certificate_expires_at" in [field.name for field in openstack_commands.added(schema)]
    for option in ("--certificate-expires-at", "--no-certificate-expires-at"):
        with pytest.raises(SystemExit):
            _parsed(schema, option, "2030-01-01")
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["servers"], ["servers", "--member", "web-1"]])
def test_statistics_of_pools_and_members_are_shown_by_name_or_id(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    names = {"servers": "p1", "web-1": "m1"}
    counted = {"bytes_in": 7, "bytes_out": 8}
    asked = []

    def ask(clients: Any, method: str, path: str, **how: Any) -> Any:
        asked.append(path)
        if path.endswith("/stats"):
            return {"stats": counted}
        found = names.get(how["params"].get("name"))
        return {path.rpartition("/")[2]: [{"id": found}] if found else []}

    monkeypatch.setattr(openstack_commands, "_ask", ask)
    command = _commands()["figlina_pool_stats_show"](mock.Mock(), None)
    shown = command.take_action(command.get_parser("show").parse_args(words))
    assert shown == (["bytes_in", "bytes_out"], [7, 8])
    assert asked[-1] == ("/pools/p1/members/m1/stats" if len(words) > 1 else "/pools/p1/stats")


def test_a_fault_is_shown_beside_our_own_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"code": "certificate_missing", "message": "it is not served"}
    stored = {"id": "1", "name": "web", "rate_limit": None, "fault": fault, "protocol": "HTTP"}
    monkeypatch.setattr(openstack_commands, "_find", lambda *_: "/listeners/1")
    monkeypatch.setattr(openstack_commands, "_ask", lambda *_: {"listener": stored})
    shown = openstack_commands.Show(mock.Mock(), None).take_action(argparse.Namespace(kind="listener", object="web"))
    assert dict(zip(*shown, strict=True)) == {"id": "1", "name": "web", "rate_limit": None, "fault": fault}


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([], "Say what to set: --rate-limit, --error-page"),
        (["--rate-limit", "20"], "'20' should be KEY=VALUE"),
        (["--error-page", "body=@/nowhere"], "/nowhere can't be read"),
    ],
)
def test_it_says_what_is_wrong(said: list[str], sentence: str) -> None:
    schema = openstack_commands.KINDS["listener"]
    with pytest.raises(exceptions.CommandError, match=sentence):
        openstack_commands.wanted(schema, _parsed(schema, *said))
