"""How an amphora is taken apart, in every flow: its machine, its ports, and only then its row.

Every step may be done twice, and what is gone already is fine. No agent is spoken to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from controller import exceptions, jobs
from controller.model import load_balancer as model
from controller.model import status
from controller.services import Services

LOG = logging.getLogger(__name__)


def take_apart(services: Services, amphora_ids: Iterable[str], lease: jobs.Lease) -> None:
    """Delete amphorae. One that can't be deleted now stays PENDING_DELETE, and does not keep the others from being deleted.

    :raises ControllerError: the first of the reasons why some could not be deleted.
    :raises StaleLease: another worker took the load balancer over.
    """
    doomed = list(amphora_ids)
    if not doomed:
        return
    with services.db.begin(lease) as tx:
        tx.amphorae.set_status(doomed, status.AmphoraStatus.PENDING_DELETE)
    failed: list[exceptions.ControllerError] = []
    gone = [amphora_id for amphora_id in doomed if _is_gone(services, amphora_id, lease, failed)]
    with services.db.begin(lease) as tx:
        for amphora_id in gone:
            tx.amphorae.mark_deleted(amphora_id)
    LOG.info("load balancer %s: deleted amphorae %s", lease.load_balancer_id, ", ".join(gone) or "(none)")
    if failed:
        raise failed[0]


def undo(services: Services, amphora_ids: Sequence[str], lease: jobs.Lease) -> None:
    """Take apart as far as possible. What is left is an event, and waits as PENDING_DELETE for the next flow.

    :raises StaleLease: another worker took the load balancer over.
    """
    try:
        take_apart(services, amphora_ids, lease)
    except exceptions.ControllerError as exc:
        message = f"what was begun could not be taken apart: {exc}; it is tried again"
        LOG.warning("load balancer %s: %s", lease.load_balancer_id, message)
        with services.db.begin() as tx:
            tx.faults.add_failed_try(lease.load_balancer_id, model.Fault(code=exc.code, message=message))


def _is_gone(services: Services, amphora_id: str, lease: jobs.Lease, failed: list[exceptions.ControllerError]) -> bool:
    try:
        with services.fence.writing(lease) as order:
            services.compute.delete(amphora_id)
            services.network.delete_amphora_ports(amphora_id, order=order, port_ids=_known_ports(services, amphora_id))
    except exceptions.ControllerError as exc:
        LOG.warning("amphora %s could not be deleted: %s", amphora_id, exc)
        failed.append(exc)
        return False
    return True


def _known_ports(services: Services, amphora_id: str) -> list[str]:
    """The ports for management and VRRP, if both were written down."""
    with services.db.read() as tx:
        try:
            amphora = tx.amphorae.get(amphora_id)
        except exceptions.NotFound:  # its row was never written
            return []
    known = [one for one in (amphora.management_port_id, amphora.vrrp_port_id) if one is not None]
    return known if len(known) == 2 else []
