"""kill -9 of the worker after every task of every flow, a pair per load balancer."""

from __future__ import annotations

import pytest

from controller.model.status import Topology
from tests.integration import killing
from tests.integration.site import Site

pytestmark = [pytest.mark.integration]

TOPOLOGY = "ACTIVE_STANDBY"
CASES = killing.cases(Topology(TOPOLOGY))


@pytest.fixture(scope="module")
def killer(site: Site) -> killing.Killer:
    return killing.Killer(site)


@pytest.mark.parametrize(("kind", "after", "task"), killing.each_third(CASES, 0))
def test_the_next_worker_finishes_what_the_killed_one_began(killer: killing.Killer, kind: str, after: int, task: str) -> None:
    killer.kill(kind, after)
