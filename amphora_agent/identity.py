"""Who the agent is (certificate and key), and whom it trusts; both can be replaced while it serves.

What the machine was booted with lies beside the boot configuration; what replaced it is kept on the agent's own disk, for the former may be
put back at each boot of the machine. Connections that are open go on as they began; new ones meet what holds now.
"""

from __future__ import annotations

import json
import logging
import pathlib
import socket
import ssl
import tempfile
import threading

from amphora_agent import errors, system
from amphora_agent.protocol import boot

LOG = logging.getLogger(__name__)
TRIAL_TIME = 60.0
"""Seconds in which a controller must have come to terms with a new certificate; otherwise the one before is taken back."""


class Identity:
    """Methods may be called from any thread."""

    def __init__(self, booted: pathlib.Path, state: pathlib.Path, run: pathlib.Path, trial_time: float = TRIAL_TIME) -> None:
        """From the folder of boot files, or what was kept in the state directory since.

        :raises OSError: a file is missing, or is not what it should be.
        """
        self._path, self._run = state / "identity.json", run
        self._trial_time = trial_time
        self._lock = threading.Lock()
        self._current = system.recall(self._path, self._kept) or _booted(booted)
        self._context = self._tls(self._current)
        self._proven: tuple[ssl.SSLContext, boot.Identity] | None = None  # what served last, while the current one is on trial

    def secure(self, connection: socket.socket) -> ssl.SSLSocket:
        """Begin to speak TLS with a controller, whose certificate must be by one of the roots; the hand-shake is the caller's.

        :raises OSError: the connection broke.
        """
        with self._lock:
            context = self._context
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def welcome(self, secured: ssl.SSLSocket) -> None:
        """A hand-shake came to its end: the client must bear one of the names, if there are any.

        :raises ssl.SSLError: it is no controller.
        """
        with self._lock:
            mine = self._proven[1] if self._proven is not None and secured.context is self._proven[0] else self._current
        _refuse_strangers(secured, mine.client_names)
        with self._lock:
            if secured.context is self._context and self._proven is not None:
                self._proven = None
                LOG.info("A controller has come to terms with the new certificate")

    def replace(self, new: boot.Identity) -> None:
        """Be this one from the next connection on, and after each restart.

        If no controller has connected in `trial_time` seconds, none can any more: then the one before comes back.

        :raises InvalidIdentity: certificate, key and roots do not make one.
        :raises OSError: it can't be kept, and so is not taken.
        """
        try:
            context = self._tls(new)
        except (OSError, ValueError) as exc:
            raise errors.InvalidIdentity(str(exc)) from exc
        with self._lock:
            system.write_file(self._path, new.dump())
            self._proven = self._proven or (self._context, self._current)
            self._context, self._current = context, new
        timer = threading.Timer(self._trial_time, self._take_back, [context])
        timer.daemon = True
        timer.start()
        LOG.info("A new certificate is in place: the next connection will meet it")

    def _take_back(self, tried: ssl.SSLContext) -> None:
        with self._lock:
            if self._context is not tried or self._proven is None:
                return
            (self._context, self._current), self._proven = self._proven, None
            try:
                system.write_file(self._path, self._current.dump())
            except OSError as exc:
                LOG.error("The certificate before is in place, and could not be kept: %s", exc)
        LOG.error("No controller could connect with the new certificate: the one before is in place again")

    def _kept(self, content: bytes) -> boot.Identity:
        """:raises OSError, ValueError: nobody could serve with it."""
        kept = boot.Identity.parse(content)
        self._tls(kept)
        return kept

    def _tls(self, identity: boot.Identity) -> ssl.SSLContext:
        """:raises OSError: (`ssl.SSLError` is one) certificate, key and roots are not what they should be."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        with tempfile.NamedTemporaryFile(dir=self._run, prefix="identity-") as file:  # `ssl` loads keys from files; this one is ours alone
            file.write(identity.server_pem.encode())
            file.flush()
            context.load_cert_chain(file.name)
        context.load_verify_locations(cadata=identity.client_roots)
        return context


def _booted(folder: pathlib.Path) -> boot.Identity:
    names = system.read_file(folder / pathlib.Path(boot.CLIENT_NAMES_PATH).name)  # controllers of older releases give none
    return boot.Identity(
        server_pem=(folder / pathlib.Path(boot.SERVER_PEM_PATH).name).read_text(),
        client_roots=(folder / pathlib.Path(boot.CLIENT_ROOTS_PATH).name).read_text(),
        client_names=tuple(json.loads(names)) if names else (),
    )


def _refuse_strangers(connection: ssl.SSLSocket, names: tuple[str, ...]) -> None:
    """Not everybody whom the roots vouch for is the controller: where servers and clients share a root, amphorae are not."""
    if not names:
        return
    subject = (connection.getpeercert() or {}).get("subjectAltName", ())
    borne = [entry[1] for entry in subject if isinstance(entry, tuple) and entry[0] == "DNS"]
    if not set(borne) & set(names):
        raise ssl.SSLError(f"a client that bears {', '.join(map(str, borne)) or 'no name'} is not the controller")
