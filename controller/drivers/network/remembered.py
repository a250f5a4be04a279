"""Networks and subnets as they were some seconds ago: their facts are needed all the time, and hardly ever change.

While the service does not answer, what it said last is as good, however long ago that was.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import typing
from collections.abc import Callable, Iterable
from typing import TypeVar

import cachetools

from controller import exceptions
from controller.model.network import Network, Subnet

if typing.TYPE_CHECKING:
    from controller.drivers.network import interface

LOG = logging.getLogger(__name__)

T = TypeVar("T")
_Known = cachetools.LRUCache[str, tuple[float, T]]  # with the moment until which it is not asked for again
_AT_ONCE = 64  # different things that are asked for side by side
_MANY = 10_000
"""So many networks and so many subnets are remembered. Of more, those that were asked for longest ago are forgotten, and asked for again:
whether one is known says nothing of whether it exists.
"""


class RememberedNetworks:
    """Asks the driver once in `keep` seconds, also while it does not answer. Threads share it."""

    def __init__(self, network: interface.NetworkDriver, keep: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._network = network
        self._keep, self._clock = keep, clock
        self._lock = threading.Lock()
        self._asking = [threading.Lock() for _ in range(_AT_ONCE)]
        self._networks: _Known[Network] = cachetools.LRUCache(_MANY)
        self._subnets: _Known[Subnet] = cachetools.LRUCache(_MANY)

    def network(self, network_id: str) -> Network:
        """:raises NotFound: no such network; :raises Transient: the service did not answer, and never told of it."""
        return self._recall(self._networks, network_id, self._network.get_network)

    def subnet(self, subnet_id: str) -> Subnet:
        """:raises NotFound: no such subnet; :raises Transient: the service did not answer, and never told of it."""
        return self._recall(self._subnets, subnet_id, self._network.get_subnet)

    def note(self, networks: Iterable[Network] = (), subnets: Iterable[Subnet] = ()) -> None:
        """These were read just now, for whatever reason."""
        until = self._clock() + self._keep
        with self._lock:
            self._networks.update({network.id: (until, network) for network in networks})
            self._subnets.update({subnet.id: (until, subnet) for subnet in subnets})

    def expire(self, ids: Iterable[str]) -> None:
        """Ask for these networks and subnets as soon as they are needed: somebody has seen that they changed."""
        with self._lock:
            for one in ids:
                if (network := self._networks.get(one)) is not None:
                    self._networks[one] = self._clock(), network[1]
                if (subnet := self._subnets.get(one)) is not None:
                    self._subnets[one] = self._clock(), subnet[1]

    def networks(self, network_ids: Iterable[str], ask: Callable[[list[str]], Iterable[Network]]) -> dict[str, Network]:
        """Those of these networks that exist, by id; `ask` is called once with all that are not known. Threads that want the same ask once.

        :raises Transient: the service did not answer, and never told of one of them.
        """
        wanted = list(dict.fromkeys(network_ids))
        found = self._known(wanted)
        with contextlib.ExitStack() as held:
            for place in sorted({hash(one) % _AT_ONCE for one in wanted if one not in found}):  # in one order, so nobody waits in a circle
                held.enter_context(self._asking[place])
            found = self._known(wanted)
            unknown = [one for one in wanted if one not in found]
            asked = self._asked(unknown, ask) if unknown else []
            self.note(asked)
        return found | {one.id: one for one in asked}

    def _known(self, network_ids: Iterable[str], *, however_old: bool = False) -> dict[str, Network]:
        now = self._clock()
        with self._lock:
            found = {one: self._networks.get(one) for one in network_ids}
        return {one: known[1] for one, known in found.items() if known is not None and (however_old or now < known[0])}

    def _asked(self, unknown: list[str], ask: Callable[[list[str]], Iterable[Network]]) -> list[Network]:
        try:
            return list(ask(unknown))
        except exceptions.Transient as exc:
            older = self._known(unknown, however_old=True)
            if older.keys() != set(unknown):
                raise
            LOG.warning("%s: of the networks %s, what was told before is taken", exc, ", ".join(unknown))
            return list(older.values())

    def _recall(self, known: _Known[T], key: str, ask: Callable[[str], T]) -> T:
        """Threads that want the same at once ask once: the others wait for the first one's answer."""
        with self._asking[hash(key) % _AT_ONCE]:
            with self._lock:
                until, found = known.get(key, (0.0, None))
            if found is not None and self._clock() < until:
                return found
            try:
                found = ask(key)
            except exceptions.Transient as exc:
                if found is None:
                    raise
                LOG.warning("%s: of %s, what was told before is taken", exc, key)
            except exceptions.NotFound:
                with self._lock:
                    known.pop(key, None)
                raise
            with self._lock:
                known[key] = self._clock() + self._keep, found
            return found
