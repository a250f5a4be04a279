"""What listeners and pools need of the secret store, and what is known of it."""

from __future__ import annotations

import dataclasses
import datetime
import enum


class Kind(enum.StrEnum):
    """What a secret is read as."""

    BUNDLE = "bundle"  # a certificate with its key and chain
    AUTHORITIES = "authorities"
    REVOCATIONS = "revocations"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Need:
    """A secret by its reference, and as what it is needed."""

    reference: str
    kind: Kind


@dataclasses.dataclass(frozen=True, slots=True)
class Lack:
    """The first secret that an object is left out for, and why it could not be read."""

    need: Need
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What was read of the secret store: its content is kept encrypted, by its name, which is its hash (`<sha256>.pem`)."""

    name: str
    not_after: datetime.datetime | None = None  # when the certificate, or the list of revocations, ends
    read_for: int = 0  # the generation for which it was read
    asked_for: int = 0  # the newest one that wants it read
    is_registered: bool = False  # the store knows that we use it

    @property
    def is_stale(self) -> bool:
        """Whether it is to be read anew."""
        return self.asked_for > self.read_for
