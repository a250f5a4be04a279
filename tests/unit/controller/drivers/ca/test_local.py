"""The directory of the local certificate authority: made once, ours alone, and refused when it is weak."""

from __future__ import annotations

import datetime
import multiprocessing
import pathlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from controller import conf as configuration
from controller import exceptions
from controller.drivers.ca import certificates, interface
from controller.drivers.ca.local import LocalCertificateAuthority
from tests import builders

FILES = ["server_ca.pem", "server_ca.key", "client_ca.pem", "client_ca.key", "controller.pem"]


def _fingerprint(directory: pathlib.Path) -> tuple[bytes, bytes, bytes]:
    authority = LocalCertificateAuthority(directory, create=True)
    return authority.server_roots(), authority.client_roots(), pathlib.Path(authority.client_certificate_path()).read_bytes()


def _replace_server_ca(directory: pathlib.Path, key: certificates.PrivateKey | dsa.DSAPrivateKey, *, ca: bool = True) -> None:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "theirs")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    root = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True).sign(key, hashes.SHA256())
    (directory / "server_ca.pem").write_bytes(certificates.certificate_pem(root))
    (directory / "server_ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_a_second_start_finds_what_the_first_one_made(tmp_path: pathlib.Path) -> None:
    assert _fingerprint(tmp_path / "ca") == _fingerprint(tmp_path / "ca")


@pytest.mark.lengthy
def test_processes_that_start_together_agree(tmp_path: pathlib.Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        seen = pool.map(_fingerprint, [tmp_path / "ca"] * 6)
    assert len(set(seen)) == 1


def test_nobody_else_may_read_any_of_it(tmp_path: pathlib.Path) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True)
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == sorted([*FILES, ".lock"])
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "ca", *(tmp_path / "ca").iterdir()]} == {0}


def test_without_create_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(exceptions.Misconfigured, match=r"server_ca\.key is missing"):
        LocalCertificateAuthority(tmp_path / "ca")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_others_may_read_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True)
    (tmp_path / "ca" / name).chmod(0o644)
    with pytest.raises(exceptions.Misconfigured, match=f"{name} may be used by others"):
        LocalCertificateAuthority(tmp_path / "ca", create=True)


def test_a_directory_that_others_may_enter_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ca").mkdir(mode=0o755)
    with pytest.raises(exceptions.Misconfigured, match="may be used by others"):
        LocalCertificateAuthority(tmp_path / "ca", create=True)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), "RSA, 1024 bits", id="short RSA"),
        pytest.param(lambda: rsa.generate_private_key(3, 2048), "RSA, 2048 bits", id="small exponent"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP192R1()), "192 bits", id="short curve"),
        pytest.param(lambda: dsa.generate_private_key(2048), "DSA", id="DSA"),
    ],
)
def test_a_weak_key_is_refused(tmp_path: pathlib.Path, key: object, words: str) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True)
    _replace_server_ca(tmp_path / "ca", key())  # type: ignore[operator]
    with pytest.raises(exceptions.Misconfigured, match=rf"too weak \(.*{words}"):
        LocalCertificateAuthority(tmp_path / "ca")


def test_an_rsa_authority_of_the_operators_own_issues_too(tmp_path: pathlib.Path) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True)
    _replace_server_ca(tmp_path / "ca", rsa.generate_private_key(65537, 2048))
    authority = LocalCertificateAuthority(tmp_path / "ca")
    issued = authority.issue_amphora_certificate(builders.an_id())
    root = x509.load_pem_x509_certificate(authority.server_roots())
    x509.load_pem_x509_certificate(issued.pem).verify_directly_issued_by(root)
    assert issued.not_after == root.not_valid_after_utc, "a certificate does not outlive its issuer"


def test_an_ordinary_certificate_is_no_authority(tmp_path: pathlib.Path) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True)
    _replace_server_ca(tmp_path / "ca", ec.generate_private_key(ec.SECP256R1()), ca=False)
    with pytest.raises(exceptions.Misconfigured, match="not one of a certificate authority"):
        LocalCertificateAuthority(tmp_path / "ca")


def test_a_key_that_belongs_to_another_certificate_is_refused(tmp_path: pathlib.Path) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True)
    (tmp_path / "ca" / "server_ca.key").write_bytes((tmp_path / "ca" / "client_ca.key").read_bytes())
    with pytest.raises(exceptions.Misconfigured, match="does not belong"):
        LocalCertificateAuthority(tmp_path / "ca")


def test_a_second_root_is_trusted_while_the_first_one_issues(tmp_path: pathlib.Path) -> None:
    old = LocalCertificateAuthority(tmp_path / "old", create=True)
    new = LocalCertificateAuthority(tmp_path / "new", create=True)
    both = new.server_roots() + old.server_roots()
    (tmp_path / "new" / "server_ca.pem").write_bytes(both)
    assert LocalCertificateAuthority(tmp_path / "new").server_roots() == both


def test_keys_rest_encrypted_where_there_is_a_passphrase(tmp_path: pathlib.Path) -> None:
    LocalCertificateAuthority(tmp_path / "ca", create=True, passphrase=b"amphora")
    assert b"ENCRYPTED" in (tmp_path / "ca" / "server_ca.key").read_bytes()
    LocalCertificateAuthority(tmp_path / "ca", passphrase=b"amphora")
    with pytest.raises(exceptions.Misconfigured, match="can't be read"):
        LocalCertificateAuthority(tmp_path / "ca", passphrase=b"jug")


def test_the_controllers_certificate_is_renewed_in_its_last_third(tmp_path: pathlib.Path) -> None:
    first = _fingerprint(tmp_path / "ca")
    LocalCertificateAuthority(tmp_path / "ca", client_validity=datetime.timedelta(days=365 * 3 - 2))
    assert _fingerprint(tmp_path / "ca") == first
    LocalCertificateAuthority(tmp_path / "ca", client_validity=datetime.timedelta(days=365 * 3 + 2))
    assert _fingerprint(tmp_path / "ca") != first


def test_the_client_authoritys_key_may_live_elsewhere(tmp_path: pathlib.Path) -> None:
    first = _fingerprint(tmp_path / "ca")
    (tmp_path / "ca" / "client_ca.key").unlink()
    authority = LocalCertificateAuthority(tmp_path / "ca")
    assert authority.client_roots() == first[1]


@pytest.mark.parametrize("name", ["", "a.b", "*", "-a", "a\n", "a" * 64, "ä"])
def test_only_an_amphora_id_gets_a_certificate(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(exceptions.InvalidRequest):
        LocalCertificateAuthority(tmp_path / "ca", create=True).issue_amphora_certificate(name)


def test_it_is_made_from_the_configuration(tmp_path: pathlib.Path) -> None:
    (tmp_path / "figlina.conf").write_text(f"[certificates]\nca_path = {tmp_path}/ca\ncreate = true\ncert_validity_time = 7200\n")
    conf = configuration.load([], [str(tmp_path / "figlina.conf")])
    issued: interface.IssuedCertificate = LocalCertificateAuthority.from_conf(conf).issue_amphora_certificate(builders.an_id())
    assert issued.not_after - datetime.datetime.now(datetime.UTC) <= datetime.timedelta(seconds=7200)
