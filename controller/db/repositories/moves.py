"""Writes of statuses: nobody else sets such a column. Each asks the tables of `model.status` in its own statement, and reads nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from controller.db import rows, tables
from controller.model import status
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus

_P = ProvisioningStatus
_AMPHORA = tables.amphorae.c.status
OPERATING = {table: status.OPERATING[kind] for kind, table in tables.RESOURCES.items()}


def _life(table: sa.Table) -> status.Transitions[ProvisioningStatus]:
    return status.LOAD_BALANCER if table is tables.load_balancers else status.CHILD


def _among(column: sa.ColumnElement[str], statuses: Collection[str]) -> sa.ColumnElement[bool]:
    """Each is a parameter of its own, so that the statement can be executed for many rows at once."""
    return column.in_([sa.literal(str(one)) for one in sorted(statuses)])


def begun(table: sa.Table) -> dict[str, Any]:
    """What a new row says; of a member, the caller may know better how it fares."""
    return {"provisioning_status": _life(table).first, "operating_status": OperatingStatus.OFFLINE}


def check_seen(table: sa.Table, statuses: Collection[str]) -> None:
    """:raises ValueError: no such object is ever seen to do one of these."""
    if odd := set(statuses) - OPERATING[table]:
        raise ValueError(f"no row of {table.name} is ever {', '.join(sorted(odd))}")


def check_values(names: Collection[str]) -> None:
    """:raises TypeError: a status is among the columns of a change: it would be written past the tables."""
    if statuses := {"provisioning_status", "operating_status"}.intersection(names):
        raise TypeError(f"no change gives a status: {', '.join(sorted(statuses))}")


def to(table: sa.Table, new: ProvisioningStatus, **values: Any) -> sa.Update:
    """Rows that may become this, become it, with other values; so do those that are it already. The caller says which rows are meant."""
    return _moving(table, _life(table).before(new) | {new}, new, values)


def newly(table: sa.Table, new: ProvisioningStatus, **values: Any) -> sa.Update:
    """Rows that may become this, and are not it yet."""
    return _moving(table, _life(table).before(new), new, values)


def changed(table: sa.Table, **values: Any) -> sa.Update:
    """Rows of which a change is accepted: they owe an update, unless they were never built. Their time is the caller's."""
    column = table.c.provisioning_status
    sources = _life(table).before(_P.PENDING_UPDATE) | {_P.PENDING_UPDATE, _P.PENDING_CREATE}
    owing = sa.case((column == _P.PENDING_CREATE, _P.PENDING_CREATE), else_=_P.PENDING_UPDATE)
    return sa.update(table).where(_among(column, sources)).values(provisioning_status=owing, **values)


def settled(new: ProvisioningStatus, **values: Any) -> sa.Update:
    """Load balancers get these values, and become this if they may; one that is being deleted stays so."""
    column = tables.load_balancers.c.provisioning_status
    becomes = sa.case((_among(column, status.LOAD_BALANCER.before(new)), new), else_=column)
    return sa.update(tables.load_balancers).values(provisioning_status=becomes, updated_at=rows.NOW, **values)


def seen(table: sa.Table, new: OperatingStatus | sa.ColumnElement[str]) -> sa.Update:
    """Rows are seen to do this.

    :raises ValueError: no such object is ever seen to do this.
    """
    if isinstance(new, OperatingStatus):
        check_seen(table, [new])
    return sa.update(table).values(operating_status=new, updated_at=rows.NOW)


def also_seen(new: sa.ColumnElement[str]) -> dict[str, Any]:
    """Among other values: what rows are seen to do from now on."""
    return {"operating_status": new}


def _moving(table: sa.Table, sources: frozenset[ProvisioningStatus], new: ProvisioningStatus, values: dict[str, Any]) -> sa.Update:
    meant = _among(table.c.provisioning_status, sources)
    return sa.update(table).where(meant).values(provisioning_status=new, updated_at=rows.NOW, **values)


def amphora_begun() -> dict[str, Any]:
    """What the new row of an amphora says, and the row of one that is made again."""
    return {"status": status.AMPHORA.first}


def amphorae_to(new: AmphoraStatus, **values: Any) -> sa.Update:
    """Amphorae that may become this, become it, with other values; so do those that are it already."""
    meant = _among(_AMPHORA, status.AMPHORA.before(new) | {new})
    return sa.update(tables.amphorae).where(meant).values(status=new, updated_at=rows.NOW, **values)


def amphora_becomes(new: AmphoraStatus) -> dict[str, Any]:
    """Among other values: this, if it may become this, or what it is."""
    return {"status": sa.case((_among(_AMPHORA, status.AMPHORA.before(new)), new), else_=_AMPHORA)}
