"""Which of several processes is the active one."""

from __future__ import annotations

import sqlalchemy as sa

from controller.db import rows, tables

_LEADERS = tables.leaders.c


class Leaders(rows.Repository):
    """Elections by a row: who writes it first leads until it expires."""

    def acquire(self, name: str, owner: str, expiry: float, now: float | None = None) -> bool:
        """Lead, or go on leading, for `expiry` seconds; False while another one leads."""
        now = self._now() if now is None else now
        free = sa.or_(_LEADERS.owner == owner, _LEADERS.expires_at <= now)
        statement = sa.update(tables.leaders).where(_LEADERS.name == name, free).values(owner=owner, expires_at=now + expiry)
        if self._connection.execute(statement).rowcount:
            return True
        if self.current(name, 0.0) is not None:
            # One that lies further ahead than anybody writes it, because the clock was set back since, counts as one of now.
            far = sa.update(tables.leaders).where(_LEADERS.name == name, _LEADERS.expires_at > now + 2 * expiry)
            self._connection.execute(far.values(expires_at=now + expiry))
            return False
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(tables.leaders).values(name=name, owner=owner, expires_at=now + expiry))
        except sa.exc.IntegrityError:  # another one was faster
            return False
        return True

    def resign(self, name: str, owner: str) -> bool:
        """Stop leading, so that another one need not wait; False if `owner` did not lead."""
        statement = sa.delete(tables.leaders).where(_LEADERS.name == name, _LEADERS.owner == owner)
        return bool(self._connection.execute(statement).rowcount)

    def current(self, name: str, now: float | None = None) -> str | None:
        """The process that leads now, or None."""
        now = self._now() if now is None else now
        return self._connection.execute(sa.select(_LEADERS.owner).where(_LEADERS.name == name, _LEADERS.expires_at > now)).scalar()
