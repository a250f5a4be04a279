"""Certificates that a body names by their references: they must be there for the project, whole, and belong together.

The secret store is asked before a write's transaction begins, which must not wait for it. What was read is kept with the change, encrypted:
once it is accepted, amphorae can be brought to it whatever becomes of the store.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cryptography import x509

from controller import exceptions
from controller.changes.asking import Asking
from controller.db import database
from controller.drivers.secrets import bundles, reading
from controller.exceptions import RuleBroken
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.model.tls import Kind, Need
from controller.refusals import Refusal

LOG = logging.getLogger(__name__)
_NAME = 200
"""Characters of a CA's name that a refusal repeats."""


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """What was read of the secret store, and beside it its content as it is kept: encrypted. `since`: the load balancer's generation before
    that; 0: there was none."""

    found: Mapping[Need, tuple[reading.Secret, bytes]] = dataclasses.field(default_factory=dict)
    since: int = 0


NOTHING = Read()


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a resource that hold references."""

    served: tuple[str, ...]  # certificates with their keys; a field may hold a list
    authority: str
    revocations: str | None = None

    @property
    def _verifying(self) -> tuple[str, ...]:
        return (self.authority,) if self.revocations is None else (self.authority, self.revocations)

    def named(self, values: Mapping[str, Any]) -> bool:
        """Whether the values name any."""
        return any(values.get(name) for name in (*self.served, *self._verifying))

    def references(self, values: Mapping[str, Any], noun: Any) -> list[str]:
        """What an object names that gets these values."""
        return _references(values.get(name, getattr(noun, name)) for name in (*self.served, *self._verifying))

    def after(self, values: Mapping[str, Any], noun: Any) -> dict[str, Any]:
        """What has to be read when an object gets these values: the new ones; of CA and revocations, what stays beside a new one too."""
        pair = self._verifying
        kept = {name: getattr(noun, name) for name in pair} if any(values.get(name) for name in pair) else {}
        return {**kept, **{name: value for name, value in values.items() if name in (*self.served, *pair)}}


LISTENER = Fields(("default_tls_container_ref", "sni_container_refs"), "client_ca_tls_container_ref", "client_crl_container_ref")
POOL = Fields(("tls_container_ref",), "ca_tls_container_ref", "crl_container_ref")
ACCESS_LOG = Fields((), "ca_tls_container_ref")


def kept(tx: database.Transaction, fields: Fields, values: Mapping[str, Any], noun: Any) -> Collection[str]:
    """The certificates that an object names and that have copies: a list that changes names them again without a question to the secret
    store. What became of them there since is read by the worker that applies it (`ask_again`). Not those of a field that is named again as
    it was: they are to be read."""
    copies = tx.tenant_certificates.of(noun.load_balancer_id)
    present = {name: _references([getattr(noun, name)]) for name in fields.served}
    again = {one for name, references in present.items() if _references([values.get(name)]) == references for one in references}
    return frozenset(one for one in _references(present.values()) if Need(one, Kind.BUNDLE) in copies) - again


def check(asking: Asking, fields: Fields, values: Mapping[str, Any], project_id: str, since: int = 0, copied: Collection[str] = ()) -> Read:
    """Read what the values name, all of it before saying what is wrong. `since`: as in `Read`; `copied`: of `kept()`.

    :raises InvalidRequest: something can't be read, or a list of revoked certificates is not its CA's.
    :raises Transient: the secret store did not answer, or not in the time that the request has.
    """
    if not fields.named(values):
        return NOTHING
    reader = _Reader(asking, project_id)
    authority = Need(values.get(fields.authority) or "", Kind.AUTHORITIES)
    revocations = Need((fields.revocations and values.get(fields.revocations)) or "", Kind.REVOCATIONS)
    served = [Need(one, Kind.BUNDLE) for one in _references(values.get(name) for name in fields.served) if one not in copied]
    reader.read([need for need in (*served, authority, revocations) if need.reference])
    authorities, revoked = reader.found.get(authority), reader.found.get(revocations)
    if reader.unreadable:
        raise exceptions.InvalidRequest(reader.sentence(), code=Refusal.UNREADABLE_CERTIFICATE)
    if authorities is not None and revoked is not None:
        _check_signed(fields, revoked.revocations, authorities.certificates)
    return Read(_encrypted(asking, reader.found), since)


def _check_signed(fields: Fields, lists: Sequence[x509.CertificateRevocationList], issuers: Sequence[x509.Certificate]) -> None:
    """:raises InvalidRequest: a list is of none of these CAs, and HAProxy would pass it over."""
    foreign = next((one for one in lists if not bundles.is_signed_by(one, issuers)), None)
    if foreign is not None:
        name = "".join(one if one.isprintable() else "?" for one in foreign.issuer.rfc4514_string()[:_NAME])  # its issuer chose it
        which = f": the list of {name}" if len(lists) > 1 else ""
        raise RuleBroken(f"{fields.revocations} is not signed by the CA of {fields.authority}{which}.")


def keep(tx: database.Transaction, load_balancer_id: str, read: Read, generation: int) -> None:
    """Keep what was read for a change, in its transaction."""
    copies = {need: (secret.copy(generation), content) for need, (secret, content) in read.found.items()}
    tx.tenant_certificates.keep(load_balancer_id, copies, since=read.since)


def keep_former(tx: database.Transaction, fields: Fields, values: Mapping[str, Any], noun: Any, generation: int) -> None:
    """Keep how an object was before a change by which it needs other secrets: where workers can't read these, it serves on as before,
    or stays switched off.

    Called before anything of the change is written.
    """
    needs_others = fields.named(values) or values.get("tls_enabled")
    if not needs_others and not (values.get("admin_state_up") and _is_off(noun) and fields.references({}, noun)):
        return
    load_balancer_id = noun.id if isinstance(noun, model.LoadBalancer) else noun.load_balancer_id
    read = {need.reference for need in tx.tenant_certificates.of(load_balancer_id)}
    present = noun.access_log if isinstance(noun, model.LoadBalancer) else noun
    is_read = present is None or read.issuperset(fields.references({}, present))
    tx.served_before.keep(load_balancer_id, noun, generation, is_read=is_read)


def keep_unserved(tx: database.Transaction, values: Mapping[str, Any], load_balancer: model.LoadBalancer, generation: int) -> None:
    """Of what is below a load balancer that is switched on, and names secrets of which there is no copy, keep that it served nobody: where
    workers can't read these either, it is left out, and owes an update until then.

    Called before anything of the change is written.
    """
    if not (values.get("admin_state_up") and _is_off(load_balancer)):
        return
    read = {need.reference for need in tx.tenant_certificates.of(load_balancer.id)}
    for fields, children in ((LISTENER, tx.listeners), (POOL, tx.pools)):
        below: list[Any] = children.of_load_balancer(load_balancer.id)
        unread = [one.id for one in below if not read.issuperset(fields.references({}, one))]
        tx.served_before.keep_nothing(load_balancer.id, unread, generation)
        for one in unread:
            children.touch(one, generation)


def _is_off(noun: Any) -> bool:
    """Whether it serves nobody, because it is switched off, and amphorae were told so."""
    return not noun.admin_state_up and noun.provisioning_status is ProvisioningStatus.ACTIVE


def tell_ends(tx: database.Transaction, load_balancer_id: str, fields: Fields, values: Mapping[str, Any]) -> None:
    """Have the ends of certificates shown as they are now that an object got these values, if they name any or none any more, or show what
    they name from now on, or no more."""
    if any(name in values for name in (*fields.served, "tls_enabled")):
        tx.tenant_certificates.tell_ends(load_balancer_id)


def _encrypted(asking: Asking, found: Mapping[Need, reading.Secret]) -> Mapping[Need, tuple[reading.Secret, bytes]]:
    try:
        cipher = asking.services.cipher
    except exceptions.Misconfigured as exc:
        LOG.warning("what was read of the secret store is not kept, and has to be read again by a worker: %s", exc)
        return {}
    return {need: (secret, cipher.encrypt(secret.content)) for need, secret in found.items()}


def _references(values: Iterable[Any]) -> list[str]:
    """Every reference once."""
    flat = (item for value in values if value for item in ([value] if isinstance(value, str) else value))
    return list(dict.fromkeys(flat))


class _Reader:
    """Reads secrets of a project, and remembers those that can't be read."""

    def __init__(self, asking: Asking, project_id: str) -> None:
        self._project_id = project_id
        self._store = asking.secrets
        self._token = None if asking.caller.is_admin else asking.caller.token  # who administers names what is their tenants'
        self.found: dict[Need, reading.Secret] = {}
        self.unreadable: dict[str, str] = {}  # with the reason, where it is not simply not there

    def sentence(self) -> str:
        """What can't be read, and what to do about it."""
        reasons = [f" {reference}: {words}" for reference, words in self.unreadable.items() if words]
        return f"Could not retrieve certificate: {list(self.unreadable)}" + (f".{''.join(reasons)}" if reasons else "")

    def read(self, needs: Sequence[Need]) -> None:
        """:raises Transient: the store did not answer, or not in time."""
        for need, answer in reading.each(needs, self._ask).items():
            if isinstance(answer, reading.Secret):
                self.found[need] = answer
            elif isinstance(answer, exceptions.NotFound | exceptions.InvalidRequest):
                self.unreadable[need.reference] = str(answer) if isinstance(answer, exceptions.InvalidRequest) else ""
            else:
                raise answer

    def _ask(self, need: Need) -> reading.Secret:
        store = self._store if self._token is None else self._store.admit(need.reference, self._token)
        secret = reading.read(store, self._project_id, need)
        if need.kind is Kind.BUNDLE:
            bundles.check_named(*secret.certificates)
        return secret
