"""What every store of secrets promises."""

from __future__ import annotations

import datetime
import pathlib

import pytest

from controller import exceptions
from controller.drivers.ca import certificates
from controller.drivers.secrets import fake, interface, local

OURS, THEIRS = "project-1", "../project-2"


@pytest.fixture(params=["fake", "local"])
def store(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> interface.SecretStore:
    return fake.FakeSecrets() if request.param == "fake" else local.LocalSecrets(tmp_path / "secrets", create=True)


def _bundle(**fields: bytes | tuple[bytes, ...]) -> interface.CertificateBundle:
    root, key = certificates.new_root("web.example", datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1))
    pem = certificates.certificate_pem(root)
    values = {"certificate": pem, "private_key": certificates.key_pem(key), "intermediates": (pem, pem)} | fields
    return interface.CertificateBundle(**values)  # type: ignore[arg-type]


def test_a_bundle_comes_back_as_it_went(store: interface.SecretStore) -> None:
    bundle = _bundle()
    assert store.get_bundle(OURS, store.store_bundle(OURS, "web", bundle)) == bundle


def test_a_secret_comes_back_byte_for_byte(store: interface.SecretStore) -> None:
    payload = bytes(range(256))
    assert store.get_secret(OURS, store.store_secret(OURS, "crl", payload)) == payload


def test_each_secret_has_a_reference_of_its_own(store: interface.SecretStore) -> None:
    references = {store.store_secret(project, "same name", b"same") for project in (OURS, OURS, THEIRS)}
    assert len(references) == 3


def test_another_project_sees_nothing(store: interface.SecretStore) -> None:
    reference = store.store_secret(OURS, "crl", b"ours")
    with pytest.raises(exceptions.NotFound):
        store.get_secret(THEIRS, reference)
    store.delete(THEIRS, reference)
    assert store.get_secret(OURS, reference) == b"ours"


def test_a_bundle_is_no_secret_and_a_secret_no_bundle(store: interface.SecretStore) -> None:
    bundle, secret = store.store_bundle(OURS, "web", _bundle()), store.store_secret(OURS, "crl", b"x")
    with pytest.raises(exceptions.NotFound):
        store.get_secret(OURS, bundle)
    with pytest.raises(exceptions.NotFound):
        store.get_bundle(OURS, secret)


def test_what_is_deleted_is_gone_and_may_be_deleted_again(store: interface.SecretStore) -> None:
    reference, other = (store.store_secret(OURS, "crl", content) for content in (b"x", b"y"))
    store.delete(OURS, reference)
    store.delete(OURS, reference)
    with pytest.raises(exceptions.NotFound):
        store.get_secret(OURS, reference)
    assert store.get_secret(OURS, other) == b"y"


@pytest.mark.parametrize("reference", ["", "nonsense", "local:../../etc/passwd", "http://barbican/v1/secrets/1", "local:" + "0" * 36])
def test_a_reference_of_nothing_is_not_found(store: interface.SecretStore, reference: str) -> None:
    for ask in (store.get_secret, store.get_bundle):
        with pytest.raises(exceptions.NotFound):
            ask(OURS, reference)
    store.delete(OURS, reference)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"certificate": b"nonsense"}, "The certificate can't be read"),
        ({"intermediates": (b"nonsense",)}, "intermediate certificate can't be read"),
        ({"private_key": b"nonsense"}, "private key can't be read"),
        ({"private_key": certificates.key_pem(certificates.new_key(), b"passphrase")}, "without a passphrase"),
        ({"private_key": certificates.key_pem(certificates.new_key())}, "does not belong"),
    ],
)
def test_a_bundle_that_could_not_serve_is_refused(
    store: interface.SecretStore, fields: dict[str, bytes | tuple[bytes, ...]], words: str
) -> None:
    with pytest.raises(exceptions.InvalidRequest, match=words):
        store.store_bundle(OURS, "web", _bundle(**fields))


def test_a_key_is_not_shown_when_its_bundle_is_printed(store: interface.SecretStore) -> None:
    assert "PRIVATE" not in repr(store.get_bundle(OURS, store.store_bundle(OURS, "web", _bundle())))
