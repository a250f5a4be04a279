"""How an API says that a body is not as declared. The declarations are the same for all of ours; names of errors and sentences are not."""

from __future__ import annotations

import abc
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from controller import exceptions
from controller.refusals import Refusal
from controller.resources import kinds

if TYPE_CHECKING:
    from controller.resources.declare import Schema
    from controller.resources.fields import Field


class Dialect(abc.ABC):
    """Each method gives the error of one way to be wrong."""

    missing_first: ClassVar[bool] = False
    """Of a body in which a field is missing and another one is wrong, the one that is missing is told."""

    @abc.abstractmethod
    def no_object(self, schema: Schema, given: Any) -> Exception:
        """It is no JSON object."""

    @abc.abstractmethod
    def refused(self, schema: Schema, names: Collection[str], path: str, *, creating: bool) -> Exception:
        """The object, which stands at `path` of the body, has keys that a POST, or else a PUT, does not take."""

    @abc.abstractmethod
    def missing(self, schema: Schema, field: Field) -> Exception:
        """A POST must give the field."""

    @abc.abstractmethod
    def bad(self, field: Field, value: Any, reason: kinds.Reject) -> Exception:
        """The value is not of the field's kind."""


class LoadBalancing(Dialect):
    """The first API's, which has one sentence for all keys that it does not take."""

    def no_object(self, schema: Schema, given: Any) -> Exception:
        return no_object(schema.name, given)

    def refused(self, schema: Schema, names: Collection[str], path: str, *, creating: bool) -> Exception:
        """It does not tell what can't be written from what does not exist."""
        return unknown(names, path)

    def missing(self, schema: Schema, field: Field) -> Exception:
        return missing(field.name)

    def bad(self, field: Field, value: Any, reason: kinds.Reject) -> Exception:
        return invalid(field.name, value, str(reason), field.refusal)


MISSING, NO_OBJECT = "Mandatory field missing.", "Value should be a JSON object"


def no_object(name: str, given: Any) -> exceptions.InvalidRequest:
    """The error of something else than a JSON object."""
    return invalid(name, given, NO_OBJECT)


def unknown(names: Collection[str], path: str) -> exceptions.InvalidRequest:
    """The error of keys that an object can't have."""
    words = f"Unknown attribute for argument {path}: {shortened(', '.join(sorted(names)))}"
    return exceptions.InvalidRequest(words, code=Refusal.UNKNOWN_FIELD)


def unknown_withheld(taken: Collection[str], path: str) -> exceptions.InvalidRequest:
    """The same where the keys are repeated nowhere: it says which ones the object takes."""
    words = f"Unknown attribute for argument {path}: it takes {', '.join(sorted(taken))} alone"
    return exceptions.InvalidRequest(words, code=Refusal.UNKNOWN_FIELD)


def missing(name: str) -> exceptions.InvalidRequest:
    """The error of a field that must be there."""
    return invalid(name, None, MISSING)


def invalid(name: str, value: Any, reason: str, code: Refusal = Refusal.INVALID_FIELD) -> exceptions.InvalidRequest:
    """The error of a field's value."""
    return exceptions.InvalidRequest(f"Invalid input for field/attribute {name}. Value: '{shortened(str(value))}'. {reason}", code=code)


def withheld(name: str, reason: str) -> exceptions.InvalidRequest:
    """The error of a field's value that is repeated nowhere."""
    return exceptions.InvalidRequest(f"Invalid input for field/attribute {name}. {reason}", code=Refusal.INVALID_FIELD)


def shortened(shown: str) -> str:
    """What a client sent, as an error repeats it."""
    return shown if len(shown) <= 300 else f"{shown[:297]}..."
