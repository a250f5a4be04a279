"""What makes a bundle of certificate, key and chain a good one, whatever store keeps it."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
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
