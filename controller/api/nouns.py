"""What each collection of LBaaS v2 is below the API: the rows it is read from, the changes that write it, the rules of policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from controller.api.lbaasv2 import attributes
from controller.api.lbaasv2.attributes import Resource
from controller.changes import health_monitors, l7policies, l7rules, listeners, load_balancers, members, pools
from controller.changes.asking import Asking
from controller.db import database
from controller.model import load_balancer as model
from controller.resources.declare import Values


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """`repository` is an attribute of a transaction, `policy` the first word of the names of rules. Changes take what asks, the id of the
    parent if the collection stands below one, the id of the object if there is one already, and the values if there are any.
    """

    repository: str
    policy: str
    create: Callable[..., model.Resource]
    update: Callable[..., model.Resource]
    delete: Callable[..., None]
    below: Callable[[database.Transaction, str, str], model.Resource] | None = None  # one of a parent, by the ids of both

    def rows(self, tx: database.Transaction) -> Any:
        """The repository."""
        return getattr(tx, self.repository)

    def get(self, tx: database.Transaction, object_id: str, parent_id: str | None) -> model.Resource:
        """:raises NotFound: there is none, or it is another parent's."""
        found: model.Resource = self.rows(tx).get(object_id) if self.below is None else self.below(tx, str(parent_id), object_id)
        return found


def _new_load_balancer(asking: Asking, wanted: Values) -> model.LoadBalancer:
    return load_balancers.create(asking, wanted).load_balancer


def _noun(repository: str, policy: str, changes: Any, **keywords: Any) -> Noun:
    return Noun(
        repository=repository, policy=policy, **{"create": changes.create, "update": changes.update, "delete": changes.delete} | keywords
    )


_NOUNS: Mapping[str, Noun] = {
    attributes.LOAD_BALANCER.name: _noun("load_balancers", "loadbalancer", load_balancers, create=_new_load_balancer),
    attributes.LISTENER.name: _noun("listeners", "listener", listeners),
    attributes.POOL.name: _noun("pools", "pool", pools),
    attributes.MEMBER.name: _noun("members", "member", members, below=members.get),
    attributes.HEALTH_MONITOR.name: _noun("health_monitors", "healthmonitor", health_monitors),
    attributes.L7POLICY.name: _noun("l7policies", "l7policy", l7policies),
    attributes.L7RULE.name: _noun("l7rules", "l7rule", l7rules, below=l7rules.get),
}


def of(resource: Resource) -> Noun:
    """What serves a collection of the API."""
    return _NOUNS[resource.name]
