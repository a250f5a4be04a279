"""Statuses: sets of them have a name and stand once, one module writes them, and it asks the tables that the documentation shows."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

from controller.db import tables
from controller.db.repositories import moves
from controller.model import status
from controller.model.status import AmphoraStatus, ProvisioningStatus
from tests import state_diagrams

Status = AmphoraStatus | ProvisioningStatus
ROOT = pathlib.Path(__file__).parents[4]
NAMES = {
    name: value
    for name, value in vars(status).items()
    if isinstance(value, frozenset) and all(isinstance(one, AmphoraStatus | ProvisioningStatus) for one in value)
}
ENUMERATIONS: dict[str, type[AmphoraStatus] | type[ProvisioningStatus]] = {
    "AmphoraStatus": AmphoraStatus,
    "_A": AmphoraStatus,
    "_S": AmphoraStatus,
    "ProvisioningStatus": ProvisioningStatus,
    "_P": ProvisioningStatus,
}


def _collections(path: pathlib.Path) -> Iterator[tuple[int, frozenset[Status]]]:
    """Lines on which several statuses are listed, and which."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            found = [_status(element) for element in node.elts]
            if len(found) > 1 and all(found):
                yield node.lineno, frozenset(one for one in found if one)


def _status(node: ast.expr) -> Status | None:
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name | ast.Attribute):
        return None
    enumeration = ENUMERATIONS.get(node.value.id if isinstance(node.value, ast.Name) else node.value.attr)
    return None if enumeration is None else enumeration.__members__.get(node.attr)


@pytest.mark.lengthy
def test_a_set_of_statuses_is_said_by_its_name() -> None:
    said = []
    modules = [path for folder in ("controller", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in modules:
        if path == pathlib.Path(status.__file__):
            continue
        for line, members in _collections(path):
            of_amphorae = all(isinstance(one, AmphoraStatus) for one in members)
            if name := _name(members) or ("give it a name" if of_amphorae else ""):
                said.append(f"{path.relative_to(ROOT)}:{line} lists {sorted(members)}: {name}")
    assert not said, "name sets of statuses in controller/model/status.py, once:\n" + "\n".join(said)


def _name(members: frozenset[Status]) -> str:
    """The name of a set; statuses of amphorae and of provisioning are spelled alike, and are not the same."""
    kind = type(next(iter(members)))
    return next((name for name, value in NAMES.items() if value == members and isinstance(next(iter(value)), kind)), "")


def test_no_two_names_mean_the_same_set() -> None:
    assert len(NAMES) > 6
    assert {name: _name(value) for name, value in NAMES.items()} == {name: name for name in NAMES}


WRITER = ROOT / "controller/db/repositories/moves.py"
COLUMNS = {"provisioning_status", "operating_status", "status"}


def _writes(path: pathlib.Path) -> Iterator[int]:
    """Lines on which a status column may be given a value: `values(status=…)`, and dictionaries that statements are made of."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
            yield from (node.lineno for keyword in node.keywords if keyword.arg in COLUMNS)
        elif isinstance(node, ast.Dict):
            yield from (node.lineno for key in node.keys if isinstance(key, ast.Constant) and key.value in COLUMNS)


def test_one_module_writes_statuses() -> None:
    """Beside `controller/db`, only the embedded cloud makes SQL (tests/test_architecture.py), and that on tables of its own."""
    modules = [path for path in sorted((ROOT / "controller/db").rglob("*.py")) if path != WRITER and "versions" not in path.parts]
    found = [f"{path.relative_to(ROOT)}:{line}" for path in modules for line in _writes(path) if path.name != "rows.py"]
    assert not found, f"only {WRITER.name} writes statuses, for it asks the tables of model/status.py: {', '.join(found)}"
    assert list(_writes(WRITER)), "this test no longer knows a write when it sees one"


LIVES = state_diagrams.LIVES


def test_every_status_is_in_the_life_of_its_object() -> None:
    missing = {
        name: [one for one in type(life.first) if not life.before(one) and one != life.first and all(row.old != one for row in life.rows)]
        for name, life in LIVES.items()
    }
    assert missing == {"load balancers": [], "children": [ProvisioningStatus.DELETED], "amphorae": [AmphoraStatus.READY]}


def test_a_deletion_is_never_taken_back() -> None:
    for life in (status.LOAD_BALANCER, status.CHILD):
        after = {row.new for row in life.rows if row.old in status.IN_DELETION}
        assert after <= {ProvisioningStatus.DELETED, None}


def test_nothing_comes_twice_and_reasons_can_be_drawn() -> None:
    for life in LIVES.values():
        pairs = [(row.old, row.new) for row in life.rows]
        assert len(pairs) == len(set(pairs))
        assert all(re.fullmatch(r"[a-z ,']+", row.reason) for row in life.rows), "Mermaid takes other signs for its own"
        assert life.allows(life.first, life.first)


def test_the_page_shows_the_tables() -> None:
    page = state_diagrams.PAGE.read_text()
    assert page == state_diagrams.filled(page), "python -m tests.state_diagrams writes the pictures anew"


def test_what_is_never_seen_can_not_be_written() -> None:
    with pytest.raises(ValueError, match="no row of l7rules is ever DRAINING"):
        moves.seen(tables.l7rules, status.OperatingStatus.DRAINING)
