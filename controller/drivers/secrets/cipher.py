"""The keys by which tenants' certificates rest encrypted: those of the `local` store, and of the copies of whatever store there is."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Sequence

from cryptography import fernet
from oslo_config import cfg

from controller import exceptions
from controller.drivers import files
from controller.model import strength

Cipher = fernet.MultiFernet
Broken = fernet.InvalidToken
_GOOD_KEY = "python3 -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


def from_conf(conf: cfg.ConfigOpts) -> Cipher:
    """The cipher with the keys of `[certificates]`.

    :raises Misconfigured: as `make()`.
    """
    options = conf.certificates
    keys = [key.encode() for key in options.server_certs_key_passphrase]
    return make(pathlib.Path(options.storage_path), keys, create=options.create)


def make(directory: pathlib.Path, keys: Sequence[bytes] = (), *, create: bool = False) -> Cipher:
    """The first key encrypts, all of them decrypt. Without `keys`, they are the lines of `keys` in the directory; with `create`, one is
    made if there is none.

    :raises Misconfigured: there is no key, a key is none, or others may read the directory or the keys.
    """
    files.ensure_directory(directory)
    known = list(keys) or _keys_of(directory, create)
    try:
        cipher = fernet.MultiFernet([fernet.Fernet(key) for key in known])
    except ValueError as exc:
        raise exceptions.Misconfigured(
            f"A key of the secrets in {directory} is none: each is 32 bytes in URL-safe base64, as Fernet.generate_key() makes it."
        ) from exc
    if strength.is_guessable_key(base64.urlsafe_b64decode(known[0])) or strength.is_guessable(bytes(known[0]).decode()):
        raise exceptions.Misconfigured(  # only of the one that encrypts: older ones must still open what they closed
            f"The first key of the secrets in {directory} is too easy to guess: put one in front that `{_GOOD_KEY}` has made, run "
            "`figlina secrets reencrypt`, then take the old one away."
        )
    return cipher


def ephemeral() -> Cipher:
    """A cipher with a key that nobody keeps."""
    return fernet.MultiFernet([fernet.Fernet(fernet.Fernet.generate_key())])


def _keys_of(directory: pathlib.Path, create: bool) -> list[bytes]:
    path = directory / "keys"
    with files.locked(directory):
        if create and not path.exists():
            files.write(path, fernet.Fernet.generate_key() + b"\n")
    try:
        keys = files.read_private(path).split()
    except FileNotFoundError:
        keys = []
    if not keys:
        raise exceptions.Misconfigured(
            f"There is no key for the secrets in {directory}: set [certificates] server_certs_key_passphrase, or create = true."
        )
    return keys
