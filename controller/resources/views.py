"""From nouns to the JSON objects of answers, by a plan that is made once per declaration."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from controller.resources import fields
from controller.resources.fields import Field


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
        yield key, fields.naive(value) if isinstance(value, datetime.datetime) else value
