"""Certificates that a body names by their references: they must be there for the project, whole, and belong together.

The secret store is asked before a write's transaction begins, which must not wait for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from cryptography import x509

from controller import exceptions
from controller.changes.asking import Asking
from controller.drivers.secrets import bundles
from controller.exceptions import RuleBroken
from controller.refusals import Refusal

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a resource that hold references."""

    served: tuple[str, ...]  # certificates with their keys; a field may hold a list
    authority: str
    revocations: str

    def named(self, values: Mapping[str, Any]) -> bool:
        """Whether the values name any."""
        return any(values.get(name) for name in (*self.served, self.authority, self.revocations))

    def references(self, values: Mapping[str, Any], noun: Any) -> list[str]:
        """What an object names that gets these values."""
        return _references(values.get(name, getattr(noun, name)) for name in (*self.served, self.authority, self.revocations))

    def after(self, values: Mapping[str, Any], noun: Any) -> dict[str, Any]:
        """What has to be read when an object gets these values: the new ones; of CA and revocations, what stays beside a new one too."""
        pair = (self.authority, self.revocations)
        kept = {name: getattr(noun, name) for name in pair} if any(values.get(name) for name in pair) else {}
        return {**kept, **{name: value for name, value in values.items() if name in (*self.served, *pair)}}


LISTENER = Fields(("default_tls_container_ref", "sni_container_refs"), "client_ca_tls_container_ref", "client_crl_container_ref")
POOL = Fields(("tls_container_ref",), "ca_tls_container_ref", "crl_container_ref")


def check(asking: Asking, fields: Fields, values: Mapping[str, Any], project_id: str) -> None:
    """Read what the values name, all of it before saying what is wrong.

    :raises InvalidRequest: something can't be read, or a list of revoked certificates is not its CA's.
    :raises Transient: the secret store did not answer.
    """
    if not fields.named(values):
        return
    reader = _Reader(asking, project_id)
    for reference in _references(values.get(name) for name in fields.served):
        reader.bundle(reference)
    authorities = reader.secret(values.get(fields.authority), bundles.authorities)
    revoked = reader.secret(values.get(fields.revocations), bundles.revocations)
    if reader.unreadable:
        raise exceptions.InvalidRequest(reader.sentence(), code=Refusal.UNREADABLE_CERTIFICATE)
    _check_issuer(fields, authorities, revoked)


def _references(values: Iterable[Any]) -> list[str]:
    """Every reference once."""
    flat = (item for value in values if value for item in ([value] if isinstance(value, str) else value))
    return list(dict.fromkeys(flat))


def _check_issuer(fields: Fields, authorities: list[x509.Certificate] | None, revoked: x509.CertificateRevocationList | None) -> None:
    if revoked is not None and authorities is not None and not bundles.is_signed_by(revoked, authorities):
        raise RuleBroken(f"{fields.revocations} is not signed by the CA of {fields.authority}.")


class _Reader:
    """Reads secrets of a project, and remembers those that can't be read."""

    def __init__(self, asking: Asking, project_id: str) -> None:
        self._project_id = project_id
        self._store = asking.services.secrets
        self._token = None if asking.caller.is_admin else asking.caller.token  # who administers names what is their tenants'
        self.unreadable: dict[str, str] = {}  # with the reason, where it is not simply not there

    def sentence(self) -> str:
        """What can't be read, and what to do about it."""
        reasons = [f" {reference}: {words}" for reference, words in self.unreadable.items() if words]
        return f"Could not retrieve certificate: {list(self.unreadable)}" + (f".{''.join(reasons)}" if reasons else "")

    def bundle(self, reference: str) -> None:
        self._try(reference, lambda: bundles.check_named(self._store.get_bundle(self._project_id, reference)))

    def secret(self, reference: str | None, parse: Callable[[bytes], T]) -> T | None:
        if not reference:
            return None
        return self._try(reference, lambda: parse(self._store.get_secret(self._project_id, reference)))

    def _try(self, reference: str, read: Callable[[], T]) -> T | None:
        try:
            if self._token is not None:
                self._store.admit(reference, self._token)
            return read()
        except (exceptions.NotFound, exceptions.InvalidRequest) as refusal:
            self.unreadable[reference] = str(refusal) if isinstance(refusal, exceptions.InvalidRequest) else ""
            return None
