"""Sets of statuses have a name, and stand once."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

from controller.model import status
from controller.model.status import AmphoraStatus, ProvisioningStatus

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
