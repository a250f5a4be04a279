"""What pages and docstrings point to is there: a reader who follows a name finds a file."""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [path for folder in ("controller", "amphora_agent", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]

_MODULE = re.compile(r"`([\w./-]+\.py)`")
_PAGE = re.compile(r"[\w./-]+\.md\b")
_ON_PURPOSE = {"utils.py"}  # which there is not, as docs/architecture.md says


@functools.cache
def _files() -> tuple[str, ...]:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md"))]
    return tuple(f"/{path.relative_to(ROOT)}" for path in found)


def _not_there(text: str, names: re.Pattern[str]) -> Iterator[str]:
    """What is named, perhaps without the folders above it, and is no file."""
    for name in names.findall(text):
        if name not in _ON_PURPOSE and not any(path.endswith(f"/{name.lstrip('./')}") for path in _files()):
            yield name


def test_modules_that_pages_name_are_there() -> None:
    found = [f"{page.relative_to(ROOT)}: {name}" for page in PAGES for name in _not_there(page.read_text(), _MODULE)]
    assert not found, found


@pytest.mark.lengthy
def test_pages_that_code_names_are_there_and_need_no_number_of_a_section() -> None:
    found = [f"{path.relative_to(ROOT)}: {name}" for path in CODE for name in _not_there(path.read_text(), _PAGE)]
    found += [str(path.relative_to(ROOT)) for path in CODE if re.search(r"\.md`?,? §", path.read_text())]
    assert not found, found


@pytest.mark.parametrize("name", ["flows/one_pass.py", "gone.py"])
def test_a_module_that_is_gone_is_found(name: str) -> None:
    assert list(_not_there(f"as `{name}` has it, and `flows/update.py`", _MODULE)) == [name]


def test_every_decision_has_its_line_in_the_list() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"^- \[(.+)\]\(\1\): ", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
