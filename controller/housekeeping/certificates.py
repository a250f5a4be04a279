"""Renewal of amphorae's certificates long before they end, a bounded number at once; and their way from one root to the next."""

import logging
import time
from collections.abc import Callable

from controller import jobs
from controller.db import database
from controller.drivers.ca import interface

LOG = logging.getLogger(__name__)
_FOLLOWED_AGAIN_AFTER = 600.0
"""Seconds. A worker that had not yet noticed a change may have renewed a certificate under the trust before it."""


class Renewal:
    """`at_once` renewals are on the board, at most; `ring` tells workers that there is something to do."""

    def __init__(
        self, db: database.Database, ca: Callable[[], interface.CertificateAuthority], ring: Callable[[], None], *, at_once: int
    ) -> None:
        self._db = db
        self._ca = ca
        self._ring = ring
        self._at_once = at_once
        self._trust: str | None = None
        self._followed_at = float("-inf")

    def renew(self, may_go_on: Callable[[], bool]) -> None:
        """One round: post what is due, as far as there is room."""
        self._follow()
        with self._db.read() as tx:
            room = self._at_once - tx.certificates.under_way()
            due = tx.certificates.due(self._db.now(), room) if room > 0 else []
        posted = 0
        for one in due:
            if not may_go_on():
                break
            with self._db.begin() as tx:
                tx.certificates.mark_busy(one.amphora_id)
                job = jobs.RenewCertificate(load_balancer_id=one.load_balancer_id, amphora_id=one.amphora_id)
                tx.jobs.post(job, priority=jobs.NORMAL if one.expired else jobs.LATER)
            posted += 1
        if posted:
            self._ring()

    def _follow(self) -> None:
        """When another root issues, or agents are to trust others, all that were made before are renewed."""
        trust, now = self._ca().trust(), time.monotonic()
        if trust == self._trust and now - self._followed_at < _FOLLOWED_AGAIN_AFTER:
            return
        with self._db.begin() as tx:
            count = tx.certificates.follow(trust, self._db.now())
        if count:
            LOG.info("%d amphorae are to follow our roots of now: their certificates are renewed", count)
        self._trust, self._followed_at = trust, now
