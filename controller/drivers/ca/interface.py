"""The contract of a certificate authority for amphorae and controllers (mutual TLS). All material is PEM."""

import abc
import dataclasses
import datetime
import hashlib


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its key. `pem` is both, certificate first, as the agent and `ssl` load it."""

    pem: bytes = dataclasses.field(repr=False)
    not_after: datetime.datetime


class CertificateAuthority(abc.ABC):
    """Issues the agents' server certificates, and says which roots either side trusts.

    What it answers may change while a process runs: a certificate of the controller's own is renewed before it ends (by the driver, or
    by whoever looks after its file), and roots come and go when one follows another. Whoever asks gets what holds now. A root follows
    another one in three steps, each taken when every amphora has followed the one before: both are in `server_roots` and `client_roots`;
    the new one issues; the old one is in neither. Certificates carry key identifiers (subject's and authority's) and key usage, so that
    OpenSSL's strict checks accept them, and begin some time before now, so that clocks may differ.
    """

    @abc.abstractmethod
    def issue_amphora_certificate(self, amphora_id: str) -> IssuedCertificate:
        """A server certificate whose subject alternative name is `<amphora id>` (DNS) and whose common name is the same.

        It must not be good for a client's: amphorae must not be able to call each other.
        """

    @abc.abstractmethod
    def server_roots(self) -> bytes:
        """What a controller trusts when it connects to an agent: one or more CA certificates."""

    @abc.abstractmethod
    def client_roots(self) -> bytes:
        """What an agent trusts when a controller connects: one or more CA certificates."""

    @abc.abstractmethod
    def client_names(self) -> tuple[str, ...]:
        """Subject alternative names (DNS) of which every controller's certificate bears one: an agent talks to nobody else."""

    @abc.abstractmethod
    def client_certificate_path(self) -> str:
        """The file with the controller's client certificate and key (`ssl` loads files only)."""

    @abc.abstractmethod
    def revision(self) -> str:
        """A word that changes when what a controller's own connections are made of does: its certificate, or `server_roots`.

        It is asked before each request, so it must be cheap.
        """

    @abc.abstractmethod
    def trust(self) -> str:
        """A word (at most 64 characters) that changes with the root that issues, and with `client_roots` and `client_names`.

        An amphora that was given its certificate under another one is given a new certificate, long before the old one ends.
        """


def trust_of(issuer: str, client_roots: bytes, client_names: tuple[str, ...]) -> str:
    """A word for `trust` from all that it depends on."""
    return hashlib.sha256(b"\0".join([issuer.encode(), client_roots, *(name.encode() for name in client_names)])).hexdigest()
