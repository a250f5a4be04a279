"""What the matrices of slow tests are made of names all that is declared: a new field is missed here, not half an hour later."""

from __future__ import annotations

from tests.integration import effects


def test_each_field_that_can_be_changed_has_a_cell_from_each_state() -> None:
    changed = effects.changes()
    assert {change.kind for change in changed} == effects.SCHEMAS.keys()
    assert len({cell.port for cell in effects.cells()}) == len(changed) * len(effects.STATES)
