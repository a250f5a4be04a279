"""Our jobboard as taskflow knows jobboards: the table `jobs` behind `taskflow.jobs.base.JobBoard`.

The worker's conductor goes to the table itself, because it needs claim, lease and record in one transaction. This board is for everything
that speaks taskflow: `taskflow.jobs.backends.fetch("main", {"board": "figlina-database", "connection": URL})`.

A job of a kind that `controller.jobs` knows is posted as such, so at most one of its subject waits; any other one is a row of its own.
"""

from __future__ import annotations

import datetime
import importlib
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from taskflow import exceptions as taskflow_exceptions
from taskflow import states
from taskflow.jobs import base
from taskflow.types import entity as taskflow_entity

from controller import exceptions, jobs
from controller.jobs import wakeup

_BOOK = "_book"
_PAGE = 100
_PRIORITIES = {
    base.JobPriority.VERY_HIGH: jobs.URGENT,
    base.JobPriority.HIGH: jobs.URGENT,
    base.JobPriority.NORMAL: jobs.NORMAL,
    base.JobPriority.LOW: jobs.LATER,
    base.JobPriority.VERY_LOW: jobs.LATER,
}
_NAMES = {jobs.URGENT: base.JobPriority.HIGH, jobs.NORMAL: base.JobPriority.NORMAL, jobs.LATER: base.JobPriority.LOW}


class DatabaseJob(base.Job):
    """A row of the board."""

    def __init__(self, board: DatabaseJobBoard, row: Mapping[str, Any], persistence: Any = None) -> None:
        details = dict(row["details"])
        book = details.pop(_BOOK, None)
        super().__init__(board, row["kind"], uuid=row["id"], details=details, backend=persistence, book_data=book)
        self._row = row

    @property
    def row(self) -> Mapping[str, Any] | None:
        """The row as it is now; None if it is gone."""
        return self._board.row(self.uuid)  # type: ignore[no-any-return]

    @property
    def created_on(self) -> datetime.datetime:
        """When it was posted."""
        return datetime.datetime.fromtimestamp(self._row["posted_at"], datetime.UTC)

    @property
    def last_modified(self) -> datetime.datetime:
        """A row does not change but by claims, of which the board keeps no times."""
        return self.created_on

    @property
    def priority(self) -> base.JobPriority:
        """Its priority; the board has three."""
        return _NAMES.get(self._row["priority"], base.JobPriority.NORMAL)

    @property
    def state(self) -> str:
        """UNCLAIMED, CLAIMED, or COMPLETE if it is gone."""
        row = self.row
        if row is None:
            return str(states.COMPLETE)
        return str(states.CLAIMED if row["owner"] is not None and row["claim_expires_at"] > self._board.now() else states.UNCLAIMED)


class DatabaseJobBoard(base.JobBoard):
    """The table `jobs` of a database."""

    def __init__(self, name: str, conf: Mapping[str, Any], persistence: Any = None, database: Any = None) -> None:
        """With a database, or with `conf["connection"]`, the URL of one.

        Further keys of `conf`: `claim_expiry` (seconds, 30), `wakeup_directory` (rung when a job is posted), `poll_interval` (seconds, 1).
        """
        super().__init__(name, conf)
        self._persistence = persistence
        self._given = database
        self._database = database
        self._expiry = float(conf.get("claim_expiry", 30.0))
        self._bells = conf.get("wakeup_directory") or ""
        self._poll = float(conf.get("poll_interval", 1.0))
        self._entities: dict[str, taskflow_entity.Entity] = {}

    @property
    def connected(self) -> bool:
        """Whether there is a database to speak to."""
        return self._database is not None

    def now(self) -> float:
        """The time by which claims are compared: the database's."""
        return float(self._database.now()) if self._database is not None else time.time()

    def connect(self) -> None:
        """Open the database of `conf["connection"]`, unless one was given."""
        if self._database is None:
            # By name, because jobs stand below the database in the order of imports.
            module = importlib.import_module("controller.db.database")
            self._database = self._given or module.Database(self._conf["connection"])

    def close(self) -> None:
        """Close the database, unless it was given."""
        if self._database is not None and self._given is None:
            self._database.close()
        self._database = None

    def row(self, job_id: str) -> Mapping[str, Any] | None:
        """A row, or None."""
        with self._open().read() as tx:
            return tx.jobs.get(job_id)  # type: ignore[no-any-return]

    def register_entity(self, entity: taskflow_entity.Entity) -> None:
        """Know a conductor, until this process ends; workers are found by their claims."""
        self._entities[entity.name] = entity

    @property
    def job_count(self) -> int:
        """How many jobs are on the board."""
        with self._open().read() as tx:
            return int(tx.jobs.count())

    def iterjobs(self, only_unclaimed: bool = False, ensure_fresh: bool = False) -> base.JobBoardIterator:
        """Jobs by priority, then in the order of posting."""
        return base.JobBoardIterator(self, _NO_LOG, board_fetch_func=self._fetch, only_unclaimed=only_unclaimed, ensure_fresh=ensure_fresh)

    def _fetch(self, ensure_fresh: bool = False) -> list[DatabaseJob]:
        rows = sorted(self._rows(), key=lambda row: (-row["priority"], row["posted_at"]))
        return [DatabaseJob(self, row, self._persistence) for row in rows]

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        after = (0.0, "")
        while True:
            with self._open().read() as tx:
                page = tx.jobs.page(_PAGE, after)
            yield from page
            if len(page) < _PAGE:
                return
            after = (page[-1]["posted_at"], page[-1]["id"])

    def wait(self, timeout: float | None = None) -> base.JobBoardIterator:
        """Wait until there are jobs.

        :raises taskflow.exceptions.NotFound: there were none within `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        bell = wakeup.Bell(self._bells)
        try:
            while True:
                if self.job_count:
                    return self.iterjobs()
                left = self._poll if deadline is None else min(self._poll, deadline - time.monotonic())
                if left <= 0:
                    raise taskflow_exceptions.NotFound(f"no job came within {timeout} seconds")
                bell.wait(left)
        finally:
            bell.close()

    def post(
        self,
        name: str,
        book: Any = None,
        details: Mapping[str, Any] | None = None,
        priority: base.JobPriority = base.JobPriority.NORMAL,
    ) -> DatabaseJob:
        """Post a job; one of ours that waits already is returned instead."""
        number = _PRIORITIES[base.JobPriority.convert(priority)]
        with self._open().begin() as tx:
            ours = _as_ours(name, details or {}) if book is None else None
            if ours is not None:
                job_id = tx.jobs.post(ours, priority=number)
            else:
                job_id = str(uuid.uuid4())
                kept = dict(details or {})
                if book is not None:
                    kept[_BOOK] = {"name": book.name, "uuid": book.uuid}
                tx.jobs.add(name, kept, kept.get("load_balancer_id"), f"{name}/{job_id}", priority=number, job_id=job_id)
            row = tx.jobs.get(job_id)
        wakeup.ring(self._bells)
        return DatabaseJob(self, row, self._persistence)

    def find_owner(self, job: base.Job) -> str | None:
        """Who holds a live claim on the job, or None."""
        row = self.row(job.uuid)
        return row["owner"] if row is not None and row["owner"] is not None and row["claim_expires_at"] > self.now() else None

    @base.check_who
    def claim(self, job: base.Job, who: str) -> None:
        """Claim a job.

        :raises taskflow.exceptions.NotFound: it is gone.
        :raises taskflow.exceptions.UnclaimableJob: somebody else holds it, or it is not due yet.
        """
        with self._open().begin() as tx:
            if tx.jobs.get(job.uuid) is None:
                raise taskflow_exceptions.NotFound(f"job {job.uuid} is gone")
            if tx.jobs.claim(job.uuid, who, self._expiry) is None:
                raise taskflow_exceptions.UnclaimableJob(f"job {job.uuid} is held by somebody else, or not due yet")

    @base.check_who
    def abandon(self, job: base.Job, who: str) -> None:
        """Give a claim back.

        :raises taskflow.exceptions.NotFound: the job is gone.
        :raises taskflow.exceptions.JobFailure: `who` does not hold it.
        """
        with self._open().begin() as tx:
            tx.jobs.release(_claim_of(tx, job, who))

    @base.check_who
    def consume(self, job: base.Job, who: str) -> None:
        """Take a job that is done off the board.

        :raises taskflow.exceptions.NotFound: the job is gone.
        :raises taskflow.exceptions.JobFailure: `who` does not hold it.
        """
        with self._open().begin() as tx:
            tx.jobs.consume(_claim_of(tx, job, who))

    @base.check_who
    def trash(self, job: base.Job, who: str) -> None:
        """Take a job that can't be done off the board. It is not kept: what it was a hint of stands in the rows.

        :raises taskflow.exceptions.NotFound: the job is gone.
        :raises taskflow.exceptions.JobFailure: `who` does not hold it.
        """
        self.consume(job, who)

    def _open(self) -> Any:
        if self._database is None:
            raise taskflow_exceptions.JobFailure(f"jobboard {self.name} is not connected")
        return self._database


class _NoLog:
    def warning(self, *_args: Any, **_kwargs: Any) -> None:
        """A job that vanishes while one looks at the board is nothing to tell."""


_NO_LOG = _NoLog()


def _as_ours(name: str, details: Mapping[str, Any]) -> jobs.Job | None:
    try:
        return jobs.load(name, details)
    except exceptions.NotSupported:
        return None


def _claim_of(tx: Any, job: base.Job, who: str) -> jobs.Claim:
    row = tx.jobs.get(job.uuid)
    if row is None:
        raise taskflow_exceptions.NotFound(f"job {job.uuid} is gone")
    if row["owner"] != who:
        raise taskflow_exceptions.JobFailure(f"job {job.uuid} is held by {row['owner']}, not by {who}")
    return jobs.Claim(
        id=row["id"],
        kind=row["kind"],
        load_balancer_id=row["load_balancer_id"],
        details=row["details"],
        owner=who,
        token=row["claim_token"],
        attempts=row["attempts"],
    )
