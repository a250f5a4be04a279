"""Loops that outlive errors: what they say, and that there is none which says it at every turn."""

from __future__ import annotations

import ast
import logging
import pathlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from amphora_agent import outages as agents_outages
from controller import exceptions, outages

ROOT = pathlib.Path(__file__).parents[3]
LOG = logging.getLogger("loop")


class Clock:
    """Time that a test moves on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _away(words: str = "connection refused") -> Exception:
    return sa.exc.OperationalError("SELECT 1", {}, OSError(words))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _outage(clock: Clock, services: outages._Services, name: str = "The loop") -> outages.Outage:
    return outages.Outage(LOG, name, clock=clock, services=services)


def test_three_loops_and_a_thousand_turns_without_the_database_are_two_sentences(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    services = outages._Services()
    loops = [_outage(clock, services, name) for name in ("One", "Two", "Three")]
    for number in range(1000):
        clock.now += 1
        for loop in loops:
            loop.met(_away(f"try {number}"))
    for _ in range(3):
        for loop in loops:
            loop.over()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "The database does not answer: try 0. It is tried again, and its return will be told",
        "The database answers again, after 999.0 s",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_tries_come_more_and_more_rarely_and_begin_anew_after_success(clock: Clock) -> None:
    loop = _outage(clock, outages._Services())
    waits = [loop.met(_away()) for _ in range(2000)]
    assert waits[:5] == [0.5, 1.0, 2.0, 4.0, 5.0]
    assert set(waits[4:]) == {5.0}
    loop.over()
    assert loop.met(_away()) == 0.5


def test_a_mistake_of_ours_is_told_with_its_traceback_once_for_each_place(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    loop = _outage(clock, outages._Services())

    def here() -> None:
        raise ValueError("x")

    def there() -> None:
        raise ValueError("x")

    for _ in range(50):
        for wrong in (here, there):
            try:
                wrong()
            except ValueError as error:
                loop.met(error)
    clock.now += 7
    loop.over()
    assert [bool(record.exc_info) for record in caplog.records] == [True, True, False]
    assert caplog.records[-1].getMessage() == "The loop is well again, after 7.0 s and 100 failed tries"


@pytest.mark.parametrize("error", [exceptions.Transient("compute is away"), OSError("no route to host")])
def test_a_service_that_is_away_is_a_sentence_and_no_traceback(clock: Clock, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    loop = _outage(clock, outages._Services())
    for _ in range(50):
        loop.met(error)
    (record,) = caplog.records
    assert str(error) in record.getMessage()
    assert not record.exc_info


def test_errors_of_many_kinds_are_bounded(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    loop = _outage(clock, outages._Services())
    for number in range(500):
        loop.met(type(f"Error{number}", (Exception,), {})("x"))
    assert len(caplog.records) == outages._MOST_KINDS


def test_the_agent_says_each_error_once(caplog: pytest.LogCaptureFixture) -> None:
    loop = agents_outages.Outage(LOG, "The heartbeat")
    for _ in range(100):
        loop.met(OSError("network is unreachable"))
    loop.over()
    loop.over()
    assert len(caplog.records) == 2


# That no loop escapes

LOOPS_BY_ITSELF = {
    "amphora_agent/api/server.py:_serve": "a connection, once",
    "amphora_agent/api/errors.py:_answer_unexpected": "a request, once",
    "amphora_agent/member_checks.py:_tell": "a member that came or went, once",
    "controller/api/serving/threads.py:_answer": "a request, once",
    "controller/changes/vip.py:_give_back": "a request, once",
    "controller/health_manager/recorder.py:_tell": "a start of a program, once",
    "controller/health_manager/repairs.py:_try": "an amphora, once in five minutes",
    "controller/worker/conductor.py:_run": "a job, whose next try backs off",
    "controller/worker/conductor.py:_fail_outside_flow": "a job, whose next try backs off",
}
"""Where a traceback is logged for one thing that happened, by the function; all else goes through an `Outage`."""


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for package in ("controller", "amphora_agent"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    yield f"{path.relative_to(ROOT)}:{node.name}", node


def _calls(node: ast.AST, name: str, of: str = "") -> bool:
    calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    return any(call.attr == name and of in ("", getattr(call.value, "id", None)) for call in calls)


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException"))


def _leaves(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(one, (ast.Raise, ast.Return)) for one in ast.walk(handler))


@pytest.mark.lengthy
def test_every_loop_that_outlives_errors_tells_an_outage() -> None:
    found, wrong = 0, []
    for name, function in _functions():
        for loop in ast.walk(function):
            if not isinstance(loop, (ast.While, ast.For)):
                continue
            found += _calls(loop, "outlives")
            for handler in ast.walk(loop):
                if isinstance(handler, ast.ExceptHandler) and _catches_everything(handler) and not _leaves(handler):
                    found += 1
                    if not _calls(handler, "met"):
                        wrong.append(f"{name}:{handler.lineno}")
    assert found >= 10
    assert wrong == [], "use outages.Outage: outlives(turn), or met(error), and over() after a good turn"


@pytest.mark.lengthy
def test_every_traceback_that_is_logged_elsewhere_is_of_one_thing() -> None:
    there = {name for name, function in _functions() if _calls(function, "exception", "LOG")}
    assert there - set(LOOPS_BY_ITSELF) == set()
    assert set(LOOPS_BY_ITSELF) - there == set(), "these log none any more"
