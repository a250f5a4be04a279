"""Facts of networks are asked for once, however many want them at once, and again when they are old."""

from __future__ import annotations

import threading
import uuid
from concurrent import futures

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
