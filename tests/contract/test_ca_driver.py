"""What every certificate authority promises, with OpenSSL as the judge."""

from __future__ import annotations

import datetime
import pathlib
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.drivers.ca import fake, interface, local
from tests import builders


@pytest.fixture(params=["fake", "local"])
def authority(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> interface.CertificateAuthority:
    if request.param == "fake":
        return fake.FakeCertificateAuthority()
    return local.LocalCertificateAuthority(tmp_path / "ca", create=True)


def _handshake(authority: interface.CertificateAuthority, folder: pathlib.Path, certificate: bytes, name: str) -> str:
    """What a controller and an agent say to each other: the name that the agent saw, or the controller's complaint."""
    (folder / "server.pem").write_bytes(certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    server.load_verify_locations(cadata=authority.client_roots().decode())
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cadata=authority.server_roots().decode())
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    client.load_cert_chain(authority.client_certificate_path())
    here, there = socket.socketpair()
    seen: list[object] = []

    def agent() -> None:
        try:
            with server.wrap_socket(there, server_side=True) as connection:
                seen.append(connection.getpeercert())
                connection.sendall(b"x")
        except (ssl.SSLError, OSError) as exc:
            seen.append(exc)
            there.close()

    thread = threading.Thread(target=agent)
    thread.start()
    try:
        with here, client.wrap_socket(here, server_hostname=name) as connection:
            connection.recv(1)
    except ssl.SSLError as exc:
        return str(exc)
    finally:
        thread.join(10)
    return str(seen)


def test_an_agent_with_its_certificate_is_believed_and_believes_the_controller(
    authority: interface.CertificateAuthority, tmp_path: pathlib.Path
) -> None:
    name = builders.an_id()
    assert "controller" in _handshake(authority, tmp_path, authority.issue_amphora_certificate(name).pem, name)


def test_another_amphoras_certificate_is_not_believed(authority: interface.CertificateAuthority, tmp_path: pathlib.Path) -> None:
    certificate = authority.issue_amphora_certificate(builders.an_id()).pem
    assert "mismatch" in _handshake(authority, tmp_path, certificate, builders.an_id())


def test_a_certificate_says_who_it_is_for_and_who_vouches(authority: interface.CertificateAuthority) -> None:
    name = builders.an_id()
    issued = authority.issue_amphora_certificate(name)
    certificate = x509.load_pem_x509_certificate(issued.pem)
    root = x509.load_pem_x509_certificates(authority.server_roots())[0]
    extensions = certificate.extensions
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [name]
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    certificate.verify_directly_issued_by(root)


def test_a_certificate_is_valid_from_before_now_until_when_it_says(authority: interface.CertificateAuthority) -> None:
    issued = authority.issue_amphora_certificate(builders.an_id())
    certificate = x509.load_pem_x509_certificate(issued.pem)
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc == issued.not_after


def test_a_key_is_not_shown_when_its_certificate_is_printed(authority: interface.CertificateAuthority) -> None:
    assert "PRIVATE" not in repr(authority.issue_amphora_certificate(builders.an_id()))
