"""Queries on L7 policies and their rules.

Positions of policies among those of a listener run from 1 without gaps; the load balancer's row lock guards them. A
policy that is being deleted keeps its last position and no longer counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import resources
from controller.model import load_balancer as model
from controller.model import status

_T = tables.l7policies
_S = tables.l7policy_pools
_LAST = sa.select(sa.func.count()).where(_T.c.listener_id == sa.bindparam("listener_id"), resources.lives(_T))
_USER = (
    sa.select(_T.c.id)
    .where(
        sa.or_(
            _T.c.redirect_pool_id == sa.bindparam("pool_id"),
            _T.c.id.in_(sa.select(_S.c.l7policy_id).where(_S.c.pool_id == sa.bindparam("pool_id"))),
        ),
        resources.lives(_T),
    )
    .order_by(_T.c.created_at, _T.c.id)
    .limit(1)
)
_HEAD = sa.select(
    _T.c.id,
    _T.c.load_balancer_id,
    _T.c.listener_id,
    _T.c.project_id,
    _T.c.provisioning_status,
    sa.select(sa.func.count())
    .where(tables.l7rules.c.l7policy_id == _T.c.id, resources.lives(tables.l7rules))
    .scalar_subquery()
    .label("rules"),
).where(_T.c.id == sa.bindparam("id"))


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a change of a policy's rules has to know of the policy."""

    title: ClassVar[str] = "L7 Policy"
    id: str
    load_balancer_id: str
    listener_id: str
    project_id: str
    provisioning_status: status.ProvisioningStatus
    rules: int  # those that are being deleted no longer count


class L7Policies(resources.Resources[model.L7Policy]):
    title = "L7 Policy"
    table = _T
    noun = staticmethod(rows.l7policy)
    parent = "listener_id"
    relations = (resources.TAGS, resources.Relation("rules", tables.l7rules, "l7policy_id"))
    ids: ClassVar[Mapping[str, str]] = {"tags": "tags", "rule_ids": "rules"}

    def head(self, policy_id: str) -> Head:
        """The few facts that a change below the policy needs.

        :raises NotFound: no such policy.
        """
        found = self._connection.execute(_HEAD, {"id": policy_id}).first() if rows.may_exist(policy_id) else None
        if found is None:
            raise exceptions.NotFound(self.title, policy_id)
        return Head(**dict(found._mapping, provisioning_status=status.ProvisioningStatus(found.provisioning_status)))

    def add(self, objects: Sequence[Mapping[str, Any]]) -> None:
        super().add(objects)
        self._split({item["id"]: item["split"] for item in objects if item.get("split")})

    def change(self, object_id: str, values: Mapping[str, Any], generation: int) -> None:
        super().change(object_id, values, generation)
        if "split" in values:
            self._connection.execute(sa.delete(_S).where(_S.c.l7policy_id == object_id))
            self._split({object_id: values["split"]} if values["split"] else {})

    def _split(self, splits: Mapping[str, Mapping[str, Any]]) -> None:
        """Note between which pools policies split requests."""
        new = [{"l7policy_id": policy, "pool_id": share["pool_id"]} for policy, split in splits.items() for share in split["pools"]]
        if new:
            self._connection.execute(sa.insert(_S), new)

    def last_position(self, listener_id: str) -> int:
        """How many policies a listener has, which is the position of the last one."""
        return int(self._connection.execute(_LAST, {"listener_id": listener_id}).scalar_one())

    def make_room(self, listener_id: str, position: int, generation: int) -> None:
        """Move the policies from a position on behind it."""
        self._shift(listener_id, _T.c.position >= position, 1, generation)

    def close_gap(self, listener_id: str, position: int, generation: int) -> None:
        """Move the policies behind a position, which has become free, before it."""
        self._shift(listener_id, _T.c.position > position, -1, generation)

    def move(self, policy: model.L7Policy, position: int, generation: int) -> None:
        """Make the way from a policy's position to another one free; its own row is written by `change()`."""
        if position < policy.position:
            self._shift(policy.listener_id, _T.c.position.between(position, policy.position - 1), 1, generation)
        elif position > policy.position:
            self._shift(policy.listener_id, _T.c.position.between(policy.position + 1, position), -1, generation)

    def _shift(self, listener_id: str, condition: sa.ColumnElement[bool], by: int, generation: int) -> None:
        """Clients see the new positions at once, and no change of state: that is how the compatible API does it."""
        moved = sa.update(_T).where(_T.c.listener_id == listener_id, condition, resources.lives(_T))
        self._connection.execute(moved.values(position=_T.c.position + by, generation=generation))

    def user_of(self, pool_id: str) -> str | None:
        """The id of a policy that gives requests to a pool; those being deleted no longer count."""
        return self._connection.execute(_USER, {"pool_id": pool_id}).scalar()


_R = tables.l7rules


class L7Rules(resources.Resources[model.L7Rule]):
    title = "L7 Rule"
    table = _R
    noun = staticmethod(rows.l7rule)
    parent = "l7policy_id"
    relations = (resources.TAGS,)

    def mark_deleted_below(self, listener_id: str, generation: int) -> None:
        """Owe the removal of all rules of a listener's policies."""
        policies = sa.select(tables.l7policies.c.id).where(tables.l7policies.c.listener_id == listener_id)
        self.mark_all_deleted(_R.c.l7policy_id.in_(policies), generation)
