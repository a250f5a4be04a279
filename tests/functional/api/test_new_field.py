"""A field is one declaration: with one more line in the product, a listener has it wherever a field can be."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[3]
WHERE = '        Field(\n            "default_pool_id",\n'
DECLARED = (
    'Field(name="idle_limit", kind=kinds.integer(-1, 1000), about="Requests per second; -1: as many as come.", default=-1, lbaasv2=also()),'
)
BY_OPERATOR = (
    'Field(name="idle_limit", kind=kinds.integer(-1, 1000), about="Requests per second.", operator=Operator(group="haproxy_amphora", '
    'option="default_idle_limit", default=300, lowest=1, help="Requests per second of a listener that says nothing."), lbaasv2=also()),'
)


def _with_one_line_more(folder: pathlib.Path, line: str) -> Any:
    """Copy the product, add the line to the declaration of a listener, and see what comes of it."""
    shutil.copytree(ROOT / "controller", folder / "controller", ignore=shutil.ignore_patterns("__pycache__"))
    declaration = folder / "controller" / "resources" / "listener.py"
    text = declaration.read_text()
    assert text.count(WHERE) == 1
    declaration.write_text(text.replace(WHERE, f"        {line}\n{WHERE}"))
    command = [sys.executable, "-m", "tests.functional.api.new_field_site"]
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    found = json.loads(ran.stdout)
    assert found["package"].startswith(str(folder))
    return found


@pytest.mark.lengthy
def test_one_declaration_is_a_field_of_the_api_the_document_lbaas_v2_and_the_row(tmp_path: pathlib.Path) -> None:
    found = _with_one_line_more(tmp_path, DECLARED)
    reason = "Value should be greater or equal to -1"
    assert found["api"] == {
        "silent": -1,
        "created": 500,
        "row": 500,
        "found": [81],
        "sorted": [500, 9, -1],
        "changed": 7,
        "shown": 7,
        "unset": -1,
        "refused": f"Invalid input for field/attribute idle_limit. Value: '-2'. {reason}",
        "lbaasv2": 9,
        "lbaasv2 found": True,
        "lbaasv2 refused": f"Invalid input for idle_limit. Reason: '-2': {reason}.",
    }
    words = {"description": "Requests per second; -1: as many as come.", "examples": [10]}
    kind = {"type": ["integer", "null"], "minimum": -1, "maximum": 1000}
    assert found["document"] == {
        "listener": {**kind, **words, "examples": [-1]},
        "listener_create": {**kind, **words, "default": -1},
        "listener_update": {**kind, **words},
        "whole": {**kind, **words, "default": -1},
        "filter": [{"type": "integer", "minimum": -1, "maximum": 1000}],
    }
    column = "sa.Column('idle_limit', sa.Integer(), server_default='-1', nullable=False)"
    assert found["migration"] == {"added": [f"batch_op.add_column({column})"], "left": 0}


@pytest.mark.lengthy
def test_an_operators_default_is_said_in_the_same_line(tmp_path: pathlib.Path) -> None:
    found = _with_one_line_more(tmp_path, BY_OPERATOR)
    assert found["options"] == [[1, 1000, 300, "Requests per second of a listener that says nothing."]]
    assert (found["api"]["silent"], found["api"]["unset"], found["api"]["row"]) == (300, 300, 500)
    assert found["migration"] == {"added": ["batch_op.add_column(sa.Column('idle_limit', sa.Integer(), nullable=False))"], "left": 0}


@pytest.mark.parametrize("line", [DECLARED, BY_OPERATOR])
def test_it_is_one_line(line: str) -> None:
    assert "\n" not in line
