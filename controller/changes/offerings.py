"""What operators offer: flavors and availability zones, which are names that tenants may choose, and the profiles that say what these mean
to a provider. All four kinds are written alike.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from controller import exceptions
from controller.changes import visibility
from controller.changes.asking import Asking
from controller.db import database
from controller.providers.interface import Capability
from controller.resources import offering
from controller.resources.declare import Schema, Values


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The name of their policy rules, their declaration, and the attributes of a transaction where they are kept, and their profiles if
    they are chosen. Profiles have a field with their `data`; the attribute `known` of a provider says what it may be.
    """

    policy: str
    schema: Schema
    repository: str
    profiles: str = ""
    data: str = ""
    known: str = ""

    def rows(self, tx: database.Transaction) -> Any:
        """Where they are kept."""
        return getattr(tx, self.repository)


FLAVOR = Kind(policy="flavor", schema=offering.FLAVOR, repository="flavors", profiles="flavor_profiles")
AVAILABILITY_ZONE = Kind(
    policy="availability-zone",
    schema=offering.AVAILABILITY_ZONE,
    repository="availability_zones",
    profiles="availability_zone_profiles",
)
FLAVOR_PROFILE = Kind(
    policy="flavor-profile",
    schema=offering.FLAVOR_PROFILE,
    repository="flavor_profiles",
    data="flavor_data",
    known="flavor_capabilities",
)
AVAILABILITY_ZONE_PROFILE = Kind(
    policy="availability-zone-profile",
    schema=offering.AVAILABILITY_ZONE_PROFILE,
    repository="availability_zone_profiles",
    data="availability_zone_data",
    known="availability_zone_capabilities",
)


def create(asking: Asking, kind: Kind, wanted: Values) -> Any:
    """Store a new one.

    :raises InvalidRequest: there is no such profile, or the data of a profile is wrong.
    :raises NotSupported: the data of a profile says more than the provider can do.
    :raises Conflict: the name is taken.
    """
    asking.authorize(f"{kind.policy}:post", None)
    if kind.data:
        _check(asking, kind, wanted)
    row = asking.columns(kind.schema, wanted)
    if kind.schema.key == "id":
        row["id"] = str(uuid.uuid4())
    with asking.write() as tx:
        if kind.profiles:
            with visibility.in_a_body():
                getattr(tx, kind.profiles).hold(wanted[f"{kind.schema.name}_profile_id"])
        kind.rows(tx).add(row)
        return kind.rows(tx).get(row[kind.schema.key])


def update(asking: Asking, kind: Kind, key: str, values: Values) -> Any:
    """Store other values. What is disabled can't be chosen any more; what chose it before stays as it is, and so does what a profile means
    as long as something uses it.

    :raises NotFound: there is none.
    :raises InvalidRequest: the new data of a profile is wrong.
    :raises NotSupported: it says more than the provider can do.
    :raises Conflict: the name is taken, or the profile is in use.
    """
    asking.authorize(f"{kind.policy}:put", None)
    if kind.data:
        with asking.read() as tx:
            meaning = _meaning(kind, tx, key, values)  # what is used is told before anything about what it can't mean anyway
        if meaning is not None:
            _check(asking, kind, meaning)
    with asking.write() as tx:
        kind.rows(tx).lock(key)
        if kind.data:
            _meaning(kind, tx, key, values)
        kind.rows(tx).change(key, asking.columns(kind.schema, values))
        return kind.rows(tx).get(key)


def delete(asking: Asking, kind: Kind, key: str) -> None:
    """Delete one that nothing uses.

    :raises NotFound: there is none.
    :raises Conflict: it is in use.
    """
    asking.authorize(f"{kind.policy}:delete", None)
    with asking.write() as tx:
        kind.rows(tx).delete(key)


def _meaning(kind: Kind, tx: database.Transaction, key: str, values: Values) -> Values | None:
    """What a profile is to mean, if that is something else than now.

    :raises NotFound: there is none.
    :raises Conflict: something uses what it means now.
    """
    stored = kind.rows(tx).get(key)
    now = {name: getattr(stored, name) for name in ("provider_name", kind.data)}
    wanted = {name: values.get(name, now[name]) for name in now}
    if wanted == now:
        return None
    kind.rows(tx).refuse_if_used(key)
    return wanted


def _check(asking: Asking, kind: Kind, values: Mapping[str, Any]) -> None:
    """Whether the data of a profile says only what the provider can do, and what exists.

    :raises InvalidRequest: the provider is not enabled, the data is no JSON object, a value is not of its key's kind, or names nothing.
    :raises NotSupported: the provider does not know a key.
    """
    name = values["provider_name"]
    known: dict[str, Capability] = {capability.name: capability for capability in getattr(asking.provider(name), kind.known)}
    data = _object(values[kind.data], kind.data)
    declared = Schema(name=kind.data, fields=list(known.values()))
    for key, value in declared.updated({key: value for key, value in data.items() if key in known}).items():
        exists = known[key].exists
        if exists is not None:
            with visibility.in_a_body():
                exists(asking.services, value)
    for key in data:
        if key not in known:
            raise exceptions.NotSupported(f"Provider '{name}' does not support a requested option: {kind.data} key {key[:255]}")


def _object(text: str, option: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise exceptions.InvalidRequest(f"{text[:300]} is not a valid option for {option}")
    return found
