"""Facts of networks are asked for once, however many want them at once, and again when they are old."""

from __future__ import annotations

import threading
import uuid
from concurrent import futures

import pytest

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
