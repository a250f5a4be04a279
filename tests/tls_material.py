"""Keys, certificates, chains, authorities and lists of revocations for tests, RSA and ECDSA."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from controller.drivers.secrets import interface

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def a_key(kind: str = "ECDSA") -> Key:
    return rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())


@dataclasses.dataclass(frozen=True)
class Issued:
    """A certificate and its key; `above` are those of its issuers, the nearest first."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.above)

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        closed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed)

    def pkcs12(self, passphrase: bytes | None = None) -> bytes:
        closed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return pkcs12.serialize_key_and_certificates(b"web", self.key, self.certificate, list(self.above), closed)

    @property
    def bundle(self) -> interface.CertificateBundle:
        above = tuple(one.public_bytes(serialization.Encoding.PEM) for one in self.above)
        return interface.CertificateBundle(certificate=self.pem, private_key=self.key_pem(), intermediates=above)


def issue(
    name: str | None,
    by: Issued | None = None,
    *,
    names: Sequence[str] = (),
    kind: str = "ECDSA",
    is_ca: bool = False,
    starts: datetime.timedelta = -DAY,
    ends: datetime.timedelta = 30 * DAY,
    organization: str | None = None,
    key: Key | None = None,
) -> Issued:
    """A certificate for a name, and alternative names, by an issuer or by itself; for this `key`, or for a new one of a kind."""
    key = key or a_key(kind)
    attributes = [] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    attributes += [] if organization is None else [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
    subject = x509.Name(attributes)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + starts)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((key if by is None else by.key).public_key()), critical=False)
    )
    if is_ca:
        others = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
        )
        usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **others)
        builder = builder.add_extension(usage, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=name is None)
    certificate = builder.sign(key if by is None else by.key, hashes.SHA256())
    return Issued(certificate, key, () if by is None else (by.certificate, *by.above))


def revoke(by: Issued, *revoked: Issued, ends: datetime.timedelta = 30 * DAY) -> bytes:
    """A list of revoked certificates, in PEM."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(by.certificate.subject).last_update(NOW - DAY).next_update(NOW + ends)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(NOW - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(by.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
