"""From exceptions to answers: the status of each code, and the two shapes of bodies that clients know."""

from __future__ import annotations

import errno
import http
import logging
from collections.abc import Callable, Mapping
from typing import Any

import flask
import werkzeug.exceptions

from controller import exceptions, outages
from controller.api import current
from controller.api.serving import refusals
from controller.db import database
from controller.refusals import Refusal

LOG = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    Refusal.CONFLICT: 409,
    Refusal.FORBIDDEN: 403,
    Refusal.IMMUTABLE: 409,
    Refusal.INVALID: 400,
    Refusal.NOT_FOUND: 404,
    Refusal.NOT_SUPPORTED: 501,
    Refusal.QUOTA: 403,
    Refusal.TRANSIENT: 503,
    Refusal.UNSAFE_VALUE: 400,
}
"""Of whole classes of errors; a code that does not stand here is answered as the class of its error."""
_EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What a full disk, or a machine at its limits, says."""
_OTHER_SCHEMA = (
    "The database's schema is not that of this program, so nothing was changed. Its operator has to upgrade one of them "
    "(`figlina-db-manage upgrade` brings an older schema on); please repeat the request then."
)
Handler = Callable[[Any], flask.Response]
METHODS = "DELETE, GET, POST, PUT"


class BadQuery(werkzeug.exceptions.BadRequest):
    """A limit or a direction of sorting that is none; answered in the shape of routing errors, as clients know it."""


def register(app: flask.Flask, on_purpose: Handler, routing: Handler, unexpected: Handler) -> None:
    """Answer every exception that leaves a route: errors of ours, those of routing, and all others."""
    for kind, handler in ((exceptions.ControllerError, on_purpose), (werkzeug.exceptions.HTTPException, routing), (Exception, unexpected)):
        app.register_error_handler(kind, handler)


def status_of(error: exceptions.ControllerError) -> int:
    """The status of an error's code, or of the code of the nearest class above it that has one."""
    return next((STATUS[code] for code in error.codes if code in STATUS), 500)


def refused(error: exceptions.ControllerError) -> flask.Response:
    """An error that was raised on purpose, in the words of who raised it."""
    code = status_of(error)
    if code >= 500:
        LOG.warning("%s %r: %d: %s", flask.request.method, flask.request.path, code, error)
    return fault(code, error.for_clients)


def not_routed(error: werkzeug.exceptions.HTTPException) -> flask.Response:
    """No such path, no such method, no JSON wanted, too large."""
    code = error.code or 500
    described = error.description if isinstance(error, BadQuery) else ""
    answer = current.json({"code": code, "title": http.HTTPStatus(code).phrase, "description": described}, code)
    if code == 405:
        answer.headers["Allow"] = METHODS
    return answer


def broken(error: Exception) -> flask.Response:
    """The database was away or busy for too long, or a bug of ours: the log has what the client is not told."""
    return fault(*explained(error))


def explained(error: Exception) -> tuple[int, str]:
    """The status of an error that nobody expected, and what a client is told of it; the log gets the rest."""
    asked = f"{flask.request.method} {flask.request.path!r}"
    if outages.is_of_another_schema(error):
        LOG.error("%s: %s can't be worked with: %s", asked, outages.SCHEMA, outages.words(error))
        return 503, _OTHER_SCHEMA
    if database.is_transient(error):
        LOG.error("%s: the database is busy or away: %s", asked, getattr(error, "orig", None) or error)
        return 503, "The database is busy or away; nothing was changed. Please repeat the request."
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        LOG.error("%s: %s", asked, error)
        return 503, "There is no room for the request now, so nothing was done. Please repeat it later."
    LOG.error("%s failed", asked, exc_info=error)
    context = flask.g.get("context")
    named = f" The request is {context.request_id} in the logs." if context else ""
    return 500, f"An unexpected error occurred; nothing was changed.{named}"


def may_repeat(answer: flask.Response) -> flask.Response:
    """Tell with a 503 when the request may be repeated."""
    if answer.status_code == 503:
        answer.headers["Retry-After"] = str(refusals.RETRY_AFTER)
    return answer


def fault(code: int, text: str) -> flask.Response:
    """The shape that clients read `faultstring` from."""
    return may_repeat(current.json(refusals.fault(code, text), code))
