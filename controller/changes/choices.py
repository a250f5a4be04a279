"""Flavors: names that tenants may choose for what a profile means."""

from __future__ import annotations

import uuid

from controller.changes import visibility
from controller.changes.asking import Asking
from controller.model import choice as model
from controller.resources.declare import Values
from controller.resources.flavor import SCHEMA


def create(asking: Asking, wanted: Values) -> model.Flavor:
    """Give a profile a name.

    :raises InvalidRequest: there is no such profile.
    :raises Conflict: the name is taken.
    """
    asking.authorize("flavor:post", None)
    key = str(uuid.uuid4())
    with asking.write() as tx:
        with visibility.in_a_body():
            tx.flavor_profiles.hold(wanted["flavor_profile_id"])
        tx.flavors.add({"id": key, **asking.columns(SCHEMA, wanted)})
        return tx.flavors.get(key)


def update(asking: Asking, flavor_id: str, values: Values) -> model.Flavor:
    """Store new values. One that is disabled can't be chosen any more; what chose it before stays as it is.

    :raises NotFound: there is none.
    :raises Conflict: the name is taken.
    """
    asking.authorize("flavor:put", None)
    with asking.write() as tx:
        tx.flavors.lock(flavor_id)
        tx.flavors.change(flavor_id, asking.columns(SCHEMA, values))
        return tx.flavors.get(flavor_id)


def delete(asking: Asking, flavor_id: str) -> None:
    """Delete one that no load balancer uses.

    :raises NotFound: there is none.
    :raises Conflict: it is in use.
    """
    asking.authorize("flavor:delete", None)
    with asking.write() as tx:
        tx.flavors.delete(flavor_id)
