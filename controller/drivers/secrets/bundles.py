"""What makes a bundle of certificate, key and chain a good one, or a CA and its list of revocations, whatever store keeps them.

Whatever is read is written anew as PEM without anything between the blocks: text that stood around them goes nowhere.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from controller.drivers.secrets import interface
from controller.exceptions import InvalidRequest
from controller.refusals import Refusal

LARGEST = 256 * 1024
"""Bytes of a certificate with its key and chain, or of a bundle of authorities; larger ones are somebody's mistake."""
_PEM = serialization.Encoding.PEM
_KEY = re.compile(rb"-----BEGIN ((?:RSA |EC |ENCRYPTED )?PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_CERTIFICATE = (b"CERTIFICATE", b"X509 CERTIFICATE")
_UNREAD = {
    b"PKCS7": "openssl pkcs7 -print_certs",
    b"CMS": "openssl cms -verify -noverify -certsout",
    b"TRUSTED CERTIFICATE": "openssl x509",
}
"""Blocks that hold certificates, and are not read; and what makes such ones of them that are."""
_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def read(payload: bytes, passphrase: bytes | None = None) -> interface.CertificateBundle:
    """A bundle in one piece: PEM with certificate, key and chain in any order, or PKCS #12 (RFC 7292), also in base64.

    :raises InvalidRequest: it is neither, or something of it is missing or does not fit; the message says what to do.
    """
    _refuse_large(payload)
    if b"-----BEGIN " in payload:
        return assemble(payload, payload, payload, passphrase)
    try:
        found = pkcs12.load_pkcs12(_der(payload), passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise _refusal(
            "The secret is neither PEM nor PKCS #12, or its passphrase is another one: store PEM, or PKCS #12 without a passphrase "
            "(`openssl pkcs12 -export -passout pass:`)."
        ) from exc
    if found.cert is None or found.key is None:
        raise _refusal(f"The PKCS #12 file has no {'certificate' if found.cert is None else 'private key'}: export it with both.")
    return _bundle(found.cert.certificate, _usable(found.key), [one.certificate for one in found.additional_certs])


def assemble(
    certificate: bytes, private_key: bytes, intermediates: bytes | None = None, passphrase: bytes | None = None
) -> interface.CertificateBundle:
    """A bundle of pieces in PEM, as certificate containers hold them; each may have more in it than is needed.

    :raises InvalidRequest: a piece can't be read or is missing, or they do not belong together.
    """
    key = _private_key(private_key, passphrase)
    found = {one.fingerprint(hashes.SHA256()): one for part in (certificate, intermediates) if part for one in _certificates(part)}
    own = next((one for one in found.values() if _is_of(key, one)), None)
    if own is None:
        raise _refusal("The private key does not belong to the certificate: store the key that the certificate was requested with.")
    return _bundle(own, key, [one for one in found.values() if one is not own])


def check(bundle: interface.CertificateBundle) -> x509.Certificate:
    """Refuse what HAProxy could not serve; the server's own certificate.

    :raises InvalidRequest: the certificate, a link of its chain or the key can't be read, or the key belongs to another certificate.
    """
    return _parts(bundle)[0]


def check_named(certificate: x509.Certificate) -> None:
    """Refuse what no client could know a server by.

    :raises InvalidRequest: the certificate has neither a subject nor an alternative name.
    """
    try:
        has_names = bool(certificate.subject.rdns) or bool(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName))
    except x509.ExtensionNotFound:
        has_names = False
    except ValueError as exc:
        raise _refusal("The extensions of the certificate can't be read: have it issued anew.") from exc
    if not has_names:
        raise _refusal("The certificate has no subject and no alternative name: have one issued for the name of your service.")


def pem(bundle: interface.CertificateBundle) -> bytes:
    """As HAProxy reads it: certificate, key, and the chain from the certificate's issuer on. A root is left out: clients have it.

    :raises InvalidRequest: as `check()`.
    """
    own, key = _parts(bundle)
    others = [one for part in bundle.intermediates for one in _certificates(part)]
    parts = [own, *_chain(own, others)]
    written = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return _pem_of(parts[:1]) + written + _pem_of(parts[1:])


def authorities(content: bytes) -> list[x509.Certificate]:
    """The certificates of a CA.

    :raises InvalidRequest: they can't be read.
    """
    _refuse_large(content)
    return _certificates(content, "CA certificate")


def authorities_pem(content: bytes) -> bytes:
    """The same, as HAProxy reads them.

    :raises InvalidRequest: they can't be read.
    """
    return _pem_of(authorities(content))


def revocations(content: bytes) -> list[x509.CertificateRevocationList]:
    """Lists of revoked certificates, each once: HAProxy wants one of every CA above a certificate.

    :raises InvalidRequest: one of them can't be read.
    """
    _refuse_large(content)
    found = _LIST.findall(content) or [content]
    try:
        lists = [x509.load_pem_x509_crl(one) for one in dict.fromkeys(found)]
    except ValueError as exc:
        raise _refusal("The revocation list can't be read: it must be PEM.") from exc
    _refuse_cut(content, (b"X509 CRL",), len(found))
    return lists


def revocations_pem(content: bytes) -> bytes:
    """The same, as HAProxy reads them.

    :raises InvalidRequest: they can't be read.
    """
    return b"".join(one.public_bytes(_PEM) for one in revocations(content))


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


def _parts(bundle: interface.CertificateBundle) -> tuple[x509.Certificate, _Key]:
    certificate = _one("certificate", bundle.certificate)
    for intermediate in bundle.intermediates:
        _one("intermediate certificate", intermediate)
    key = _private_key(bundle.private_key, None, is_checked=bundle.is_checked)
    if not _is_of(key, certificate):
        raise _refusal("The private key does not belong to the certificate: store the key that the certificate was requested with.")
    return certificate, key


def _bundle(own: x509.Certificate, key: _Key, others: Iterable[x509.Certificate]) -> interface.CertificateBundle:
    written = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    if not _is_of(key, own):
        raise _refusal("The private key does not belong to the certificate: store the key that the certificate was requested with.")
    return interface.CertificateBundle(
        certificate=own.public_bytes(_PEM),
        private_key=written,
        intermediates=tuple(one.public_bytes(_PEM) for one in others),
        is_checked=True,
    )


def _chain(own: x509.Certificate, others: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """From the issuer of a certificate on, without a root; what is left over comes last, for clients that find their own way."""
    left, chain, last = [one for one in dict.fromkeys(others) if one != own and one.subject != one.issuer], list[x509.Certificate](), own
    while (following := next((one for one in left if one.subject == last.issuer), None)) is not None:
        left.remove(following)
        chain.append(following)
        last = following
    return [*chain, *left]


def _private_key(content: bytes, passphrase: bytes | None, *, is_checked: bool = False) -> _Key:
    """`is_checked`: the mathematics of an RSA key has been looked at before, which takes 20 ms and more."""
    found = _KEY.search(content)
    if found is None:
        raise _refusal("The private key can't be read: it must be PEM, and there is no block PRIVATE KEY.")
    try:
        key = serialization.load_pem_private_key(found[0], passphrase or None, unsafe_skip_rsa_key_validation=is_checked)
    except TypeError as exc:
        if passphrase:  # one that is not needed
            return _private_key(content, None)
        raise _refusal("The private key can't be read: it must be PEM, without a passphrase, or the passphrase stored beside it.") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _refusal("The private key can't be read: it is broken, or its passphrase is another one.") from exc
    return _usable(key)


def _usable(key: object) -> _Key:
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _refusal("The private key is neither RSA nor ECDSA: have a certificate issued for one of these, which all clients know.")
    return key


def _is_of(key: _Key, certificate: x509.Certificate) -> bool:
    try:
        return bool(key.public_key() == certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return False


def _certificates(content: bytes, noun: str = "certificate") -> list[x509.Certificate]:
    """All of them: a bundle that lost one without a word would turn away whoever needs that one.

    :raises InvalidRequest: one can't be read.
    """
    for kind in _BEGIN.findall(content):
        if kind in _UNREAD:
            words = f"a block {kind.decode()} is not read: make certificates in PEM of it (`{_UNREAD[kind]}`)"
            raise _refusal(f"The {noun} can't be read: {words}.")
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError as exc:
        raise _refusal(f"The {noun} can't be read: it must be PEM.") from exc
    _refuse_cut(content, _CERTIFICATE, len(found))
    return found


def _refuse_cut(content: bytes, kinds: Sequence[bytes], found: int) -> None:
    """Refuse what begins with more blocks of these kinds than have an end."""
    begun = sum(kind in kinds for kind in _BEGIN.findall(content))
    if begun != found:
        raise _refusal(f"Of {begun} blocks {kinds[0].decode()}, {begun - found} can't be read: one has no end. Store the whole file.")


def _one(named: str, content: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError as exc:
        raise _refusal(f"The {named} can't be read: it must be PEM.") from exc


def _pem_of(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(_PEM) for one in certificates)


def _der(payload: bytes) -> bytes:
    if payload[:1] == b"\x30":  # a SEQUENCE
        return payload
    try:
        return base64.b64decode(b"".join(payload.split()), validate=True)
    except binascii.Error:
        return payload


def _refuse_large(content: bytes) -> None:
    if len(content) > LARGEST:
        raise _refusal(
            f"The secret has {len(content)} bytes, and certificates have {LARGEST} at most: store it without what is not needed."
        )


def _refusal(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, code=Refusal.UNREADABLE_CERTIFICATE)
