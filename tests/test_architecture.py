"""The import directions: who may import whom, and which library lives where."""

from __future__ import annotations

import ast
import functools
import pathlib
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent

ROWS = [
    {"cmd"},  # above `dev`, whose command line `figlina` wires; `dev` starts processes by name and imports none
    {"dev", "deployment"},
    {"api", "worker", "health_manager", "housekeeping"},
    {"changes"},
    {"providers"},
    {"flows"},
    {"tasks"},
    {"services"},
    {"embedded"},  # a cloud of our own: its drivers fulfil contracts of `drivers`, and are found by entry points
    {"db", "drivers", "render"},
    {"openstack"},
    {"jobs", "conf", "outages"},
    {"resources"},
    {"model", "exceptions", "clock", "deadlines", "answers", "threads"},
    {"refusals"},
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}

LAYERS = {
    "api": [
        {"app"},
        {"lbaasv2"},
        {"v2", "networking", "documentation"},
        {"gate", "openapi", "paging", "nouns"},
        {"discovery", "errors"},
        {"middleware"},
        {"current"},
        {"policy", "serving", "keystone"},
        {"docs_viewer", "examples", "operations", "policies", "settings"},
    ],
    "changes": [
        {"load_balancers"},
        {"fully_populated", "member_batch"},
        {"listeners", "members", "health_monitors", "l7rules", "vip"},
        {"l7policies", "placement", "offerings"},
        {"access_logs", "pools", "quotas", "amphorae", "secrets"},
        {"certificates", "client_ips", "visibility"},
        {"asking", "tls"},
        {"dialect", "regular_expressions", "settings"},
    ],
    "providers": [{"amphora"}, {"amphora_profiles"}, {"interface"}],
    "embedded": [
        {"bridge", "namespace", "qemu", "scratch"},
        {"network", "bridges", "machines"},
        {"front", "filter_audit"},
        {"packet_filter"},
        {"vip_groups", "tenant_ports", "tenant_routers"},
        {"tenant_groups", "router_namespaces", "marks"},
        {"filter_parts", "tenant_documents", "inventory", "attributes", "lists"},
        {"contents"},
        {"linux", "networking", "rows"},
        {"tables"},
    ],
    "deployment": [
        {"checks", "removal"},
        {"prepare"},
        {"identity", "networks", "own"},
        {"machines"},
        {"site"},
        {"report", "written"},
    ],
    "drivers": [{"amphora"}, {"ca", "compute", "network", "secrets"}, {"files", "script"}],
}
"""The same inside a part of the controller, by the names of its modules and packages; `__init__` stands above them all."""

HOMES = {
    "sqlalchemy": {"db", "embedded"},
    "alembic": {"db"},
    "taskflow": {"jobs", "worker", "flows", "tasks"},
    "flask": {"api"},
    "werkzeug": {"api"},
    "gunicorn": {"cmd"},
    "httptools": {"api"},
    "uvloop": {"cmd"},
    "keystonemiddleware": {"api"},
    "oslo_middleware": {"api"},
    "oslo_policy": {"api"},
    "openstack": {"openstack"},
    "osc_lib": {"cmd"},
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
    """Wherever they stand: at the top, in a function, or for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _part(dotted: str, inside: str = "controller") -> str | None:
    """The part of the controller that a dotted name belongs to: `controller.db.tables` -> `db`; inside of `controller.db`: `tables`."""
    pieces = dotted.removeprefix(f"{inside}.").split(".")
    return pieces[0] if dotted.startswith(f"{inside}.") else None


def _home(path: pathlib.Path) -> str:
    """The part of the controller that a module belongs to."""
    return pathlib.Path(path.relative_to(ROOT / "controller").parts[0]).stem


def _told(found: list[tuple[Import, str]]) -> str:
    return "\n".join(f"{path.relative_to(ROOT)}:{line} imports {name}: {why}" for (path, line, name), why in found)


@pytest.mark.lengthy
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


@pytest.mark.parametrize("part", LAYERS)
def test_inside_a_part_imports_go_downwards_too(part: str) -> None:
    rank = {name: number for number, row in enumerate(LAYERS[part]) for name in row}
    found: list[tuple[Import, str]] = []
    for one in _imports(f"controller/{part}"):
        own = pathlib.Path(one[0].relative_to(ROOT / "controller" / part).parts[0]).stem
        other = _part(one[2], f"controller.{part}")
        if own == "__init__" or other is None or other == own:
            continue
        if rank.get(own, -1) >= rank.get(other, len(rank)):
            found.append((one, f"{own} may import only from lower layers of {part}"))
    assert not found, _told(found)
    modules = {path.stem for path in (ROOT / "controller" / part).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules - {"__init__"} == set(rank), f"modules of {part}, and those in its layers"


@pytest.mark.lengthy
def test_no_module_of_ours_is_imported_behind_the_back_of_this_test() -> None:
    """Neither by a relative name, nor as `import controller`, nor by a name that a program makes."""
    found = []
    for path in sorted((ROOT / "controller").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (
                node.level or (node.module == "controller" and any(one.name == "*" for one in node.names))
            ):
                found.append((path, node.lineno, "a relative import, or a star"))
            elif isinstance(node, ast.Import) and any(one.name == "controller" for one in node.names):
                found.append((path, node.lineno, "import controller"))
            elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__", "resolve_name", "run_module"):
                found.append((path, node.lineno, "a module by a name that a program makes"))
    assert not found, "\n".join(f"{path.relative_to(ROOT)}:{line}: {what}" for path, line, what in found)


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def test_the_checks_see_imports_wherever_they_stand(tmp_path: pathlib.Path) -> None:
    module = tmp_path / "late.py"
    module.write_text("def late():\n    from controller.api import app\n    import controller.cmd.api\n")
    assert [name for _, name in _imported(module)] == ["controller.api.app", "controller.cmd.api"]


def test_every_section_of_the_configuration_is_registered() -> None:
    sections = {path.stem for path in (ROOT / "controller" / "conf").glob("*.py")} - {"__init__", "declared"}
    assert {_part(one[2], "controller.conf") for one in _imports("controller/conf") if one[0].name == "__init__.py"} - {None} == sections


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
