"""Who is calling: a `Context`, made once for each request by the gate (`gate.py`), and read by every application behind it with `of()`."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Mapping
from typing import Any, cast

CONTEXT = "figlina.context"
"""The key of the WSGI environment under which the gate leaves the `Context`."""

_GLOBAL_ID = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The caller, and the names under which logs know the request."""

    request_id: str
    project_id: str | None
    is_admin: bool
    user_id: str | None = None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()  # of the service that passes a user's request on
    domain_id: str | None = None  # of a token that is good for a domain, not for a project
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    system_scope: str | None = None  # `all`, or none
    token: str | None = dataclasses.field(default=None, repr=False)  # to ask other services with the caller's rights; never logged
    global_request_id: str | None = None

    def identity(self) -> tuple[Any, ...]:
        """All that rules can ask for, as a key."""
        return (
            self.is_admin,
            self.user_id,
            self.project_id,
            self.roles,
            self.service_roles,
            self.domain_id,
            self.user_domain_id,
            self.project_domain_id,
            self.system_scope,
        )

    def credentials(self) -> dict[str, Any]:
        """What policy rules can ask for. What the caller has not got is left out, so that it equals nothing."""
        known = {
            "user_id": self.user_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "domain_id": self.domain_id,
            "user_domain_id": self.user_domain_id,
            "project_domain_id": self.project_domain_id,
            "system_scope": self.system_scope,
        }
        present = {name: value for name, value in known.items() if value is not None}
        return {"is_admin": self.is_admin, "roles": list(self.roles), "service_roles": list(self.service_roles), **present}


def of(environ: Mapping[str, Any]) -> Context:
    """The caller of the request with this WSGI environment."""
    return cast("Context", environ[CONTEXT])


def new_request_id() -> str:
    """The id that the answer carries, and every log line, job and fault that comes of it."""
    return f"req-{uuid.uuid4()}"


def anonymous(environ: Mapping[str, Any]) -> Context:
    """Nobody: who asks for what everybody may see."""
    return Context(request_id=new_request_id(), project_id=None, is_admin=False, global_request_id=_global_request_id(environ))


def noauth(environ: Mapping[str, Any], default_project: str | None) -> Context:
    """Everybody is an administrator, in the project of the header X-Project-Id, or in the default one."""
    project = environ.get("HTTP_X_PROJECT_ID") or default_project or ""
    return Context(
        request_id=new_request_id(),
        project_id=project if project and len(project) <= 36 and project.isprintable() else None,
        is_admin=True,
        token=environ.get("HTTP_X_AUTH_TOKEN"),
        global_request_id=_global_request_id(environ),
    )


def testing(environ: Mapping[str, Any]) -> Context:
    """Callers are who they say they are in the headers that Keystone's middleware would set: to try policies without a Keystone."""
    return Context(
        request_id=new_request_id(),
        project_id=environ.get("HTTP_X_PROJECT_ID") or None,
        is_admin=False,
        user_id=environ.get("HTTP_X_USER_ID") or None,
        roles=frozenset(role.strip() for role in environ.get("HTTP_X_ROLES", "").split(",") if role.strip()),
        domain_id=environ.get("HTTP_X_DOMAIN_ID") or None,
        system_scope=environ.get("HTTP_OPENSTACK_SYSTEM_SCOPE") or None,
        token=environ.get("HTTP_X_AUTH_TOKEN"),
        global_request_id=_global_request_id(environ),
    )


def keystone(environ: Mapping[str, Any]) -> Context:
    """The owner of the token that Keystone's middleware has proved. Its own object is read, not headers: no client can forge that."""
    proved = environ["keystone.token_auth"]
    user, service = proved.user, proved.service
    return Context(
        request_id=new_request_id(),
        project_id=user.project_id,
        is_admin=False,
        user_id=user.user_id,
        roles=frozenset(user.role_names),
        service_roles=frozenset(service.role_names if service is not None else ()),
        domain_id=user.domain_id,
        user_domain_id=user.user_domain_id,
        project_domain_id=user.project_domain_id,
        system_scope="all" if user.system_scoped else None,
        token=user.auth_token,
        global_request_id=_global_request_id(environ),
    )


def _global_request_id(environ: Mapping[str, Any]) -> str | None:
    """The id that a client gave to everything that it does in the whole cloud, if it has the form of one: it goes into logs."""
    given = environ.get("HTTP_X_OPENSTACK_REQUEST_ID", "")
    return given if _GLOBAL_ID.fullmatch(given) else None
