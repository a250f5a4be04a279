"""Steps with an agent's certificate."""

from __future__ import annotations

import datetime
import logging

from amphora_agent.protocol import boot
from controller import exceptions, jobs
from controller.db import database
from controller.drivers.ca import interface as ca_interface
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import renewal, status
from controller.tasks import base

LOG = logging.getLogger(__name__)
_REPLACED_AT_ONCE = 1


class RenewCertificate(base.Step):
    """Give an agent a new certificate, and the roots and names that it is to trust. The key never leaves this step.

    A failure is written in the amphora's row with the time of the next try, and is no failure of the flow: the load balancer is as it was.
    An amphora whose certificate can't be renewed in the end is replaced, one at a time, unless so many can't that the fault must be ours.
    """

    def execute(self, load_balancer_id: str, amphora_id: str, lease: jobs.Lease, request_id: str | None = None) -> None:
        with self.services.db.read() as tx:
            tx.leases.check(lease)
            amphora = tx.amphorae.get(amphora_id)
        ca = self.services.ca
        try:
            trust = ca.trust()  # asked first: what changes meanwhile is renewed once more
            issued = ca.issue_amphora_certificate(amphora_id)
            with self.services.fence.writing(lease) as order, self.services.waiting.of(load_balancer_id):
                self.services.amphora.renew(amphora, identity(ca, issued), order=order)
        except exceptions.ControllerError as exc:
            LOG.warning("load balancer %s: the certificate of amphora %s could not be renewed: %s", load_balancer_id, amphora_id, exc)
            self._note_failure(amphora, exc, lease, request_id)
            return
        until = issued.not_after
        now = self.services.db.now()
        with self.services.db.begin(lease) as tx:
            tx.amphorae.update(
                amphora_id,
                cert_expiration=until,
                cert_trust=trust,
                cert_renew_at=renewal.renew_at(amphora_id, now, until.timestamp(), self.services.settings.cert_renew_after),
                cert_failures=0,
                cert_busy=False,
            )
            words = f"its certificate was renewed, and is valid until {until:%Y-%m-%d %H:%M:%S} UTC"
            event = model.Fault(code="certificate_renewed", message=words, request_id=request_id)
            tx.faults.add_event(load_balancer_id, "amphora", amphora_id, event)
        LOG.info("load balancer %s: amphora %s: %s", load_balancer_id, amphora_id, words)

    def _note_failure(
        self, amphora: amphora_model.Amphora, error: exceptions.ControllerError, lease: jobs.Lease, request_id: str | None
    ) -> None:
        failures = amphora.cert_failures + 1
        next_try_at = self.services.db.now() + renewal.pause(amphora.id, failures, self.services.settings.cert_first_pause)
        with self.services.db.begin(lease) as tx:
            tx.amphorae.update(amphora.id, cert_failures=failures, cert_renew_at=next_try_at, cert_busy=False)
            self._tell(tx, amphora, "certificate_not_renewed", str(error), request_id, next_try_at)
            if self._is_to_be_replaced(amphora, failures, error):
                self._replace(tx, amphora, error, request_id)

    def _is_to_be_replaced(self, amphora: amphora_model.Amphora, failures: int, error: exceptions.ControllerError) -> bool:
        expiration = amphora.cert_expiration
        return renewal.is_to_be_replaced(
            failures,
            distrusted=isinstance(error, exceptions.AmphoraDistrusted),
            refused=isinstance(error, exceptions.AmphoraRefused),
            expired=expiration is not None and expiration.timestamp() <= self.services.db.now(),
        )

    def _replace(
        self, tx: database.Transaction, amphora: amphora_model.Amphora, error: exceptions.ControllerError, request_id: str | None
    ) -> None:
        if amphora.load_balancer_id is None or amphora.role is None or amphora.status is not status.AmphoraStatus.ALLOCATED:
            return
        stuck, fleet = tx.certificates.failing()
        if renewal.is_our_own_fault(stuck, fleet):
            words = (
                f"{stuck} of {fleet} amphorae can't be given new certificates: that is rather our own clock, or our own certificates "
                "(`figlina ca status`), so nobody is replaced for it"
            )
            self._tell(tx, amphora, "certificate_replacement_stopped", words, request_id)
            return
        if tx.certificates.replacing() >= _REPLACED_AT_ONCE:
            return  # its turn comes with one of the next tries
        job = jobs.FailoverAmphora(load_balancer_id=amphora.load_balancer_id, amphora_id=amphora.id, role=amphora.role)
        tx.jobs.post(job, request_id=request_id)
        words = f"it is replaced, because its certificate can't be renewed: {error}"
        self._tell(tx, amphora, "certificate_replacement", words, request_id)

    def _tell(
        self,
        tx: database.Transaction,
        amphora: amphora_model.Amphora,
        code: str,
        words: str,
        request_id: str | None,
        next_try_at: float | None = None,
    ) -> None:
        """Once, until something else is to be told of the amphora."""
        assert amphora.load_balancer_id is not None
        later = None if next_try_at is None else datetime.datetime.fromtimestamp(next_try_at, datetime.UTC)
        event = model.Fault(code=code, message=words, step=self.name, request_id=request_id, next_try_at=later)
        tx.faults.add_news(amphora.load_balancer_id, "amphora", amphora.id, event, among=3)


def identity(ca: ca_interface.CertificateAuthority, issued: ca_interface.IssuedCertificate) -> boot.Identity:
    """What an agent is given: its certificate with its key, and whom it is to trust."""
    return boot.Identity(server_pem=issued.pem.decode(), client_roots=ca.client_roots().decode(), client_names=ca.client_names())
