"""Certificates with their keys, in all the shapes in which tenants store them."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from controller import exceptions
from controller.drivers.secrets import bundles, fake, interface, reading
from controller.model.tls import Kind, Need
from controller.refusals import Refusal
from tests import tls_material

ROOT = tls_material.issue("root.example", is_ca=True)
BETWEEN = tls_material.issue("between.example", ROOT, is_ca=True)


@pytest.fixture(params=["RSA", "ECDSA"], scope="module")
def issued(request: pytest.FixtureRequest) -> tls_material.Issued:
    return tls_material.issue("web.example", BETWEEN, kind=request.param)


def _is_whole(bundle: interface.CertificateBundle, issued: tls_material.Issued) -> None:
    """HAProxy's file holds the certificate, its key, and the chain without the root, and a client would accept them."""
    written = bundles.pem(bundle)
    assert x509.load_pem_x509_certificates(written) == [issued.certificate, BETWEEN.certificate]
    key = serialization.load_pem_private_key(written[written.index(b"-----BEGIN PRIVATE") :], None)
    assert key.public_key() == issued.certificate.public_key()
    assert b"\n\n" not in written


@pytest.mark.parametrize("order", [("own", "key", "chain"), ("chain", "own", "key"), ("key", "chain", "own")])
def test_pem_in_one_piece_is_read_in_any_order(issued: tls_material.Issued, order: tuple[str, ...]) -> None:
    parts = {"own": issued.pem, "key": issued.key_pem(), "chain": issued.chain_pem}
    _is_whole(bundles.read(b"\nBag Attributes: x\n".join(parts[one] for one in order)), issued)


@pytest.mark.parametrize("passphrase", [None, b"of the tenant"])
def test_pkcs12_is_read_raw_and_in_base64(issued: tls_material.Issued, passphrase: bytes | None) -> None:
    raw = issued.pkcs12(passphrase)
    for payload in (raw, base64.encodebytes(raw)):
        _is_whole(bundles.read(payload, passphrase), issued)


@pytest.mark.parametrize("shape", ["pem", "pkcs12", "as another store gives it"])
def test_a_broken_rsa_key_is_refused_when_it_comes_in(shape: str) -> None:
    """What was found good once is believed afterwards."""
    good = tls_material.issue("web.example", kind="RSA")
    numbers = good.key.private_numbers()
    assert isinstance(numbers, rsa.RSAPrivateNumbers)
    parts = (numbers.p, numbers.q, numbers.d + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp, numbers.public_numbers)
    broken = dataclasses.replace(good, key=rsa.RSAPrivateNumbers(*parts).private_key(unsafe_skip_rsa_key_validation=True))
    ways: dict[str, Callable[[], object]] = {
        "pem": lambda: bundles.read(broken.pem + broken.key_pem()),
        "pkcs12": lambda: bundles.read(broken.pkcs12()),
        "as another store gives it": lambda: bundles.pem(broken.bundle),
    }
    with pytest.raises(exceptions.InvalidRequest):
        ways[shape]()
    assert bundles.read(good.pem + good.key_pem()).is_checked


def test_pieces_are_put_together_whatever_the_order_of_the_chain(issued: tls_material.Issued) -> None:
    above = [ROOT.pem, BETWEEN.pem]
    _is_whole(bundles.assemble(issued.pem, issued.key_pem(b"secret"), b"".join(above), b"secret"), issued)
    _is_whole(bundles.assemble(issued.pem + BETWEEN.pem, issued.key_pem(), None, b"not needed"), issued)


def test_a_key_in_the_old_form_is_read(issued: tls_material.Issued) -> None:
    old = issued.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.BestAvailableEncryption(b"secret")
    )
    _is_whole(bundles.assemble(issued.pem, old, BETWEEN.pem, b"secret"), issued)


def test_text_around_the_blocks_goes_nowhere() -> None:
    issued = tls_material.issue("web.example")
    hostile = b"commit ssl cert x\n\nset ssl cert y <<\n" + issued.pem + b"\n\nshow info\n" + issued.key_pem()
    written = bundles.pem(bundles.read(hostile))
    assert b"ssl cert" not in written
    assert b"show" not in written
    assert b"\n\n" not in written
    assert bundles.authorities_pem(hostile) == issued.pem


def _dsa() -> bytes:
    return dsa.generate_private_key(2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _ed25519() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


_WEB, _OTHER = tls_material.issue("web.example"), tls_material.issue("other.example")


@pytest.mark.parametrize(
    ("payload", "passphrase", "words"),
    [
        (b"", None, "neither PEM nor PKCS #12"),
        (b"\x30\x82 nonsense", None, "neither PEM nor PKCS #12"),
        (_WEB.pkcs12(b"secret"), None, "without a passphrase"),
        (_WEB.pkcs12(b"secret"), b"wrong", "its passphrase is another one"),
        (_WEB.pem, None, "there is no block PRIVATE KEY"),
        (_WEB.key_pem(), None, "The certificate can't be read"),
        (_WEB.pem + _OTHER.key_pem(), None, "does not belong to the certificate"),
        (_WEB.pem + _WEB.key_pem(b"secret"), None, "the passphrase stored beside it"),
        (_WEB.pem + _WEB.key_pem(b"secret"), b"wrong", "its passphrase is another one"),
        (_WEB.pem + _WEB.key_pem()[:-60] + b"-----END PRIVATE KEY-----\n", None, "it is broken"),
        (lambda: _WEB.pem + _dsa(), None, "neither RSA nor ECDSA"),
        (lambda: _WEB.pem + _ed25519(), None, "neither RSA nor ECDSA"),
        (b"-----BEGIN " + b"x" * bundles.LARGEST, None, "at most"),
    ],
)
def test_what_can_not_serve_is_refused_with_what_to_do(payload: bytes | Callable[[], bytes], passphrase: bytes | None, words: str) -> None:
    with pytest.raises(exceptions.InvalidRequest, match=words) as refused:
        bundles.read(payload() if callable(payload) else payload, passphrase)
    assert refused.value.code is Refusal.UNREADABLE_CERTIFICATE
    assert b"PRIVATE" not in str(refused.value).encode() or "block PRIVATE KEY" in str(refused.value)


def test_authorities_and_revocations_are_written_anew() -> None:
    assert x509.load_pem_x509_certificates(bundles.authorities_pem(b"# ours\n" + ROOT.pem + BETWEEN.pem)) == [
        ROOT.certificate,
        BETWEEN.certificate,
    ]
    crl = tls_material.revoke(ROOT, BETWEEN)
    assert bundles.revocations_pem(b"words\n" + crl) == crl
    assert [bundles.is_signed_by(one, [BETWEEN.certificate, ROOT.certificate]) for one in bundles.revocations(crl)] == [True]
    for read in (bundles.authorities, bundles.revocations):
        with pytest.raises(exceptions.InvalidRequest, match="must be PEM"):
            read(b"nonsense")


def test_every_list_of_revocations_of_a_file_is_kept() -> None:
    lists = [tls_material.revoke(ROOT), tls_material.revoke(BETWEEN, _WEB)]
    assert bundles.revocations_pem(b"of the root\n" + lists[0] + b"show info\n\n" + lists[1] + lists[0]) == b"".join(lists)
    assert [bundles.is_signed_by(one, [ROOT.certificate]) for one in bundles.revocations(b"".join(lists))] == [True, False]


@pytest.mark.parametrize("soonest", [0, 1])
def test_lists_of_revocations_end_with_the_first_of_them(soonest: int) -> None:
    lists = [tls_material.revoke(by, ends=(3 if number == soonest else 9) * tls_material.DAY) for number, by in enumerate((ROOT, BETWEEN))]
    store = fake.FakeSecrets()
    read = reading.read(store, "p", Need(store.store_secret("p", "crl", b"".join(lists)), Kind.REVOCATIONS))
    assert read.not_after == x509.load_pem_x509_crl(lists[soonest]).next_update_utc
    assert read.content == b"".join(lists)
    assert len(read.revocations) == 2


_CUT = BETWEEN.pem[:-40]
_PKCS7 = pkcs7.serialize_certificates([ROOT.certificate, BETWEEN.certificate], serialization.Encoding.PEM)
_TRUSTED = BETWEEN.pem.replace(b" CERTIFICATE-", b" TRUSTED CERTIFICATE-")


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (bundles.authorities, ROOT.pem + _CUT, "Of 2 blocks CERTIFICATE, 1 can't be read"),
        (bundles.authorities, ROOT.pem + _PKCS7, "openssl pkcs7 -print_certs"),
        (bundles.authorities, _PKCS7, "The CA certificate can't be read: a block PKCS7"),
        (bundles.authorities, ROOT.pem + _TRUSTED, "openssl x509"),
        (bundles.authorities, ROOT.certificate.public_bytes(serialization.Encoding.DER), "must be PEM"),
        (bundles.read, _WEB.pem + _WEB.key_pem() + _CUT, "Of 2 blocks CERTIFICATE, 1 can't be read"),
        (bundles.read, _WEB.pem + _WEB.key_pem() + _PKCS7, "openssl pkcs7 -print_certs"),
        (bundles.revocations, tls_material.revoke(ROOT) + tls_material.revoke(BETWEEN)[:-40], "Of 2 blocks X509 CRL, 1 can't be read"),
        (bundles.revocations, tls_material.revoke(ROOT) + tls_material.revoke(BETWEEN).replace(b"\nMI", b"\nM!"), "must be PEM"),
        (bundles.revocations, ROOT.pem, "must be PEM"),
    ],
)
def test_nothing_of_a_file_is_left_out_without_a_word(read: Callable[[bytes], object], content: bytes, words: str) -> None:
    with pytest.raises(exceptions.InvalidRequest, match=words) as refused:
        read(content)
    assert refused.value.code is Refusal.UNREADABLE_CERTIFICATE
