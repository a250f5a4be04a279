"""What all queries share: the connection of their transaction and its clock, and how rows become the nouns of `model`."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from controller.db import clock, columns, tables
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import network, status
from controller.resources import nouns

Row = Mapping[str, Any]
Conversions = Sequence[tuple[Any, Callable[[Any], Any]]]
R = TypeVar("R", bound=model.Resource)
T = TypeVar("T")


def now() -> datetime.datetime:
    """The time as rows keep it."""
    return datetime.datetime.now(datetime.UTC)


NOW: sa.BindParameter[datetime.datetime] = sa.bindparam("now", callable_=now, type_=columns.UtcDateTime())
"""`now()` at the time when the statement is executed. Whoever writes a status writes this as `updated_at`, for clients parse it."""


class Repository:
    """Queries that work inside one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _now(self) -> float:
        """Seconds since the epoch, by the clock that all who share the database go by."""
        return clock.now(self._connection)

    def _rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return [dict(row) for row in self._connection.execute(statement, parameters or {}).mappings()]


class Prepared:
    """A statement that is compiled once, with a fixed number of parameters, none of which is a list.

    SQLite is asked by its driver, for SQLAlchemy takes several times as long around a short statement. Servers are asked by SQLAlchemy, as
    ever: there, with each statement, its wait is limited, and a connection that broke is noticed.
    """

    def __init__(self, statement: sa.Executable) -> None:
        self._statement: Any = statement
        self._text = ""  # until it is compiled
        self._names: Sequence[str] = ()
        self._constants: Mapping[str, Any] = {}
        self._asked: Sequence[tuple[str, Callable[[], Any]]] = ()  # such as the time
        self._given: Conversions = ()  # by the names of parameters
        self._found: Conversions = ()  # by the places of columns
        self._row: Any = None

    def all(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows, each with the values of its columns.

        :raises sqlalchemy.exc.DBAPIError: the database can't answer.
        """
        if _is_direct(connection):
            found = self._execute(connection, parameters).fetchall()
            return [_converted(list(row), self._found) for row in found] if self._found else found
        return connection.execute(self._statement, parameters).all()

    def rows(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The rows, as of `all`, each value also by the name of its column.

        :raises sqlalchemy.exc.DBAPIError: the database can't answer.
        """
        found = self.all(connection, parameters)
        return [self._row(row) for row in found] if _is_direct(connection) else found

    def change(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> int:
        """Run a statement that changes rows; how many it changed.

        :raises sqlalchemy.exc.DBAPIError: the database can't do it.
        """
        made = self._execute(connection, parameters) if _is_direct(connection) else connection.execute(self._statement, parameters)
        return int(made.rowcount)

    def _execute(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        if not self._text:
            self._compile(connection.dialect)
        values = {**self._constants, **parameters}
        values.update((name, ask()) for name, ask in self._asked)
        values = _converted(values, self._given)
        asked = [values[name] for name in self._names]
        try:
            made: sqlite3.Cursor = connection.connection.driver_connection.execute(self._text, asked)  # type: ignore[union-attr]
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(self._text, asked, error, sqlite3.Error, dialect=connection.dialect) from error
        return made

    def _compile(self, dialect: sa.Dialect) -> None:
        compiled: Any = self._statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        columns = list(self._statement.selected_columns) if self._statement.is_select else []
        found = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._found = [(place, convert) for place, convert in enumerate(found) if convert is not None]
        given = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
        self._given = [(name, convert) for name, convert in given.items() if convert is not None]
        self._asked = [(name, bind.callable) for name, bind in compiled.binds.items() if bind.callable is not None]
        self._constants, self._names = compiled.params, compiled.positiontup
        named: Any = collections.namedtuple("Row", [column.key for column in columns], rename=True)  # type: ignore[misc]
        self._row = type("Row", (named,), {"__slots__": (), "_mapping": property(named._asdict)})._make  # type: ignore[attr-defined]
        self._text = str(compiled)  # the last: other threads ask whether it is there


def _is_direct(connection: sa.Connection) -> bool:
    """Not where somebody counts statements."""
    return connection.dialect.name == "sqlite" and not connection.dispatch.before_cursor_execute


def _converted(values: Any, conversions: Conversions) -> Any:
    for place, convert in conversions:
        values[place] = convert(values[place])
    return values


def chunks(items: Iterable[T], size: int = 5000) -> Iterator[list[T]]:
    """Lists of so many at most: engines allow some 30,000 values in one statement."""
    left = iter(items)
    while some := list(itertools.islice(left, size)):
        yield some


def may_exist(object_id: str) -> bool:
    """Whether this can be an id at all; engines refuse some strings that a client can put into a path or a query."""
    return len(object_id) <= 36 and object_id.isascii() and object_id.isprintable()


def _resource(row: Row, tags: Sequence[str], fault: model.Fault | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "name": row["name"],
        "description": row["description"],
        "admin_state_up": row["admin_state_up"],
        "provisioning_status": status.ProvisioningStatus(row["provisioning_status"]),
        "operating_status": status.OperatingStatus(row["operating_status"]),
        "generation": row["generation"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "tags": tuple(tags),
        "fault": fault,
    }


COMPOSED: Mapping[str, Callable[[Any], Any]] = {
    "access_log": lambda stored: model.AccessLog(**stored),
    "error_page": lambda stored: model.Page(**stored),
    "fixed_response": lambda stored: model.FixedResponse(**stored),
    "rate_limit": lambda stored: model.RateLimit(**stored),
    "split": lambda stored: model.Split(by=stored["by"], pools=tuple(model.Share(**one) for one in stored["pools"])),
    "session_persistence": lambda stored: model.SessionPersistence(**stored),
}
"""Columns whose JSON, if there is any, stands for a value of the model, which is shown as it is stored."""


def _of(noun: type[R], table: sa.Table, compose: Callable[[Row], dict[str, Any]] | None = None) -> Callable[..., R]:
    """What makes a noun of a row. Its tags, its fault, and the ids of what is around it come from tables of their own; `compose` makes
    what the row has in another form. Other attributes stand in columns of their names, lists as tuples: a new one needs no line here.
    """
    inherited = {field.name for field in dataclasses.fields(model.Resource)}
    own = [field.name for field in dataclasses.fields(cast("Any", noun)) if field.name not in inherited and field.name in table.c]
    composed = [(name, COMPOSED[name]) for name in own if name in COMPOSED]

    def made(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None, **ids: Any) -> R:
        values = _resource(row, tags, fault)
        for name in own:
            value = row[name]
            values[name] = tuple(value) if isinstance(value, list) else value
        for name, compose_one in composed:
            values[name] = values[name] and compose_one(values[name])
        if compose is not None:
            values |= compose(row)
        return noun(**values, **ids)

    return made


def _of_load_balancer(row: Row) -> dict[str, Any]:
    vip = model.Vip(
        addresses=(
            network.FixedIp(row["vip_subnet_id"], row["vip_address"]),
            *(network.FixedIp(one["subnet_id"], one["ip_address"]) for one in row["additional_vips"]),
        ),
        port_id=row["vip_port_id"],
        network_id=row["vip_network_id"],
        qos_policy_id=row["vip_qos_policy_id"],
        sg_ids=tuple(row["vip_sg_ids"]),
        vnic_type=row["vip_vnic_type"],
        port_is_ours=row["vip_port_is_ours"],
        qos_is_asked=row["qos_generation"] > 0,
    )
    return {
        "vip": vip,
        "next_try_at": _time(row["next_try_at"] or None),
        "topology": status.Topology(row["topology"]),
    }


load_balancer = _of(nouns.LoadBalancer, tables.load_balancers, _of_load_balancer)
listener = _of(nouns.Listener, tables.listeners)
pool = _of(nouns.Pool, tables.pools)
member = _of(nouns.Member, tables.members)
health_monitor = _of(nouns.HealthMonitor, tables.health_monitors)
l7policy = _of(nouns.L7Policy, tables.l7policies)
l7rule = _of(nouns.L7Rule, tables.l7rules)


def fault(row: Row) -> model.Fault:
    """Why an object is in ERROR."""
    return model.Fault(**{name: row[name] for name in _FAULT})


def amphora(row: Row) -> amphora_model.Amphora:
    """An amphora, of a row of `amphorae` joined with `amphora_health`."""
    composed = {
        "status": status.AmphoraStatus(row["status"]),
        "role": None if row["role"] is None else status.Role(row["role"]),
        "additional_vrrp_ips": tuple(network.FixedIp(**one) for one in row["additional_vrrp_ips"] or ()),
        "member_ports": None if row["member_ports"] is None else tuple(map(_member_port, row["member_ports"])),
        "first_heartbeat_at": _time(row["first_heartbeat_at"]),
        "last_heartbeat_at": _time(row["last_heartbeat_at"]),
    }
    return amphora_model.Amphora(**({name: row[name] for name in _AMPHORA} | composed))


def _member_port(document: Mapping[str, Any]) -> amphora_model.MemberPort:
    fixed_ips = tuple(network.FixedIp(**one) for one in document["fixed_ips"])
    made_as = (document.get("vnic_type", network.NORMAL), document.get("is_secured", True))
    return amphora_model.MemberPort(document["network_id"], document["mac_address"], fixed_ips, *made_as)


_FAULT = tuple(field.name for field in dataclasses.fields(model.Fault))
_AMPHORA = tuple(field.name for field in dataclasses.fields(amphora_model.Amphora))


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
