"""The nouns of `model` with every field that is declared and stored, whether `model` names it or not."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

from controller.model import load_balancer as model
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Schema
from controller.resources.fields import Field

N = TypeVar("N")


def noun(known: type[N], schema: Schema) -> type[N]:
    """The class of the model, with an attribute more for each field that it does not name: rows are read into it, and views made of it.

    The class names, with its type, what our code reads; a field that is only stored and shown needs no line there.
    """
    named = {field.name for field in dataclasses.fields(cast("Any", known))}
    more = [str(field.attribute) for field in schema.fields.values() if _is_stored(field) and field.attribute not in named]
    if not more:
        return known
    attributes: list[tuple[str, Any]] = [(name, Any) for name in more]
    made = dataclasses.make_dataclass(known.__name__, attributes, bases=(known,), frozen=True, kw_only=True, slots=True)
    return cast("type[N]", made)


def _is_stored(field: Field) -> bool:
    """In a column of its own, and shown as an attribute of the noun itself; what is inside another value is read where that is made."""
    return field.column is not None and field.attribute is not None and "." not in field.attribute


LoadBalancer = noun(model.LoadBalancer, load_balancer.SCHEMA)
Listener = noun(model.Listener, listener.SCHEMA)
Pool = noun(model.Pool, pool.SCHEMA)
Member = noun(model.Member, member.SCHEMA)
HealthMonitor = noun(model.HealthMonitor, health_monitor.SCHEMA)
L7Policy = noun(model.L7Policy, l7policy.SCHEMA)
L7Rule = noun(model.L7Rule, l7rule.SCHEMA)
