"""Options of the test run that more than one folder knows."""

from __future__ import annotations

import os

import hypothesis
import pytest

_ANY_MACHINE = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True)
"""A busy machine is slow, and that is no fault of what is tested."""
hypothesis.settings.register_profile("repeatable", _ANY_MACHINE, derandomize=True)
hypothesis.settings.register_profile("searching", _ANY_MACHINE)
hypothesis.settings.load_profile("searching" if os.environ.get("FIGLINA_FUZZ") else "repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes what was rendered over `tests/golden/`; the diff is for a person to read."""
    parser.addoption("--update-golden", action="store_true", help="write rendered configurations over tests/golden/ instead of comparing")
