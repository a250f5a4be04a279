"""A store of secrets in a directory: one encrypted file each, in a folder per project."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import pathlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from controller import exceptions
from controller.drivers import files
from controller.drivers.secrets import bundles, cipher, interface

_REFERENCE = re.compile(r"local:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})").fullmatch


class LocalSecrets(interface.SecretStore):
    """The first key encrypts, all of them decrypt. A file names its project and reference inside: one that was moved is not opened."""

    def __init__(self, directory: pathlib.Path, keys: Sequence[bytes] = (), *, create: bool = False, most: int = 1000) -> None:
        """Without `keys`, they are the lines of `keys` in the directory; with `create`, one is made if there is none. A project has at
        `most` so many secrets: whoever may store them could fill the disk.

        :raises Misconfigured: there is no key, a key is none, or others may read the directory or the keys.
        """
        self._cipher = cipher.make(directory, keys, create=create)
        self._directory, self._most = directory, most

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> LocalSecrets:
        """The store as `[certificates]` says."""
        options = conf.certificates
        keys = [key.encode() for key in options.server_certs_key_passphrase]
        return cls(pathlib.Path(options.storage_path), keys, create=options.create, most=options.secrets_per_project)

    def store_bundle(self, project_id: str, name: str, bundle: interface.CertificateBundle) -> str:
        bundles.check(bundle)
        parts = {
            "certificate": bundle.certificate.decode(),
            "private_key": bundle.private_key.decode(),
            "intermediates": [pem.decode() for pem in bundle.intermediates],
        }
        return self._store(project_id, name, "bundle", parts)

    def get_bundle(self, project_id: str, reference: str) -> interface.CertificateBundle:
        parts = self._open(project_id, reference, "bundle")
        return interface.CertificateBundle(
            certificate=parts["certificate"].encode(),
            private_key=parts["private_key"].encode(),
            intermediates=tuple(pem.encode() for pem in parts["intermediates"]),
            is_checked=True,  # `store_bundle()` did, and what is encrypted with our key is as we wrote it
        )

    def get_secret(self, project_id: str, reference: str) -> bytes:
        payload: str = self._open(project_id, reference, "secret")
        return base64.b64decode(payload)

    def store_secret(self, project_id: str, name: str, payload: bytes) -> str:
        return self._store(project_id, name, "secret", base64.b64encode(payload).decode())

    def delete(self, project_id: str, reference: str) -> None:
        path = self._path(project_id, reference)
        if path is None:
            return
        path.unlink(missing_ok=True)
        with files.locked(self._directory), contextlib.suppress(OSError):  # others are still in it, or it was never there
            path.parent.rmdir()

    def reencrypt(self) -> int:
        """Encrypt every secret with the first key, so that older keys can be thrown away; returns how many there are.

        :raises Misconfigured: a secret can't be opened with any key.
        """
        paths = sorted(self._directory.glob("*/*.secret"))
        for path in paths:
            files.write(path, self._decrypting(path, self._cipher.rotate))
        return len(paths)

    def _store(self, project_id: str, name: str, kind: str, content: object) -> str:
        reference = f"local:{uuid.uuid4()}"
        path = self._path(project_id, reference)
        assert path is not None
        record = {"project_id": project_id, "reference": reference, "name": name, "kind": kind, "content": content}
        with files.locked(self._directory):  # a delete may be taking the empty folder away
            files.ensure_directory(path.parent)
            if sum(1 for _ in path.parent.glob("*.secret")) >= self._most:
                raise exceptions.QuotaExceeded(["Secret"])
            files.write(path, self._cipher.encrypt(json.dumps(record).encode()))
        return reference

    def _open(self, project_id: str, reference: str, kind: str) -> Any:
        path = self._path(project_id, reference)
        if path is None or not path.exists():
            raise exceptions.NotFound("Secret", reference)
        record = json.loads(self._decrypting(path, self._cipher.decrypt))
        if (record["project_id"], record["reference"], record["kind"]) != (project_id, reference, kind):
            raise exceptions.NotFound("Secret", reference)
        return record["content"]

    def _decrypting(self, path: pathlib.Path, operation: Any) -> bytes:
        try:
            result: bytes = operation(files.read_private(path))
        except FileNotFoundError as exc:
            raise exceptions.NotFound("Secret", path.stem) from exc
        except cipher.Broken as exc:
            raise exceptions.Misconfigured(
                f"{path} can't be opened with any of the keys: put the key back that it was made with, or restore the file."
            ) from exc
        return result

    def _path(self, project_id: str, reference: str) -> pathlib.Path | None:
        """Where a reference of a project is, or would be; None if it is no reference of ours."""
        match = _REFERENCE(reference)
        if match is None:
            return None
        # The name of a project comes from outside: its hash can't lead out of the directory.
        folder = hashlib.sha256(project_id.encode()).hexdigest()[:32]
        return self._directory / folder / f"{match[1]}.secret"
