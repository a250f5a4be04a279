"""Encrypted copies of what load balancers use of the secret store: an amphora can be replaced while the store is away."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa

from controller.db import rows, tables
from controller.model import tls

_T = tables.tenant_certificates.c
_KNOWN = rows.Prepared(
    sa.select(_T.reference, _T.kind, _T.name, _T.not_after, _T.read_for, _T.asked_for, _T.is_registered).where(
        _T.load_balancer_id == sa.bindparam("load_balancer_id")
    )
)
_Showing = tuple[str, Iterable[str], datetime.datetime | None]
"""Who shows certificates, which ones (None among them names nothing), and when the first one ends as it is written."""
_L, _P = tables.listeners.c, tables.pools.c
_SHOWN = (_L.id, _L.default_tls_container_ref, _L.sni_container_refs, _L.certificate_expires_at)
_LISTENERS = rows.Prepared(sa.select(*_SHOWN).where(_L.load_balancer_id == sa.bindparam("of"), _L.protocol == "TERMINATED_HTTPS"))
_WITH_ONE = sa.or_(_P.tls_container_ref.is_not(None), _P.certificate_expires_at.is_not(None))
_POOLS = rows.Prepared(
    sa.select(_P.id, _P.tls_enabled, _P.tls_container_ref, _P.certificate_expires_at).where(
        _P.load_balancer_id == sa.bindparam("of"), _WITH_ONE
    )
)


class TenantCertificates(rows.Repository):
    """One row for each load balancer, reference and kind. What was encrypted is decrypted by nobody here."""

    def of(self, load_balancer_id: str) -> Mapping[tls.Need, tls.Copy]:
        """What a load balancer has, without the contents."""
        found = _KNOWN.all(self._connection, {"load_balancer_id": load_balancer_id})
        return {
            tls.Need(reference, tls.Kind(kind)): tls.Copy(
                name=name, not_after=not_after, read_for=read_for, asked_for=asked_for, is_registered=bool(is_registered)
            )
            for reference, kind, name, not_after, read_for, asked_for, is_registered in found
        }

    def contents(self, load_balancer_id: str, names: Collection[str]) -> Mapping[str, bytes]:
        """The encrypted contents of these names."""
        wanted = sa.select(_T.name, _T.content).where(_T.load_balancer_id == load_balancer_id, _T.name.in_(list(names)))
        return {row["name"]: row["content"] for row in self._rows(wanted)}

    def keep(self, load_balancer_id: str, read: Mapping[tls.Need, tuple[tls.Copy, bytes]], *, since: int) -> None:
        """Store what was read, with its encrypted content, for what was read before; what was asked for meanwhile still is.

        `since` is the load balancer's generation before it was read. What somebody else has read, or asked for, for a newer one may be of
        later: it stays, and has to be read anew for a generation of ours that is newer still, unless both read the same.
        """
        if not read:
            return
        known = self.of(load_balancer_id)
        new = []
        for need, (copy, content) in read.items():
            values = {"name": copy.name, "not_after": copy.not_after, "read_for": copy.read_for, "content": content}
            if need in known:
                own = self._is(load_balancer_id, need)
                known_before = sa.and_(own, _T.read_for <= since, _T.asked_for <= since)
                if not self._connection.execute(sa.update(tables.tenant_certificates).where(known_before).values(**values)).rowcount:
                    older = sa.and_(own, _T.asked_for < copy.read_for, _T.name != copy.name)
                    self._connection.execute(sa.update(tables.tenant_certificates).where(older).values(asked_for=copy.read_for))
            else:
                whose = {"load_balancer_id": load_balancer_id, "reference": need.reference, "kind": need.kind}
                new.append({**whose, **values, "asked_for": 0, "is_registered": False})
        if new:
            self._connection.execute(sa.insert(tables.tenant_certificates), new)

    def tell_ends(self, load_balancer_id: str) -> None:
        """Write beside listeners and pools when the first of the certificates that they show ends, where it is not written so already.

        Whoever keeps copies, or names others, calls it in the same transaction, under the load balancer's lock.
        """
        for table, object_id, end in self._untold_ends(load_balancer_id):
            self._connection.execute(sa.update(table).where(table.c.id == object_id).values(certificate_expires_at=end))

    def are_ends_told(self, load_balancer_id: str) -> bool:
        """Whether all is written as `tell_ends` would: it is not where a process of an older release has named other certificates."""
        return next(self._untold_ends(load_balancer_id), None) is None

    def _untold_ends(self, load_balancer_id: str) -> Iterator[tuple[sa.Table, str, datetime.datetime | None]]:
        """Who is written with another end than the one that is known: the table, the id, and that end."""
        known = self.of(load_balancer_id)
        ends = {need.reference: copy.not_after for need, copy in known.items() if need.kind is tls.Kind.BUNDLE}
        shown = [(tables.listeners, each) for each in self._of_listeners(load_balancer_id)]
        shown += [(tables.pools, each) for each in self._of_pools(load_balancer_id)]
        for table, (object_id, references, written) in shown:
            end = min((one for one in map(ends.get, references) if one is not None), default=None)
            if end != written:
                yield table, object_id, end

    def _of_listeners(self, load_balancer_id: str) -> Iterator[_Showing]:
        for object_id, default, others, written in _LISTENERS.all(self._connection, {"of": load_balancer_id}):
            yield object_id, (default, *others), written

    def _of_pools(self, load_balancer_id: str) -> Iterator[_Showing]:
        for object_id, is_shown, reference, written in _POOLS.all(self._connection, {"of": load_balancer_id}):
            yield object_id, (reference,) if is_shown else (), written

    def ask_again(self, load_balancer_id: str, references: Collection[str] | None, generation: int) -> int:
        """Have these references, or all (None), read anew for a generation; how many there are."""
        mine = _T.load_balancer_id == load_balancer_id
        wanted = mine if references is None else sa.and_(mine, _T.reference.in_(list(references)))
        return self._connection.execute(sa.update(tables.tenant_certificates).where(wanted).values(asked_for=generation)).rowcount

    def mark_registered(self, load_balancer_id: str, references: Collection[str], is_registered: bool = True) -> None:
        """The store knows that we use these, or has to be told (again)."""
        own = (_T.load_balancer_id == load_balancer_id, _T.reference.in_(list(references)))
        self._connection.execute(sa.update(tables.tenant_certificates).where(*own).values(is_registered=is_registered))

    def forget(self, load_balancer_id: str, needs: Collection[tls.Need]) -> None:
        """Nobody needs these any more."""
        for need in needs:
            self._connection.execute(sa.delete(tables.tenant_certificates).where(self._is(load_balancer_id, need)))

    def load_balancers(self, after: str, limit: int) -> Sequence[str]:
        """Ids of load balancers that have some, by page, deleted ones too."""
        found = sa.select(_T.load_balancer_id).distinct().where(_T.load_balancer_id > after).order_by(_T.load_balancer_id).limit(limit)
        return list(self._connection.execute(found).scalars())

    def reencrypt(self, rotate: Callable[[bytes], bytes]) -> tuple[int, int]:
        """Encrypt every copy anew by `rotate(content)`; how many that were, and how many were read anew or forgotten meanwhile: as long as
        there are any, it has to be done again."""
        found = self._rows(sa.select(_T.load_balancer_id, _T.reference, _T.kind, _T.name, _T.content))
        done = 0
        for row in found:
            own = self._is(row["load_balancer_id"], tls.Need(row["reference"], tls.Kind(row["kind"])))
            same = sa.and_(own, _T.name == row["name"])
            changed = sa.update(tables.tenant_certificates).where(same).values(content=rotate(row["content"]))
            done += self._connection.execute(changed).rowcount
        return done, len(found) - done

    @staticmethod
    def _is(load_balancer_id: str, need: tls.Need) -> sa.ColumnElement[bool]:
        return sa.and_(_T.load_balancer_id == load_balancer_id, _T.reference == need.reference, _T.kind == need.kind)
