"""A certificate authority that answers at once: every certificate is for the same throw-away key, made once in a process."""

from __future__ import annotations

import atexit
import datetime
import functools
import pathlib
import shutil
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from oslo_config import cfg

from controller.drivers import files
from controller.drivers.ca import certificates, interface

_VALIDITY = datetime.timedelta(days=30)


@functools.cache
def _root() -> certificates.Issuer:
    root, key = certificates.new_root("Figlina fake CA", _now(), 10 * _VALIDITY)
    return certificates.Issuer(root, key, certificates.certificate_pem(root))


@functools.cache
def _key() -> ec.EllipticCurvePrivateKey:
    return certificates.new_key()


@functools.cache
def _client_certificate() -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="figlina-fake-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files.write(folder / "controller.pem", _issue("fake-controller", certificates.CLIENT).pem)
    return folder / "controller.pem"


def _issue(name: str, right: x509.ObjectIdentifier, validity: datetime.timedelta = _VALIDITY) -> interface.IssuedCertificate:
    certificate, key = certificates.issue(_root(), name, right, _now(), validity, _key())
    pem = certificates.certificate_pem(certificate) + certificates.key_pem(key)
    return interface.IssuedCertificate(pem=pem, not_after=certificate.not_valid_after_utc)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


class FakeCertificateAuthority(interface.CertificateAuthority):
    """Its material is real, and good for as long as the process lives. `issued` holds the amphora ids that it was asked for.

    A test may set `trusts`, as if another root had begun to issue, and `validity`.
    """

    validity = _VALIDITY

    def __init__(self) -> None:
        self.issued: list[str] = []
        self.trusts = "fake"

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> FakeCertificateAuthority:
        """It has no options."""
        return cls()

    def issue_amphora_certificate(self, amphora_id: str) -> interface.IssuedCertificate:
        self.issued.append(amphora_id)
        return _issue(amphora_id, certificates.SERVER, self.validity)

    def server_roots(self) -> bytes:
        return _root().roots

    def client_roots(self) -> bytes:
        return _root().roots

    def client_certificate_path(self) -> str:
        return str(_client_certificate())

    def client_names(self) -> tuple[str, ...]:
        return ("fake-controller",)

    def revision(self) -> str:
        return "fake"

    def trust(self) -> str:
        return f"{self.trusts}"
