"""A store of secrets in memory."""

from __future__ import annotations

import threading
import uuid

from oslo_config import cfg

from controller import exceptions
from controller.drivers.secrets import bundles, interface


class FakeSecrets(interface.SecretStore):
    """It forgets everything when the process ends."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], interface.CertificateBundle | bytes] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> FakeSecrets:
        """It has no options."""
        return cls()

    def store_bundle(self, project_id: str, name: str, bundle: interface.CertificateBundle) -> str:
        bundles.check(bundle)
        return self._keep(project_id, bundle)

    def get_bundle(self, project_id: str, reference: str) -> interface.CertificateBundle:
        kept = self._find(project_id, reference)
        if isinstance(kept, bytes):
            raise exceptions.NotFound("Certificate bundle", reference)
        return kept

    def get_secret(self, project_id: str, reference: str) -> bytes:
        kept = self._find(project_id, reference)
        if not isinstance(kept, bytes):
            raise exceptions.NotFound("Secret", reference)
        return kept

    def store_secret(self, project_id: str, name: str, payload: bytes) -> str:
        return self._keep(project_id, payload)

    def delete(self, project_id: str, reference: str) -> None:
        with self._lock:
            self._kept.pop((project_id, reference), None)

    def _keep(self, project_id: str, thing: interface.CertificateBundle | bytes) -> str:
        reference = f"fake:{uuid.uuid4()}"
        with self._lock:
            self._kept[project_id, reference] = thing
        return reference

    def _find(self, project_id: str, reference: str) -> interface.CertificateBundle | bytes:
        with self._lock:
            kept = self._kept.get((project_id, reference))
        if kept is None:
            raise exceptions.NotFound("Secret", reference)
        return kept
