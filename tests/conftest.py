"""Options of the test run that more than one folder knows."""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True)
hypothesis.settings.load_profile("any machine")  # a busy machine is slow, and that is no fault of what is tested


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes what was rendered over `tests/golden/`; the diff is for a person to read."""
    parser.addoption("--update-golden", action="store_true", help="write rendered configurations over tests/golden/ instead of comparing")
