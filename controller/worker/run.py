"""One job under way: its claim, its lease, and whether both still hold; and the thread that renews them all."""

import logging
import threading
import time

from controller import jobs, outages
from controller.db import database
from controller.worker import persistence

LOG = logging.getLogger(__name__)


class Run:
    """A claimed job of a leased load balancer."""

    def __init__(self, claim: jobs.Claim, lease: jobs.Lease, project_id: str | None = None) -> None:
        self.claim = claim
        self.lease = lease
        self.project_id = project_id
        self.lost = False
        self.ended = False  # the job is off the board; claim and lease were given back
        self.flow: persistence.OpenFlow | None = None
        self.renewed_at = time.monotonic()

    def __str__(self) -> str:
        """How log lines begin: ids first."""
        claim = self.claim
        return f"load balancer {claim.load_balancer_id}: job {claim.id} ({claim.kind}, request {claim.request_id or '-'})"


class Renewer:
    """Renews the claims and leases of all runs each third of their term."""

    def __init__(self, db: database.Database, expiry: float) -> None:
        self._db = db
        self._expiry = expiry
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="renewer", daemon=True)
        self._outage = outages.Outage(LOG, "The renewal of claims and leases")

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is still held expires by itself."""
        self._ended.set()
        self._thread.join(timeout=5)

    def add(self, run: Run) -> None:
        """Renew the claim and the lease of this run from now on."""
        with self._lock:
            self._runs[run.claim.id] = run

    def remove(self, run: Run) -> None:
        """Renew them no more."""
        with self._lock:
            if self._runs.get(run.claim.id) is run:  # not the next one of its job, which may have begun
                del self._runs[run.claim.id]

    def renew(self) -> None:
        """Renew all, and mark what was lost: taken by another worker, or not renewed in time because the database could not be reached."""
        with self._lock:
            runs = [run for run in self._runs.values() if not run.lost]
        if not runs:
            return
        for run in runs:
            began = time.monotonic()
            try:
                kept = self._renew(run)
            except Exception as exc:  # the database is away; try again as long as nobody else may have taken over
                self._outage.met(exc)
                if run.renewed_at < began - self._expiry:
                    self._lose(run, "could not be renewed in time")
                continue
            self._outage.over()
            if kept:
                run.renewed_at = began
            elif self._is_kept(run):  # those that ended meanwhile gave theirs back
                self._lose(run, "was taken by another worker")

    def _renew(self, run: Run) -> bool:
        """A transaction of its own for each run, so that none waits for the row of another one's load balancer."""
        with self._db.begin() as tx:
            return tx.leases.refresh(run.lease, self._expiry) and tx.jobs.extend(run.claim, self._expiry)

    def _is_kept(self, run: Run) -> bool:
        with self._lock:
            return self._runs.get(run.claim.id) is run

    def _lose(self, run: Run, words: str) -> None:
        run.lost = True
        LOG.warning("%s: its claim or lease %s; leaving it", run, words)

    def _loop(self) -> None:
        while not self._ended.wait(self._expiry / 3):
            self.renew()
