"""Flavors and availability zones: names that tenants may choose for what a profile means. Both kinds behave alike."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

from controller.changes import visibility
from controller.changes.asking import Asking
from controller.db import database
from controller.resources import choice
from controller.resources.declare import Schema, Values


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """The name of their policy rules, their declaration, and where they and their profiles are kept."""

    policy: str
    schema: Schema
    of: Callable[[database.Transaction], Any]
    profiles: Callable[[database.Transaction], Any]


FLAVOR = Kind("flavor", choice.FLAVOR, lambda tx: tx.flavors, lambda tx: tx.flavor_profiles)
AVAILABILITY_ZONE = Kind(
    "availability-zone", choice.AVAILABILITY_ZONE, lambda tx: tx.availability_zones, lambda tx: tx.availability_zone_profiles
)


def create(asking: Asking, kind: Kind, wanted: Values) -> Any:
    """Give a profile a name.

    :raises InvalidRequest: there is no such profile.
    :raises Conflict: the name is taken.
    """
    asking.authorize(f"{kind.policy}:post", None)
    row = asking.columns(kind.schema, wanted)
    if kind.schema.key == "id":
        row["id"] = str(uuid.uuid4())
    with asking.write() as tx:
        with visibility.in_a_body():
            kind.profiles(tx).hold(wanted[f"{kind.schema.name}_profile_id"])
        kind.of(tx).add(row)
        return kind.of(tx).get(row[kind.schema.key])


def update(asking: Asking, kind: Kind, key: str, values: Values) -> Any:
    """Store new values. One that is disabled can't be chosen any more; what chose it before stays as it is.

    :raises NotFound: there is none.
    :raises Conflict: the name is taken.
    """
    asking.authorize(f"{kind.policy}:put", None)
    with asking.write() as tx:
        kind.of(tx).lock(key)
        kind.of(tx).change(key, asking.columns(kind.schema, values))
        return kind.of(tx).get(key)


def delete(asking: Asking, kind: Kind, key: str) -> None:
    """Delete one that no load balancer uses.

    :raises NotFound: there is none.
    :raises Conflict: it is in use.
    """
    asking.authorize(f"{kind.policy}:delete", None)
    with asking.write() as tx:
        kind.of(tx).delete(key)
