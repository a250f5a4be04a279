"""Facts of networks as one run of a flow takes them: written down with the load balancer, or asked of the network service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from controller import exceptions
from controller.drivers.network import interface, remembered
from controller.model import load_balancer as model
from controller.model.network import Facts, Network, Subnet, essential_network, essential_subnet

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Known(Protocol):
    """Who tells of networks and subnets."""

    def network(self, network_id: str) -> Network:
        """:raises NotFound: no such network; :raises Transient: nobody knows it now."""

    def subnet(self, subnet_id: str) -> Subnet:
        """:raises NotFound: no such subnet; :raises Transient: nobody knows it now."""


class RunFacts:
    """What is written down is taken, and the service is asked for what is not: so it is for a change of what is below a load balancer.

    `anew`, the service is asked first, and what is written down is taken if it does not answer. Threads share it.
    """

    def __init__(
        self, snapshot: model.Snapshot, network: interface.NetworkDriver, known: remembered.RememberedNetworks, *, anew: bool
    ) -> None:
        self._id = snapshot.load_balancer.id
        self._written = Facts.load(snapshot.load_balancer.network_facts)
        self._network, self._known, self._anew = network, known, anew
        self._networks: dict[str, Network] = {}
        self._subnets: dict[str, Subnet | None] = {}
        self._floating = self._written.floating

    def network(self, network_id: str) -> Network:
        """:raises NotFound: no such network; :raises Transient: the service does not answer, and nothing is written down."""
        if network_id not in self._networks:
            written = self._written.networks.get(network_id)
            self._networks[network_id] = self._taken(written, lambda: essential_network(self._known.network(network_id)))
        return self._networks[network_id]

    def subnet(self, subnet_id: str) -> Subnet:
        """:raises NotFound: no such subnet; :raises Transient: the service does not answer, and nothing is written down."""
        if subnet_id not in self._subnets:
            self._subnets[subnet_id] = self._subnet(subnet_id)
        if (found := self._subnets[subnet_id]) is None:
            raise exceptions.NotFound("Subnet", subnet_id)
        return found

    def floating_addresses(self, port_id: str) -> frozenset[str]:
        """What leads to the VIP. Where that was never looked at and can't be now, nothing: housekeeping's comparison looks again."""
        try:
            self._floating = self._taken(self._written.floating, lambda: tuple(sorted(self._network.floating_addresses(port_id))))
        except exceptions.Transient as exc:
            LOG.warning("load balancer %s: it is not known which floating IPs lead to its VIP: %s", self._id, exc)
        return frozenset(self._floating or ())

    @property
    def used(self) -> Facts:
        """What was asked for, to be written down."""
        return Facts(networks=dict(self._networks), subnets=dict(self._subnets), floating=self._floating)

    @property
    def is_news(self) -> bool:
        """Whether that is not what is written down."""
        return self.used != self._written

    def _subnet(self, subnet_id: str) -> Subnet | None:
        written = self._written.subnets.get(subnet_id)
        if written is None and not self._anew and subnet_id in self._written.subnets:
            return None  # its id never comes back
        try:
            return self._taken(written, lambda: essential_subnet(self._known.subnet(subnet_id)))
        except exceptions.NotFound:
            return None

    def _taken(self, written: T | None, ask: Callable[[], T]) -> T:
        if written is not None and not self._anew:
            return written
        try:
            return ask()
        except exceptions.Transient as exc:
            if written is None:
                raise
            LOG.warning("load balancer %s: %s: what was told of its networks before is taken", self._id, exc)
            return written


def changed(written: Facts, known: Known) -> Iterator[str]:
    """What of that is not so any more, in words.

    :raises Transient: the network service does not answer.
    """
    for network_id, network in written.networks.items():
        if _now(lambda one=network_id: essential_network(known.network(one))) not in (None, network):  # type: ignore[misc]
            yield f"the network {network_id} is not what the amphorae were told of it"
    for subnet_id, subnet in written.subnets.items():
        if subnet is not None and _now(lambda one=subnet_id: essential_subnet(known.subnet(one))) != subnet:  # type: ignore[misc]
            yield f"the subnet {subnet_id} is not what the amphorae were told of it (gateway, routes)"


def _now(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except exceptions.NotFound:
        return None
