"""Certificates that tenants give to the `local` secret store, so that a site without Barbican has TLS. They are never shown again."""

from __future__ import annotations

import base64
import binascii
import dataclasses

from controller import exceptions
from controller.changes.asking import Asking
from controller.db import rows
from controller.drivers.secrets import bundles, interface
from controller.resources import dialects
from controller.resources.declare import Values
from controller.resources.secret import AUTHORITY, CERTIFICATE


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """A secret as it was brought: of which kind it is said to be, a name for people, and its content with the passphrase of its key."""

    kind: str
    name: str
    content: bytes = dataclasses.field(repr=False)
    passphrase: bytes | None = dataclasses.field(default=None, repr=False)


def store(asking: Asking, values: Values) -> str:
    """Keep a certificate with its key and chain (PEM, or PKCS #12 in base64), a CA, or a list of revocations; its reference.

    Nothing that was given is repeated in an error.

    :raises InvalidRequest: the content is not what it should be, or the certificate can't be served.
    :raises NotSupported: the secret store of this deployment takes none from us.
    """
    project_id = _project(values["project_id"] or asking.caller.project_id)
    asking.authorize("secret:post", project_id)
    given = Given(values["kind"], values["name"], _bytes(values["payload"]), (values["passphrase"] or "").encode() or None)
    return keep(asking.secrets, project_id, given)


def keep(kept_in: interface.SecretStore, project_id: str, given: Given) -> str:
    """Check what was given, and keep it in the store for a project, whoever brings it; its reference.

    :raises InvalidRequest: the content is not what it should be, or the certificate can't be served; or no project has such an id.
    :raises NotSupported: the store takes none from us.
    """
    project_id = _project(project_id)
    if not kept_in.takes_uploads:
        raise exceptions.NotSupported(
            "The secret store of this deployment takes no uploads here: store the secret there, and name its address."
        )
    if given.kind == CERTIFICATE:
        bundle = bundles.read(given.content, given.passphrase)
        bundles.check_named(bundles.check(bundle))
        return kept_in.store_bundle(project_id, given.name, bundle)
    checked = bundles.authorities_pem if given.kind == AUTHORITY else bundles.revocations_pem
    return kept_in.store_secret(project_id, given.name, checked(given.content))


def forget(asking: Asking, reference: str) -> None:
    """Forget a secret of the caller's project. What is served with it is served on, until it is changed.

    :raises NotSupported: the secret store of this deployment takes none from us.
    """
    project_id = asking.caller.project_id
    asking.authorize("secret:delete", project_id)
    if not asking.secrets.takes_uploads:
        raise exceptions.NotSupported("The secret store of this deployment takes no uploads here: delete the secret there.")
    asking.secrets.delete(project_id or "", reference)


def _project(project_id: str | None) -> str:
    if not project_id or not rows.may_exist(project_id):
        raise dialects.withheld("project_id", "Value should be the id of a project.")
    return project_id


def _bytes(payload: str) -> bytes:
    if "-----BEGIN " in payload:
        return payload.encode()
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError):
        return payload.encode()  # which will be refused with what to do
