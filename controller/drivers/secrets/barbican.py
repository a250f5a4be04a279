"""Barbican: tenants' secrets and containers, read with the right that they gave to our user; nothing is stored there by us but for tests.

A reference is the address of a container of type `certificate`, or of a secret (PKCS #12, PEM). Only the kind and the id in it count: we
ask the Barbican of our own configuration and no other host that a tenant may name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from typing import Any

from oslo_config import cfg

from controller import exceptions
from controller.drivers.secrets import bundles, interface
from controller.openstack import cloud, errors
from controller.refusals import Refusal

_REFERENCE = re.compile(r"(?:https?://[^/?#\s]+(?:/[^?#\s]*)?/)?(?:v1/)?(containers|secrets)/([0-9a-fA-F-]{32,36})/?").fullmatch
_PIECES = ("certificate", "private_key", "intermediates", "private_key_passphrase")
_CONSUMERS_OF_SECRETS = {"OpenStack-API-Version": "key-manager 1.1"}
_SERVICE = "load-balancer"


class BarbicanSecrets(interface.SecretStore):
    """The project of a secret is not shown by Barbican; whose it is was made sure of when it was named (`admit`)."""

    takes_uploads = False

    def __init__(self, of_cloud: cloud.Cloud) -> None:
        self._cloud = of_cloud
        self._barbican = of_cloud.service("key_manager")

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> BarbicanSecrets:
        """The store as `[barbican]` and `[service_auth]` say."""
        return cls(cloud.Cloud.from_conf(conf))

    def admit(self, reference: str, token: str) -> interface.SecretStore:
        path, shown = _path(reference), _Shown(self, token)
        pieces = shown.pieces(path, reference)
        for piece in pieces:  # whoever owns a container may name secrets of others in it, which we may read
            shown._payload(piece, reference)
        was_let = True
        for one in dict.fromkeys((path, *pieces)):
            was_let = was_let and self._may_read(one)  # whom nobody has let read the container, was not let read what is in it
            if not was_let:
                self._let_us_read(one, reference, token)
        return shown

    def pieces(self, path: str, reference: str) -> list[str]:
        """The paths of the secrets that are read for a reference.

        :raises NotFound: there are none; :raises InvalidRequest: we may not see it; :raises Transient: no answer.
        """
        if path.startswith("/secrets/"):
            return [path]
        named = _parts(self._get(path, reference))
        return [named[name] for name in _PIECES if name in named]

    def get_bundle(self, project_id: str, reference: str) -> interface.CertificateBundle:
        path = _path(reference)
        if path.startswith("/secrets/"):
            return bundles.read(self._payload(path, reference))
        found = self._get(path, reference)
        named = _parts(found)
        if found.get("type") != "certificate":
            raise _refusal(reference, "what is in the container can be exchanged: make it of type certificate")
        for needed in _PIECES[:2]:
            if needed not in named:
                raise _refusal(reference, f"the container names no secret as its {needed}: make it of type certificate, with both")
        pieces = {name: self._payload(named[name], reference) for name in _PIECES if name in named}
        return bundles.assemble(
            pieces["certificate"], pieces["private_key"], pieces.get("intermediates"), pieces.get("private_key_passphrase")
        )

    def get_secret(self, project_id: str, reference: str) -> bytes:
        path = _path(reference)
        if path.startswith("/containers/"):
            path = _parts(self._get(path, reference)).get("certificate", "")
            if not path:
                raise _refusal(reference, "the container names no secret as its certificate")
        return self._payload(path, reference)

    def store_bundle(self, project_id: str, name: str, bundle: interface.CertificateBundle) -> str:
        bundles.check(bundle)
        pieces = {"certificate": bundle.certificate, "private_key": bundle.private_key}
        if bundle.intermediates:
            pieces["intermediates"] = b"".join(bundle.intermediates)
        stored = [{"name": piece, "secret_ref": self.store_secret(project_id, f"{name} {piece}", pem)} for piece, pem in pieces.items()]
        made = self._barbican.post("/containers", {"type": "certificate", "name": name, "secret_refs": stored})
        return str(made["container_ref"])

    def store_secret(self, project_id: str, name: str, payload: bytes) -> str:
        content = {"payload_content_type": "application/octet-stream", "payload_content_encoding": "base64"}
        made = self._barbican.post("/secrets", {"name": name, "payload": base64.b64encode(payload).decode(), **content})
        return str(made["secret_ref"])

    def delete(self, project_id: str, reference: str) -> None:
        try:
            path = _path(reference)
        except exceptions.NotFound:
            return
        parts: Collection[str] = ()
        if path.startswith("/containers/"):
            try:
                parts = _parts(self._barbican.get(path)).values()
            except errors.Missing:
                return
        for one in (path, *parts):
            self._barbican.delete(one)

    def register(self, reference: str, load_balancer_id: str) -> None:
        path, consumer, headers = _consumer(reference, load_balancer_id)
        try:
            self._barbican.call("POST", f"{path}/consumers", consumer, headers=headers)
        except (errors.Missing, errors.Contradicted):
            return  # an older Barbican without consumers of secrets, or noted already

    def unregister(self, reference: str, load_balancer_id: str) -> None:
        try:
            path, consumer, headers = _consumer(reference, load_balancer_id)
            self._barbican.call("DELETE", f"{path}/consumers", consumer, headers=headers)
        except (errors.Missing, errors.NotAllowed, exceptions.NotFound):
            return

    def _let_us_read(self, path: str, reference: str, token: str) -> None:
        """By the caller's own right. Who may read it already still may; a secret that was private to its owner stays so for others."""
        try:
            now = self._barbican.call("GET", f"{path}/acl", token=token).get("read") or {}
            users = now.get("users") or ()
            if self._cloud.user_id not in users:
                rights = {"users": [*users, self._cloud.user_id], "project-access": now.get("project-access", True)}
                self._barbican.call("PUT", f"{path}/acl", {"read": rights}, token=token)
        except errors.NotAllowed as exc:
            if self._may_read(path):
                return
            raise _refusal(
                reference, f"we may not read it: let its owner run `openstack acl user add -u {self._cloud.user_id} REF`"
            ) from exc

    def _may_read(self, path: str) -> bool:
        try:
            self._barbican.get(path)
        except errors.NotAllowed:
            return False
        return True

    def _get(self, path: str, reference: str) -> Mapping[str, Any]:
        return self._asked(reference, lambda: self._call(path)) or {}

    def _payload(self, path: str, reference: str) -> bytes:
        headers = {"Accept": "*/*"}
        return self._asked(reference, lambda: self._call(f"{path}/payload", headers=headers, decode=bytes)) or b""

    def _call(self, path: str, **how: Any) -> Any:
        return self._barbican.call("GET", path, **how)

    def _asked(self, reference: str, ask: Any) -> Any:
        try:
            return ask()
        except errors.Missing as exc:
            raise exceptions.NotFound("Secret", reference) from exc
        except errors.NotAllowed as exc:
            raise _refusal(
                reference, "it may not be read: give the user of the load balancer service the right to (`openstack acl`)"
            ) from exc


class _Shown(BarbicanSecrets):
    """What the bearer of a token may read, each thing asked for once."""

    def __init__(self, ours: BarbicanSecrets, token: str) -> None:
        super().__init__(ours._cloud)
        self._barbican = ours._barbican
        self._token = token
        self._seen: dict[str, Any] = {}

    def _call(self, path: str, **how: Any) -> Any:
        if path not in self._seen:
            self._seen[path] = self._barbican.call("GET", path, token=self._token, **how)
        return self._seen[path]


def _consumer(reference: str, load_balancer_id: str) -> tuple[str, dict[str, str], dict[str, str]]:
    path = _path(reference)
    if path.startswith("/containers/"):
        return path, {"name": _SERVICE, "URL": f"loadbalancer/{load_balancer_id}"}, {}
    return path, {"service": _SERVICE, "resource_type": "LOADBALANCER", "resource_id": load_balancer_id}, _CONSUMERS_OF_SECRETS


def _parts(container: Mapping[str, Any]) -> dict[str, str]:
    """The paths of its secrets, by their names in it; a secret has none.

    :raises NotFound: a part is no reference.
    """
    return {str(part.get("name")): _path(str(part.get("secret_ref"))) for part in container.get("secret_refs") or ()}


def _path(reference: str) -> str:
    """:raises NotFound: it is no reference."""
    found = _REFERENCE(reference)
    if found is None:
        raise exceptions.NotFound("Secret", reference)
    return f"/{found[1]}/{found[2]}"


def _refusal(reference: str, words: str) -> exceptions.InvalidRequest:
    return exceptions.InvalidRequest(f"Secret {reference}: {words}.", code=Refusal.UNREADABLE_CERTIFICATE)
