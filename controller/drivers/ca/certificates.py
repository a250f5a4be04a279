"""Making and judging X.509 material: elliptic-curve keys, certificates with key identifiers, and the refusal of weak keys."""

import dataclasses
import datetime
import ipaddress
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller import exceptions

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
CLOCK_SKEW = datetime.timedelta(hours=1)
"""Certificates begin so long ago, because clocks of amphorae and of other controllers may be behind ours, or ours may jump ahead."""
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclasses.dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate authority: the certificate that signs, its key, and all roots that are trusted now (PEM)."""

    certificate: x509.Certificate
    key: PrivateKey = dataclasses.field(repr=False)
    roots: bytes


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """A private key as PEM, encrypted if there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def new_root(common_name: str, now: datetime.datetime, validity: datetime.timedelta) -> tuple[x509.Certificate, PrivateKey]:
    """A self-signed certificate authority that signs end certificates only."""
    key = new_key()
    builder = _builder(common_name, key, now, validity, _name(common_name), key.public_key(), is_authority=True)
    return builder.sign(key, hashes.SHA256()), key


def issue(
    issuer: Issuer,
    common_name: str,
    right: x509.ObjectIdentifier,
    now: datetime.datetime,
    validity: datetime.timedelta,
    key: ec.EllipticCurvePrivateKey | None = None,
    addresses: Sequence[str] = (),
) -> tuple[x509.Certificate, PrivateKey]:
    """A certificate for one host and its addresses, as server or client; it does not outlive its issuer. The key is new unless given."""
    key = key or new_key()
    names = [x509.DNSName(common_name), *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses)]
    validity = min(validity, issuer.certificate.not_valid_after_utc - now)
    builder = _builder(common_name, key, now, validity, issuer.certificate.subject, issuer.key.public_key(), is_authority=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([right]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    digest = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(issuer.key, digest), key


def load_issuer(named: str, certificates: bytes, key: bytes, passphrase: bytes | None, now: datetime.datetime) -> Issuer:
    """A certificate authority from its files: certificates, all of which are trusted, and the key of the one that issues.

    :raises Misconfigured: unreadable, not belonging together, weak, not a certificate authority, or out of its time.
    """
    try:
        roots = x509.load_pem_x509_certificates(certificates)
        private = serialization.load_pem_private_key(key, passphrase)
    except (ValueError, TypeError) as exc:
        raise exceptions.Misconfigured(f"The {named} can't be read: {exc}") from exc
    strong = refuse_weak(named, private)
    issuing = next((root for root in roots if root.public_key() == strong.public_key()), None)
    if issuing is None:
        raise exceptions.Misconfigured(f"The key of the {named} does not belong to any of its certificates.")
    for root in roots:
        _refuse_unfit(named, root)
    if not issuing.not_valid_before_utc <= now < issuing.not_valid_after_utc:
        raise exceptions.Misconfigured(
            f"The {named} is valid from {issuing.not_valid_before_utc} to {issuing.not_valid_after_utc} only: make a new one "
            "(docs/operations, Certificates)."
        )
    return Issuer(issuing, strong, b"".join(certificate_pem(root) for root in roots))


def key_identifier(of: x509.Certificate | PrivateKey) -> str:
    """What a certificate's issuer is recognised by (RFC 5280, 4.2.1.2, method 1), in hexadecimal digits; of its key it is the same."""
    return x509.SubjectKeyIdentifier.from_public_key(of.public_key()).digest.hex()


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names that a certificate bears."""
    try:
        borne = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(borne.get_values_for_type(x509.DNSName))


def is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Whether a certificate bears the name and a good signature of this root; dates are not looked at."""
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def refuse_weak(named: str, key: object) -> PrivateKey:
    """The key, if it is strong enough to vouch for anyone.

    :raises Misconfigured: RSA below 2048 bits or with a small exponent, a curve below 256 bits, or another algorithm.
    """
    match key:
        case rsa.RSAPrivateKey() if key.key_size >= 2048 and key.private_numbers().public_numbers.e >= 65537:
            return key
        case ec.EllipticCurvePrivateKey() if key.curve.key_size >= 256:
            return key
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            return key
    kind = type(key).__name__.removeprefix("_").removesuffix("PrivateKey")
    size = getattr(key, "key_size", "?")
    raise exceptions.Misconfigured(
        f"The key of the {named} is too weak ({kind}, {size} bits): use RSA with 2048 bits or more, or a curve with 256 bits or more."
    )


def _refuse_unfit(named: str, root: x509.Certificate) -> None:
    digest = root.signature_hash_algorithm
    if isinstance(digest, hashes.MD5 | hashes.SHA1):
        raise exceptions.Misconfigured(f"A certificate of the {named} is signed with {digest.name}: anyone may forge it.")
    try:
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
    if not constraints.ca:
        raise exceptions.Misconfigured(f"A certificate of the {named} is not one of a certificate authority (basic constraint CA).")


def _builder(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    validity: datetime.timedelta,
    issuer: x509.Name,
    issuer_key: Any,
    *,
    is_authority: bool,
) -> x509.CertificateBuilder:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
    unused = dict.fromkeys(others, False)
    usage = x509.KeyUsage(digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, **unused)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
