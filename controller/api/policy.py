"""Who may do what. Each route asks `authorize()` with the name of its rule (`<resource>:<action>`) and the project that it is about."""

from __future__ import annotations

from controller import exceptions
from controller.api.auth import Context

ADMIN_ONLY = frozenset({"loadbalancer:put_failover", *(f"amphora:{what}" for what in ("get_all", "get_one", "get_stats", "delete"))}) | {
    "amphora:put_failover",
    "amphora:put_config",
}


def authorize(action: str, project_id: str | None, context: Context) -> None:
    """Let the request pass.

    :raises Forbidden: the caller may not do this with an object of that project.
    """
    if context.is_admin:
        return
    if action in ADMIN_ONLY or project_id is None or project_id != context.project_id:
        raise exceptions.Forbidden


def visible_project(resource: str, context: Context) -> str | None:
    """The only project whose objects a list may show; None: those of all.

    :raises Forbidden: the caller has no project, so there is nothing to be seen.
    """
    if context.is_admin:
        return None
    authorize(f"{resource}:get_all", context.project_id, context)
    return context.project_id
