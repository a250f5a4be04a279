"""Who is calling: turns a request into a `Context`. Each strategy of `[api_settings] auth_strategy` is one function of this shape."""

from __future__ import annotations

import dataclasses
import uuid

import flask


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The caller, and the names under which logs know the request."""

    request_id: str
    project_id: str | None
    is_admin: bool
    roles: frozenset[str] = frozenset()
    global_request_id: str | None = None


def new_request_id() -> str:
    """The id that the answer carries, and every log line, job and fault that comes of it."""
    return f"req-{uuid.uuid4()}"


def noauth(request: flask.Request, default_project: str | None) -> Context:
    """Everybody is an administrator, in the project of the header X-Project-Id, or in the default one."""
    project = request.headers.get("X-Project-Id", "") or default_project or ""
    global_id = request.headers.get("X-Openstack-Request-Id", "")
    return Context(
        request_id=new_request_id(),
        project_id=project if project and len(project) <= 36 and project.isprintable() else None,
        is_admin=True,
        global_request_id=global_id[:64] if global_id.isprintable() and global_id else None,
    )
