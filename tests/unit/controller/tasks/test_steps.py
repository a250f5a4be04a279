"""What types can't tell of steps: taskflow has none, so its task is anything to the type checker, and so is what a step reads of itself."""

from __future__ import annotations

import ast
import inspect
import pathlib

import pytest

from controller import tasks

_MODULES = sorted(pathlib.Path(inspect.getfile(tasks)).parent.glob("*.py"))


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: path.stem)
def test_a_step_reads_only_what_its_class_sets(path: pathlib.Path) -> None:
    classes = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    for name, node in classes.items():
        family = [node, *(classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes)]
        own = [one for part in family for one in ast.walk(part) if isinstance(one, ast.Attribute) and _is_self(one.value)]
        defined = {one.name for part in family for one in ast.walk(part) if isinstance(one, ast.FunctionDef)}
        defined |= {one.attr for one in own if isinstance(one.ctx, ast.Store)}
        defined |= {
            one.target.id for part in family for one in part.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        read = {one.attr for one in own if isinstance(one.ctx, ast.Load) and one.attr.startswith("_") and not one.attr.startswith("__")}
        assert read <= defined, f"{name} reads {sorted(read - defined)} of itself, which nothing sets"


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"
