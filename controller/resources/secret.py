"""Secrets (`secret`): certificates that tenants give to the `local` store. They are written, and never shown again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from controller import exceptions
from controller.resources import dialects, kinds
from controller.resources.declare import Field, Schema

KINDS = (CERTIFICATE, AUTHORITY, REVOCATIONS) = ("certificate", "ca", "crl")


class _Withholding(dialects.LoadBalancing):
    """The errors repeat nothing that was given: it may be a private key, wherever it stands."""

    def no_object(self, schema: Schema, given: Any) -> exceptions.InvalidRequest:
        return dialects.withheld(schema.name, dialects.NO_OBJECT)

    def refused(self, schema: Schema, names: Collection[str], path: str, *, creating: bool) -> exceptions.InvalidRequest:
        return dialects.unknown_withheld([field.name for field in schema.fields.values() if field.post], path)

    def missing(self, schema: Schema, field: Field) -> exceptions.InvalidRequest:
        return dialects.withheld(field.name, dialects.MISSING)

    def bad(self, field: Field, value: Any, reason: kinds.Reject) -> exceptions.InvalidRequest:
        return dialects.withheld(field.name, str(reason))


@kinds.described("string", example="-----BEGIN CERTIFICATE-----...", minLength=1)
def _content(value: Any) -> str:
    """Whatever is not empty; what it must be, the secret store says."""
    if not value:
        raise kinds.Reject(dialects.MISSING)
    return _string(value)


@kinds.described("string", example="fKq7-mVx2-Lw9t")
def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise kinds.Reject("Value should be a string")
    return value


def _given(name: str, kind: kinds.Parser, about: str, **more: Any) -> Field:
    return Field(name, kind, about, put=False, column=None, attribute=None, **more)


SCHEMA = Schema(
    name="secret",
    argument="secret_",
    shows_fault=False,
    dialect=_Withholding(),
    fields=[
        _given("name", kinds.name, "A name for people.", example="shop", default=""),
        _given(
            "kind",
            kinds.one_of(*KINDS),
            "What it is: a certificate with its private key and chain, the certificates of authorities, or a list of revocations.",
            default=CERTIFICATE,
        ),
        _given("payload", _content, "The content: PEM, or PKCS #12 in base64. It is never shown again.", required=True),
        _given("passphrase", _string, "The passphrase that the private key is encrypted with, if it is. It is not kept."),
        _given("project_id", kinds.name, "The project that it belongs to; yours, if it is left out.", default=None),
    ],
)
