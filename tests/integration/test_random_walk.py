"""After any changes in any order, an ACTIVE load balancer's traffic is as its objects say: a walk by chance, and an oracle.

`FIGLINA_WALK_STEPS`, `FIGLINA_WALK_SEED`, `FIGLINA_WALK_TOPOLOGY` and `FIGLINA_WALK_VIPS` (4, 6, 46 or 64: the versions of IP of its
VIPs, by chance otherwise) lengthen, repeat and vary it. With `FIGLINA_WALK_PROMPT`, in seconds (8, where nothing else keeps the machine
busy), it is wrong, too, if clients wait longer for what needs no more than first checks. With `FIGLINA_WALK_SHRINK=1` a list of
steps that led to something wrong is taken again without this step and that one, on load balancers of their own.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence

import pytest

from controller.dev import client
from tests.integration.random_walk import looking, state
from tests.integration.random_walk.steps import TROUBLES, Chooser, Step, Taker
from tests.integration.random_walk.world import World
from tests.integration.site import Site

TOPOLOGY = os.environ.get("FIGLINA_WALK_TOPOLOGY", "SINGLE")
STEPS = int(os.environ.get("FIGLINA_WALK_STEPS", "20"))
SEED = int(os.environ.get("FIGLINA_WALK_SEED", "1"))
VIPS = os.environ.get("FIGLINA_WALK_VIPS") or random.Random(SEED).choice(("4", "46", "6", "64"))
OPTIONS = {"house_keeping.compare_interval": "2"}
"""As often is tried again what could not be read."""
SHRINK = bool(os.environ.get("FIGLINA_WALK_SHRINK"))
CALM = 5.0
"""Seconds after trouble from which on nothing of it goes on, such as halves of a pair that find out which of them has the VIP."""
SETTLED, MENDED = 90.0, 90.0
"""Seconds within which checks have found out, and within which what was killed serves again."""
PROMPT = float(os.environ.get("FIGLINA_WALK_PROMPT", "inf"))

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(5 * STEPS + 600 + 1800 * SHRINK)]


@pytest.fixture(scope="module")
def world(site: Site) -> Iterator[World]:
    made = World(site)
    try:
        made.build()
        yield made
    finally:
        made.close()


class Walk:
    """Steps on a load balancer of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._api = world.site.api
        first, *others = (world.subnets[int(version)] for version in VIPS)
        body = {"vip_subnet_id": first, "additional_vips": [{"subnet_id": one} for one in others]}
        self.id: str = self._api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]["id"]
        self.taker = Taker(world, self.id)
        self.taken: list[Step] = []
        self.late: list[str] = []
        self._hurt = False
        self._slow = False  # something was asked that has its effect when checks have found out
        self._looks = 0
        self._calm_at = 0.0

    def take(self, steps: Sequence[Step]) -> list[str]:
        """Take steps, and look where one should; returns what is wrong for good."""
        for step in steps:
            if self.taker.take(step):
                print(f"{time.strftime('%H:%M:%S')} {step}")
                self.taken.append(step)
                self._slow |= not step.has_effect_at_once
                if step.do in (*TROUBLES, "LOSE", "show"):
                    self._hurt, self._calm_at = True, time.monotonic() + CALM
            if step.wait and (wrong := self.look()):
                return wrong
        return []

    def look(self) -> list[str]:
        """What is wrong, and stays so; and at once what needs no check of a member, unless somebody was hurt."""
        try:
            self._api.wait_active(self.id, MENDED)
        except client.NeverHappened as exc:
            return [str(exc)]
        self._looks += 1
        if (
            not self._hurt
            and time.monotonic() > self._calm_at
            and (wrong := looking.at(self.world, self.id, self._looks, at_once=True).problems())
        ):
            return [f"as soon as it is ACTIVE, {said}" for said in wrong]
        began = time.monotonic()
        until = began + (MENDED if self._hurt else SETTLED)
        first, statuses = self._wrong()
        wrong = [*first, *statuses]
        while wrong and time.monotonic() < until:
            time.sleep(0.2)
            looked_at = time.monotonic()
            problems, statuses = self._wrong()
            wrong = [*problems, *statuses]
            if problems and not (self._hurt or self._slow) and looked_at - began > PROMPT:
                return [f"{looked_at - began:.0f} s after it was ACTIVE, {said}" for said in problems]
        if first and not wrong:
            hurt = "after trouble, " if self._hurt else ""
            self.late.append(f"{hurt}{time.monotonic() - began:.1f} s after {self.taken[-3:]}: {first}")
        self._hurt = self._slow = False
        return wrong

    def _wrong(self) -> tuple[list[str], list[str]]:
        """What clients meet, and what statuses say."""
        look = looking.at(self.world, self.id, self._looks)
        return look.problems(), look.wrong_statuses()

    def delete(self) -> None:
        self.world.start_all()
        self.world.show_all()
        self._api.delete(f"/loadbalancers/{self.id}?cascade=true")
        self._api.wait_gone(f"/loadbalancers/{self.id}", MENDED)


def _shorter(world: World, steps: list[Step]) -> list[Step]:
    """A shorter list of steps that leads to something wrong."""
    size = len(steps) // 2
    while size:
        start = 0
        while start < len(steps):
            fewer = [*steps[:start], *steps[start + size :]]
            if fewer and _leads_to_something_wrong(world, fewer):
                steps = fewer
            else:
                start += size
        size //= 2
    return steps


def _leads_to_something_wrong(world: World, steps: Sequence[Step]) -> bool:
    walk = Walk(world)
    try:
        return bool(walk.take(steps) or walk.look())
    finally:
        walk.delete()


def test_traffic_is_as_the_objects_say_after_any_changes(world: World) -> None:
    chooser = Chooser(world, random.Random(SEED))
    walk = Walk(world)
    beginning = chooser.beginning(state.read(world.site.api, walk.id))
    wrong = walk.take(beginning)
    while not wrong and len(walk.taken) < STEPS:
        wrong = walk.take(chooser.next(state.read(world.site.api, walk.id)))
    wrong = wrong or walk.look()
    for words in (*walk.late, *walk.taker.refused):
        print(words)
    print(f"{len(walk.taken)} steps")
    if wrong:
        steps = walk.taken
        if SHRINK:
            walk.delete()
            steps = _shorter(world, steps)
        shown = "\n".join(map(str, steps))
        pytest.fail("\n".join([*wrong, f"seed {SEED}; {len(steps)} steps:", shown]), pytrace=False)
    assert len(walk.taken) > len(beginning), "nothing was asked"
    walk.delete()
