"""What the repositories of load balancers, and of all that is below them, share: one class, and statements made once.

Reading costs two statements, whether it is one object or a page: the rows with their faults, and one union of everything that is
related (tags, ids of children). Members of a union are `(relation, owner, value, order)`.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import moves, paging, shown
from controller.model import load_balancer as model
from controller.model import status
from controller.resources import declare

R = TypeVar("R", bound=model.Resource)
Wanted = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]

PENDING_CREATE = status.ProvisioningStatus.PENDING_CREATE
PENDING_DELETE = status.ProvisioningStatus.PENDING_DELETE
DELETED = status.ProvisioningStatus.DELETED

_FEW = 32  # ids in an IN whose text is always the same


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """One kind of related objects, as a part of the union of all: `value`s of the table, by the id in its column `owner`."""

    name: str
    table: sa.FromClause
    owner: str
    value: str = "id"
    order: str = "created_at"  # all relations of a resource that have this column are sorted by values of one kind
    condition: sa.ColumnElement[bool] | None = None

    def select(self, is_wanted: Wanted) -> sa.Select[Any]:
        """The statement that finds what is related to the owners that are wanted."""
        column = self.table.c[self.owner]
        order = sa.type_coerce(self.table.c[self.order], sa.types.NullType()) if self.order in self.table.c else sa.null()
        found = sa.select(sa.literal_column(f"'{self.name}'"), column, self.table.c[self.value], order).where(is_wanted(column))
        return found if self.condition is None else found.where(self.condition)


TAGS = Relation("tags", tables.tags, "resource_id", "tag")


def _union(relations: Sequence[Relation], is_wanted: Wanted) -> sa.CompoundSelect[Any]:
    """All relations in one statement, oldest first."""
    selects = [relation.select(is_wanted) for relation in relations]
    return sa.union_all(*selects).order_by(sa.literal_column("4"), sa.literal_column("3"))


def touched(table: sa.Table) -> sa.ColumnElement[datetime.datetime]:
    """The time of a row whose child changes: now, for its status changes with it, unless it was never built."""
    return sa.case((table.c.provisioning_status == PENDING_CREATE, table.c.updated_at), else_=rows.NOW)


def lives(table: sa.Table) -> sa.ColumnElement[bool]:
    """Nobody has asked to delete it."""
    return table.c.provisioning_status != PENDING_DELETE


class Resources(rows.Repository, Generic[R]):
    """Queries that are the same for every resource of a project."""

    title: ClassVar[str]
    table: ClassVar[sa.Table]
    noun: ClassVar[Callable[..., Any]]
    """What makes it of a row, a `staticmethod`."""
    relations: ClassVar[Sequence[Relation]]
    parent: ClassVar[str] = "load_balancer_id"
    """The column that names what it goes with."""
    ids: ClassVar[Mapping[str, str]] = {"tags": "tags"}
    """The relation of each attribute that is a list of tags or of ids."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the statements of a resource once, at import."""
        super().__init_subclass__(**kwargs)
        table = cls.table
        fault = tables.faults.c.object_id == table.c.id
        cls._select = sa.select(table, *(column.label(f"fault_{column.name}") for column in shown.FAULT_COLUMNS)).select_from(
            table.outerjoin(tables.faults, fault)
        )
        cls._keys = [*table.c.keys(), *(f"fault_{column.name}" for column in shown.FAULT_COLUMNS)]
        cls._get = rows.Prepared(cls._select.where(table.c.id == sa.bindparam("id"), table.c.provisioning_status != DELETED))
        few: list[sa.BindParameter[str]] = [sa.bindparam(f"owner_{place}") for place in range(_FEW)]
        cls._related_to_one = rows.Prepared(_union(cls.relations, lambda owner: owner == sa.bindparam("owner")))
        cls._related_to_few = rows.Prepared(_union(cls.relations, lambda owner: owner.in_(few)))
        cls._related_to_many = _union(cls.relations, lambda owner: owner.in_(sa.bindparam("owners", expanding=True)))
        cls._begun, cls._changed, cls._touched = moves.begun(table), moves.changed(table), touched(table)
        cls._touch = cls._stamping(table.c.id == sa.bindparam("object_id"))
        cls._delete = moves.newly(table, PENDING_DELETE, generation=sa.bindparam("at")).where(table.c.id == sa.bindparam("object_id"))

    _select: ClassVar[sa.Select[Any]]
    _get: ClassVar[rows.Prepared]
    _touch: ClassVar[rows.Prepared]
    _begun: ClassVar[dict[str, Any]]
    _changed: ClassVar[sa.Update]
    _touched: ClassVar[sa.ColumnElement[datetime.datetime]]
    _delete: ClassVar[sa.Update]
    _related_to_one: ClassVar[rows.Prepared]
    _related_to_few: ClassVar[rows.Prepared]
    _related_to_many: ClassVar[sa.CompoundSelect[Any]]
    _keys: ClassVar[list[str]]

    def _build(self, row: rows.Row, fault: model.Fault | None, related: shown.Related) -> R:
        ids = {attribute: tuple(of(related, name, row["id"])) for attribute, name in self.ids.items()}
        return cast("R", type(self).noun(row, fault=fault, **ids))

    def get(self, object_id: str) -> R:
        """One object.

        :raises NotFound: there is none, or it is DELETED.
        """
        found = self._get.all(self._connection, {"id": object_id}) if rows.may_exist(object_id) else ()
        if not found:
            raise exceptions.NotFound(self.title, object_id)
        return self._nouns(found)[0]

    def page(self, query: paging.Query = paging.EVERYTHING) -> list[R]:
        """One page.

        :raises InvalidRequest: the marker names nothing.
        """
        return self._nouns(paging.values(self._connection, self.table, self._select, query))

    def views(self, query: paging.Query, schema: declare.Schema) -> list[declare.Values]:
        """One page, as `schema.view` shows its nouns, at half the cost: no noun is made.

        :raises InvalidRequest: the marker names nothing.
        """
        plan = shown.plan(schema, self.table, tuple(self.ids.items()))
        found = paging.values(self._connection, self.table, plan.statement, query)
        return plan.views(found, self._related(plan.ids(found)))

    def of_load_balancer(self, load_balancer_id: str) -> list[R]:
        """All of a load balancer's, oldest first."""
        return self.page(paging.Query(filters=(paging.Filter("load_balancer_id", load_balancer_id),)))

    def add(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Store new rows, which all have the same columns, as what is to be built; a key `tags` goes to the table of tags.

        :raises ValueError: no such object is ever seen in an operating status that is given.
        """
        if not objects:
            return
        values = [{**self._begun, **{name: value for name, value in item.items() if name != "tags"}} for item in objects]
        if not moves.OPERATING[self.table].issuperset(seen := {row["operating_status"] for row in values}):
            moves.check_seen(self.table, seen)
        self._connection.execute(sa.insert(self.table), values)
        self._add_tags({item["id"]: item.get("tags", ()) for item in objects})

    def change(self, object_id: str, values: Mapping[str, Any], generation: int) -> None:
        """Write new values, none of which is a status, stamp the generation, and owe an update.

        :raises Conflict: the object is being deleted.
        """
        moves.check_values(values.keys())
        columns = {name: value for name, value in values.items() if name != "tags"}
        updated = self._stamp(self.table.c.id == object_id, generation, {**columns, "updated_at": rows.NOW})
        if not updated:
            raise exceptions.ObjectImmutable(self.title, object_id)
        if "tags" in values:
            self._connection.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id == object_id))
            self._add_tags({object_id: values["tags"]})

    def touch(self, object_id: str, generation: int) -> None:
        """Stamp an object whose child changes, and owe an update.

        :raises Conflict: the object is being deleted.
        """
        if not self._touch.change(self._connection, {"object_id": object_id, "at": generation}):
            raise exceptions.ObjectImmutable(self.title, object_id)

    def mark_deleted(self, object_id: str, generation: int) -> None:
        """Owe the removal of an object; the row goes when the amphorae have forgotten it.

        :raises Conflict: it is being deleted already.
        """
        if not self._connection.execute(self._delete, {"object_id": object_id, "at": generation}).rowcount:
            raise exceptions.ObjectImmutable(self.title, object_id)

    def mark_all_deleted(self, condition: sa.ColumnElement[bool], generation: int) -> None:
        """Owe the removal of all that meet the condition, along with their parent's."""
        self._connection.execute(moves.newly(self.table, PENDING_DELETE, generation=generation).where(condition))

    def mark_deleted_in(self, parent_id: str, generation: int) -> None:
        """Owe the removal of all that a parent has."""
        self.mark_all_deleted(self.table.c[self.parent] == parent_id, generation)

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all that a load balancer has."""
        self.mark_all_deleted(self.table.c.load_balancer_id == load_balancer_id, generation)

    @classmethod
    def _stamping(cls, condition: sa.ColumnElement[bool]) -> rows.Prepared:
        """Stamp what meets the condition with the generation `at`."""
        return rows.Prepared(cls._changed.values(generation=sa.bindparam("at"), updated_at=cls._touched).where(condition))

    def _stamp(self, condition: sa.ColumnElement[bool], generation: int, values: Mapping[str, Any] | None = None) -> int:
        stamp = {"generation": generation, "updated_at": self._touched}
        return self._connection.execute(self._changed.values({**stamp, **(values or {})}).where(condition)).rowcount

    def _nouns(self, found: Sequence[Sequence[Any]]) -> list[R]:
        keys = self._keys
        read = [dict(zip(keys, row, strict=True)) for row in found]
        related = self._related([row["id"] for row in read])
        return [self._build(row, _fault(row), related) for row in read]

    def _related(self, owners: Sequence[str]) -> shown.Related:
        if len(owners) == 1:
            return _gathered(self._related_to_one.all(self._connection, {"owner": owners[0]}))
        if 1 < len(owners) <= _FEW:
            padded = itertools.islice(itertools.cycle(owners), _FEW)
            return _gathered(self._related_to_few.all(self._connection, {f"owner_{place}": owner for place, owner in enumerate(padded)}))
        found = (self._connection.execute(self._related_to_many, {"owners": some}).all() for some in rows.chunks(owners))
        return _gathered(itertools.chain.from_iterable(found))

    def _add_tags(self, tags: Mapping[str, Iterable[str]]) -> None:
        new = [{"resource_id": owner, "tag": tag} for owner, names in tags.items() for tag in names]
        if new:
            self._connection.execute(sa.insert(tables.tags), new)


def _gathered(found: Iterable[Sequence[Any]]) -> shown.Related:
    gathered: dict[str, dict[str, list[str]]] = {}
    for name, owner, value, _order in found:
        gathered.setdefault(name, {}).setdefault(owner, []).append(value)
    return gathered


def _fault(row: rows.Row) -> model.Fault | None:
    if row["fault_object_id"] is None:
        return None
    return rows.fault({name.removeprefix("fault_"): value for name, value in row.items() if name.startswith("fault_")})


def of(related: shown.Related, name: str, owner: str) -> Sequence[str]:
    """The values of one relation of one object."""
    return related.get(name, {}).get(owner, ())
