"""The import directions: who may import whom, and which library lives where."""

from __future__ import annotations

import ast
import functools
import pathlib
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent

ROWS = [
    {"cmd"},  # above `dev`, whose command line `figlina` wires; `dev` starts processes by name and imports none
    {"dev"},
    {"api", "worker", "health_manager", "housekeeping"},
    {"changes"},
    {"providers"},
    {"flows"},
    {"tasks", "services"},
    {"embedded"},  # a cloud of our own: its drivers fulfil contracts of `drivers`, and are found by entry points
    {"db", "drivers", "render"},
    {"jobs", "conf", "outages"},
    {"resources"},
    {"model", "exceptions", "clock", "deadlines"},
    {"refusals"},
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}

HOMES = {
    "sqlalchemy": {"db"},
    "alembic": {"db"},
    "taskflow": {"jobs", "worker", "flows", "tasks"},
    "flask": {"api"},
    "gunicorn": {"cmd"},
    "uvicorn": {"api", "cmd"},
    "keystonemiddleware": {"api"},
    "oslo_policy": {"api"},
    "openstack": {"drivers"},
    "jinja2": {"render"},
    "paramiko": {"drivers", "tasks"},
}

AGENT_MAY_USE = {"flask", "werkzeug", "amphora_agent"}
PROTOCOL_MAY_USE = {"amphora_agent"}


Import = tuple[pathlib.Path, int, str]
"""The module, the line, and the dotted name that it imports."""


@functools.cache
def _imports(folder: str) -> list[Import]:
    modules = sorted(path for path in (ROOT / folder).rglob("*.py") if "versions" not in path.parts)
    assert modules
    return [(path, line, name) for path in modules for line, name in _imported(path)]


def _imported(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _part(dotted: str) -> str | None:
    """The part of the controller that a dotted name belongs to: `controller.db.tables` -> `db`."""
    pieces = dotted.split(".")
    return pieces[1] if pieces[0] == "controller" and len(pieces) > 1 else None


def _home(path: pathlib.Path) -> str:
    """The part of the controller that a module belongs to."""
    return pathlib.Path(path.relative_to(ROOT / "controller").parts[0]).stem


def _told(found: list[tuple[Import, str]]) -> str:
    return "\n".join(f"{path.relative_to(ROOT)}:{line} imports {name}: {why}" for (path, line, name), why in found)


def test_a_module_imports_only_from_lower_rows() -> None:
    found: list[tuple[Import, str]] = []
    for one in _imports("controller"):
        part, other = _home(one[0]), _part(one[2])
        if part == "__init__" or other is None or other == part:
            continue
        if other not in RANK:
            found.append((one, "it stands in no row"))
        elif RANK[part] >= RANK[other]:
            found.append((one, f"{part} may import only from lower rows, never sideways"))
    assert not found, _told(found)


def test_each_library_stays_in_its_home() -> None:
    imported = [(one, HOMES.get(one[2].split(".")[0])) for one in _imports("controller")]
    found = [(one, f"its home is {sorted(home)}") for one, home in imported if home is not None and _home(one[0]) not in home]
    assert not found, _told(found)


def test_of_the_agent_the_controller_knows_only_the_protocol() -> None:
    foreign = [one for one in _imports("controller") if one[2].split(".")[0] == "amphora_agent"]
    found = [(one, "the controller knows only the protocol") for one in foreign if not one[2].startswith("amphora_agent.protocol")]
    assert not found, _told(found)


def test_the_agent_needs_little_and_nothing_of_the_controller() -> None:
    found: list[tuple[Import, str]] = []
    for one in _imports("amphora_agent"):
        allowed = PROTOCOL_MAY_USE if "protocol" in one[0].parts else AGENT_MAY_USE
        if one[2].split(".")[0] not in sys.stdlib_module_names | allowed:
            found.append((one, f"beside the standard library only {sorted(allowed)}"))
    assert not found, _told(found)
