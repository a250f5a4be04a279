"""A certificate authority of our own, in a directory: one root vouches for amphorae (servers), another one for controllers (clients)."""

import contextlib
import datetime
import logging
import pathlib
import re
import threading
import time
from collections.abc import Callable
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from oslo_config import cfg

from controller import exceptions
from controller.drivers import files
from controller.drivers.ca import certificates, interface
from controller.model import strength

LOG = logging.getLogger(__name__)

_AMPHORA_ID = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?").fullmatch
_MONTH = datetime.timedelta(days=30)
_YEAR = datetime.timedelta(days=365)
_CONTROLLER = "figlina-controller"
_FILES = ("server_ca.pem", "server_ca.key", "client_ca.pem", "client_ca.key", "controller.pem")
CLIENT_RENEWAL = 1 / 3
"""What is left of the time of the controller's own certificate when it is renewed."""


class LocalCertificateAuthority(interface.CertificateAuthority):
    """`server_ca.pem` + `.key`, `client_ca.pem` + `.key`, and `controller.pem`, which the client authority has issued.

    A `.pem` may hold several roots: both sides trust all of them, and the one whose key lies beside them issues. So a root is replaced
    without a gap (`rollover`). What changes on the disk is noticed within `look_interval` seconds by whoever asks, and `controller.pem` is
    renewed in its last third by whoever asks first; processes of one directory wait for each other.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        create: bool = False,
        passphrase: bytes | None = None,
        validity: datetime.timedelta = _MONTH,
        root_validity: datetime.timedelta = 10 * _YEAR,
        client_validity: datetime.timedelta = _YEAR,
        look_interval: float = 1.0,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """Load the authority; with `create`, make what is missing. Several processes may do so at once.

        :raises Misconfigured: a file is missing, weak, unfit, or open to others.
        """
        self._directory = directory
        self._passphrase = passphrase
        self.validity = validity
        self.key: ec.EllipticCurvePrivateKey | None = None  # of all amphorae; each has one of its own otherwise
        self._client_validity = client_validity
        self._look_interval = look_interval
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at = 0.0  # monotonic
        self._complaint = ""
        self._told_end: datetime.datetime | None = None
        self._client_root_ends = datetime.datetime.max.replace(tzinfo=datetime.UTC)
        files.ensure_directory(directory)
        with files.locked(directory):
            if create:
                self._create_root("server_ca", "Figlina server CA", root_validity)
                self._create_root("client_ca", "Figlina client CA", root_validity)
            self._load_all()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        options = conf.certificates
        passphrase = options.ca_private_key_passphrase
        if passphrase and strength.is_guessable(passphrase):
            raise exceptions.Misconfigured(
                "[certificates] ca_private_key_passphrase is too easy to guess: make one with `openssl rand -hex 32`, and encrypt each of "
                "the CA's keys anew with it (`openssl pkey -in server_ca.key -aes256 -out server_ca.key.new`)."
            )
        return cls(
            pathlib.Path(options.ca_path),
            create=options.create,
            passphrase=passphrase.encode() if passphrase else None,
            validity=datetime.timedelta(seconds=options.cert_validity_time),
            root_validity=datetime.timedelta(seconds=options.ca_validity_time),
            client_validity=datetime.timedelta(seconds=options.client_cert_validity_time),
        )

    def issue_amphora_certificate(self, amphora_id: str) -> interface.IssuedCertificate:
        if not _AMPHORA_ID(amphora_id):
            raise exceptions.InvalidRequest(f"{amphora_id!r} is no amphora id: no certificate is issued for it.")
        self._look()
        certificate, key = certificates.issue(self._server, amphora_id, certificates.SERVER, self._now(), self.validity, self.key)
        pem = certificates.certificate_pem(certificate) + certificates.key_pem(key)
        return interface.IssuedCertificate(pem=pem, not_after=certificate.not_valid_after_utc)

    def server_roots(self) -> bytes:
        self._look()
        return self._server.roots

    def client_roots(self) -> bytes:
        self._look()
        return self._client_roots

    def client_names(self) -> tuple[str, ...]:
        self._look()
        return certificates.names(self._client)

    def client_certificate_path(self) -> str:
        self._look()
        return str(self._directory / "controller.pem")

    def revision(self) -> str:
        self._look()
        return self._revision

    def trust(self) -> str:
        self._look()
        issuer = certificates.key_identifier(self._server.certificate)
        return interface.trust_of(issuer, self._client_roots, certificates.names(self._client))

    def _look(self) -> None:
        """See whether something has changed on the disk, or is to be renewed; if what is there can't be used, go on with what was."""
        with self._lock:
            if time.monotonic() < self._look_at:
                return
            self._look_at = time.monotonic() + self._look_interval
            is_due = self._issues_clients() and self._is_due(self._client, self._client_root_ends)
            if self._seen == self._files() and not is_due:
                return
            try:
                with files.locked(self._directory):
                    self._load_all()
                self._complaint = ""
            except (exceptions.Misconfigured, OSError) as exc:
                if str(exc) != self._complaint:
                    LOG.error("The certificates of %s can't be used; what was read before is used on: %s", self._directory, exc)
                self._complaint = str(exc)

    def _load_all(self) -> None:
        server = self._load("server_ca")
        client_roots = self._ensure_client_certificate()
        client = self._read_client()
        if client is None:
            raise exceptions.Misconfigured(f"{self._directory / 'controller.pem'} is missing: put it there.")
        self._server, self._client_roots, self._client = server, client_roots, client
        self._say_what_ends(server.certificate.not_valid_after_utc)
        self._seen = self._files()
        self._look_at = time.monotonic() + self._look_interval
        self._revision = interface.trust_of(f"{client.serial_number}", server.roots, ())

    def _say_what_ends(self, server_root_ends: datetime.datetime) -> None:
        """A root that ends in a year makes certificates short in the end, and nobody but an operator can make the next one."""
        ends = min(server_root_ends, self._client_root_ends)
        if ends - self._now() < _YEAR and ends != self._told_end:
            LOG.warning("A root of %s ends on %s: let the next one follow it (`figlina ca start`)", self._directory, f"{ends:%Y-%m-%d}")
        self._told_end = ends

    def _files(self) -> list[tuple[int, int, int] | None]:
        """What tells one version of the files from another."""
        found: list[tuple[int, int, int] | None] = [None] * len(_FILES)
        for place, name in enumerate(_FILES):
            with contextlib.suppress(OSError):
                stat = (self._directory / name).stat()
                found[place] = stat.st_ino, stat.st_mtime_ns, stat.st_size
        return found

    def _create_root(self, name: str, common_name: str, validity: datetime.timedelta) -> None:
        if (self._directory / f"{name}.pem").exists():
            return
        root, key = certificates.new_root(common_name, self._now(), validity)
        # The key goes first: where there is a certificate, there is its key.
        files.write(self._directory / f"{name}.key", certificates.key_pem(key, self._passphrase))
        files.write(self._directory / f"{name}.pem", certificates.certificate_pem(root))

    def _load(self, name: str) -> certificates.Issuer:
        named = f"certificate authority {self._directory / name}"
        key = self._read(f"{name}.key")
        return certificates.load_issuer(named, self._read(f"{name}.pem"), key, self._passphrase, self._now())

    def _read(self, name: str) -> bytes:
        try:
            return files.read_private(self._directory / name)
        except FileNotFoundError:
            raise exceptions.Misconfigured(
                f"{self._directory / name} is missing: put it there, or let it be made ([certificates] create = true)."
            ) from None

    def _ensure_client_certificate(self) -> bytes:
        """See to it that `controller.pem` is good for a while, and say whom agents are to trust."""
        if not self._issues_clients() and (self._directory / "controller.pem").exists():
            return self._read("client_ca.pem")  # the key is kept elsewhere, and somebody issues controller.pem there
        issuer = self._load("client_ca")
        client = self._read_client()
        if (
            client is None
            or not certificates.is_issued_by(client, issuer.certificate)
            or self._is_due(client, issuer.certificate.not_valid_after_utc)
        ):
            certificate, key = certificates.issue(issuer, _CONTROLLER, certificates.CLIENT, self._now(), self._client_validity)
            files.write(self._directory / "controller.pem", certificates.certificate_pem(certificate) + certificates.key_pem(key))
            LOG.info("%s is new, and valid until %s", self._directory / "controller.pem", certificate.not_valid_after_utc)
        self._client_root_ends = issuer.certificate.not_valid_after_utc
        return issuer.roots

    def _issues_clients(self) -> bool:
        return (self._directory / "client_ca.key").exists()

    def _is_due(self, client: x509.Certificate, root_ends: datetime.datetime) -> bool:
        """In its last third, or, because a clock was wrong when it was made, not begun yet. A new one does not outlive its root."""
        now = self._now()
        longest = min(self._client_validity, root_ends - now)
        return client.not_valid_after_utc - now < CLIENT_RENEWAL * longest or client.not_valid_before_utc > now

    def _read_client(self) -> x509.Certificate | None:
        try:
            return x509.load_pem_x509_certificate(files.read_private(self._directory / "controller.pem"))
        except FileNotFoundError:
            return None
        except ValueError as exc:
            raise exceptions.Misconfigured(f"{self._directory / 'controller.pem'} can't be read: {exc}") from exc

    def _now(self) -> datetime.datetime:
        return self._clock().replace(microsecond=0)
