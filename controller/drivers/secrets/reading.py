"""What of a secret store an amphora serves: looked at, written as HAProxy reads it, named by its hash."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib

from cryptography import x509

from controller.drivers.secrets import bundles, interface
from controller.model.tls import Copy, Kind, Need


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """`certificates` are those of an authority, or the server's alone; lists of revocations have none."""

    content: bytes = dataclasses.field(repr=False)
    not_after: datetime.datetime | None
    certificates: tuple[x509.Certificate, ...] = ()
    revocations: tuple[x509.CertificateRevocationList, ...] = ()

    def copy(self, generation: int) -> Copy:
        """What is known of it, once it was read for that generation."""
        return Copy(name=f"{hashlib.sha256(self.content).hexdigest()}.pem", not_after=self.not_after, read_for=generation)


def read(store: interface.SecretStore, project_id: str, need: Need) -> Secret:
    """What a project's reference stands for.

    :raises NotFound: the project has no such secret.
    :raises InvalidRequest: it is none of that kind, or HAProxy could not use it.
    :raises Transient: the store did not answer.
    """
    if need.kind is Kind.BUNDLE:
        bundle = store.get_bundle(project_id, need.reference)
        own = bundles.check(bundle)
        return Secret(bundles.pem(bundle), own.not_valid_after_utc, certificates=(own,))
    found = store.get_secret(project_id, need.reference)
    if need.kind is Kind.AUTHORITIES:
        several = bundles.authorities(found)
        end = min(one.not_valid_after_utc for one in several)
        return Secret(bundles.authorities_pem(found), end, certificates=tuple(several))
    lists = bundles.revocations(found)
    ends = [one.next_update_utc for one in lists if one.next_update_utc is not None]
    return Secret(bundles.revocations_pem(found), min(ends, default=None), revocations=tuple(lists))
