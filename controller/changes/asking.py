"""Who asks for a change, what they may do, and with what it is made; and how a change is accepted.

A change is one transaction: the provider raises the load balancer's generation and owes the work, then the rows are written; once it is
committed, workers are rung for. Several changes can be one transaction, too (`Asking.together()`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol, Self

from controller import exceptions
from controller.changes.dialect import OCTAVIA, Dialect
from controller.changes.settings import Settings
from controller.db import database, rows
from controller.db.repositories import l7policies, pools
from controller.drivers.network import interface as network_interface
from controller.drivers.secrets import interface as secrets_interface
from controller.model.status import ProvisioningStatus
from controller.providers.interface import Change, Provider, Update
from controller.refusals import Refusal
from controller.resources.declare import Schema, Values
from controller.services import Services

Parent = pools.Head | l7policies.Head
_UNDER_WAY = (ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.PENDING_UPDATE)


class Caller(Protocol):
    """Who is calling."""

    @property
    def project_id(self) -> str | None:
        """The project for which they call."""

    @property
    def is_admin(self) -> bool:
        """Whether they see what belongs to other projects."""

    @property
    def token(self) -> str | None:
        """The caller's token, by which other services are asked with the caller's rights; None where there is none."""

    @property
    def request_id(self) -> str:
        """What jobs, events and faults that come of the change are marked with."""


class Block:
    """Several changes that are one transaction; of `Asking.together()`."""

    def __init__(self, tx: database.Transaction) -> None:
        self.tx = tx
        self.rings = False  # whether workers are wanted once it is committed
        self.changed: set[str] = set()  # load balancers


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The first argument of every change."""

    caller: Caller
    may: Callable[[str, str | None], bool]  # policy: whether the caller may do this (`member:post`) with an object of that project
    settings: Settings
    services: Services
    providers: Mapping[str, Provider]  # those that are enabled, by their names
    dialect: Dialect = OCTAVIA
    block: Block | None = None

    def authorize(self, action: str, project_id: str | None) -> None:
        """Let the caller do this with an object of that project.

        :raises Forbidden: they may not.
        """
        if not self.may(action, project_id):
            raise exceptions.Forbidden

    def read(self) -> contextlib.AbstractContextManager[database.Transaction]:
        """Look at rows; inside a block, as its changes have left them."""
        return self.services.db.read() if self.block is None else contextlib.nullcontext(self.block.tx)

    def write(self) -> contextlib.AbstractContextManager[database.Transaction]:
        """A transaction in which no work is owed to anybody."""
        return self.services.db.begin() if self.block is None else contextlib.nullcontext(self.block.tx)

    @contextlib.contextmanager
    def change(self) -> Iterator[database.Transaction]:
        """A transaction; once it is committed, workers are told that there is something to do."""
        with self.write() as tx:
            yield tx
        if self.block is not None:
            self.block.rings = True
        else:
            self.services.wake()

    @contextlib.contextmanager
    def together(self) -> Iterator[Self]:
        """Let all changes that are asked for with what this gives be one transaction: all of it is stored, or nothing.

        What a strict deployment refuses to others while work is under way is no conflict with the block's own changes: nothing of it is
        under way before the block ends. So a load balancer takes children in the block that made it.

        What others have to say was looked at before, by `looked()` of each noun: while a block's rows are locked, nobody outside is asked.
        """
        with self.services.db.begin() as tx:
            block = Block(tx)
            yield dataclasses.replace(self, block=block)
        if block.rings:
            self.services.wake()

    @property
    def network(self) -> network_interface.NetworkDriver:
        """The network service, which is asked before a transaction begins."""
        self._need_no_block()
        return self.services.network

    @property
    def secrets(self) -> secrets_interface.SecretStore:
        """The secret store, which is asked before a transaction begins."""
        self._need_no_block()
        return self.services.secrets

    def _need_no_block(self) -> None:
        if self.block is not None:
            raise RuntimeError("a change of a block asks somebody outside, for whom everybody who writes would wait: look before it begins")

    def mutable(self, load_balancer_id: str) -> Collection[ProvisioningStatus]:
        """The states in which a load balancer, and what is below it, take a change."""
        if self.block is not None and load_balancer_id in self.block.changed:
            return {*self.settings.mutable, *_UNDER_WAY}
        return self.settings.mutable

    def accept(self, tx: database.Transaction, load_balancer_id: str, allowed: Collection[ProvisioningStatus] | None = None) -> int:
        """Take the lock of a load balancer that, or below which something, changes, and owe an update; returns the new generation.

        Without `allowed`, it must be in a state in which load balancers take changes.

        :raises NotFound: no such load balancer.
        :raises Immutable: it takes no changes now.
        """
        states = self.mutable(load_balancer_id) if allowed is None else allowed
        change = Update(load_balancer_id=load_balancer_id, request_id=self.caller.request_id, allowed=states)
        return self.give(tx, self.provider_of(tx, load_balancer_id), change)

    def give(self, tx: database.Transaction, provider: Provider, change: Change) -> int:
        """Let a provider take a change on; returns the generation that it gave it.

        :raises NotFound: no such load balancer.
        :raises Immutable: it takes no such change now.
        """
        generation = provider.accept(tx, change)
        if self.block is not None:
            self.block.changed.add(change.load_balancer_id)
        return generation

    def provider(self, name: str) -> Provider:
        """The provider of that name.

        :raises InvalidRequest: load balancers may not name it.
        """
        if name not in self.providers:
            raise exceptions.InvalidRequest(f"Provider '{name}' is not enabled.", code=Refusal.PROVIDER_NOT_ENABLED)
        return self.providers[name]

    def provider_of(self, tx: database.Transaction, load_balancer_id: str) -> Provider:
        """The provider of a load balancer. Where there is only one, its row is not asked.

        :raises NotFound: no such load balancer.
        :raises InvalidRequest: its provider is no longer enabled.
        """
        different = {id(one): one for one in self.providers.values()}
        return next(iter(different.values())) if len(different) == 1 else self.provider(tx.load_balancers.provider_of(load_balancer_id))

    def supports(self, provider: Provider, resource: str, values: Mapping[str, Any]) -> None:
        """The last rule: the provider can do it.

        :raises NotSupported: it can't.
        """
        if self.settings.refuse_unsupported:
            provider.supports(resource, values)

    def columns(self, schema: Schema, values: Mapping[str, Any]) -> Values:
        """The row of these values, where operators' defaults take the place of nulls."""
        left_out = [name for name in schema.operators if name in values and values[name] is None]
        return schema.columns({**values, **{name: self.settings.unsaid[schema.name][name] for name in left_out}})

    def accept_below(self, tx: database.Transaction, parent: Parent) -> int:
        """Accept a change of what is below a pool or an L7 policy: stamps the load balancer, the parent, and the listeners that use it.

        :raises Immutable: the load balancer takes no changes now.
        :raises Conflict: the parent is being deleted or, in the strict mode, it or a listener that uses it is not at rest.
        """
        generation = self.accept(tx, parent.load_balancer_id)
        self.need_at_rest(tx, parent)
        if isinstance(parent, pools.Head):
            tx.pools.touch(parent.id, generation)
            tx.listeners.touch_users(parent.id, generation)
        else:
            tx.l7policies.touch(parent.id, generation)
            tx.listeners.touch(parent.listener_id, generation)
        return generation

    def check_below(self, tx: database.Transaction, parent: Parent) -> None:
        """Whether `accept_below()` would accept, where nothing is to be changed.

        :raises Immutable: the load balancer takes no changes now.
        :raises Conflict: as `accept_below()`.
        """
        load_balancer = tx.load_balancers.get(parent.load_balancer_id)
        if load_balancer.provisioning_status not in self.mutable(load_balancer.id):
            raise exceptions.Immutable(load_balancer.id, load_balancer.provisioning_status)
        self.need_at_rest(tx, parent)

    def need_at_rest(self, tx: database.Transaction, parent: Parent) -> None:
        """Check that a parent takes changes below it: it does in the same states as its load balancer.

        :raises Conflict: it is in another one.
        """
        self.need_mutable(parent.load_balancer_id, parent.title, parent.id, parent.provisioning_status)
        if isinstance(parent, pools.Head):
            self.need_users(tx, parent.id, parent.load_balancer_id)

    def need_users(self, tx: database.Transaction, pool_id: str, load_balancer_id: str) -> None:
        """Check, in the strict mode, that the listeners that use a pool are at rest: only then may it, or what is below it, change.

        :raises Conflict: one is not.
        """
        if self.settings.is_strict:
            waits_for = tx.listeners.user_not_in(pool_id, self.mutable(load_balancer_id))
            if waits_for is not None:
                raise exceptions.ObjectImmutable("Listener", waits_for)

    def need_mutable(self, load_balancer_id: str, title: str, object_id: str, found: ProvisioningStatus) -> None:
        """An object below a load balancer takes changes in the same states as that.

        :raises Conflict: it is in another one.
        """
        need(self.mutable(load_balancer_id), title, object_id, found)

    def reserve(self, tx: database.Transaction, project_id: str, **wanted: int) -> None:
        """Let the project have so many more of each kind, which this transaction adds; called when the load balancer's lock is held.

        :raises QuotaExceeded: it may not.
        """
        tx.quotas.reserve(project_id, wanted, self.settings.quotas)


def need(allowed: Collection[ProvisioningStatus], title: str, object_id: str, found: ProvisioningStatus) -> None:
    """An object takes a change in these states only.

    :raises Conflict: it is in another one.
    """
    if found not in allowed:
        raise exceptions.ObjectImmutable(title, object_id)


def new_row(project_id: str, generation: int, **parents: str) -> dict[str, Any]:
    """The columns of a new object that no client gives; `parents` are its load balancer and what else it is below, by column."""
    return {
        "id": str(uuid.uuid4()),
        "project_id": project_id,
        "generation": generation,
        "created_at": rows.now(),
        **parents,
    }
