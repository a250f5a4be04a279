"""What each resource of LBaaS v2 may be given by POST and PUT, and what it shows.

Each attribute is a field of the first API that says what is otherwise here (`fields.also()`), so a new one needs no line in this module;
here stand those that only LBaaS v2 has, and how it refuses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from controller.api import nouns
from controller.api.lbaasv2 import errors
from controller.resources import declare, dialects, fields, kinds
from controller.resources.fields import Field, read_only


class _Dialect(dialects.Dialect):
    """The sentences of the network service."""

    missing_first = True

    def no_object(self, schema: declare.Schema, given: Any) -> Exception:
        return errors.bad_request(f"Resource body required: '{schema.name}' must be an object")

    def refused(self, schema: declare.Schema, names: Collection[str], path: str, *, creating: bool) -> Exception:
        """Attributes that nobody knows are told first."""
        unknown = sorted(set(names) - schema.names)
        if unknown:
            return errors.bad_request(f"Unrecognized attribute(s) '{', '.join(unknown)[:300]}'")
        name = next(name for name in schema.fields if name in names)
        return errors.bad_request(f"Attribute '{name}' not allowed in POST" if creating else f"Cannot update read-only attribute {name}")

    def missing(self, schema: declare.Schema, field: Field) -> Exception:
        return errors.bad_request(f"Failed to parse request. Required attribute '{field.name}' not specified")

    def bad(self, field: Field, value: Any, reason: kinds.Reject) -> Exception:
        return errors.bad_request(f"Invalid input for {field.name}. Reason: {str(value)[:300]!r}: {reason}.")


_DIALECT = _Dialect()


class Resource(declare.Schema):
    """A collection of a noun, whose `schema` is the first API's; `more` are attributes that that does not have."""

    def __init__(self, noun: nouns.Noun, *more: Field) -> None:
        schema = noun.schema
        shared = [attribute for field in schema.fields.values() for attribute in _attributes(field)]
        super().__init__(name=schema.name, collection=schema.collection, fields=[*shared, *more], shows_fault=False, dialect=_DIALECT)
        self.noun = noun
        self.schema = schema
        self._defaults = schema.defaults
        self._there = {name: field for field in schema.fields.values() for name in field.names}
        self._as_there = {name for name, field in self.fields.items() if name in self._there and field.kind is self._there[name].kind}

    def complete(self, values: Mapping[str, Any]) -> declare.Values:
        """A new object as changes take it, of what `created()` gave: with what the first API stores for what was left out, or is null.

        :raises InvalidRequest: a value that is good here is none there.
        """
        whole = self._defaults.copy()
        for name, value in values.items():
            field = self._there[name]
            is_good = value is not None and name in self._as_there and not field.ignored
            whole[field.name] = value if is_good else self.schema.accepted(field, value)
        return whole

    @property
    def url(self) -> str:
        """Below `/v2.0/lbaas`, as a routing rule."""
        parent = self.noun.parent
        return f"/{self.collection}" if parent is None else f"/{parent.schema.collection}/<parent_id>/{self.collection}"


def _attributes(field: Field) -> Iterator[Field]:
    """The attribute that a field is here, by each of its names. What is left out is filled in later; null is for what can be nothing."""
    if field.lbaasv2 is None:
        return
    needed = field.lbaasv2.get("required", field.required) or field.default is not None or field.alias is not None
    as_here = {"null": fields.REFUSED if needed else None, **field.lbaasv2}
    for name in field.names:
        yield dataclasses.replace(field, name=name, default=fields.ABSENT, alias=None, blank=None, ignored=False, **as_here)


_LOAD_BALANCER = nouns.LOAD_BALANCER.schema.fields
LOAD_BALANCER = Resource(nouns.LOAD_BALANCER, *(_LOAD_BALANCER[name] for name in ("provisioning_status", "operating_status")))
LISTENER = Resource(nouns.LISTENER, read_only("default_tls_container_id", attribute="default_tls_container_ref"))
POOL = Resource(
    nouns.POOL,
    read_only("l7_policies", attribute=None),  # those that redirect to it: the noun does not know them
)
MEMBER = Resource(nouns.MEMBER)
HEALTH_MONITOR = Resource(nouns.HEALTH_MONITOR)
L7POLICY = Resource(nouns.L7POLICY, read_only("status", attribute="provisioning_status"))
L7RULE = Resource(nouns.L7RULE)
RESOURCES = (LOAD_BALANCER, LISTENER, POOL, MEMBER, HEALTH_MONITOR, L7POLICY, L7RULE)
