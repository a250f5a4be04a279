"""Pools, and their rules."""

from __future__ import annotations

from controller import exceptions
from controller.changes.asking import Asking
from controller.db import transaction
from controller.db.repositories.pools import Head

DATAGRAMS = ("UDP", "SCTP")
"""Protocols of listeners and pools that are no stream of TCP."""


def accept_below(asking: Asking, tx: transaction.Transaction, pool: Head) -> int:
    """Accept a change below a pool: stamps the load balancer, the pool and the listeners that use it; returns the new generation.

    :raises Immutable: the load balancer takes no changes now.
    :raises Conflict: the pool is being deleted, or in the strict mode, it or a listener is not at rest.
    """
    generation = asking.accept(tx, pool.load_balancer_id)
    _check_at_rest(asking, tx, pool)
    tx.pools.touch(pool.id, generation)
    tx.listeners.touch_users(pool.id, generation)
    return generation


def check_below(asking: Asking, tx: transaction.Transaction, pool: Head) -> None:
    """Whether a change below a pool would be accepted, where nothing is to be changed.

    :raises Immutable: the load balancer takes no changes now.
    :raises Conflict: the pool is being deleted, or in the strict mode, it or a listener is not at rest.
    """
    load_balancer = tx.load_balancers.get(pool.load_balancer_id)
    if load_balancer.provisioning_status not in asking.mutable(load_balancer.id):
        raise exceptions.Immutable(load_balancer.id, load_balancer.provisioning_status)
    _check_at_rest(asking, tx, pool)


def _check_at_rest(asking: Asking, tx: transaction.Transaction, pool: Head) -> None:
    asking.need_mutable(pool.load_balancer_id, "Pool", pool.id, pool.provisioning_status)
    need_users(asking, tx, pool.id, pool.load_balancer_id)


def need_users(asking: Asking, tx: transaction.Transaction, pool_id: str, load_balancer_id: str) -> None:
    """In the strict mode, a pool and what is below it change only while the listeners that use the pool are at rest.

    :raises Conflict: one is not.
    """
    if not asking.settings.is_strict:
        return
    waits_for = tx.listeners.user_not_in(pool_id, asking.mutable(load_balancer_id))
    if waits_for is not None:
        raise exceptions.ObjectImmutable("Listener", waits_for)
