"""What is offered is kept: what an operator can set is read, what a row can hold is written and read, what is shown is filled."""

from __future__ import annotations

import ast
import collections
import dataclasses
import fnmatch
import functools
import pathlib
import re
from collections.abc import Iterator

import pytest

from controller import conf as configuration
from controller.conf import service_auth
from controller.db import tables
from controller.model import amphora as amphora_model
from controller.resources import catalog
from controller.resources.amphora import SCHEMA as AMPHORA

pytestmark = pytest.mark.lengthy

ROOT = pathlib.Path(__file__).parents[2]
SHORTEST_PATTERN = 7
SECTIONS = ("section", "options", "api", "self._api", "self._options")
"""How a section of the configuration is called where it is handed on."""


@dataclasses.dataclass(frozen=True)
class Module:
    """What a module says: attributes that it reads, names that it hands on by keyword or as a key, and strings."""

    path: str
    reads: frozenset[str]
    gives: frozenset[str]
    strings: frozenset[str]  # `*` for what is put in
    asks_by_name: bool
    of_a_section: frozenset[str]  # what it reads of something that is called a section of the configuration

    def may_ask_for(self, name: str) -> bool:
        """Whether it asks for an attribute whose name is a string of its own, or is put together from one."""
        patterns = [text for text in self.strings if "*" in text and len(text) >= SHORTEST_PATTERN]
        return self.asks_by_name and (name in self.strings or any(fnmatch.fnmatch(name, pattern) for pattern in patterns))


def _module(path: pathlib.Path) -> Module:
    reads, gives, strings, asks_by_name, of_a_section = set(), set(), set(), False, set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()):
                reads.add(name)
                if ast.unparse(node.value) in SECTIONS:
                    of_a_section.add(name)
            case ast.keyword(arg=str(name)):
                gives.add(name)
            case ast.Dict(keys=keys):
                gives.update(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
            case ast.JoinedStr(values=values):
                strings.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in values))
            case ast.Constant(value=str(text)):
                strings.add(text)
            case ast.Name(id="getattr") | ast.Subscript(value=ast.Attribute(), slice=ast.Name(), ctx=ast.Load()):
                asks_by_name = True
    return Module(
        str(path.relative_to(ROOT)), frozenset(reads), frozenset(gives), frozenset(strings), asks_by_name, frozenset(of_a_section)
    )


@functools.cache
def _modules() -> tuple[Module, ...]:
    return tuple(_module(path) for path in sorted((ROOT / "controller").rglob("*.py")) if "versions" not in path.parts)


def _elsewhere(*places: str) -> Iterator[Module]:
    return (module for module in _modules() if not module.path.startswith(places))


def _options() -> list[tuple[str, str]]:
    return [(group, option.dest) for group, options in configuration.list_opts() for option in options]


@functools.cache
def _declared() -> frozenset[tuple[str, str]]:
    """Options that the declarations of fields name as their defaults: read by those names, and stored where clients say nothing."""
    fields = (field for schema in catalog.SCHEMAS for field in schema.fields.values())
    return frozenset((field.operator.group, field.operator.option) for field in fields if field.operator is not None)


@pytest.mark.parametrize(("group", "option"), _options())
def test_every_option_is_read(group: str, option: str) -> None:
    """By a module that also reads the option's section, or is handed it; `figlina dev`, which only writes options, does not count."""
    others = list(_elsewhere("controller/conf/", "controller/dev/"))
    if (group, option) in _declared():
        assert any("unsaid" in module.reads for module in others)
        return
    if group == service_auth.GROUP and option not in ("cloud", "region_name"):  # keystoneauth's own, which it reads itself
        assert any({"load_auth_from_conf_options", "load_session_from_conf_options"} <= module.reads for module in others)
        return
    readers = [module.path for module in others if group in module.reads and (option in module.reads or module.may_ask_for(option))]
    readers += [module.path for module in others if option in module.of_a_section]
    assert readers, f"[{group}] {option} is offered and nothing reads it: keep what it promises, or take it away"


def _settings() -> list[tuple[str, str, str]]:
    """Fields of the values that processes are configured with: file, class, field."""
    found = []
    for path in sorted((ROOT / "controller").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if re.search(r"^ *class \w*(Settings|Options|Renewals)\b", text, re.MULTILINE) else ():
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Settings", "Options", "Renewals")):
                fields = [one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
                found += [(str(path.relative_to(ROOT)), node.name, field) for field in fields]
    return found


@pytest.mark.parametrize(("path", "owner", "field"), _settings())
def test_every_value_of_a_configuration_is_used(path: str, owner: str, field: str) -> None:
    assert any(field in module.reads for module in _modules()), f"{owner}.{field} ({path}) is set and nobody asks for it"


def _columns() -> list[tuple[str, str]]:
    return [(table.name, column.name) for table in tables.metadata.sorted_tables for column in table.columns]


@pytest.mark.parametrize(("table", "column"), _columns())
def test_every_column_is_written_and_read(table: str, column: str) -> None:
    schema = ("controller/db/tables.py", "controller/db/rows.py", "controller/model/")
    written = [module.path for module in _elsewhere(*schema) if column in module.gives or column in module.strings]
    assert written, f"nothing writes {table}.{column}"
    read = [module.path for module in _elsewhere(*schema) if column in module.reads or column in module.strings]
    assert read, f"nothing reads {table}.{column}"


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(amphora_model.Amphora)])
def test_every_field_of_an_amphora_is_given_a_value_and_is_of_use(field: str) -> None:
    """The forgotten row does not count: it says only what a row is before anything is known."""
    unknown = ("controller/db/tables.py", "controller/db/rows.py", "controller/model/", "controller/db/repositories/snapshots.py")
    given = [module.path for module in _elsewhere(*unknown) if field in module.gives or field in module.strings]
    assert given, f"an amphora's {field} is never anything but empty"
    used = [module.path for module in _elsewhere(*unknown) if field in module.reads or field in module.strings]
    assert used, f"nothing asks for an amphora's {field}"


def test_everything_that_is_shown_of_an_amphora_is_set_by_a_step() -> None:
    """Not only by the row's beginning (`repositories/amphorae.py`), which says what is not known yet."""
    writers = [module for module in _modules() if module.path.startswith(("controller/tasks/", "controller/db/repositories/"))]
    by_steps = {name for module in writers if not module.path.endswith("/amphorae.py") for name in module.gives}
    shown = {field.column or field.name for field in AMPHORA.fields.values()}
    assert shown - by_steps - {"id", "created_at", "updated_at", "status", "role"} == set()


CALLED_FROM_OUTSIDE = {
    "store_bundle": "puts a secret into a store of ours: whoever runs the store does, through the contract that all stores have",
    "store_secret": "the same for one word",
    "set_task_progress": "taskflow asks for it by name",
    "make_client": "python-openstackclient asks a plug-in for it",
    "build_option_parser": "the same",
}
"""What nothing of the product calls by its name, and why it is there."""


def _definitions() -> Iterator[tuple[str, str]]:
    """Functions, methods and classes that no decorator hands to a framework: file and name."""
    for path in sorted([*(ROOT / "controller").rglob("*.py"), *(ROOT / "amphora_agent").rglob("*.py")]):
        if "migrations" in path.parts or path.name in ("fake.py", "script.py"):  # what steers a fake is for tests
            continue
        foreign = _overrides(ast.parse(path.read_text()))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name in foreign or node.name.startswith("__"):
                continue
            if all("(" not in ast.unparse(one) and "blueprint" not in ast.unparse(one) for one in node.decorator_list):
                yield str(path.relative_to(ROOT)), node.name


def _overrides(module: ast.Module) -> set[str]:
    """Methods of classes that are derived from somebody else's, who calls them."""
    derived = [node for node in ast.walk(module) if isinstance(node, ast.ClassDef) and any("." in ast.unparse(base) for base in node.bases)]
    return {one.name for node in derived for one in node.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")}


@functools.cache
def _words() -> collections.Counter[str]:
    """How often each word stands in the product, but for where it is defined."""
    places = [*(ROOT / "controller").rglob("*.py"), *(ROOT / "amphora_agent").rglob("*.py"), *(ROOT / "controller").rglob("*.j2")]
    text = "\n".join(path.read_text() for path in [*places, ROOT / "setup.cfg"])
    return collections.Counter(re.findall(r"\w+", re.sub(r"\b(def|class) \w+", "", text)))


def test_everything_defined_is_used() -> None:
    """By its name, somewhere in the product: a test is no use of it."""
    dead = [f"{path}: {name}" for path, name in _definitions() if not _words()[name] and name not in CALLED_FROM_OUTSIDE]
    assert not dead, f"nothing calls {dead}: remove it, with its tests"
