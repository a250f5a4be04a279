"""Networks and subnets as they were some seconds ago: every push needs their facts, which hardly ever change."""

from __future__ import annotations

import threading
import time
import typing
from collections.abc import Callable, Iterable
from typing import TypeVar

from controller.model.network import Network, Subnet

if typing.TYPE_CHECKING:
    from controller.drivers.network import interface

T = TypeVar("T")
_AT_ONCE = 64  # different things that are asked for side by side
_MANY = 10_000  # networks and subnets; then all are forgotten


class RememberedNetworks:
    """Asks the driver once in `keep` seconds. Threads share it."""

    def __init__(self, network: interface.NetworkDriver, keep: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._network = network
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = [threading.Lock() for _ in range(_AT_ONCE)]
        self._networks: dict[str, tuple[float, Network]] = {}
        self._subnets: dict[str, tuple[float, Subnet]] = {}

    def network(self, network_id: str) -> Network:
        """:raises NotFound: no such network; :raises Transient: the service did not answer."""
        return self._recall(self._networks, network_id, self._network.get_network)

    def subnet(self, subnet_id: str) -> Subnet:
        """:raises NotFound: no such subnet; :raises Transient: the service did not answer."""
        return self._recall(self._subnets, subnet_id, self._network.get_subnet)

    def note(self, networks: Iterable[Network]) -> None:
        """These were read just now, for whatever reason."""
        until = self._clock() + self._keep
        with self._lock:
            self._networks |= {network.id: (until, network) for network in networks}

    def unknown(self, network_ids: Iterable[str]) -> list[str]:
        """Networks that would have to be asked for, each once."""
        now = self._clock()
        with self._lock:
            return [one for one in dict.fromkeys(network_ids) if one not in self._networks or self._networks[one][0] <= now]

    def _recall(self, known: dict[str, tuple[float, T]], key: str, ask: Callable[[str], T]) -> T:
        """Threads that want the same at once ask once: the others wait for the first one's answer."""
        with self._asking[hash(key) % _AT_ONCE]:
            now = self._clock()
            with self._lock:
                found = known.get(key)
            if found is not None and found[0] > now:
                return found[1]
            value = ask(key)
            with self._lock:
                if len(known) >= _MANY:
                    known.clear()
                known[key] = (now + self._keep, value)
            return value
