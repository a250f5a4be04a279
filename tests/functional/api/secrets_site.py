"""Certificates in a secret store, good ones and others, by the words that tests call them."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.drivers.secrets import interface

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


def store(secrets: interface.SecretStore, project_id: str) -> dict[str, str]:
    """References: `server` and `other` can be served, `san` has no subject but an alternative name, `nameless` neither; `ca` has signed
    `crl`, and `foreign_crl` is another CA's.
    """
    ca, ca_key = _certificate("ca.example")
    other_ca, other_key = _certificate("ca.example")  # of the same name
    made = {
        word: secrets.store_bundle(project_id, word, _bundle(name)) for word, name in (("server", "web.example"), ("other", "b.example"))
    }
    made["san"] = secrets.store_bundle(project_id, "san", _bundle(None, san="web.example"))
    made["nameless"] = secrets.store_bundle(project_id, "nameless", _bundle(None))
    made["ca"] = secrets.store_secret(project_id, "ca", _pem(ca))
    made["crl"] = secrets.store_secret(project_id, "crl", _revocations(ca, ca_key))
    made["foreign_crl"] = secrets.store_secret(project_id, "foreign", _revocations(other_ca, other_key))
    made["garbage"] = secrets.store_secret(project_id, "garbage", b"no certificate")
    return made


def _bundle(name: str | None, san: str | None = None) -> interface.CertificateBundle:
    certificate, key = _certificate(name, san)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return interface.CertificateBundle(certificate=_pem(certificate), private_key=private)


def _certificate(name: str | None, san: str | None = None) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - _DAY)
        .not_valid_after(_NOW + _DAY)
    )
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def _revocations(ca: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(_NOW - _DAY).next_update(_NOW + _DAY)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
