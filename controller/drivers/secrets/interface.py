"""The contract of a store for tenants' certificates and private keys."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CertificateBundle:
    """A server certificate with its key and chain, all PEM; the passphrase has been removed from the key.

    `is_checked`: the key was found good by us before, and nobody else could change it since.
    """

    certificate: bytes
    private_key: bytes = dataclasses.field(repr=False)
    intermediates: tuple[bytes, ...] = ()
    is_checked: bool = dataclasses.field(default=False, compare=False)


class SecretStore(abc.ABC):
    """References are opaque strings. A project sees its own references only."""

    takes_uploads: ClassVar[bool] = True
    """Whether tenants' certificates can be given to it through us; where not, they have a way of their own."""

    def admit(self, reference: str, token: str) -> SecretStore:
        """Have whoever asks, by a token of the cloud, show that they may read a secret, and let us read it, too. What they showed is read
        of the store that is returned, and costs no further question.

        Stores that know themselves whose a reference is need none of this.

        :raises NotFound: they can't see it; :raises InvalidRequest: they may not read it, or not let us; :raises Transient: no answer.
        """
        return self

    def register(self, reference: str, load_balancer_id: str) -> None:  # noqa: B027  # not every store keeps account
        """Note that a load balancer uses a secret, for whoever thinks of deleting it. Noting it twice is fine.

        :raises Transient: the service did not answer.
        """

    def unregister(self, reference: str, load_balancer_id: str) -> None:  # noqa: B027
        """Note that it does not any more; a secret that is gone is fine.

        :raises Transient: the service did not answer.
        """

    @abc.abstractmethod
    def store_bundle(self, project_id: str, name: str, bundle: CertificateBundle) -> str:
        """Keep a bundle, encrypted at rest, and return its reference.

        :raises InvalidRequest: the certificate or key can't be read, or they do not belong together.
        """

    @abc.abstractmethod
    def get_bundle(self, project_id: str, reference: str) -> CertificateBundle:
        """:raises NotFound: no such reference in this project; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def get_secret(self, project_id: str, reference: str) -> bytes:
        """A single secret, such as a CA certificate or a revocation list.

        :raises NotFound: no such reference in this project; :raises Transient: the service did not answer.
        """

    @abc.abstractmethod
    def store_secret(self, project_id: str, name: str, payload: bytes) -> str:
        """Keep a single secret, encrypted at rest, and return its reference."""

    @abc.abstractmethod
    def delete(self, project_id: str, reference: str) -> None:
        """Forget a bundle or a secret; gone already is fine."""
