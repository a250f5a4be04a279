"""Networks and subnets as they were some seconds ago: every push needs their facts, which hardly ever change."""

from __future__ import annotations

import contextlib
import threading
import time
import typing
from collections.abc import Callable, Iterable
from typing import TypeVar

import cachetools

from controller.model.network import Network, Subnet

if typing.TYPE_CHECKING:
    from controller.drivers.network import interface

T = TypeVar("T")
_AT_ONCE = 64  # different things that are asked for side by side
_MANY = 10_000
"""So many networks and so many subnets are remembered. Of more, those that were asked for longest ago are forgotten, and asked for again:
whether one is known says nothing of whether it exists.
"""


class RememberedNetworks:
    """Asks the driver once in `keep` seconds. Threads share it."""

    def __init__(self, network: interface.NetworkDriver, keep: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._network = network
        self._lock = threading.Lock()
        self._asking = [threading.Lock() for _ in range(_AT_ONCE)]
        self._networks = cachetools.TTLCache[str, Network, float](_MANY, keep, clock)
        self._subnets = cachetools.TTLCache[str, Subnet, float](_MANY, keep, clock)

    def network(self, network_id: str) -> Network:
        """:raises NotFound: no such network; :raises Transient: the service did not answer."""
        return self._recall(self._networks, network_id, self._network.get_network)

    def subnet(self, subnet_id: str) -> Subnet:
        """:raises NotFound: no such subnet; :raises Transient: the service did not answer."""
        return self._recall(self._subnets, subnet_id, self._network.get_subnet)

    def note(self, networks: Iterable[Network] = (), subnets: Iterable[Subnet] = ()) -> None:
        """These were read just now, for whatever reason."""
        with self._lock:
            self._networks.update({network.id: network for network in networks})
            self._subnets.update({subnet.id: subnet for subnet in subnets})

    def networks(self, network_ids: Iterable[str], ask: Callable[[list[str]], Iterable[Network]]) -> dict[str, Network]:
        """Those of these networks that exist, by id; `ask` is called once with all that are not known. Threads that want the same ask once.

        :raises Transient: the service did not answer.
        """
        wanted = list(dict.fromkeys(network_ids))
        found = self._known(wanted)
        with contextlib.ExitStack() as held:
            for place in sorted({hash(one) % _AT_ONCE for one in wanted if one not in found}):  # in one order, so nobody waits in a circle
                held.enter_context(self._asking[place])
            found = self._known(wanted)
            unknown = [one for one in wanted if one not in found]
            asked = list(ask(unknown)) if unknown else []
            self.note(asked)
        return found | {one.id: one for one in asked}

    def _known(self, network_ids: Iterable[str]) -> dict[str, Network]:
        with self._lock:
            found = {one: self._networks.get(one) for one in network_ids}
        return {one: network for one, network in found.items() if network is not None}

    def _recall(self, known: cachetools.TTLCache[str, T, float], key: str, ask: Callable[[str], T]) -> T:
        """Threads that want the same at once ask once: the others wait for the first one's answer."""
        with self._asking[hash(key) % _AT_ONCE]:
            with self._lock:
                found = known.get(key)
            if found is None:
                found = ask(key)
                with self._lock:
                    known[key] = found
            return found
