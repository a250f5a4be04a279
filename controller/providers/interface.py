"""What a provider is: it makes the load balancers real that name it. Another one is a module, and an entry point of `figlina.providers`."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Self

from controller.db import database
from controller.model.status import ProvisioningStatus, Topology
from controller.resources.fields import REFUSED, Field
from controller.services import Services


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that was asked of one load balancer, in the request that logs and events know by its id."""

    load_balancer_id: str
    request_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Create(Change):
    """A load balancer is made: its row, and those of what was asked for with it, are written, at generation 1."""

    topology: Topology


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Update(Change):
    """It, or anything below it, is made, changed or deleted: the rows follow, stamped with the generation that `accept()` returns."""

    allowed: Collection[ProvisioningStatus]  # states in which the load balancer takes it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Change):
    """A load balancer is deleted, and with it what is below it."""

    allowed: Collection[ProvisioningStatus]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failover(Change):
    """What serves it is to be replaced by something new."""

    allowed: Collection[ProvisioningStatus]
    topology: Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capability(Field):
    """A key of a profile's data. `exists` asks the service behind it, and raises `NotFound` if it knows no such thing."""

    null: Any = REFUSED
    exists: Callable[[Services, Any], None] | None = None


class Provider(abc.ABC):
    """One object per process; threads share it."""

    flavor_capabilities: ClassVar[Sequence[Capability]] = ()
    availability_zone_capabilities: ClassVar[Sequence[Capability]] = ()
    """What the profiles of flavors and availability zones can say to it."""

    @classmethod
    def from_conf(cls, conf: Any) -> Self:
        """The provider as the configuration has it."""
        return cls()

    @abc.abstractmethod
    def supports(self, resource: str, values: Mapping[str, Any]) -> None:
        """Refuse what is valid, and yet more than it can do. Called when every rule is met, so that 501 means that nothing else is wrong.

        `resource` and `values` are named as in the API (`listener`, `{"protocol": "UDP"}`). Beside those there are values that decide on a
        resource and stand in another one: `listener_protocol` of an `l7policy`, `pool_protocol` and `vip_versions` (of IP) of a `member`.

        :raises NotSupported: the message names the option and its value.
        """

    @abc.abstractmethod
    def accept(self, tx: database.Transaction, change: Change) -> int:
        """Take a change on: hold the load balancer's lock until the transaction ends, and owe the work; returns the new generation.

        What is owed must be found in the database alone, since it counts only once the transaction is committed. Nothing is asked over the
        network here: nobody can write to the database meanwhile.

        :raises NotFound: there is no such load balancer.
        :raises Immutable: it takes no such change now.
        """
