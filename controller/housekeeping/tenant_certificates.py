"""Copies of tenants' certificates: what nobody names is forgotten, the secret store is told who uses what, and an end is announced.

It also writes ends beside listeners and pools that an API of an older release has made or changed.

Only here copies are forgotten, so a store that is away while a load balancer is deleted is told later. And what amphorae leave out, because
it names a secret that was never read, is tried again; so is what was to be read anew, and could not be.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence

from controller import exceptions, jobs
from controller.db import database
from controller.drivers.secrets import interface
from controller.model import load_balancer as model
from controller.model import status, tls

LOG = logging.getLogger(__name__)

ENDS, ENDED = "certificate_ends", "certificate_ended"


class TenantCertificates:
    """One page of load balancers a round. `warning`: seconds before a certificate's end at which it is announced."""

    def __init__(
        self, db: database.Database, store: Callable[[], interface.SecretStore], ring: Callable[[], None], *, warning: float, page_size: int
    ) -> None:
        self._db = db
        self._store = store
        self._ring = ring
        self._warning = warning
        self._page_size = page_size
        self._cursor = self._tried = ""

    def look(self, may_go_on: Callable[[], bool]) -> None:
        """Make one round."""
        self._try_again()
        with self._db.read() as tx:
            page = tx.tenant_certificates.load_balancers(self._cursor, self._page_size)
        self._cursor = page[-1] if len(page) == self._page_size else ""
        for load_balancer_id in page:
            if not may_go_on():
                return
            self._look_at(load_balancer_id)

    def _try_again(self) -> None:
        """Of whom something is left out, because a secret was never read, gets another push: that reads again. A page of them in each
        round, for there may be many whose secrets never come."""
        with self._db.read() as tx:
            incomplete = tx.faults.leaving_out(self._tried, self._page_size)
        self._tried = incomplete[-1] if len(incomplete) == self._page_size else ""
        if incomplete:
            self._have_pushed(incomplete)

    def _have_pushed(self, load_balancer_ids: Sequence[str]) -> None:
        with self._db.begin() as tx:
            for load_balancer_id in load_balancer_ids:
                tx.jobs.post(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
        self._ring()

    def _look_at(self, load_balancer_id: str) -> None:
        with self._db.read() as tx:
            copies = tx.tenant_certificates.of(load_balancer_id)
            named = _named(tx, load_balancer_id)
            are_ends_told = tx.tenant_certificates.are_ends_told(load_balancer_id)
        if not are_ends_told:
            self._tell_ends(load_balancer_id)
        if any(copy.is_stale for need, copy in copies.items() if need.reference in named):
            self._have_pushed([load_balancer_id])
        unused = [need for need in copies if need.reference not in named]
        for reference in sorted({need.reference for need in unused}):
            if self._is_told(load_balancer_id, reference, used=False):
                self._forget(load_balancer_id, reference, [need for need in unused if need.reference == reference])
        for reference in sorted({need.reference for need, copy in copies.items() if need.reference in named and not copy.is_registered}):
            if self._is_told(load_balancer_id, reference, used=True):
                with self._db.begin() as tx:
                    tx.tenant_certificates.mark_registered(load_balancer_id, [reference])
        ends = [(need, copy.not_after) for need, copy in sorted(copies.items()) if need.reference in named and copy.not_after is not None]
        events = dict.fromkeys(event for need, end in ends if (event := self._event(need, end)))  # one may be an authority, too
        self._announce(load_balancer_id, tuple(events))

    def _tell_ends(self, load_balancer_id: str) -> None:
        """As they are by the time that nobody else changes anything."""
        with self._db.begin() as tx:
            tx.load_balancers.lock(load_balancer_id)
            tx.tenant_certificates.tell_ends(load_balancer_id)

    def _forget(self, load_balancer_id: str, reference: str, needs: Sequence[tls.Need]) -> None:
        """Unless somebody has named it again meanwhile: then the next round tells the store so."""
        with self._db.begin() as tx:
            tx.load_balancers.lock(load_balancer_id)
            if reference in _named(tx, load_balancer_id):
                tx.tenant_certificates.mark_registered(load_balancer_id, [reference], False)
            else:
                tx.tenant_certificates.forget(load_balancer_id, needs)

    def _is_told(self, load_balancer_id: str, reference: str, *, used: bool) -> bool:
        try:
            (self._store().register if used else self._store().unregister)(reference, load_balancer_id)
        except exceptions.ControllerError as exc:
            LOG.warning("load balancer %s: the secret store is not told yet of %s: %s", load_balancer_id, reference, exc)
            return False
        return True

    def _event(self, need: tls.Need, end: datetime.datetime) -> model.Fault | None:
        """What is to be told of an end; None: nothing yet."""
        left = end.timestamp() - self._db.now()
        if left > self._warning:
            return None
        what = "the list of revocations" if need.kind is tls.Kind.REVOCATIONS else "the certificate"
        words = f"{what} {need.reference} {'ends' if left > 0 else 'ended'} on {end:%Y-%m-%d %H:%M} UTC: "
        words += "store a new one, and update the listener or pool that names it"
        return model.Fault(code=ENDS if left > 0 else ENDED, message=words)

    def _announce(self, load_balancer_id: str, events: Sequence[model.Fault]) -> None:
        """Each once; where all were told before, nothing is written."""
        if not events:
            return
        with self._db.read() as tx:
            news = tx.faults.untold(load_balancer_id, events)
        if not news:
            return
        with self._db.begin() as tx:
            for event in tx.faults.untold(load_balancer_id, news):
                tx.faults.add_event(load_balancer_id, "load_balancer", load_balancer_id, event)
                LOG.warning("load balancer %s: %s", load_balancer_id, event.message)


def _named(tx: database.Transaction, load_balancer_id: str) -> frozenset[str]:
    """The references that a load balancer, its listeners and its pools name, switched on or not, and those that they named before changes
    that are not applied; none if it is deleted."""
    try:
        snapshot = tx.snapshots.get(load_balancer_id)
    except exceptions.NotFound:
        return frozenset()
    if snapshot.load_balancer.provisioning_status is status.ProvisioningStatus.DELETED:
        return frozenset()
    found: set[str | None] = set()
    former = tx.served_before.of(load_balancer_id).values()
    for one in (snapshot.load_balancer, *snapshot.listeners, *snapshot.pools, *former):
        match one:
            case model.LoadBalancer():
                found.add(one.access_log.ca_tls_container_ref if one.access_log is not None else None)
            case model.Listener():
                found |= {one.default_tls_container_ref, one.client_ca_tls_container_ref, one.client_crl_container_ref}
                found |= set(one.sni_container_refs)
            case model.Pool():
                found |= {one.tls_container_ref, one.ca_tls_container_ref, one.crl_container_ref}
    return frozenset(reference for reference in found if reference)
