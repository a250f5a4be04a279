"""Amphorae: what an administrator asks of one. They are machines of the provider `amphora`, which is told in its own words."""

from __future__ import annotations

from controller import exceptions, jobs
from controller.changes.asking import Asking
from controller.db import database
from controller.model.amphora import Amphora
from controller.model.status import AmphoraStatus, ProvisioningStatus
from controller.providers import amphora as provider


def get(tx: database.Transaction, amphora_id: str) -> Amphora:
    """An amphora that clients may see: also a deleted one, until its row is purged.

    :raises NotFound: there is none.
    """
    return tx.amphorae.shown(amphora_id)


def fail_over(asking: Asking, amphora_id: str) -> None:
    """Have it replaced.

    :raises NotFound: there is no such amphora.
    :raises Conflict: it serves no load balancer.
    :raises Immutable: its load balancer was never built, or is being changed.
    """
    asking.authorize("amphora:put_failover", None)
    allowed = [state for state in asking.settings.removable if state is not ProvisioningStatus.PENDING_CREATE]
    with asking.change() as tx:
        amphora = get(tx, amphora_id)
        if amphora.load_balancer_id is None or amphora.role is None:
            raise exceptions.Conflict(f"Amphora {amphora_id} serves no load balancer, so there is nothing to fail over.")
        tx.load_balancers.advance(amphora.load_balancer_id, allowed)
        job = jobs.FailoverAmphora(load_balancer_id=amphora.load_balancer_id, amphora_id=amphora_id, role=amphora.role)
        provider.post(tx, job, asking.caller.request_id)


def configure(asking: Asking, amphora_id: str) -> None:
    """Have its agent told how it is to live from now on.

    :raises NotFound: there is no such amphora.
    :raises Conflict: it serves no load balancer.
    """
    asking.authorize("amphora:put_config", None)
    with asking.change() as tx:
        amphora = get(tx, amphora_id)
        if amphora.load_balancer_id is None:
            raise exceptions.Conflict(f"Amphora {amphora_id} serves no load balancer, so its agent is told nothing before it does.")
        job = jobs.ConfigureAmphora(load_balancer_id=amphora.load_balancer_id, amphora_id=amphora_id)
        provider.post(tx, job, asking.caller.request_id)


def delete(asking: Asking, amphora_id: str) -> None:
    """Have a broken one taken apart; its load balancer gets another one if it lacks one.

    :raises NotFound: there is no such amphora.
    :raises Conflict: it is not broken, or serves no load balancer.
    :raises Immutable: its load balancer takes no change now.
    """
    asking.authorize("amphora:delete", None)
    with asking.change() as tx:
        amphora = get(tx, amphora_id)
        if amphora.load_balancer_id is None or amphora.status is not AmphoraStatus.ERROR:
            raise exceptions.ObjectImmutable("Amphora", amphora_id)
        asking.accept(tx, amphora.load_balancer_id, asking.settings.removable)  # a broken amphora breaks its load balancer
        tx.amphorae.set_status([amphora_id], AmphoraStatus.PENDING_DELETE)
