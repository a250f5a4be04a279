"""The local store: encrypted at rest, keys that can be changed, files that can't be swapped."""

from __future__ import annotations

import multiprocessing
import pathlib

import pytest
from cryptography import fernet

from controller import conf as configuration
from controller import exceptions
from controller.cmd import figlina
from controller.db import database, migration
from controller.drivers.secrets.local import LocalSecrets
from controller.model import tls


def _files(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(directory.glob("*/*.secret"))


def _store_one(directory: pathlib.Path) -> str:
    return LocalSecrets(directory, create=True).store_secret("p", "crl", b"payload")


def test_nothing_readable_rests_on_the_disk(tmp_path: pathlib.Path) -> None:
    store = LocalSecrets(tmp_path / "secrets", create=True)
    store.store_secret("project-1", "the name", b"the payload")
    everything = b"".join(path.read_bytes() + str(path).encode() for path in _files(tmp_path / "secrets"))
    assert everything
    assert not [word for word in (b"project-1", b"the name", b"the payload") if word in everything]


def test_nobody_else_may_read_any_of_it(tmp_path: pathlib.Path) -> None:
    _store_one(tmp_path / "secrets")
    paths = [tmp_path / "secrets", *(tmp_path / "secrets").rglob("*")]
    assert len(paths) == 5
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}


def test_secrets_outlive_the_process(tmp_path: pathlib.Path) -> None:
    reference = _store_one(tmp_path / "secrets")
    assert LocalSecrets(tmp_path / "secrets").get_secret("p", reference) == b"payload"


@pytest.mark.lengthy
def test_processes_that_start_together_use_one_key(tmp_path: pathlib.Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        references = pool.map(_store_one, [tmp_path / "secrets"] * 6)
    store = LocalSecrets(tmp_path / "secrets")
    assert [store.get_secret("p", reference) for reference in references] == [b"payload"] * 6


def test_a_key_is_changed_by_putting_a_new_one_in_front(tmp_path: pathlib.Path) -> None:
    old, new = fernet.Fernet.generate_key(), fernet.Fernet.generate_key()
    reference = LocalSecrets(tmp_path / "secrets", [old]).store_secret("p", "crl", b"payload")
    both = LocalSecrets(tmp_path / "secrets", [new, old])
    assert both.get_secret("p", reference) == b"payload"
    newer = both.store_secret("p", "crl", b"newer")
    assert LocalSecrets(tmp_path / "secrets", [new]).get_secret("p", newer) == b"newer"
    with pytest.raises(exceptions.Misconfigured, match="any of the keys"):
        LocalSecrets(tmp_path / "secrets", [new]).get_secret("p", reference)
    assert both.reencrypt() == 2
    assert LocalSecrets(tmp_path / "secrets", [new]).get_secret("p", reference) == b"payload"


def test_a_file_that_was_put_in_the_place_of_another_is_not_opened(tmp_path: pathlib.Path) -> None:
    store = LocalSecrets(tmp_path / "secrets", create=True)
    mine, theirs = store.store_secret("mine", "crl", b"mine"), store.store_secret("theirs", "crl", b"theirs")
    [my_file] = [path for path in _files(tmp_path / "secrets") if path.stem in mine]
    [their_file] = [path for path in _files(tmp_path / "secrets") if path.stem in theirs]
    my_file.write_bytes(their_file.read_bytes())
    with pytest.raises(exceptions.NotFound):
        store.get_secret("mine", mine)


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: pathlib.Path) -> None:
    store = LocalSecrets(tmp_path / "secrets", create=True)
    reference = store.store_secret("p", "crl", b"payload")
    [path] = _files(tmp_path / "secrets")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(exceptions.Misconfigured, match="restore the file"):
        store.get_secret("p", reference)


def test_a_store_without_a_key_does_not_start(tmp_path: pathlib.Path) -> None:
    with pytest.raises(exceptions.Misconfigured, match="no key"):
        LocalSecrets(tmp_path / "secrets")


@pytest.mark.parametrize("key", [b"short", b"!" * 44])
def test_a_key_that_is_none_is_refused(tmp_path: pathlib.Path, key: bytes) -> None:
    with pytest.raises(exceptions.Misconfigured, match="32 bytes"):
        LocalSecrets(tmp_path / "secrets", [key])


def test_keys_that_others_may_read_are_refused(tmp_path: pathlib.Path) -> None:
    _store_one(tmp_path / "secrets")
    (tmp_path / "secrets" / "keys").chmod(0o640)
    with pytest.raises(exceptions.Misconfigured, match="may be used by others"):
        LocalSecrets(tmp_path / "secrets")


def test_it_is_made_from_the_configuration(tmp_path: pathlib.Path) -> None:
    key = fernet.Fernet.generate_key()
    file = tmp_path / "figlina.conf"
    file.write_text(f"[certificates]\nstorage_path = {tmp_path}/secrets\nserver_certs_key_passphrase = {key.decode()}\n")
    reference = LocalSecrets.from_conf(configuration.load([], [str(file)])).store_secret("p", "crl", b"payload")
    assert LocalSecrets(tmp_path / "secrets", [key]).get_secret("p", reference) == b"payload"


def test_an_operator_has_everything_encrypted_anew(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = fernet.Fernet.generate_key(), fernet.Fernet.generate_key()
    reference = LocalSecrets(tmp_path / "secrets", [old]).store_secret("p", "crl", b"payload")
    migration.Schema(f"sqlite:///{tmp_path}/figlina.db").upgrade()
    need, copy = tls.Need("local:x", tls.Kind.BUNDLE), tls.Copy(name="0.pem")
    db = database.Database(f"sqlite:///{tmp_path}/figlina.db")
    with db.begin() as tx:
        tx.tenant_certificates.keep("lb", {need: (copy, fernet.Fernet(old).encrypt(b"copied"))}, since=0)
    options = f"[certificates]\nstorage_path = {tmp_path}/secrets\nserver_certs_key_passphrase = {new.decode()},{old.decode()}\n"
    (tmp_path / "figlina.conf").write_text(f"{options}[database]\nconnection = sqlite:///{tmp_path}/figlina.db\n")
    assert figlina.main(["secrets", "reencrypt", "--config-file", str(tmp_path / "figlina.conf")]) == 0
    assert capsys.readouterr().out.startswith("1 secrets and 1 copies")
    assert LocalSecrets(tmp_path / "secrets", [new]).get_secret("p", reference) == b"payload"
    with db.read() as tx:
        assert fernet.Fernet(new).decrypt(tx.tenant_certificates.contents("lb", ["0.pem"])["0.pem"]) == b"copied"


def test_a_copy_that_was_read_anew_while_it_was_encrypted_keeps_its_content(tmp_path: pathlib.Path) -> None:
    """Else its name, which is its hash, would stand for the content of before."""
    migration.Schema(f"sqlite:///{tmp_path}/figlina.db").upgrade()
    db = database.Database(f"sqlite:///{tmp_path}/figlina.db")
    need = tls.Need("local:x", tls.Kind.BUNDLE)
    with db.begin() as tx:
        tx.tenant_certificates.keep("lb", {need: (tls.Copy(name="0.pem", read_for=1), b"old")}, since=0)

        def rotate(content: bytes) -> bytes:
            if content == b"old":
                tx.tenant_certificates.keep("lb", {need: (tls.Copy(name="1.pem", read_for=2), b"new")}, since=1)
            return content + b" again"

        assert tx.tenant_certificates.reencrypt(rotate) == (0, 1)
        assert tx.tenant_certificates.contents("lb", ["1.pem"]) == {"1.pem": b"new"}
        assert tx.tenant_certificates.reencrypt(rotate) == (1, 0)
        assert tx.tenant_certificates.contents("lb", ["1.pem"]) == {"1.pem": b"new again"}
