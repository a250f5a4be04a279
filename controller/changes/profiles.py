"""What the routes of both kinds of profiles do alike."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.api import current
from controller.api.v2 import capabilities
from controller.db import transaction
from controller.resources.declare import Schema, Values

Of = Callable[[transaction.Transaction], Any]


class Kind:
    """Profiles of one kind: their declaration, the field with their data, what it may say, and where they are kept."""

    def __init__(self, schema: Schema, data: str, known: Sequence[capabilities.Capability], of: Of) -> None:
        self.schema = schema
        self._data = data
        self._known = known
        self._of = of

    def add(self, wanted: Values) -> Any:
        """Store a new one.

        :raises InvalidRequest: its data is wrong.
        :raises NotSupported: its data says more than the provider can do.
        """
        self._check(wanted)
        key = str(uuid.uuid4())
        with current.services().db.begin() as tx:
            repository = self._of(tx)
            repository.add({"id": key, **self.schema.columns(wanted)})
            return repository.get(key)

    def change(self, profile_id: str, values: Values) -> Any:
        """Store other values; what it means stays as long as something uses it.

        :raises NotFound: there is none.
        :raises InvalidRequest: the new data is wrong.
        :raises NotSupported: the new data says more than the provider can do.
        :raises Conflict: it is in use.
        """
        with current.services().db.read() as tx:
            stored = self._of(tx).get(profile_id)
            meaning = {name: getattr(stored, name) for name in ("provider_name", self._data)}
            is_other = any(values.get(name, meaning[name]) != meaning[name] for name in meaning)
            if is_other:
                self._of(tx).refuse_if_used(profile_id)  # before anything is said about what it can't mean anyway
        if is_other:
            self._check({**meaning, **values})
        with current.services().db.begin() as tx:
            repository = self._of(tx)
            repository.lock(profile_id)
            now = repository.get(profile_id)
            if any(values.get(name, getattr(now, name)) != getattr(now, name) for name in meaning):
                repository.refuse_if_used(profile_id)
            repository.change(profile_id, self.schema.columns(values))
            return repository.get(profile_id)

    def _check(self, values: Mapping[str, Any]) -> None:
        capabilities.check(values["provider_name"], values[self._data], self._data, self._known)
