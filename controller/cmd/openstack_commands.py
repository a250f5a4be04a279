"""`openstack figlina <resource> set`, `show` and `pool stats show`: what only we have, for whoever has the `openstack` command.

A plug-in of python-openstackclient, which logs in. Its options are made of the declarations: a field with `added=True` has one, if clients
may write it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from osc_lib import exceptions
from osc_lib.command import command

from controller.resources import catalog, kinds, l7policy, member, pool
from controller.resources.declare import Schema
from controller.resources.fields import Field

API_NAME = "figlina"
API_VERSION_OPTION = "os_figlina_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = (DEFAULT_API_VERSION,)
"""What python-openstackclient asks a plug-in for; commands stand in the entry points `openstack.figlina.v1`."""

_ACTIONS = {name: action for action, name in l7policy.TARGETS.items()}


def make_client(instance: Any) -> None:
    """None of its own: openstacksdk's is asked."""


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """No options that hold for all commands."""
    return parser


def added(schema: Schema) -> list[Field]:
    """The fields of a resource that only we have."""
    return [field for field in schema.fields.values() if field.added]


def settable(schema: Schema) -> list[Field]:
    """Those of them that clients write."""
    return [field for field in added(schema) if field.put]


KINDS = {schema.name: schema for schema in catalog.SCHEMAS if added(schema)}
"""The resources that have some, by their names."""


class Set(command.Command):
    """Of one resource."""

    schema: ClassVar[Schema]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """An option for each field, and one that unsets it."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("object", metavar="NAME_OR_ID")
        for field in settable(self.schema):
            option = field.name.replace("_", "-")
            is_object = (kinds.schema_of(field.kind) or {}).get("type") == "object"
            shown: dict[str, Any] = {"nargs": "+", "metavar": "KEY=VALUE"} if is_object else {"metavar": "VALUE"}
            parser.add_argument(f"--{option}", dest=field.name, help=f"{field.about} {example(field)}".replace("%", "%%"), **shown)
            parser.add_argument(f"--no-{option}", dest=f"no_{field.name}", action="store_true", help=f"Unset {field.name}.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Send the change."""
        changes = wanted(self.schema, vars(parsed_args))
        path = _find(self.app.client_manager, self.schema, parsed_args.object)
        _ask(self.app.client_manager, "PUT", path, json={self.schema.name: changes})


def _setting(kind: str) -> type[Set]:
    words = f"Set fields of a {kind} that only Figlina has, or unset them. A VALUE is JSON or text; @FILE is what is in a file."
    return type(f"Set{kind.title()}", (Set,), {"schema": KINDS[kind], "__doc__": words, "__module__": __name__})


SetLoadBalancer, SetListener, SetPool, SetHealthMonitor, SetL7Policy = map(
    _setting, ("loadbalancer", "listener", "pool", "healthmonitor", "l7policy")
)


class Show(command.ShowOne):
    """Show the fields that only Figlina has, those that are set or known; and the fault, where something could not be done."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The kind, and which one."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("kind", choices=sorted(KINDS))
        parser.add_argument("object", metavar="NAME_OR_ID")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        """Ask for it."""
        schema = KINDS[parsed_args.kind]
        found = _ask(self.app.client_manager, "GET", _find(self.app.client_manager, schema, parsed_args.object))[schema.name]
        own = [field.name for field in added(schema)]
        names = ["id", "name", *(name for name in (*own, "fault") if name in found)]
        return names, [found[name] for name in names]


class ShowPoolStats(command.ShowOne):
    """Show the traffic of a pool, or of one of its members."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Which pool, and which member."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("object", metavar="NAME_OR_ID")
        parser.add_argument("--member", metavar="NAME_OR_ID", help="Show that of this member only.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        """Ask for it."""
        clients = self.app.client_manager
        path = _find(clients, pool.SCHEMA, parsed_args.object)
        if parsed_args.member is not None:
            path = _find(clients, member.SCHEMA, parsed_args.member, path)
        found = _ask(clients, "GET", f"{path}/stats")["stats"]
        return list(found), list(found.values())


def wanted(schema: Schema, options: dict[str, Any]) -> dict[str, Any]:
    """The change that options ask for; an action that nothing but the field makes sense of comes with it.

    :raises CommandError: they ask for none, or a value is not what it should be.
    """
    changes: dict[str, Any] = {}
    for field in settable(schema):
        given = options[field.name]
        if options[f"no_{field.name}"]:
            changes[field.name] = None
        elif given is not None:
            changes[field.name] = _object(given) if isinstance(given, list) else _value(given)
            if field.name in _ACTIONS:
                changes["action"] = _ACTIONS[field.name]
    if not changes:
        raise exceptions.CommandError(f"Say what to set: {', '.join(f'--{field.name}'.replace('_', '-') for field in settable(schema))}")
    return changes


def _object(words: list[str]) -> dict[str, Any]:
    made = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise exceptions.CommandError(f"{word!r} should be KEY=VALUE")
        made[key] = _value(value)
    return made


def _value(text: str) -> Any:
    """JSON, or else the text itself; of a file, if it begins with `@`."""
    if text.startswith("@"):
        try:
            return pathlib.Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as exc:
            raise exceptions.CommandError(f"{text[1:]} can't be read: {exc}") from exc
    try:
        return json.loads(text)
    except ValueError:
        return text


def example(field: Field) -> str:
    """How its value is said."""
    value = kinds.example_of(field.kind)
    words = [f"{key}={_said(one)}" for key, one in value.items()] if isinstance(value, dict) else [_said(value)]
    return f"For example {shlex.join(words)}."


def _said(value: Any) -> str:
    """What `_value` reads as this."""
    return value if isinstance(value, str) else json.dumps(value)


def _find(clients: Any, schema: Schema, name_or_id: str, below: str = "") -> str:
    """Where the object is, `below` another one if need be.

    :raises CommandError: there is none, or there are several of that name.
    """
    for by in ("id", "name"):
        found = _ask(clients, "GET", f"{below}/{schema.collection}", params={by: name_or_id, "fields": "id"})[schema.collection]
        if len(found) > 1:
            raise exceptions.CommandError(f"There are {len(found)} of the name {name_or_id!r}: say which one by its id.")
        if found:
            return f"{below}/{schema.collection}/{found[0]['id']}"
    raise exceptions.CommandError(f"There is no {schema.name} {name_or_id!r}.")


def _ask(clients: Any, method: str, path: str, **how: Any) -> Any:
    """:raises CommandError: it is refused; with the API's own words."""
    answer = clients.sdk_connection.load_balancer.request(f"/lbaas{path}", method, raise_exc=False, **how)
    if answer.status_code >= 400:
        try:
            words = answer.json()["faultstring"]
        except (ValueError, KeyError, TypeError):
            words = answer.text or answer.reason
        raise exceptions.CommandError(f"{words} (HTTP {answer.status_code})")
    return answer.json()
