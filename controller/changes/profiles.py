"""Profiles of flavors and of availability zones: what these mean to a provider. Both kinds behave alike."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from controller import exceptions
from controller.changes import visibility
from controller.changes.asking import Asking
from controller.db import database
from controller.providers.interface import Capability, Provider
from controller.resources import choice
from controller.resources.declare import Schema, Values


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Profiles of one kind: the name of their policy rules, their declaration, the field with their data, what a provider lets it say, and
    where they are kept.
    """

    policy: str
    schema: Schema
    data: str
    known: Callable[[Provider], Sequence[Capability]]
    of: Callable[[database.Transaction], Any]


FLAVOR = Kind(
    "flavor-profile", choice.FLAVOR_PROFILE, "flavor_data", lambda provider: provider.flavor_capabilities, lambda tx: tx.flavor_profiles
)
AVAILABILITY_ZONE = Kind(
    "availability-zone-profile",
    choice.AVAILABILITY_ZONE_PROFILE,
    "availability_zone_data",
    lambda provider: provider.availability_zone_capabilities,
    lambda tx: tx.availability_zone_profiles,
)


def create(asking: Asking, kind: Kind, wanted: Values) -> Any:
    """Store a new one.

    :raises InvalidRequest: its data is wrong.
    :raises NotSupported: its data says more than the provider can do.
    """
    asking.authorize(f"{kind.policy}:post", None)
    _check(asking, kind, wanted)
    key = str(uuid.uuid4())
    with asking.write() as tx:
        repository = kind.of(tx)
        repository.add({"id": key, **asking.columns(kind.schema, wanted)})
        return repository.get(key)


def update(asking: Asking, kind: Kind, profile_id: str, values: Values) -> Any:
    """Store other values; what it means stays as long as something uses it.

    :raises NotFound: there is none.
    :raises InvalidRequest: the new data is wrong.
    :raises NotSupported: the new data says more than the provider can do.
    :raises Conflict: it is in use.
    """
    asking.authorize(f"{kind.policy}:put", None)
    with asking.read() as tx:
        stored = kind.of(tx).get(profile_id)
        meaning = {name: getattr(stored, name) for name in ("provider_name", kind.data)}
        is_other = any(values.get(name, meaning[name]) != meaning[name] for name in meaning)
        if is_other:
            kind.of(tx).refuse_if_used(profile_id)  # before anything is said about what it can't mean anyway
    if is_other:
        _check(asking, kind, {**meaning, **values})
    with asking.write() as tx:
        repository = kind.of(tx)
        repository.lock(profile_id)
        now = repository.get(profile_id)
        if any(values.get(name, getattr(now, name)) != getattr(now, name) for name in meaning):
            repository.refuse_if_used(profile_id)
        repository.change(profile_id, asking.columns(kind.schema, values))
        return repository.get(profile_id)


def delete(asking: Asking, kind: Kind, profile_id: str) -> None:
    """Delete one that nothing uses.

    :raises NotFound: there is none.
    :raises Conflict: it is in use.
    """
    asking.authorize(f"{kind.policy}:delete", None)
    with asking.write() as tx:
        kind.of(tx).delete(profile_id)


def _check(asking: Asking, kind: Kind, values: Mapping[str, Any]) -> None:
    """Whether the data of a profile says only what the provider can do, and what exists.

    :raises InvalidRequest: the provider is not enabled, the data is no JSON object, a value is not of its key's kind, or names nothing.
    :raises NotSupported: the provider does not know a key.
    """
    name = values["provider_name"]
    known = {capability.name: capability for capability in kind.known(asking.provider(name))}
    data = _object(values[kind.data], kind.data)
    declared = Schema(name=kind.data, fields=list(known.values()))
    for key, value in declared.updated({key: value for key, value in data.items() if key in known}).items():
        _check_exists(asking, known[key], value)
    for key in data:
        if key not in known:
            raise exceptions.NotSupported(f"Provider '{name}' does not support a requested option: {kind.data} key {key[:255]}")


def _check_exists(asking: Asking, capability: Capability, value: Any) -> None:
    if capability.exists is not None:
        with visibility.in_a_body():
            capability.exists(asking.services, value)


def _object(text: str, option: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise exceptions.InvalidRequest(f"{text[:300]} is not a valid option for {option}")
    return found
