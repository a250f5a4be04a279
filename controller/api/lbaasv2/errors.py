"""From exceptions to `NeutronError` bodies: a status, the name of a type that old clients know, and a sentence."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

import flask
import werkzeug.exceptions

from controller import exceptions
from controller.api import answers, errors
from controller.embedded import networking

LOG = logging.getLogger(__name__)

ENTITIES = {
    "Load Balancer": "loadbalancer",
    "Listener": "listener",
    "Pool": "pool",
    "Health Monitor": "healthmonitor",
    "L7 Policy": "l7policy",
    "L7Policy": "l7policy",
    "L7 Rule": "rule",
    "L7Rule": "rule",
    "Amphora": "agent",
}
"""What the repositories call a thing, and what LBaaS v2 calls it."""

_HTTP_TYPES = {
    400: ("HTTPBadRequest", "The request could not be understood."),
    401: ("HTTPUnauthorized", "Unauthorized: bad credentials."),
    403: ("HTTPForbidden", "Access was denied to this resource."),
    404: ("HTTPNotFound", "The resource could not be found."),
    405: ("HTTPMethodNotAllowed", "The method is not allowed for this resource."),
    406: ("HTTPNotAcceptable", "Only application/json is spoken here."),
    413: ("HTTPRequestEntityTooLarge", "The body of the request is too large."),
    503: ("ServiceUnavailable", "The service is unavailable; please repeat the request."),
}

_Rule = tuple[Callable[[str], object], int, str]


def _says(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.IGNORECASE).search


_SENTENCES: tuple[_Rule, ...] = (
    (_says("is immutable and cannot be updated"), 409, "StateInvalid"),
    (_says("it has children"), 409, "EntityInUse"),
    (_says("already using protocol .* and protocol_port"), 409, "LoadBalancerListenerProtocolPortExists"),
    (_says("already using ip .* on protocol_port"), 409, "MemberExists"),
    (_says("already has a health ?monitor"), 409, "OneHealthMonitorPerPool"),
    (_says("already has a default pool"), 409, "OnePoolPerListener"),
    (_says("VIP IP address is already in use|^The address .* is in use"), 409, "IpAddressAlreadyAllocated"),
    (_says("has no free address left"), 409, "IpAddressGenerationFailure"),
    (_says("^The address .* can't be used on subnet"), 400, "InvalidIpForSubnet"),
    (_says("pool protocol .* is invalid while the listener protocol"), 409, "ListenerPoolProtocolMismatch"),
    (_says("is used by|is in use by|in use by L7|default pool|redirect_pool"), 409, "EntityInUse"),
    (_says("^Provider '.*' is not enabled"), 404, "ServiceProviderNotFound"),
    (_says("^Subnet [^ ]* not found"), 404, "SubnetNotFound"),
    (_says("^Network [^ ]* not found"), 404, "NetworkNotFound"),
    (_says("session_persistence|cookie_name"), 400, "SessionPersistenceConfigurationInvalid"),
    (_says("default_tls_container_ref"), 400, "TLSDefaultContainerNotSpecified"),
    (_says("regular expression|regex"), 400, "L7RuleInvalidRegex"),
    (_says("invalid comparison type"), 400, "L7RuleUnsupportedCompareType"),
    (_says("rule type requires a key"), 400, "L7RuleKeyMissing"),
    (_says("characters in key"), 400, "L7RuleInvalidKey"),
    (_says("rule type does not use a key"), 400, "L7RuleKeyForbidden"),
)
"""What the first API says in words alone. A rule of 409 holds for conflicts and broken rules, one of 400 for broken rules only."""


class Fault(exceptions.ControllerError):
    """An error that LBaaS v2 knows by its type's name; the message is the sentence."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def bad_request(message: str) -> Fault:
    """A body or a query that is not as declared."""
    return Fault(400, "HTTPBadRequest", message)


def no_more_than(most: int, name: str, given: Sequence[object]) -> None:
    """:raises Fault: the list of a body is longer than one request may be."""
    if len(given) > most:
        raise bad_request(
            f"Invalid input for {name}. Reason: it has {len(given)} items, and {most} are allowed: send them in several requests."
        )


def not_found(entity: str, object_id: str) -> Fault:
    """Nothing of LBaaS v2 bears the id."""
    return Fault(404, "EntityNotFound", f"{entity} {object_id} could not be found")


def in_use(entity: str, object_id: str, by: str) -> Fault:
    """What is to be deleted is needed by something."""
    return Fault(409, "EntityInUse", f"{entity} {object_id} is in use by {by}")


def register(app: flask.Flask) -> None:
    """Answer every exception that leaves a route."""
    app.register_error_handler(exceptions.ControllerError, refused)
    app.register_error_handler(werkzeug.exceptions.HTTPException, not_routed)
    app.register_error_handler(Exception, broken)


def refused(error: exceptions.ControllerError) -> flask.Response:
    """An error that was raised on purpose."""
    fault = translated(error)
    if fault.status >= 500:
        LOG.warning("%s %r: %d: %s", flask.request.method, flask.request.path, fault.status, fault)
    return body(fault.status, fault.kind, str(fault))


def translated(error: exceptions.ControllerError) -> Fault:
    """What LBaaS v2 calls an error of ours."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, exceptions.NotFound):
        return _nothing(error)
    if isinstance(error, exceptions.Immutable):
        return Fault(409, "StateInvalid", str(error))
    if isinstance(error, exceptions.QuotaExceeded):
        titles = str(error).rpartition(": ")[2].split(", ")
        return Fault(409, "OverQuota", f"Quota exceeded for resources: {[ENTITIES.get(title, title.lower()) for title in titles]}.")
    if isinstance(error, exceptions.Forbidden):
        return Fault(403, "PolicyNotAuthorized", str(error))
    status = errors.status_of(error)
    if isinstance(error, (networking.NetworkConflict, networking.NetworkInvalid)):
        return Fault(status, error.type, str(error))
    if isinstance(error, (exceptions.Conflict, exceptions.InvalidRequest)):
        return _by_sentence(status, str(error))
    kind = {501: "UnsupportedOption", 503: "ServiceUnavailable"}.get(status, "HTTPInternalServerError")
    return Fault(status, kind, error.for_clients)


def _nothing(error: exceptions.NotFound) -> Fault:
    if error.kind == "Member":
        return Fault(404, "MemberNotFoundForPool", f"Member {error.object_id} could not be found in its pool")
    if error.kind in ENTITIES:
        return not_found(ENTITIES[error.kind], error.object_id)
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[\s_-]+", error.kind))
    return Fault(404, f"{name}NotFound", f"{error.kind} {error.object_id} could not be found.")


def _by_sentence(status: int, sentence: str) -> Fault:
    plain = sentence.removeprefix("Validation failure: ")
    for says, wanted, kind in _SENTENCES:
        if (wanted >= 404 or status == 400) and says(plain):
            return Fault(wanted, kind, plain)
    return Fault(status, "Conflict" if status == 409 else "HTTPBadRequest", plain)


def not_routed(error: werkzeug.exceptions.HTTPException) -> flask.Response:
    """No such path, no such method, no JSON wanted, too large."""
    code = error.code or 500
    kind, sentence = _HTTP_TYPES.get(code, ("HTTPException", "The request failed."))
    described = error.description if isinstance(error, errors.BadQuery) and error.description else sentence
    answer = body(code, kind, described)
    if code == 405:
        answer.headers["Allow"] = errors.METHODS
    return answer


def broken(error: Exception) -> flask.Response:
    """The database was away or busy for too long, or a bug of ours: the log has what the client is not told."""
    status, sentence = errors.explained(error)
    return body(status, "ServiceUnavailable" if status == 503 else "HTTPInternalServerError", sentence)


def body(status: int, kind: str, message: str) -> flask.Response:
    """The shape that old clients read."""
    return errors.may_repeat(answers.json({"NeutronError": {"type": kind, "message": message, "detail": ""}}, status))
