"""Connections to agents that follow the certificate authority: made anew when our own certificate or the roots that we trust change."""

from __future__ import annotations

import logging
import threading

from controller.drivers.amphora import connections
from controller.drivers.ca import interface as ca

LOG = logging.getLogger(__name__)


class Links:
    """One set of connections for every day, and one for agents whose certificates have run out (`any_time`).

    What is under way when they are made anew ends as it began.
    """

    def __init__(self, authority: ca.CertificateAuthority, port: int, limit: int) -> None:
        self._authority = authority
        self._port, self._limit = port, limit
        self._lock = threading.Lock()
        self._revision = authority.revision()
        self._sets = self._make()

    def now(self, *, any_time: bool = False) -> connections.Connections:
        """The connections by the certificates of now."""
        revision = self._authority.revision()
        with self._lock:
            if revision != self._revision:
                self._follow(revision)
            return self._sets[any_time]

    def forget(self, amphora_id: str) -> None:
        """Have the next request to an amphora shake hands anew."""
        with self._lock:
            for each in self._sets:
                each.forget(amphora_id)

    def close(self) -> None:
        """Close the connections that are kept open."""
        with self._lock:
            for each in self._sets:
                each.close()

    def _follow(self, revision: str) -> None:
        before = self._sets
        try:
            self._sets = self._make()
        except OSError as exc:
            LOG.error("Our certificate or the roots of agents have changed and can't be used, so those before are used on: %s", exc)
        else:
            LOG.info("Connections to agents are made by new certificates from now on")
            for each in before:
                each.close()
        self._revision = revision

    def _make(self) -> tuple[connections.Connections, connections.Connections]:
        roots, own = self._authority.server_roots(), self._authority.client_certificate_path()
        daily, lenient = (connections.tls_context(roots, own, any_time=any_time) for any_time in (False, True))
        return connections.Connections(daily, self._port, self._limit), connections.Connections(lenient, self._port, self._limit)
