"""The contract of a certificate authority for amphorae and controllers (mutual TLS). All material is PEM."""

from __future__ import annotations

import abc
import dataclasses
import datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its key. `pem` is both, certificate first, as the agent and `ssl` load it."""

    pem: bytes = dataclasses.field(repr=False)
    not_after: datetime.datetime


class CertificateAuthority(abc.ABC):
    """Issues the agents' server certificates, and says which roots either side trusts."""

    @abc.abstractmethod
    def issue_amphora_certificate(self, amphora_id: str) -> IssuedCertificate:
        """A server certificate whose subject alternative name is `<amphora id>` (DNS) and whose common name is the same."""

    @abc.abstractmethod
    def server_roots(self) -> bytes:
        """What a controller trusts when it connects to an agent: one or more CA certificates."""

    @abc.abstractmethod
    def client_roots(self) -> bytes:
        """What an agent trusts when a controller connects: one or more CA certificates."""

    @abc.abstractmethod
    def client_certificate_path(self) -> str:
        """The file with the controller's client certificate and key (`ssl` loads files only)."""
