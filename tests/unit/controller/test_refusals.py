"""Every refusal has a code; both APIs answer all codes, and no module reads a sentence of ours back."""

from __future__ import annotations

import ast
import functools
import pathlib
from collections.abc import Iterator

import pytest

from controller import exceptions
from controller.api import errors
from controller.api.lbaasv2 import errors as lbaasv2
from controller.refusals import Refusal

ROOT = pathlib.Path(__file__).parents[3] / "controller"
TABLES = (ROOT / "refusals.py", ROOT / "api" / "errors.py", ROOT / "api" / "lbaasv2" / "errors.py")
READS = frozenset({"search", "match", "fullmatch", "findall", "finditer", "sub", "replace", "find", "index", "count"}) | frozenset(
    {"split", "rsplit", "partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix"}
)
"""What one does with a string to learn something from it."""


@functools.cache
def _modules() -> tuple[tuple[pathlib.Path, ast.Module], ...]:
    return tuple((path, ast.parse(path.read_text())) for path in sorted(ROOT.rglob("*.py")) if "versions" not in path.parts)


def _raised() -> set[str]:
    """The codes that an error is made with, or a class of errors has."""
    found = (node for path, tree in _modules() if path not in TABLES for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == "Refusal"}


@pytest.mark.lengthy
def test_every_code_is_one_that_somebody_raises() -> None:
    assert {code.name for code in Refusal} == _raised()


_INVALID, _RULE, _CONFLICT = exceptions.InvalidRequest, exceptions.RuleBroken, exceptions.Conflict
_BAD, _TAKEN = (400, "HTTPBadRequest"), (409, "Conflict")
ANSWERS: dict[Refusal, tuple[type[exceptions.ControllerError], int, tuple[int, str]]] = {
    Refusal.ADDRESS_IN_USE: (exceptions.AddressInUse, 409, (409, "IpAddressAlreadyAllocated")),
    Refusal.ADDRESS_NOT_ON_SUBNET: (exceptions.AddressNotOnSubnet, 400, (400, "InvalidIpForSubnet")),
    Refusal.CONFLICT: (_CONFLICT, 409, _TAKEN),
    Refusal.DEFAULT_POOL_EXISTS: (_CONFLICT, 409, (409, "OnePoolPerListener")),
    Refusal.FORBIDDEN: (exceptions.Forbidden, 403, (403, "PolicyNotAuthorized")),
    Refusal.HAS_CHILDREN: (_RULE, 400, (409, "EntityInUse")),
    Refusal.IMMUTABLE: (exceptions.Immutable, 409, (409, "StateInvalid")),
    Refusal.INVALID: (_INVALID, 400, _BAD),
    Refusal.INVALID_FIELD: (_INVALID, 400, _BAD),
    Refusal.L7POLICY_TARGET_MISSING: (_INVALID, 400, _BAD),
    Refusal.L7RULE_COMPARE_TYPE: (_INVALID, 400, (400, "L7RuleUnsupportedCompareType")),
    Refusal.L7RULE_KEY_INVALID: (_INVALID, 400, (400, "L7RuleInvalidKey")),
    Refusal.L7RULE_KEY_MISSING: (_INVALID, 400, (400, "L7RuleKeyMissing")),
    Refusal.L7RULE_KEY_UNUSED: (_INVALID, 400, (400, "L7RuleKeyForbidden")),
    Refusal.L7RULE_REGEX: (_INVALID, 400, (400, "L7RuleInvalidRegex")),
    Refusal.L7RULE_VALUE: (_INVALID, 400, _BAD),
    Refusal.MALFORMED_BODY: (_INVALID, 400, _BAD),
    Refusal.MEMBER_EXISTS: (_CONFLICT, 409, (409, "MemberExists")),
    Refusal.MEMBER_REPEATED: (_INVALID, 400, (409, "MemberExists")),
    Refusal.MONITOR_EXISTS: (_CONFLICT, 409, (409, "OneHealthMonitorPerPool")),
    Refusal.NAME_EXISTS: (_CONFLICT, 409, _TAKEN),
    Refusal.NOT_A_SERVER: (_INVALID, 400, _BAD),
    Refusal.NOT_ALLOWED: (exceptions.NotAllowed, 400, _BAD),
    Refusal.NOT_FOUND: (exceptions.NotFound, 404, (404, "EntityNotFound")),
    Refusal.NOT_SUPPORTED: (exceptions.NotSupported, 501, (501, "UnsupportedOption")),
    Refusal.OBJECT_IMMUTABLE: (exceptions.ObjectImmutable, 409, (409, "StateInvalid")),
    Refusal.OFFERING_IN_USE: (_CONFLICT, 409, _TAKEN),
    Refusal.POOL_IN_USE: (_CONFLICT, 409, (409, "EntityInUse")),
    Refusal.PORT_IN_USE: (_CONFLICT, 409, (409, "LoadBalancerListenerProtocolPortExists")),
    Refusal.PROTOCOL_MISMATCH: (_RULE, 400, (409, "ListenerPoolProtocolMismatch")),
    Refusal.PROVIDER_NOT_ENABLED: (_INVALID, 400, (404, "ServiceProviderNotFound")),
    Refusal.QUOTA: (exceptions.QuotaExceeded, 403, (409, "OverQuota")),
    Refusal.RULE_BROKEN: (_RULE, 400, _BAD),
    Refusal.SESSION_PERSISTENCE: (_RULE, 400, (400, "SessionPersistenceConfigurationInvalid")),
    Refusal.SUBNET_FULL: (exceptions.SubnetFull, 400, (409, "IpAddressGenerationFailure")),
    Refusal.TLS_CONTAINER_MISSING: (_RULE, 400, (400, "TLSDefaultContainerNotSpecified")),
    Refusal.TOO_MANY_L7RULES: (_CONFLICT, 409, _TAKEN),
    Refusal.TRANSIENT: (exceptions.Transient, 503, (503, "ServiceUnavailable")),
    Refusal.UNKNOWN_FIELD: (_INVALID, 400, _BAD),
    Refusal.UNKNOWN_NETWORK: (exceptions.UnknownReference, 400, (404, "NetworkNotFound")),
    Refusal.UNKNOWN_REFERENCE: (exceptions.UnknownReference, 400, _BAD),
    Refusal.UNKNOWN_SUBNET: (exceptions.UnknownReference, 400, (404, "SubnetNotFound")),
    Refusal.UNREADABLE_CERTIFICATE: (_INVALID, 400, _BAD),
    Refusal.UNSAFE_VALUE: (exceptions.UnsafeValue, 400, _BAD),
    Refusal.VIP_CONTRADICTION: (_INVALID, 400, _BAD),
}
"""By code: the class of errors that it comes with, and how each API answers it."""


def test_both_apis_answer_every_code_and_name_no_other() -> None:
    assert set(ANSWERS) == set(Refusal) >= set(errors.STATUS) | set(lbaasv2.TYPES)


@pytest.mark.parametrize("code", Refusal)
def test_a_sentence_says_nothing_to_a_program(code: Refusal) -> None:
    """The words of other refusals do not change what a code means."""
    words = "Pool 1 is in use by L7 policy 2: it has children, and the VIP IP address is already in use"
    kind, status, old = ANSWERS[code]
    error = kind.__new__(kind, words)
    error.code = code
    assert errors.status_of(error) == status
    if kind not in (exceptions.NotFound, exceptions.QuotaExceeded):  # which have a sentence of their own there
        fault = lbaasv2.translated(error)
        assert ((fault.status, fault.kind), str(fault)) == (old, words)


def test_an_error_without_an_entry_is_answered_as_the_class_above_it() -> None:
    error = exceptions.AmphoraUnreachable("1", "nobody is there")
    assert error.code not in errors.STATUS
    assert errors.status_of(error) == 503
    assert errors.status_of(exceptions.ComputeFault("it has no room")) == 500
    assert lbaasv2.translated(error).kind == "ServiceUnavailable"


def test_codes_of_classes_are_the_codes_of_their_errors() -> None:
    assert exceptions.Conflict("x").code == exceptions.Conflict.code == Refusal.CONFLICT
    assert exceptions.Conflict("x", code=Refusal.MEMBER_EXISTS).code == Refusal.MEMBER_EXISTS
    assert exceptions.Conflict.code == Refusal.CONFLICT
    assert str(exceptions.RuleBroken("it is so")) == "Validation failure: it is so"


def test_what_a_body_names_and_nobody_knows_keeps_its_sentence() -> None:
    error = exceptions.UnknownReference(exceptions.NotFound("Subnet", "1"))
    assert (str(error), error.code) == ("Subnet 1 not found.", Refusal.UNKNOWN_SUBNET)
    assert exceptions.UnknownReference(exceptions.NotFound("Flavor", "1")).code == Refusal.UNKNOWN_REFERENCE


@pytest.mark.lengthy
def test_no_module_reads_a_sentence_of_ours() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path, tree in _modules() for line in _sentences_read(tree)]
    assert not found, f"ask for the error's code, or give it an attribute: {found}"


@pytest.mark.parametrize(
    "reading",
    [
        "if 'use' in str(error): pass",
        "if str(error) == 'it is in use': pass",
        "str(error).startswith('x')",
        "re.search('x', str(error))",
        "says(str(error)) if re.compile('x').search(error.args[0]) else 0",
        "f'{error}'.partition(': ')",
        "error.for_clients.removeprefix('x')",
        "error.reason.startswith('it answered')",
        "if error.detail == 'it is in use': pass",
    ],
)
@pytest.mark.parametrize(
    "frame", ["try:\n    pass\nexcept exceptions.Conflict as error:\n    {}", "def f(error: exceptions.ControllerError) -> None:\n    {}"]
)
def test_whoever_reads_a_sentence_is_found(frame: str, reading: str) -> None:
    assert list(_sentences_read(ast.parse(frame.format(reading))))
    assert not list(_sentences_read(ast.parse(frame.format("raise DevError(str(error))"))))


def _sentences_read(tree: ast.AST) -> Iterator[int]:
    """The lines in which the sentence of an error of ours is searched, compared, or cut."""
    for node in ast.walk(tree):
        for name, body in _errors_in(node):
            for inner in (one for statement in body for one in ast.walk(statement)):
                match inner:
                    case ast.Compare(left=left, ops=ops, comparators=right) if any(_is_sentence(one, name) for one in (left, *right)):
                        if any(isinstance(op, (ast.In, ast.NotIn)) for op in ops) or any(
                            isinstance(one, ast.Constant) for one in (left, *right)
                        ):
                            yield inner.lineno
                    case ast.Call(func=ast.Attribute(value=value, attr=attr), args=given) if attr in READS:
                        if any(_is_sentence(one, name) for one in (value, *given)):
                            yield inner.lineno


def _errors_in(node: ast.AST) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Names that hold an error of ours, and the statements in which they do."""
    match node:
        case ast.ExceptHandler(type=kind, name=str(name), body=body) if kind is not None and _is_ours(kind):
            yield name, body
        case ast.FunctionDef(args=ast.arguments(args=arguments), body=body):
            yield from ((one.arg, body) for one in arguments if one.annotation is not None and _is_ours(one.annotation))


def _is_ours(kind: ast.expr) -> bool:
    ours = {name for name, value in vars(exceptions).items() if isinstance(value, type) and issubclass(value, exceptions.ControllerError)}
    named = (one for one in ast.walk(kind) if isinstance(one, (ast.Attribute, ast.Name)))
    return any((one.attr if isinstance(one, ast.Attribute) else one.id) in ours for one in named)


def _is_sentence(node: ast.expr, name: str) -> bool:
    """`str(error)`, `f"{error}"`, `error.args[0]`, or an attribute that holds words."""
    match node:
        case ast.Call(func=ast.Name(id="str"), args=[ast.Name(id=found)]):
            return found == name
        case ast.JoinedStr(values=values):
            return any(isinstance(one, ast.FormattedValue) and isinstance(one.value, ast.Name) and one.value.id == name for one in values)
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=found), attr="args")):
            return found == name
        case ast.Attribute(value=ast.Name(id=found), attr="for_clients" | "reason" | "detail"):
            return found == name
    return False
