"""What each noun of a project is below the API: its declaration, its rows, the changes that write it, the rules of policy."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from controller.changes import health_monitors, l7policies, l7rules, listeners, load_balancers, members, pools
from controller.changes.asking import Asking
from controller.db import database
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Schema, Values


def _nothing(
    asking: Asking, wanted: Sequence[Values], parent_id: str | None, project_id: str | None
) -> contextlib.AbstractContextManager[Sequence[None]]:
    """Nobody outside is asked about new ones."""
    return contextlib.nullcontext([None] * len(wanted))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """`policy` is the first word of the names of rules, `repository` an attribute of a transaction. Changes (`create`, `update`, `delete`)
    take what asks, the id of the parent if the collection stands below one, the id of the object if there is one already, and the values if
    there are any. Below a parent there is a `get` among them, which takes both ids. `looked` looks, before a block of changes, at what new
    ones name outside; what it yields for each is `seen` of `create`.
    """

    policy: str
    schema: Schema
    repository: str
    changes: Any
    parent: Noun | None = None
    looked: Callable[..., contextlib.AbstractContextManager[Sequence[Any]]] = _nothing
    view: Callable[[Any], Values] | None = None  # if the declaration's own shows too much
    statistics: str = "statistics"  # the repository of its counters

    def rows(self, tx: database.Transaction) -> Any:
        """The repository."""
        return getattr(tx, self.repository)

    def get(self, tx: database.Transaction, *ids: str) -> Any:
        """:raises NotFound: there is none, or it is another parent's."""
        return self.rows(tx).get(*ids) if self.parent is None else self.changes.get(tx, *ids)


LOAD_BALANCER = Noun(
    policy="loadbalancer", schema=load_balancer.SCHEMA, repository="load_balancers", changes=load_balancers, looked=load_balancers.looked
)
LISTENER = Noun(policy="listener", schema=listener.SCHEMA, repository="listeners", changes=listeners, looked=listeners.looked)
POOL = Noun(
    policy="pool",
    schema=pool.SCHEMA,
    repository="pools",
    changes=pools,
    looked=pools.looked,
    view=pool.view,
    statistics="member_statistics",
)
MEMBER = Noun(
    policy="member",
    schema=member.SCHEMA,
    repository="members",
    changes=members,
    looked=members.looked,
    parent=POOL,
    statistics="member_statistics",
)
HEALTH_MONITOR = Noun(policy="healthmonitor", schema=health_monitor.SCHEMA, repository="health_monitors", changes=health_monitors)
L7POLICY = Noun(policy="l7policy", schema=l7policy.SCHEMA, repository="l7policies", changes=l7policies)
L7RULE = Noun(policy="l7rule", schema=l7rule.SCHEMA, repository="l7rules", changes=l7rules, parent=L7POLICY)
