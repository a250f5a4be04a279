"""Facts of networks are asked for once, however many want them at once, and again when they are old."""

from __future__ import annotations

import threading
import uuid
from concurrent import futures
from typing import NoReturn

import pytest

from controller import exceptions
from controller.drivers.network import remembered
from controller.model.network import Network
from tests import fake_network


class SlowNetwork(fake_network.FakeNetwork):
    """It answers when it is let."""

    def __init__(self) -> None:
        super().__init__(str(uuid.uuid4()))
        self.may_answer = threading.Event()
        self.asked = 0

    def get_network(self, network_id: str) -> Network:
        self.asked += 1
        assert self.may_answer.wait(10)
        return super().get_network(network_id)


def test_threads_that_want_the_same_at_once_ask_once() -> None:
    network, now = SlowNetwork(), [0.0]
    wanted, other = network.create_network("one"), network.create_network("other")
    known = remembered.RememberedNetworks(network, keep=30.0, clock=lambda: now[0])
    with futures.ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(known.network, wanted) for _ in range(8)]
        threading.Timer(0.1, network.may_answer.set).start()
        assert {one.result(10).id for one in asked} == {wanted}
    assert network.asked == 1
    known.network(other)
    assert network.asked == 2
    now[0] = 31.0
    known.network(wanted)
    assert network.asked == 3
    known.expire([wanted])
    known.network(wanted)
    assert network.asked == 4


def test_what_was_told_before_is_good_while_the_service_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    network, now = SlowNetwork(), [0.0]
    network.may_answer.set()
    one, other = network.create_network("one"), network.create_network("other")
    known = remembered.RememberedNetworks(network, keep=30.0, clock=lambda: now[0])
    told = known.network(one)
    now[0] = 1000.0
    tries: list[object] = []

    def away(asked: object) -> NoReturn:
        tries.append(asked)
        raise exceptions.Transient("away")

    with monkeypatch.context() as patch:
        patch.setattr(network, "get_network", away)
        assert [known.network(one), known.network(one)] == [told, told]
        assert tries == [one], "who hangs is not waited for each time"
        now[0] = 2000.0
        assert known.networks([one], away) == {one: told}
        with pytest.raises(exceptions.Transient):
            known.network(other)
        with pytest.raises(exceptions.Transient):
            known.networks([one, other], away)
    network.change_network(one, mtu=1234)
    now[0] = 3000.0
    assert known.network(one).mtu == 1234
    network._cloud.networks.pop(one)
    now[0] = 4000.0
    for _ in range(2):
        with pytest.raises(exceptions.NotFound):
            known.network(one)


def test_threads_that_want_many_at_once_ask_once_for_each() -> None:
    network = SlowNetwork()
    there = [network.create_network(f"net-{number}") for number in range(100)]
    known = remembered.RememberedNetworks(network)

    def ask(network_ids: list[str]) -> list[Network]:
        return [network.get_network(one) for one in network_ids]

    with futures.ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(known.networks, there if number % 2 else there[::-1], ask) for number in range(8)]
        threading.Timer(0.1, network.may_answer.set).start()
        assert all(one.result(10).keys() == set(there) for one in asked)
    assert network.asked == len(there)


def test_of_more_than_a_number_the_oldest_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MANY", 3)
    network = SlowNetwork()
    network.may_answer.set()
    known = remembered.RememberedNetworks(network)
    there = [network.create_network(name) for name in ("one", "two", "three", "four", "five")]
    asked: list[list[str]] = []

    def ask(network_ids: list[str]) -> list[Network]:
        asked.append(network_ids)
        return [network.get_network(one) for one in network_ids]

    for _ in range(2):
        assert known.networks(there, ask).keys() == set(there)
    assert known.networks(there[2:], ask).keys() == set(there[2:])
    assert asked == [there, there[:2], there[2:4]], "the oldest of more than three"
    assert [known.network(one).id for one in there] == there
