"""From nouns to the JSON objects of answers, by a plan that is made once per declaration."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from controller.resources import kinds

if TYPE_CHECKING:
    from controller.resources.fields import Field

REFERENCE: Final[kinds.JsonSchema] = {
    "type": "object",
    "properties": {"id": {**kinds.uuid.schema, "description": "The id of the object.", "examples": [kinds.uuid.example]}},
    "required": ["id"],
    "additionalProperties": False,
}
"""Another object, in answers."""


@kinds.described("array", example=[{"id": kinds.uuid.example}], items=REFERENCE)
def ids(values: Iterable[str]) -> list[dict[str, str]]:
    """References to other objects."""
    return [{"id": value} for value in values]


@kinds.described("array", example=[{"id": kinds.uuid.example}], items=REFERENCE, maxItems=1)
def one_id(value: str | None) -> list[dict[str, str]]:
    """The reference to another object, as a list of one or none."""
    return [] if value is None else [{"id": value}]


def naive(value: datetime.datetime | None) -> datetime.datetime | None:
    """A time without its zone, which clients can't read."""
    return None if value is None else value.replace(tzinfo=None)


def plan(declared: Sequence[Field]) -> Callable[[Any], dict[str, Any]]:
    """The view of a noun: what is shown, by its keys in their order. All attributes are read at once."""
    shown = sorted(((key, field) for field in declared if field.is_shown for key in field.names), key=lambda pair: pair[0])
    names = [key for key, _field in shown]
    shows = [(position, field.show) for position, (_key, field) in enumerate(shown) if field.show]
    first, second, *rest = [str(field.attribute) for _key, field in shown]  # of one alone, an `attrgetter` gives no tuple
    attributes = operator.attrgetter(first, second, *rest)

    def view(noun: Any) -> dict[str, Any]:
        values = list(attributes(noun))
        for position, show in shows:
            values[position] = show(values[position])
        return dict(zip(names, values, strict=True))

    return view


def of_fault(fault: Any) -> Iterable[tuple[str, Any]]:
    """Why the newest change has failed."""
    for key in ("code", "message", "step", "request_id", "occurred_at", "next_try_at"):
        value = getattr(fault, key)
        yield key, naive(value) if isinstance(value, datetime.datetime) else value
