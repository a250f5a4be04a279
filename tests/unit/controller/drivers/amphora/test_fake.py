"""The fake can be made to fail as a real amphora does."""

from __future__ import annotations

import pytest

from amphora_agent.protocol import rest
from controller import exceptions
from controller.drivers.amphora import fake
from tests import builders


def _wanted(generation: int = 1) -> rest.WantedState:
    return rest.WantedState(load_balancer_id=builders.an_id("lb"), generation=generation, programs={"haproxy": "defaults\n"})


def test_it_is_silent_for_as_many_calls_as_it_was_told() -> None:
    driver, amphora = fake.FakeAmphora(), builders.an_amphora()
    driver.be_silent(amphora_id=amphora.id, calls=2)
    for _ in range(2):
        with pytest.raises(exceptions.AmphoraUnreachable):
            driver.info(amphora)
    assert driver.info(amphora).amphora_id == amphora.id
    assert driver.info(builders.an_amphora()).load_balancers == {}


def test_it_refuses_as_often_as_it_was_told_and_counts_every_push() -> None:
    driver, amphora = fake.FakeAmphora(), builders.an_amphora()
    driver.refuse("no such thing", times=2)
    for _ in range(2):
        with pytest.raises(exceptions.ConfigRefused, match="no such thing"):
            driver.apply(amphora, _wanted(), {})
    driver.apply(amphora, _wanted(), {})
    assert driver.pushes == {amphora.id: 3}


def test_what_was_to_come_can_be_called_off() -> None:
    driver, amphora = fake.FakeAmphora(), builders.an_amphora()
    driver.refuse("no")
    driver.be_silent(calls=100)
    driver.recover()
    assert driver.apply(amphora, _wanted(), {}).generation == 1


def test_a_dead_amphora_has_forgotten_everything() -> None:
    driver, amphora = fake.FakeAmphora(), builders.an_amphora()
    driver.apply(amphora, _wanted(5), {})
    driver.die(amphora.id)
    assert driver.running(amphora.id, builders.an_id("lb")) is None
    assert driver.apply(amphora, _wanted(1), {}).generation == 1
