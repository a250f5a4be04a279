"""Options of the test run that more than one folder knows."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes what was rendered over `tests/golden/`; the diff is for a person to read."""
    parser.addoption("--update-golden", action="store_true", help="write rendered configurations over tests/golden/ instead of comparing")
