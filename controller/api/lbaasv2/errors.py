"""From exceptions to `NeutronError` bodies: a status, the name of a type that old clients know, and a sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import flask
import werkzeug.exceptions

from controller import exceptions
from controller.api import current, errors
from controller.embedded import networking
from controller.refusals import Refusal

LOG = logging.getLogger(__name__)

ENTITIES = {
    "Load Balancer": "loadbalancer",
    "Listener": "listener",
    "Pool": "pool",
    "Health Monitor": "healthmonitor",
    "L7 Policy": "l7policy",
    "L7 Rule": "rule",
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

_IN_USE = (409, "EntityInUse")
_STATE = (409, "StateInvalid")
TYPES: Mapping[str, tuple[int, str]] = {
    Refusal.ADDRESS_IN_USE: (409, "IpAddressAlreadyAllocated"),
    Refusal.ADDRESS_NOT_ON_SUBNET: (400, "InvalidIpForSubnet"),
    Refusal.CONFLICT: (409, "Conflict"),
    Refusal.DEFAULT_POOL_EXISTS: (409, "OnePoolPerListener"),
    Refusal.FORBIDDEN: (403, "PolicyNotAuthorized"),
    Refusal.HAS_CHILDREN: _IN_USE,
    Refusal.IMMUTABLE: _STATE,
    Refusal.INVALID: (400, "HTTPBadRequest"),
    Refusal.L7RULE_COMPARE_TYPE: (400, "L7RuleUnsupportedCompareType"),
    Refusal.L7RULE_KEY_INVALID: (400, "L7RuleInvalidKey"),
    Refusal.L7RULE_KEY_MISSING: (400, "L7RuleKeyMissing"),
    Refusal.L7RULE_KEY_UNUSED: (400, "L7RuleKeyForbidden"),
    Refusal.L7RULE_REGEX: (400, "L7RuleInvalidRegex"),
    Refusal.MEMBER_EXISTS: (409, "MemberExists"),
    Refusal.MEMBER_REPEATED: (409, "MemberExists"),
    Refusal.MONITOR_EXISTS: (409, "OneHealthMonitorPerPool"),
    Refusal.NOT_FOUND: (404, "EntityNotFound"),
    Refusal.NOT_SUPPORTED: (501, "UnsupportedOption"),
    Refusal.OBJECT_IMMUTABLE: _STATE,
    Refusal.POOL_IN_USE: _IN_USE,
    Refusal.PORT_IN_USE: (409, "LoadBalancerListenerProtocolPortExists"),
    Refusal.PROTOCOL_MISMATCH: (409, "ListenerPoolProtocolMismatch"),
    Refusal.PROVIDER_NOT_ENABLED: (404, "ServiceProviderNotFound"),
    Refusal.QUOTA: (409, "OverQuota"),
    Refusal.SESSION_PERSISTENCE: (400, "SessionPersistenceConfigurationInvalid"),
    Refusal.SUBNET_FULL: (409, "IpAddressGenerationFailure"),
    Refusal.TLS_CONTAINER_MISSING: (400, "TLSDefaultContainerNotSpecified"),
    Refusal.TRANSIENT: (503, "ServiceUnavailable"),
    Refusal.UNKNOWN_NETWORK: (404, "NetworkNotFound"),
    Refusal.UNKNOWN_SUBNET: (404, "SubnetNotFound"),
    Refusal.UNSAFE_VALUE: (400, "HTTPBadRequest"),
}
"""Of a code, the status and the type; others are answered as the class of their error. See `translated()`, too."""


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
    status, kind = next((TYPES[code] for code in error.codes if code in TYPES), (500, "HTTPInternalServerError"))
    if isinstance(error, (networking.NetworkConflict, networking.NetworkInvalid)):
        return Fault(status, error.type, str(error))
    return Fault(status, kind, _sentence(error))


def _sentence(error: exceptions.ControllerError) -> str:
    if isinstance(error, exceptions.RuleBroken):
        return error.detail
    if isinstance(error, exceptions.QuotaExceeded):
        return f"Quota exceeded for resources: {[ENTITIES.get(title, title.lower()) for title in error.resources]}."
    return error.for_clients


def _nothing(error: exceptions.NotFound) -> Fault:
    if error.kind == "Member":
        return Fault(404, "MemberNotFoundForPool", f"Member {error.object_id} could not be found in its pool")
    if error.kind in ENTITIES:
        return not_found(ENTITIES[error.kind], error.object_id)
    name = "".join(word[:1].upper() + word[1:] for word in error.kind.replace("_", " ").replace("-", " ").split())
    return Fault(404, f"{name}NotFound", f"{error.kind} {error.object_id} could not be found.")


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
    return errors.may_repeat(current.json({"NeutronError": {"type": kind, "message": message, "detail": ""}}, status))
