"""Traffic counters of pools and members: all of one amphora in one row, packed as they come in heartbeats, so that members, who are many,
cost the database what an amphora costs. What tenants see are sums over amphorae, those that are gone included.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import rows, tables
from controller.db.repositories.statistics import Counters
from controller.model import status

_S = tables.member_statistics
_A = tables.amphorae
_NAMES = heartbeat.COUNTERS
_ACTIVE = _NAMES.index("active_connections")
_LARGEST = (1 << 63) - 1
_NOTHING = bytes(heartbeat.COUNTERS_SIZE)
_KEY = sa.bindparam("key", type_=sa.String(36))
_BEGIN = sa.insert(_S).from_select(
    ["amphora_id", "load_balancer_id", "counts"],
    sa.select(_A.c.id, _A.c.load_balancer_id, sa.bindparam("nothing", b"", type_=_S.c.counts.type)).where(
        _A.c.id == _KEY, _A.c.load_balancer_id == sa.bindparam("owner", type_=sa.String(36))
    ),
)
_KEEP = sa.update(_S).where(_S.c.amphora_id == _KEY).values(counts=sa.bindparam("counts", type_=_S.c.counts.type))
_LIVING = sa.union_all(
    *(sa.select(table.c.id).where(table.c.load_balancer_id == sa.bindparam("owner")) for table in (tables.pools, tables.members))
)
_COUNTED = sa.select(_S.c.counts, _A.c.status).select_from(_S.outerjoin(_A, _A.c.id == _S.c.amphora_id))
_OF = {
    table: _COUNTED.where(_S.c.load_balancer_id == sa.select(table.c.load_balancer_id).where(table.c.id == _KEY).scalar_subquery())
    for table in (tables.pools, tables.members)
}


class MemberStatistics(rows.Repository):
    """The health manager writes, the API reads, housekeeping adds up. A row of amphorae that are purged has the load balancer's id in the
    place of theirs.
    """

    def of_pool(self, pool_id: str) -> Counters:
        """Sum over all amphorae, and all listeners that lead to it."""
        return self._sum(tables.pools, pool_id)

    def of_member(self, pool_id: str, member_id: str) -> Counters:
        """The same of one of its members."""
        return self._sum(tables.members, member_id)

    def count(self, news: Mapping[str, tuple[str, Mapping[bytes, bytes]]]) -> None:
        """Write absolute counters by the ids of amphorae: the load balancer that each serves, and packed counters by packed ids.

        A counter never falls, except the number of active connections. What is no pool or member of that load balancer is passed over, and
        so is an amphora that is not its, or has no row: what one that is purged has counted is added up already.
        """
        known = self._locked(news)
        for amphora_id in sorted(news.keys() - known.keys()):
            with contextlib.suppress(sa.exc.IntegrityError), self._connection.begin_nested():  # another health manager was faster
                self._connection.execute(_BEGIN, {"key": amphora_id, "owner": news[amphora_id][0]})
        known |= self._locked(news.keys() - known.keys())
        changed = []
        for amphora_id, (owner, before) in sorted(known.items()):
            if owner == news[amphora_id][0]:
                after = self._merged(owner, before, news[amphora_id][1])
                if after != before:
                    changed.append({"key": amphora_id, "counts": after})
        if changed:
            self._connection.execute(_KEEP, changed)

    def add_up(self, amphora_ids: Collection[str], load_balancer_ids: Collection[str]) -> None:
        """Keep what these amphorae of these load balancers have counted in one row of each load balancer: they are purged. What was counted
        of pools and members that are gone is forgotten.
        """
        known = self._locked({*amphora_ids, *load_balancer_ids})
        sums = {key: dict(heartbeat.decode_counts(counts)) for key, (_, counts) in known.items() if key in load_balancer_ids}
        for amphora_id, (owner, counts) in known.items():
            if amphora_id in amphora_ids:
                found = sums.setdefault(owner, {})
                for key, counters in heartbeat.decode_counts(counts):
                    found[key] = _added(found.get(key), counters)
        gone = []
        for owner, found in sorted(sums.items()):
            living = self._living(owner)
            counts = _packed({key: counters for key, counters in found.items() if key in living})
            gone.append({"amphora_id": owner, "load_balancer_id": owner, "counts": counts})
        for some in rows.chunks([*known]):
            self._connection.execute(sa.delete(_S).where(_S.c.amphora_id.in_(some)))
        if gone:
            self._connection.execute(sa.insert(_S), gone)

    def _locked(self, ids: Collection[str]) -> dict[str, tuple[str, bytes]]:
        """Load balancer and counters by the ids of amphorae, in their order, in which all lock them."""
        found: dict[str, tuple[str, bytes]] = {}
        for some in rows.chunks(sorted(ids)):
            for row in self._connection.execute(sa.select(_S).where(_S.c.amphora_id.in_(some)).order_by(_S.c.amphora_id).with_for_update()):
                found[row.amphora_id] = row.load_balancer_id, row.counts
        return found

    def _merged(self, owner: str, before: bytes, news: Mapping[bytes, bytes]) -> bytes:
        counted = dict(heartbeat.decode_counts(before))
        if news.keys() - counted.keys():  # whoever comes is looked for among the rows, and who has gone meanwhile is forgotten
            living = self._living(owner)
            counted = {key: counted.get(key, _NOTHING) for key in (*counted, *news) if key in living}
        for key in counted.keys() & news.keys():
            counted[key] = _later(counted[key], news[key])
        return _packed(counted)

    def _living(self, load_balancer_id: str) -> set[bytes]:
        """The pools and members that it has."""
        return {uuid.UUID(one).bytes for one in self._connection.execute(_LIVING, {"owner": load_balancer_id}).scalars()}

    def _sum(self, table: sa.Table, object_id: str) -> Counters:
        key = uuid.UUID(object_id).bytes
        total = [0] * len(_NAMES)
        for counts, amphora_status in self._connection.execute(_OF[table], {"key": object_id}):
            values = list(_find(counts, key))
            if amphora_status != status.AmphoraStatus.ALLOCATED:  # what a dead amphora had open is open no longer
                values[_ACTIVE] = 0
            total = [a + b for a, b in zip(total, values, strict=True)]
        return Counters(**dict(zip(_NAMES, total, strict=True)))


def _packed(counted: Mapping[bytes, bytes]) -> bytes:
    return b"".join(key + counters for key, counters in counted.items())


def _later(before: bytes, now: bytes) -> bytes:
    """Counters as they are now, none of which has fallen."""
    values = [min(value, _LARGEST) for value in heartbeat.decode_counters(now)]
    for place, value in enumerate(heartbeat.decode_counters(before)):
        if place != _ACTIVE:
            values[place] = max(value, values[place])
    return heartbeat.pack_counters(values)


def _added(known: bytes | None, more: bytes) -> bytes:
    """What both have counted; of those that are gone nothing is open."""
    pairs = zip(heartbeat.decode_counters(known or _NOTHING), heartbeat.decode_counters(more), strict=True)
    added = [min(a + b, _LARGEST) for a, b in pairs]
    added[_ACTIVE] = 0
    return heartbeat.pack_counters(added)


def _find(counts: bytes, key: bytes) -> tuple[int, ...]:
    """The counters of one object; zeros if there are none."""
    at = counts.find(key)
    while at % heartbeat.COUNT_SIZE and at >= 0:
        at = counts.find(key, at + 1)
    return heartbeat.decode_counters(_NOTHING if at < 0 else counts[at + heartbeat.ID_SIZE : at + heartbeat.COUNT_SIZE])
