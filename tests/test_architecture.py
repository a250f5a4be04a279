"""The import directions: who may import whom, and which library lives where."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent

ROWS = [
    {"cmd"},  # above `dev`, whose command line `figlina` wires; `dev` starts processes by name and imports none
    {"dev"},
    {"api", "worker", "health_manager", "housekeeping"},
    {"flows"},
    {"tasks", "services"},
    {"db", "drivers", "render"},
    {"jobs", "conf"},
    {"model", "exceptions"},
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}

HOMES = {
    "sqlalchemy": {"db"},
    "alembic": {"db"},
    "taskflow": {"jobs", "worker", "flows", "tasks"},
    "flask": {"api"},
    "gunicorn": {"cmd"},
    "keystonemiddleware": {"api"},
    "oslo_policy": {"api"},
    "openstack": {"drivers"},
    "jinja2": {"render"},
    "paramiko": {"drivers", "tasks"},
}

AGENT_MAY_USE = {"flask", "werkzeug", "amphora_agent"}
PROTOCOL_MAY_USE = {"amphora_agent"}


def _modules(folder: str) -> list[pathlib.Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "versions" not in path.parts)


def _imports(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _part(dotted: str) -> str | None:
    """The part of the controller that a dotted name belongs to: `controller.db.tables` -> `db`."""
    pieces = dotted.split(".")
    return pieces[1] if pieces[0] == "controller" and len(pieces) > 1 else None


@pytest.mark.parametrize("path", _modules("controller"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_rows(path: pathlib.Path) -> None:
    inside = path.relative_to(ROOT / "controller").parts
    part = pathlib.Path(inside[0]).stem
    if part == "__init__":
        return
    for line, name in _imports(path):
        other = _part(name)
        if other is None or other == part:
            continue
        assert other in RANK, f"{path}:{line} imports {name}, which stands in no row"
        assert RANK[part] < RANK[other], f"{path}:{line}: {part} must not import {name}: only from lower rows, never sideways"


@pytest.mark.parametrize("path", _modules("controller"), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_stays_in_its_home(path: pathlib.Path) -> None:
    part = pathlib.Path(path.relative_to(ROOT / "controller").parts[0]).stem
    for line, name in _imports(path):
        home = HOMES.get(name.split(".")[0])
        assert home is None or part in home, f"{path}:{line} imports {name}, whose home is {sorted(home or ())}"


@pytest.mark.parametrize("path", _modules("controller"), ids=lambda path: str(path.relative_to(ROOT)))
def test_of_the_agent_the_controller_knows_only_the_protocol(path: pathlib.Path) -> None:
    for line, name in _imports(path):
        assert not name.startswith("amphora_agent") or name.startswith("amphora_agent.protocol"), f"{path}:{line} imports {name}"


@pytest.mark.parametrize("path", _modules("amphora_agent"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_agent_needs_little_and_nothing_of_the_controller(path: pathlib.Path) -> None:
    import sys

    allowed = PROTOCOL_MAY_USE if "protocol" in path.parts else AGENT_MAY_USE
    for line, name in _imports(path):
        library = name.split(".")[0]
        assert library in sys.stdlib_module_names or library in allowed, f"{path}:{line} imports {name}"
