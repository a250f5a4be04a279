"""Availability zones: names that tenants may choose for what a profile means."""

from __future__ import annotations

from controller.changes import visibility
from controller.changes.asking import Asking
from controller.model import choice as model
from controller.resources.availability_zone import SCHEMA
from controller.resources.declare import Values


def create(asking: Asking, wanted: Values) -> model.AvailabilityZone:
    """Give a profile a name.

    :raises InvalidRequest: there is no such profile.
    :raises Conflict: the name is taken.
    """
    asking.authorize("availability-zone:post", None)
    with asking.write() as tx:
        with visibility.in_a_body():
            tx.availability_zone_profiles.hold(wanted["availability_zone_profile_id"])
        tx.availability_zones.add(asking.columns(SCHEMA, wanted))
        return tx.availability_zones.get(wanted["name"])


def update(asking: Asking, name: str, values: Values) -> model.AvailabilityZone:
    """Store new values. One that is disabled can't be chosen any more; what chose it before stays as it is.

    :raises NotFound: there is none.
    """
    asking.authorize("availability-zone:put", None)
    with asking.write() as tx:
        tx.availability_zones.lock(name)
        tx.availability_zones.change(name, asking.columns(SCHEMA, values))
        return tx.availability_zones.get(name)


def delete(asking: Asking, name: str) -> None:
    """Delete one that no load balancer uses.

    :raises NotFound: there is none.
    :raises Conflict: it is in use.
    """
    asking.authorize("availability-zone:delete", None)
    with asking.write() as tx:
        tx.availability_zones.delete(name)
