"""What the fields of L7 policies and their rules say together (spec `api.md` §13, §14), wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller import exceptions
from controller.api import current
from controller.api.v2 import regular_expressions, rules
from controller.model import load_balancer as model
from controller.refusals import Refusal
from controller.resources import declare, l7policy, l7rule
from controller.resources.declare import Values

MOST_RULES = 50
"""Rules that a policy may have."""
SUPPORTED_LISTENERS = ("HTTP", "TERMINATED_HTTPS")

_WITH_CODE = (l7policy.TO_URL, l7policy.PREFIX)
_EVERYTHING = frozenset(l7rule.COMPARE_TYPES)
_COMPARE_TYPES = {
    "COOKIE": _EVERYTHING,
    "FILE_TYPE": frozenset({"EQUAL_TO", "REGEX"}),
    "HEADER": _EVERYTHING,
    "HOST_NAME": _EVERYTHING,
    "PATH": _EVERYTHING,
    "SSL_CONN_HAS_CERT": frozenset({"EQUAL_TO"}),
    "SSL_DN_FIELD": _EVERYTHING,
    "SSL_VERIFY_RESULT": frozenset({"EQUAL_TO"}),
}
_KEYED = ("COOKIE", "HEADER", "SSL_DN_FIELD")
_KEYLESS = ("SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT")

_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+", re.ASCII).fullmatch
_DN_FIELD = re.compile(r"[0-9A-Za-z.-]+", re.ASCII).fullmatch
_ASCII = re.compile(r"[\x20-\x7e]+").fullmatch
_PLAIN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+").fullmatch  # no blanks, double quotes or backslashes
_HOST = re.compile(r"[0-9A-Za-z._:*\[\]-]+", re.ASCII).fullmatch
_COOKIE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+").fullmatch  # ... nor commas or semicolons
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+"').fullmatch
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII).fullmatch
_VALUES = {"HOST_NAME": _HOST, "COOKIE": _COOKIE, "SSL_VERIFY_RESULT": _NUMBER}


def _bad_rule(reason: str, code: Refusal = Refusal.L7RULE_VALUE) -> exceptions.InvalidRequest:
    return exceptions.InvalidRequest(f"Error parsing L7Rule: {reason}", code=code)


def new_policy(values: Values) -> None:
    """Keep of a new policy what its action needs, and check that it is there.

    :raises InvalidRequest: something is missing.
    """
    action = values["action"]
    _keep_target(values, action)
    values["redirect_http_code"] = _http_code(action, values["redirect_http_code"])


def changed_policy(values: Values, stored: model.L7Policy) -> None:
    """Add to the new values of a policy what follows from them: the targets of other actions go, and the code that fits comes.

    :raises InvalidRequest: neither the new values nor the stored ones have what the action needs.
    """
    action = values.get("action", stored.action)
    targets = {name: values.get(name, getattr(stored, name)) for name in l7policy.TARGETS.values()}
    _keep_target(targets, action)
    values.update(targets)
    if action != stored.action:
        kept = stored.redirect_http_code if action in _WITH_CODE else None
        values["redirect_http_code"] = _http_code(action, values.get("redirect_http_code", kept))
    elif action == l7policy.TO_POOL:
        values["redirect_http_code"] = None


def _keep_target(values: Values, action: str) -> None:
    """Clear the targets of other actions.

    :raises InvalidRequest: that of this action is missing.
    """
    for of_action, name in l7policy.TARGETS.items():
        if of_action != action:
            values[name] = None
        elif values[name] is None:
            raise exceptions.InvalidRequest(f"Invalid L7 Policy arguments: {name} must not be None", code=Refusal.L7POLICY_TARGET_MISSING)


def _http_code(action: str, code: int | None) -> int | None:
    if action == l7policy.TO_POOL:
        return None
    if code is None and action in _WITH_CODE:
        return l7policy.DEFAULT_HTTP_CODE
    return code


def policy_below(listener_protocol: str) -> None:
    """Policies decide where requests go.

    :raises InvalidRequest: this listener serves nothing but metrics.
    """
    if listener_protocol == "PROMETHEUS":
        raise rules.failure("A listener of protocol PROMETHEUS can't have L7 policies.")


def supported_below(listener_protocol: str) -> None:
    """Called when all other rules are met.

    :raises NotSupported: no amphora can look into what is spoken here.
    """
    if current.settings().refuse_unsupported and listener_protocol not in SUPPORTED_LISTENERS:
        raise declare.unsupported("l7policies of a listener of protocol", listener_protocol)


def rule(values: Mapping[str, Any]) -> None:
    """Check a whole rule: a new one, or a stored one with its new values.

    :raises InvalidRequest: its fields do not fit each other.
    """
    kind, compare_type = values["type"], values["compare_type"]
    if compare_type not in _COMPARE_TYPES[kind]:
        raise _bad_rule(f"Invalid L7 Rule: {compare_type} is an invalid comparison type for rule type {kind}", Refusal.L7RULE_COMPARE_TYPE)
    _check_key(kind, values["key"])
    _check_value(kind, compare_type, values["value"])


def _check_key(kind: str, key: str | None) -> None:
    if kind in _KEYED:
        if not key:
            raise _bad_rule("Invalid L7 Rule: L7 rule type requires a key", Refusal.L7RULE_KEY_MISSING)
        if not (_DN_FIELD if kind == "SSL_DN_FIELD" else _TOKEN)(key):
            raise _bad_rule("Invalid L7 Rule: Invalid characters in key", Refusal.L7RULE_KEY_INVALID)
    elif kind in _KEYLESS and key is not None:
        raise _bad_rule("Invalid L7 Rule: L7 rule type does not use a key", Refusal.L7RULE_KEY_UNUSED)


def _check_value(kind: str, compare_type: str, value: str) -> None:
    if not value:
        raise _bad_rule("Invalid L7 Rule: L7 rule type requires a value")
    if compare_type == "REGEX":
        _check_expression(value)
    elif kind == "SSL_CONN_HAS_CERT":
        if value.lower() != "true":
            raise _bad_rule("Invalid L7 Rule: rule value must be True for rule type SSL_CONN_HAS_CERT")
    elif not (_VALUES.get(kind, _PLAIN)(value) or (kind == "HEADER" and _QUOTED(value))):
        raise _bad_rule("Invalid characters in comparison value")


def _check_expression(value: str) -> None:
    if not _ASCII(value):  # HAProxy compares bytes: a letter of several would be taken for several letters
        raise _bad_rule("Invalid characters in comparison value")
    try:
        regular_expressions.check(value)
    except regular_expressions.Refused as refusal:
        raise _bad_rule(f"Invalid L7 Rule: {refusal}", Refusal.L7RULE_REGEX) from None


def whole_rule(stored: model.L7Rule, values: Mapping[str, Any]) -> Values:
    """A stored rule as it is with new values."""
    return {name: values.get(name, getattr(stored, name)) for name in ("type", "compare_type", "key", "value")}


def room_for_rules(policy_id: str, count: int) -> None:
    """Bound what each request is compared with.

    :raises Conflict: so many rules are too many.
    """
    if count > MOST_RULES:
        raise exceptions.Conflict(f"L7 Policy {policy_id} can't have more than {MOST_RULES} rules", code=Refusal.TOO_MANY_L7RULES)


def ordered(wanted: Iterable[Values]) -> list[Values]:
    """New policies in the order that their positions ask for, as if they had been made one after the other; they are numbered anew."""
    found: list[Values] = []
    for values in wanted:
        found.insert(values["position"] - 1, values)
    for position, values in enumerate(found, start=1):
        values["position"] = position
    return found
