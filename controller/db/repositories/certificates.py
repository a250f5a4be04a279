"""Amphorae's certificates: which are due, and what became of a renewal. By index and by page."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from controller import jobs
from controller.db import rows, tables
from controller.model import status

_A = tables.amphorae.c
_J = tables.jobs.c
_LB = tables.load_balancers.c
_POSTED = sa.exists().where(_J.subject == sa.literal(f"{jobs.RenewCertificate.kind}/", sa.String) + _A.id)


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """An amphora whose certificate is to be renewed; `expired` if that comes too late."""

    amphora_id: str
    load_balancer_id: str
    expired: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How many amphorae serve, how many of them were given their certificates under this trust, and some of the others."""

    fleet: int
    following: int
    others: tuple[str, ...]


class Certificates(rows.Repository):
    """Renewals of amphorae that serve; the others get a certificate when they are made."""

    def due(self, now: float, limit: int) -> Sequence[Due]:
        """Amphorae whose renewal is due and not on the board, those first whose certificates end first."""
        joined = tables.amphorae.join(tables.load_balancers, _LB.id == _A.load_balancer_id)
        wanted = (_A.cert_renew_at <= now, _A.status.in_(status.SERVING), _LB.provisioning_status.not_in(status.IN_DELETION), ~_POSTED)
        statement = sa.select(_A.id, _A.load_balancer_id, _A.cert_expiration).select_from(joined).where(*wanted)
        found = self._connection.execute(statement.order_by(_A.cert_expiration, _A.id).limit(limit)).all()
        return [Due(row.id, row.load_balancer_id, _is_past(row.cert_expiration, now)) for row in found]

    def under_way(self) -> int:
        """Renewals on the board."""
        return self._count(tables.jobs, _J.kind == jobs.RenewCertificate.kind)

    def mark_busy(self, amphora_id: str) -> None:
        """A renewal of this amphora's certificate is on the board."""
        self._connection.execute(sa.update(tables.amphorae).where(_A.id == amphora_id).values(cert_busy=True))

    def follow(self, trust: str, now: float) -> int:
        """Have every amphora that was given its certificate under another trust renewed from now on; how many there are."""
        other = sa.or_(_A.cert_trust.is_(None), _A.cert_trust != trust)
        marked = sa.update(tables.amphorae).where(_A.status.in_(status.SERVING), other, _A.cert_failures == 0, _A.cert_renew_at > now)
        return self._connection.execute(marked.values(cert_renew_at=now)).rowcount

    def hasten(self, amphora_ids: Collection[str], now: float) -> None:
        """One side did not believe the other: have these renewed now, unless that is being tried already."""
        marked = sa.update(tables.amphorae).where(_A.id.in_(list(amphora_ids)), _A.cert_failures == 0, _A.cert_renew_at > now)
        self._connection.execute(marked.values(cert_renew_at=now))

    def failing(self) -> tuple[int, int]:
        """How many amphorae that serve can't be renewed, and how many serve."""
        return self._count(tables.amphorae, _A.status.in_(status.SERVING), _A.cert_failures > 0), self._fleet()

    def replacing(self) -> int:
        """Failovers of single amphorae on the board."""
        return self._count(tables.jobs, _J.kind == jobs.FailoverAmphora.kind)

    def progress(self, trust: str, some: int = 20) -> Progress:
        """How far the amphorae have followed; reads all of them, so it is for an operator's question only."""
        other = sa.or_(_A.cert_trust.is_(None), _A.cert_trust != trust)
        behind = sa.select(_A.id).where(_A.status.in_(status.SERVING), other).order_by(_A.id).limit(some)
        following = self._count(tables.amphorae, _A.status.in_(status.SERVING), _A.cert_trust == trust)
        return Progress(self._fleet(), following, tuple(self._connection.execute(behind).scalars()))

    def _fleet(self) -> int:
        return self._count(tables.amphorae, _A.status.in_(status.SERVING))

    def _count(self, table: sa.Table, *wanted: sa.ColumnElement[bool]) -> int:
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(table).where(*wanted)).scalar_one())


def _is_past(expiration: object, now: float) -> bool:
    timestamp = getattr(expiration, "timestamp", None)
    return timestamp is not None and timestamp() <= now
