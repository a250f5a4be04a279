"""Errors as answers, in one table."""

from __future__ import annotations

import logging

import flask
from flask.typing import ResponseReturnValue
from werkzeug import exceptions as http

from amphora_agent import errors, system
from amphora_agent.protocol import rest

LOG = logging.getLogger(__name__)
_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    rest.Malformed: (400, "malformed"),
    ValueError: (400, "malformed"),
    errors.StaleGeneration: (rest.STALE_GENERATION, "stale-generation"),
    errors.StaleOrder: (rest.STALE_ORDER, "stale-order"),
    errors.Occupied: (409, "occupied"),
    errors.ConfigRefused: (rest.CONFIG_REFUSED, "config-refused"),
    errors.ProgramFailed: (500, rest.PROGRAM_FAILED),
    errors.MissingCertificates: (rest.MISSING_CERTIFICATES, "missing-certificates"),
    errors.InvalidIdentity: (400, "invalid-identity"),
    errors.InterfaceMissing: (404, rest.INTERFACE_MISSING),
    errors.SettingRefused: (400, "setting-refused"),
    system.CommandFailed: (500, "command-failed"),
    OSError: (500, "system"),  # such as a full disk
}


def register(app: flask.Flask) -> None:
    """Have every error answered as `{"code", "message", "details"}`."""
    for kind in _ANSWERS:
        app.register_error_handler(kind, _answer)
    app.register_error_handler(http.HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def _answer(error: Exception) -> ResponseReturnValue:
    status, code = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    body: dict[str, object] = {"code": code, "message": str(error), "details": getattr(error, "details", None)}
    if isinstance(error, errors.MissingCertificates):
        body["missing"] = list(error.names)
    if isinstance(error, errors.StaleOrder | errors.StaleGeneration):
        body.update({"generation": getattr(error, "generation", 0), "lease_token": getattr(error, "lease_token", 0)})
    LOG.info("%s %s: %s %s", flask.request.method, flask.request.path, status, error)
    return body, status


def _answer_http(error: http.HTTPException) -> ResponseReturnValue:
    return {"code": error.name.lower().replace(" ", "-"), "message": error.description, "details": None}, error.code or 500


def _answer_unexpected(error: Exception) -> ResponseReturnValue:
    LOG.exception("%s %s", flask.request.method, flask.request.path)
    return {"code": "internal", "message": f"the agent failed: {type(error).__name__}", "details": None}, 500
