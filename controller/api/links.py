"""Absolute addresses in answers."""

from __future__ import annotations

import flask

from controller.api import current

ORIGINAL_PATH = "figlina.path"
"""Where the path that the client asked for stands in the WSGI environment, after `paths.shorten()`."""

MOUNTED_AT = "figlina.mounted_at"
"""Where stands below which prefix the application answers, if it is not the first one."""


def base() -> str:
    """How addresses begin, without a slash at the end: `api_base_uri`, or where the request was sent to."""
    configured = current.settings().api_base_uri
    if configured:
        return configured.rstrip("/") + str(flask.request.environ.get(MOUNTED_AT, ""))
    return (flask.request.host_url + flask.request.script_root.lstrip("/")).rstrip("/")


def here() -> str:
    """The address of this request, without its query."""
    return base() + str(flask.request.environ.get(ORIGINAL_PATH, flask.request.path))
