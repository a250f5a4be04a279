"""Which tests run, and in which order: `--cases N`, by which `make quick` runs a few cases of each test; the longest files first."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests import conftest

pytest_plugins = ["pytester"]

TESTS = """
    import pytest

    @pytest.mark.parametrize("late", [False, pytest.param(True, marks=pytest.mark.late)])
    @pytest.mark.parametrize("number", range(9))
    def test_of_many(number, late):
        pass

    @pytest.mark.parametrize("number", range(2))
    def test_of_two(number):
        pass

    def test_alone():
        pass
"""


@pytest.fixture(autouse=True)
def _a_run_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    late: the second half")
    pytester.makeconftest("from tests.conftest import pytest_addoption, pytest_collection_modifyitems")
    pytester.makepyfile(TESTS)


def _run(pytester: pytest.Pytester, *options: str) -> tuple[list[str], dict[str, int]]:
    """The names of the tests that passed, and the counts at the end."""
    finished = pytester.runpytest("-v", *options)
    return re.findall(r"::(\S+) PASSED", finished.stdout.str()), finished.parseoutcomes()


@pytest.mark.parametrize(
    ("most", "numbers"), [("1", ["0"]), ("2", ["0", "8"]), ("3", ["0", "4", "8"]), ("4", ["0", "2", "5", "8"]), ("9", list("012345678"))]
)
def test_cases_are_spread_from_the_first_to_the_last_of_those_that_a_mark_leaves(
    pytester: pytest.Pytester, most: str, numbers: list[str]
) -> None:
    passed, counts = _run(pytester, "-m", "not late", "--cases", most)
    of_two = ["test_of_two[0]", "test_of_two[1]"][: int(most)]
    assert passed == [*(f"test_of_many[{number}-False]" for number in numbers), *of_two, "test_alone"]
    assert counts == {"passed": len(passed), "deselected": 21 - len(passed)}


def test_all_are_run_if_nobody_says_how_many(pytester: pytest.Pytester) -> None:
    assert _run(pytester)[1] == {"passed": 21}


def test_a_run_of_no_cases_is_refused(pytester: pytest.Pytester) -> None:
    finished = pytester.runpytest("--cases", "0")
    assert finished.ret == pytest.ExitCode.USAGE_ERROR
    finished.stderr.fnmatch_lines(["*--cases 0 leaves nothing to run: at least 1"])


def test_the_longest_files_come_first_and_each_file_in_one_piece(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(test_a="def test_a(): pass", test_y="def test_y1(): pass\ndef test_y2(): pass", test_z="def test_z(): pass")
    monkeypatch.setattr(conftest, "LONGEST", ("test_z.py", "test_y.py"))
    passed = _run(pytester, "--cases", "1")[0]
    assert [name.partition("[")[0] for name in passed] == [
        "test_z",
        "test_y1",
        "test_y2",
        "test_a",
        "test_of_many",
        "test_of_two",
        "test_alone",
    ]


def test_each_of_the_longest_files_is_there_and_none_comes_twice() -> None:
    root = pathlib.Path(conftest.__file__).parent.parent
    assert [one for one in conftest.LONGEST if not (root / one).is_file()] == []
    assert len(set(conftest.LONGEST)) == len(conftest.LONGEST)
