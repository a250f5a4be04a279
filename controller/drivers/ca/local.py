"""A certificate authority of our own, in a directory: one root vouches for amphorae (servers), another one for controllers (clients)."""

from __future__ import annotations

import datetime
import pathlib
import re

from cryptography import x509
from oslo_config import cfg

from controller import exceptions
from controller.drivers import files
from controller.drivers.ca import certificates, interface
from controller.model import strength

_AMPHORA_ID = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?").fullmatch
_MONTH = datetime.timedelta(days=30)
_YEAR = datetime.timedelta(days=365)
_CONTROLLER = "figlina-controller"


class LocalCertificateAuthority(interface.CertificateAuthority):
    """`server_ca.pem` + `.key`, `client_ca.pem` + `.key`, and `controller.pem`, which the client authority has issued.

    A `.pem` may hold several roots, the issuing one first: both sides trust all of them, which lets a root be replaced without a gap.
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
    ) -> None:
        """Load the authority; with `create`, make what is missing. Several processes may do so at once.

        :raises Misconfigured: a file is missing, weak, unfit, or open to others.
        """
        self._directory = directory
        self._passphrase = passphrase
        self._validity = validity
        files.ensure_directory(directory)
        with files.locked(directory):
            if create:
                self._create_root("server_ca", "Figlina server CA", root_validity)
                self._create_root("client_ca", "Figlina client CA", root_validity)
            self._server = self._load("server_ca")
            self._client_roots = self._ensure_client_certificate(client_validity)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> LocalCertificateAuthority:
        """As `[certificates]` says."""
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
        certificate, key = certificates.issue(self._server, amphora_id, certificates.SERVER, _now(), self._validity)
        pem = certificates.certificate_pem(certificate) + certificates.key_pem(key)
        return interface.IssuedCertificate(pem=pem, not_after=certificate.not_valid_after_utc)

    def server_roots(self) -> bytes:
        return self._server.roots

    def client_roots(self) -> bytes:
        return self._client_roots

    def client_certificate_path(self) -> str:
        return str(self._directory / "controller.pem")

    def _create_root(self, name: str, common_name: str, validity: datetime.timedelta) -> None:
        if (self._directory / f"{name}.pem").exists():
            return
        root, key = certificates.new_root(common_name, _now(), validity)
        # The key goes first: where there is a certificate, there is its key.
        files.write(self._directory / f"{name}.key", certificates.key_pem(key, self._passphrase))
        files.write(self._directory / f"{name}.pem", certificates.certificate_pem(root))

    def _load(self, name: str) -> certificates.Issuer:
        named = f"certificate authority {self._directory / name}"
        key = self._read(f"{name}.key")
        return certificates.load_issuer(named, self._read(f"{name}.pem"), key, self._passphrase, _now())

    def _read(self, name: str) -> bytes:
        try:
            return files.read_private(self._directory / name)
        except FileNotFoundError:
            raise exceptions.Misconfigured(
                f"{self._directory / name} is missing: put it there, or let it be made ([certificates] create = true)."
            ) from None

    def _ensure_client_certificate(self, validity: datetime.timedelta) -> bytes:
        """See to it that `controller.pem` is good for a while, and say whom agents are to trust."""
        if not (self._directory / "client_ca.key").exists() and (self._directory / "controller.pem").exists():
            return self._read("client_ca.pem")  # the key is kept elsewhere, and somebody issues controller.pem there
        issuer = self._load("client_ca")
        if self._seconds_left() < validity.total_seconds() / 3:
            certificate, key = certificates.issue(issuer, _CONTROLLER, certificates.CLIENT, _now(), validity)
            files.write(self._directory / "controller.pem", certificates.certificate_pem(certificate) + certificates.key_pem(key))
        return issuer.roots

    def _seconds_left(self) -> float:
        try:
            certificate = x509.load_pem_x509_certificate(files.read_private(self._directory / "controller.pem"))
        except FileNotFoundError:
            return 0.0
        except ValueError as exc:
            raise exceptions.Misconfigured(f"{self._directory / 'controller.pem'} can't be read: {exc}") from exc
        return (certificate.not_valid_after_utc - _now()).total_seconds()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
