"""What makes a bundle of certificate, key and chain a good one, or a CA and its list of revocations, whatever store keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controller import exceptions
from controller.drivers.secrets import interface


def check(bundle: interface.CertificateBundle) -> None:
    """Refuse what HAProxy could not serve.

    :raises InvalidRequest: the certificate, a link of its chain or the key can't be read, or the key belongs to another certificate.
    """
    certificate = _certificate("certificate", bundle.certificate)
    for intermediate in bundle.intermediates:
        _certificate("intermediate certificate", intermediate)
    try:
        key = serialization.load_pem_private_key(bundle.private_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise exceptions.InvalidRequest("The private key can't be read: it must be PEM, without a passphrase.") from exc
    if key.public_key() != certificate.public_key():
        raise exceptions.InvalidRequest("The private key does not belong to the certificate.")


def _certificate(named: str, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise exceptions.InvalidRequest(f"The {named} can't be read: it must be PEM.") from exc


def check_named(bundle: interface.CertificateBundle) -> None:
    """Refuse what no client could know a server by, and what `check()` refuses.

    :raises InvalidRequest: the certificate has neither a subject nor an alternative name, or can't be served.
    """
    check(bundle)
    certificate = _certificate("certificate", bundle.certificate)
    try:
        has_names = bool(certificate.subject.rdns) or bool(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName))
    except x509.ExtensionNotFound:
        has_names = False
    except ValueError as exc:
        raise exceptions.InvalidRequest("The extensions of the certificate can't be read.") from exc
    if not has_names:
        raise exceptions.InvalidRequest("The certificate has no subject.")


def authorities(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a CA.

    :raises InvalidRequest: they can't be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as exc:
        raise exceptions.InvalidRequest("The CA certificate can't be read: it must be PEM.") from exc


def revocations(pem: bytes) -> x509.CertificateRevocationList:
    """A list of revoked certificates.

    :raises InvalidRequest: it can't be read.
    """
    try:
        return x509.load_pem_x509_crl(pem)
    except ValueError as exc:
        raise exceptions.InvalidRequest("The revocation list can't be read: it must be PEM.") from exc


def is_signed_by(revoked: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate]) -> bool:
    """Whether one of these CAs has made the list."""
    for issuer in issuers:
        if issuer.subject == revoked.issuer:
            try:
                if revoked.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]  # a key that signs nothing is refused below
                    return True
            except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
                continue
    return False
