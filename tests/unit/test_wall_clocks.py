"""Every place that reads a clock that people can set, and why it may: a new one is to be thought about, and entered here."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]

READS = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "func": {"now", "current_timestamp", "localtimestamp", "sysdate"},
    "uuid": {"uuid1"},
}
STATED = {"st_mtime", "st_mtime_ns", "st_ctime", "st_ctime_ns", "st_atime", "st_atime_ns"}

EXPLAINED = {
    "controller/clock.py:Clock.wall": "the one place from which others that need it get it",
    # Decides something:
    "controller/db/clock.py:DatabaseClock.now": "SQLite only: who shares a file shares its machine's clock; what lies ahead is brought "
    "back (`bring_back`), and what is too early is fenced by tokens",
    "controller/db/clock.py:now": "of a connection that no `Database` made, as in a migration or a test",
    "controller/health_manager/receiver.py:Receiver._take_all": "for the age of beats of amphorae that have not answered yet; bounded by "
    "`time_window`, and no longer used once they have",
    "controller/health_manager/receiver.py:Receiver._ask": "what a request says; agents do not look at it",
    "controller/worker/engine.py:FlowEngine.may_wait": "how long a step has waited, over processes: of a gap, a minute "
    "counts at most, and nothing if it is negative",
    "controller/deployment/identity.py:_name": "when what a status check tries was made, for a later check to see",
    "controller/deployment/identity.py:_is_old": "whether that is left over from a check of an hour ago or more: if the clock jumps, "
    "it stays until the next check, or a check that runs just now says that what it tries is gone",
    # Is compared with nothing but itself, or shown:
    "controller/api/lbaasv2/agents.py:view": "whether an agent is shown as alive",
    "controller/api/serving/threads.py:_date": "what an answer says of the time (RFC 9110)",
    "controller/api/policy.py:_state": "whether a file is another one than before: equal or not",
    "controller/db/rows.py:now": "times that people see; housekeeping compares some with ages of minutes, of what nobody works on",
    "controller/tasks/status.py:FaultOnRevert.revert": "a time that people see, and by which an event is found again: equal or not",
    "controller/worker/conductor.py:Conductor._fault": "a time that people see",
    "controller/embedded/rows.py:now": "a time that people see",
    # Certificates say from when to when they are good, by the calendar:
    "controller/dev/certificates.py:ensure_self_signed": "the begin and the end of a certificate",
    "controller/drivers/ca/local.py:LocalCertificateAuthority.__init__": "the begin and the end of a certificate, and whether our own is "
    "to be renewed: a third of its lifetime before its end, or because it has not begun",
    "controller/drivers/ca/rollover.py:RollOver.start": "the begin and the end of a root",
    "controller/drivers/ca/local.py:LocalCertificateAuthority._files": "whether a file is another one than before: equal or not",
    "controller/deployment/own.py:certificates": "whether a certificate is good now, as an operator asks by hand",
    "amphora_agent/heartbeat.py:Heart._send": "what a beat says of the time; a manager learns how far this clock differs from its own",
}


def _reads(path: pathlib.Path) -> Iterator[str]:
    """The functions of a module that read a wall clock."""
    stack: list[str] = []

    def visit(node: ast.AST) -> Iterator[str]:
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if named:
            stack.append(node.name)  # type: ignore[attr-defined]
        if _is_read(node):
            yield f"{path.relative_to(ROOT)}:{'.'.join(stack)}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child)
        if named:
            stack.pop()

    return visit(ast.parse(path.read_text()))


def _is_read(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "wall"
    if not isinstance(node, ast.Attribute):
        return False
    if node.attr in STATED:
        return True
    owner = node.value
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return node.attr in READS.get(name, ())


def _imported(path: pathlib.Path) -> Iterator[str]:
    """Names that were imported from a module of clocks, and would be read without its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def _modules() -> list[pathlib.Path]:
    return [path for folder in ("controller", "amphora_agent") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.lengthy
def test_every_reader_of_a_wall_clock_is_explained() -> None:
    found = {place for path in _modules() for place in _reads(path)}
    new = sorted(found - EXPLAINED.keys())
    assert not new, (
        f"these read a clock that people can set: {new}. Measure durations by `time.monotonic`, compare what rows say by `Database.now`, "
        "or enter the place and the reason here"
    )
    gone = sorted(EXPLAINED.keys() - found)
    assert not gone, f"these do not read one any more: {gone}"


@pytest.mark.lengthy
def test_clocks_are_called_by_the_names_of_their_modules() -> None:
    assert [place for path in _modules() for place in _imported(path)] == []


def test_the_scan_sees_what_it_looks_for() -> None:
    text = "class A:\n    def f(self):\n        return time.time() - path.stat().st_mtime\ndef g(): return datetime.datetime.now()\n"
    module = ROOT / "controller" / "exceptions.py"
    tree = ast.parse(text)
    assert sum(_is_read(node) for node in ast.walk(tree)) == 3
    assert list(_reads(module)) == []
