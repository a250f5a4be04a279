"""Rules of L7 policies, and what their fields say together. (The rules of this module are about rules.)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.changes import regular_expressions
from controller.changes.asking import Asking, new_row
from controller.db import database
from controller.model import load_balancer as model
from controller.refusals import Refusal
from controller.resources.declare import Values
from controller.resources.l7rule import COMPARE_TYPES, SCHEMA

MOST = 50
"""Rules that a policy may have."""

_EVERYTHING = frozenset(COMPARE_TYPES)
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


def create(asking: Asking, policy_id: str, wanted: Values) -> model.L7Rule:
    """Store a rule as PENDING_CREATE, to be applied.

    :raises InvalidRequest: its fields do not fit each other.
    :raises NotFound: there is no such policy.
    :raises Conflict: the policy has as many rules as it may, or takes no change now.
    :raises QuotaExceeded: the project may not have another one.
    :raises NotSupported: the provider can't do it.
    """
    check(wanted)
    with asking.change() as tx:
        policy = tx.l7policies.head(policy_id)
        asking.authorize("l7rule:post", policy.project_id)
        generation = asking.accept_below(tx, policy)
        check_room(policy_id, tx.l7policies.head(policy_id).rules + 1)  # counted under the load balancer's lock
        asking.reserve(tx, policy.project_id, l7rule=1)
        asking.supports(asking.provider_of(tx, policy.load_balancer_id), "rule", wanted)
        parents = {"load_balancer_id": policy.load_balancer_id, "l7policy_id": policy_id}
        row = {**asking.columns(SCHEMA, wanted), **new_row(policy.project_id, generation, **parents)}
        tx.l7rules.add([row])
        return tx.l7rules.get(row["id"])


def update(asking: Asking, policy_id: str, rule_id: str, values: Values) -> model.L7Rule:
    """Store new values, to be applied.

    :raises InvalidRequest: its fields do not fit each other.
    :raises NotFound: the policy has no such rule.
    :raises Conflict: it, or the policy, takes no change now.
    :raises NotSupported: the provider can't do it.
    """
    with asking.change() as tx:
        policy = tx.l7policies.head(policy_id)
        rule = get(tx, policy_id, rule_id)
        asking.authorize("l7rule:put", rule.project_id)
        generation = asking.accept_below(tx, policy)
        check(_whole(tx.l7rules.get(rule_id), values))  # read again, under the load balancer's lock
        asking.supports(asking.provider_of(tx, policy.load_balancer_id), "rule", values)
        tx.l7rules.change(rule_id, asking.columns(SCHEMA, values), generation)
        return tx.l7rules.get(rule_id)


def delete(asking: Asking, policy_id: str, rule_id: str) -> None:
    """Have it removed.

    :raises NotFound: the policy has no such rule.
    :raises Conflict: it, or the policy, takes no change now.
    """
    with asking.change() as tx:
        policy = tx.l7policies.head(policy_id)
        rule = get(tx, policy_id, rule_id)
        asking.authorize("l7rule:delete", rule.project_id)
        generation = asking.accept_below(tx, policy)
        tx.l7rules.mark_deleted(rule_id, generation)


def get(tx: database.Transaction, policy_id: str, rule_id: str) -> model.L7Rule:
    """A rule of this policy.

    :raises NotFound: it has no such rule.
    """
    rule = tx.l7rules.get(rule_id)
    if rule.l7policy_id != policy_id:
        raise exceptions.NotFound("L7 Rule", rule_id)
    return rule


def check(values: Mapping[str, Any]) -> None:
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


def _whole(stored: model.L7Rule, values: Mapping[str, Any]) -> Values:
    """A stored rule as it is with new values."""
    return {name: values.get(name, getattr(stored, name)) for name in ("type", "compare_type", "key", "value")}


def check_room(policy_id: str, count: int) -> None:
    """Bound what each request is compared with.

    :raises Conflict: so many rules are too many.
    """
    if count > MOST:
        raise exceptions.Conflict(f"L7 Policy {policy_id} can't have more than {MOST} rules", code=Refusal.TOO_MANY_L7RULES)


def _bad_rule(reason: str, code: Refusal = Refusal.L7RULE_VALUE) -> exceptions.InvalidRequest:
    return exceptions.InvalidRequest(f"Error parsing L7Rule: {reason}", code=code)
