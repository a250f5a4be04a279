"""Why a machine does not come up is asked by its id, more and more rarely."""

from __future__ import annotations

import uuid

import pytest

from controller import exceptions
from controller.drivers.compute import fake, interface, watch


class Asked:
    """A watch of one machine, with a clock of the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.compute = fake.FakeCompute(str(uuid.uuid4()))
        request = interface.BootRequest(amphora_id="a-1", name="amphora-a-1", files={}, ports=[])
        self.machine = self.compute.boot(request)
        self.watch = watch.Watch(self.compute, clock=lambda: self.now)

    def at(self, moment: float) -> str | None:
        self.now = moment
        return self.watch.trouble("a-1", self.machine.id)

    def times(self) -> int:
        return len(self.compute.script.calls_of("get"))


def test_it_asks_after_ten_seconds_and_then_after_twice_as_many_up_to_a_minute() -> None:
    asked, moments = Asked(), []
    for moment in range(300):
        before = asked.times()
        asked.at(float(moment))
        moments += [moment] * (asked.times() - before)
    assert moments == [10, 30, 70, 130, 190, 250]
    assert asked.compute.script.calls_of("find") == []


@pytest.mark.parametrize("happens", ["fails", "stops", "goes"])
def test_what_keeps_a_machine_from_coming_up_is_said(happens: str) -> None:
    asked = Asked()
    assert asked.at(0.0) is None
    if happens == "fails":
        asked.compute.fail("a-1", "No valid host was found.")
    elif happens == "stops":
        asked.compute.kill("a-1")
    else:
        asked.compute.delete("a-1")
    words = {"fails": "No valid host was found.", "stops": "its machine has stopped", "goes": "no machine for it any more"}
    assert words[happens] in (asked.at(11.0) or "")


def test_a_service_that_does_not_answer_says_nothing_against_a_machine() -> None:
    asked = Asked()
    asked.at(0.0)
    asked.compute.script.fail_next("get", exceptions.Transient("nobody knows"))
    assert asked.at(11.0) is None
