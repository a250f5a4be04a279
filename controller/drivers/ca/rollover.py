"""One root of the `local` authority follows another, in three steps that an operator takes: start, switch, finish.

Between two steps every amphora is renewed by housekeeping, and every controller notices what has changed in the directory. At each moment
both sides trust whoever may speak: after `start` both roots are trusted and the old one issues; after `switch` the new one issues; after
`finish` the old one is trusted no more. The keys of roots to come lie beside the others (`*.next.key`) until they issue.
"""

import dataclasses
import datetime
import enum
import pathlib
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controller import exceptions
from controller.drivers import files
from controller.drivers.ca import certificates

NAMES = {"server_ca": "Figlina server CA", "client_ca": "Figlina client CA"}


class Phase(enum.StrEnum):
    """How far it is."""

    NONE = "none"  # one root for each side
    STARTED = "started"  # both are trusted, the old one issues
    SWITCHED = "switched"  # both are trusted, the new one issues


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """A root that is trusted. `authority` is `server_ca` or `client_ca`; `key_id` is its key identifier."""

    authority: str
    name: str
    key_id: str
    not_after: datetime.datetime
    issues: bool


class RollOver:
    """Works on the directory of a `local` authority; other processes of ours that use it wait meanwhile."""

    def __init__(self, directory: pathlib.Path, passphrase: bytes | None, validity: datetime.timedelta) -> None:
        self._directory = directory
        self._passphrase = passphrase
        self._validity = validity

    def phase(self) -> Phase:
        """:raises Misconfigured: the directory can't be read."""
        if any(self._next_key(name).exists() for name in NAMES):
            return Phase.STARTED
        return Phase.SWITCHED if len(self.roots()) > len(NAMES) else Phase.NONE

    def roots(self) -> list[Root]:
        """All that are trusted now.

        :raises Misconfigured: the directory can't be read.
        """
        found = []
        for name in NAMES:
            issuing = certificates.key_identifier(self._key(self._directory / f"{name}.key"))
            for root in self._certificates(name):
                key_id = certificates.key_identifier(root)
                label = root.subject.rfc4514_string()
                found.append(Root(name, label, key_id, root.not_valid_after_utc, key_id == issuing))
        return found

    def start(self) -> None:
        """Make the next roots, and trust them beside those of now.

        :raises Conflict: one is under way.
        """
        with files.locked(self._directory):
            self._expect(Phase.NONE, "finish it first (`figlina ca status` says how far it is)")
            for name, words in NAMES.items():
                known = self._certificates(name)
                # Another name: a chain must lead to one root only, whichever way its issuer is looked for.
                root, key = certificates.new_root(f"{words} {secrets.token_hex(4)}", datetime.datetime.now(datetime.UTC), self._validity)
                files.write(self._next_key(name), certificates.key_pem(key, self._passphrase))
                self._write(name, [*known, root])

    def switch(self) -> None:
        """Let the next roots issue.

        :raises Conflict: it was not started, or was switched already.
        """
        with files.locked(self._directory):
            self._expect(Phase.STARTED, "begin with `figlina ca start`")
            for name in NAMES:
                if (key := self._next_key(name)).exists():  # or this is the second try of one that broke off
                    key.replace(self._directory / f"{name}.key")

    def finish(self) -> None:
        """Trust only the roots that issue.

        :raises Conflict: it was not switched.
        """
        with files.locked(self._directory):
            self._expect(Phase.SWITCHED, "take the steps before first (`figlina ca status` names the next one)")
            for name in NAMES:
                issuing = certificates.key_identifier(self._key(self._directory / f"{name}.key"))
                self._write(name, [root for root in self._certificates(name) if certificates.key_identifier(root) == issuing])

    def _expect(self, wanted: Phase, words: str) -> None:
        if (phase := self.phase()) is not wanted:
            raise exceptions.Conflict(f"The roll-over of {self._directory} is in the phase {phase}, not {wanted}: {words}.")

    def _next_key(self, name: str) -> pathlib.Path:
        return self._directory / f"{name}.next.key"

    def _certificates(self, name: str) -> list[x509.Certificate]:
        path = self._directory / f"{name}.pem"
        try:
            return x509.load_pem_x509_certificates(files.read_private(path))
        except (ValueError, OSError) as exc:
            raise exceptions.Misconfigured(f"{path} can't be read: {exc}") from exc

    def _key(self, path: pathlib.Path) -> certificates.PrivateKey:
        try:
            return certificates.refuse_weak(
                f"certificate authority {path}", serialization.load_pem_private_key(files.read_private(path), self._passphrase)
            )
        except (ValueError, TypeError, OSError) as exc:
            raise exceptions.Misconfigured(
                f"{path} can't be read ({exc}): roots whose keys are kept elsewhere follow each other by hand (docs/operations, "
                "Certificates)."
            ) from exc

    def _write(self, name: str, roots: list[x509.Certificate]) -> None:
        files.write(self._directory / f"{name}.pem", b"".join(certificates.certificate_pem(root) for root in roots))
