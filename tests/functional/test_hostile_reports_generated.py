"""Signed reports of every shape: nothing of another load balancer changes, nothing grows, and no turn fails.

An example is a dozen datagrams in one turn of a manager that has had all those before it. Whatever is drawn comes from one amphora; a
second one, of another load balancer, has reported once and must not notice.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import zlib
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from amphora_agent.protocol import heartbeat
from controller.db import database
from controller.health_manager import replay
from tests.functional import heartbeat_fleet
from tests.functional.hostile_reports import Amphora, Manager, a_stored_load_balancer

EACH = 10  # datagrams in an example, on average more
MIB = 1024 * 1024
_OWN = ("load_balancers", "listeners", "pools", "members", "health_monitors", "l7policies", "l7rules")
"""Tables in which a liar may change one column of its own load balancer's rows."""

_NUMBERS = st.integers() | st.floats() | st.sampled_from([-1, 0, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 1e308, True, False, None])
_WORDS = st.sampled_from(["OPEN", "FULL", "UP", "DOWN", "MAINT", "DRAIN", "no check", "", "\0", "UP\0", "x" * 33]) | st.text()
_JSON = st.recursive(
    _NUMBERS | _WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4), max_leaves=4
)


@dataclasses.dataclass(frozen=True)
class Move:
    """What the liar does next."""

    report: Any
    kind: int = heartbeat.REPORT
    cut: tuple[int, int] = (0, 1)
    parts: tuple[int, int] | None = None
    age: float = 0.0
    jump: int = 1
    reboots: bool = False
    same_digest: bool = False
    raw: bytes | None = None
    behind: bytes = b""
    passes: float = 0.0


def _names(liar: Amphora, victim: Amphora) -> st.SearchStrategy[str]:
    ids = [item.id for one in (liar, victim) for item in (*one.snapshot.listeners, *one.snapshot.pools, *one.snapshot.members)]
    ids += [liar.id, victim.id, liar.snapshot.load_balancer.id, victim.snapshot.load_balancer.id]
    return st.sampled_from([*ids, *(key.upper() for key in ids), *(f"{key}\0" for key in ids), "\0", "", "'", "null"]) | st.text(
        max_size=50
    )


def _reports(liar: Amphora, victim: Amphora) -> st.SearchStrategy[Any]:
    names = _names(liar, victim)
    counters = st.fixed_dictionaries(
        dict.fromkeys(("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors"), _NUMBERS | _JSON)
    )
    listeners = st.fixed_dictionaries({"status": _WORDS | _JSON, "stats": counters | _JSON})
    pools = st.fixed_dictionaries({"status": _WORDS | _JSON, "members": st.dictionaries(names, _WORDS | _JSON, max_size=5) | _JSON})
    pairs = st.tuples(names, names).map(":".join) | names
    honest = st.sampled_from([heartbeat_fleet.a_report(one.snapshot, bytes_in=7) for one in (liar, victim)])
    mine = st.dictionaries(st.sampled_from([item.id for item in liar.snapshot.listeners]), listeners, max_size=2)
    fields = {
        "generation": _NUMBERS | _JSON,
        "hash": _WORDS | _JSON,
        "listeners": st.dictionaries(names, listeners | _JSON, max_size=5) | mine | _JSON,
        "pools": st.dictionaries(pairs, pools | _JSON, max_size=5) | _JSON,
    }
    program = st.fixed_dictionaries({"state": _WORDS | _JSON, "died": _NUMBERS | _JSON, "hung": _NUMBERS | _JSON})
    fields["programs"] = st.dictionaries(st.sampled_from(["agent", "haproxy", "keepalived", "\0"]), program | _JSON, max_size=3) | _JSON
    fields["vrrp"] = st.fixed_dictionaries({"state": _WORDS | _JSON, "holds_vip": st.booleans() | _JSON}) | _JSON
    change = st.fixed_dictionaries({}, optional={**fields, "more": _JSON})
    changed = st.tuples(honest, change).map(lambda both: both[0] | both[1])
    return honest | changed | changed | st.fixed_dictionaries(fields) | _JSON


def _moves(liar: Amphora, victim: Amphora) -> st.SearchStrategy[list[Move]]:
    move = st.builds(
        Move,
        report=_reports(liar, victim),
        kind=st.sampled_from([heartbeat.REPORT] * 8 + [heartbeat.BEAT, heartbeat.REPORT_WANTED, 0, 255]),
        cut=st.sampled_from([(0, 1)] * 8 + [(0, 2), (1, 2), (2, 3)]),
        parts=st.none() | st.none() | st.tuples(st.integers(0, 70), st.integers(0, 70)) | st.sampled_from([(65534, 65535), (1, 1)]),
        age=st.sampled_from([0.0] * 8 + [5.0, 100.0, 299.0, 1e9, -5.0, -250.0, -1e9, math.nan, math.inf]),
        jump=st.sampled_from([1] * 8 + [0, -1, 63, 64, 2**32, -(2**32)]),
        reboots=st.sampled_from([False] * 4 + [True]),
        same_digest=st.booleans(),
        raw=st.none() | st.none() | st.none() | st.binary(max_size=200) | st.binary(max_size=200).map(lambda text: bytes(16) + text),
        behind=st.sampled_from([b""] * 9 + [b"more"]),
        passes=st.sampled_from([0.0, 0.0, 0.2, 2.0, 90.0]),
    )
    return st.lists(move, min_size=EACH, max_size=EACH + 4)


def _sign(liar: Amphora, move: Move) -> bytes:
    if move.reboots:
        liar.reboot()
    if not move.same_digest:
        liar.digest = os.urandom(16)
    body = zlib.compress(json.dumps(move.report).encode("utf-8", "surrogatepass")) if move.raw is None else move.raw
    place, count = move.cut
    body = body[len(body) * place // count : len(body) * (place + 1) // count] + move.behind
    liar.sequence = (liar.sequence + move.jump - 1) % (2**64 - 1)
    part, parts = move.parts or (place, count)
    return liar.sign(move.kind, body, part, parts, age=move.age)


@pytest.fixture
def db(database_of_each_kind: database.Database) -> database.Database:
    return database_of_each_kind


def _throw(db: database.Database, examples: int) -> None:
    manager = Manager(db)
    liar, victim = (Amphora(a_stored_load_balancer(db, listeners=2)) for _ in range(2))
    manager.take(*victim.report(bytes_in=1))
    theirs, mine = manager.rows_of(victim.snapshot), _facts(manager, liar)
    thrown = 0

    @hypothesis.settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(_moves(liar, victim))
    def throw(moves: list[Move]) -> None:
        nonlocal thrown
        thrown += len(moves)
        for move in moves:
            manager.clock.passed += move.passes
            liar.ahead = manager.clock.passed
            manager.receive(_sign(liar, move))
        manager.take()
        assert manager.rows_of(victim.snapshot) == theirs
        assert _facts(manager, liar) == mine
        assert manager.receiver._assemblies.size <= replay.ROOM
        assert manager.held() < MIB

    throw()
    assert thrown >= examples * EACH
    hours = manager.clock.passed / 3600
    assert len(manager.events()) <= 4 * (hours + 1)
    liar.ahead = victim.ahead = manager.clock.passed
    liar.reboot()
    manager.clock.passed += 5.0
    manager.take(*victim.report(bytes_in=10**6), *liar.report())
    assert (manager.bytes_in(victim.snapshot), manager.operating_status(victim.snapshot)) == (10**6, "ONLINE")
    with db.read() as tx:
        assert tx.statistics.of_load_balancer(liar.snapshot.load_balancer.id).bytes_in >= 0


def _facts(manager: Manager, liar: Amphora) -> dict[str, Any]:
    """Of the liar's own rows, what even the liar may not change: all but operating statuses and when they changed, counters and events."""
    rows = manager.rows_of(liar.snapshot, without=("operating_status", "updated_at"))
    return {name: rows[name] for name in _OWN} | {"jobs": rows["jobs"], "amphorae": rows["amphorae"]}


@pytest.mark.lengthy
def test_some_hundred_signed_reports_of_every_shape(db: database.Database) -> None:
    _throw(db, 40)


@pytest.mark.slow
def test_thousands_of_signed_reports_of_every_shape(db: database.Database) -> None:
    """Two thousand and a half; ten thousand, and others each time, where FIGLINA_FUZZ=1 asks for a search."""
    _throw(db, 1000 if os.environ.get("FIGLINA_FUZZ") else 250)
