"""A report's bytes are checked in every field: an amphora may fall into wrong hands."""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.protocol import heartbeat
from controller.health_manager import reports, restarts
from controller.model import heartbeat as model

STATS = {"bytes_in": 1, "bytes_out": 2, "active_connections": 3, "total_connections": 4, "request_errors": 5}
GOOD: dict[str, Any] = {
    "generation": 7,
    "hash": "abc",
    "listeners": {"listener": {"status": "OPEN", "stats": STATS}},
    "pools": {"pool:listener": {"status": "UP", "members": {"member": "no check"}}},
}


def body(data: object) -> bytes:
    return zlib.compress(json.dumps(data).encode())


def test_what_the_agent_encodes_is_read() -> None:
    report = reports.decode(b"".join(heartbeat.encode_report(GOOD)))
    assert (report.generation, report.config_hash) == (7, "abc")
    assert report.listeners["listener"].request_errors == 5
    assert report.pools["pool", "listener"].members == {"member": "no check"}


@pytest.mark.parametrize(
    "change",
    [
        {"generation": "seven"},
        {"generation": None},
        {"listeners": []},
        {"listeners": {"listener": {"status": "OPEN"}}},
        {"listeners": {"listener": {"status": 5, "stats": STATS}}},
        {"listeners": {"listener": {"status": "OPEN", "stats": STATS | {"bytes_in": "many"}}}},
        {"pools": {"pool": {"status": "UP", "members": {}}}},
        {"pools": {"pool:listener": {"status": "UP", "members": {"member": 1}}}},
        {"pools": {"pool:listener": {"status": "UP" * 99, "members": {}}}},
        {"pools": {"pool:listener": {"status": "UP", "members": []}}},
        {"programs": 1},
        {"programs": {"haproxy": "runs"}},
        {"programs": {"haproxy": {"state": "runs", "died": 0}}},
        {"programs": {"haproxy": {"state": "runs" * 99, "died": 0, "hung": 0}}},
        {"programs": {"haproxy": {"state": "runs", "died": "never", "hung": 0}}},
        {"vrrp": {"state": "MASTER"}},
        {"vrrp": {"state": "MASTER", "holds_vip": "yes"}},
        {"vrrp": {"state": 2, "holds_vip": True}},
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(heartbeat.Rejected):
        reports.decode(body(GOOD | change))


def test_programs_and_vrrp_are_read_and_what_nobody_knows_is_passed_over() -> None:
    state = {"state": "silent", "died": 2, "hung": 10**30}
    told = {"programs": {"keepalived": state, "sshd": {"state": []}}, "vrrp": {"state": "FAULT", "holds_vip": False}, "weather": "fine"}
    report = reports.decode(body(GOOD | told))
    assert report.programs == {"keepalived": model.ProgramReport(state="silent", died=2, hung=restarts.MOST)}
    assert report.vrrp == model.VrrpReport(state="FAULT", holds_vip=False)
    assert (report.runs("keepalived"), report.runs("haproxy")) == (False, True)


def test_older_agents_tell_nothing_of_their_programs() -> None:
    report = reports.decode(body(GOOD))
    assert (report.programs, report.vrrp, report.runs("haproxy")) == ({}, None, True)


def test_counters_are_kept_within_what_a_row_can_hold() -> None:
    stats = STATS | {"bytes_in": 2**63, "bytes_out": -5}
    report = reports.decode(body(GOOD | {"listeners": {"listener": {"status": "OPEN", "stats": stats}}}))
    assert (report.listeners["listener"].bytes_in, report.listeners["listener"].bytes_out) == (2**63 - 1, 0)


def test_a_report_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "MAX_REPORT", 1000)
    with pytest.raises(heartbeat.Rejected, match="too large"):
        reports.decode(zlib.compress(b" " * 100_000))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@pytest.mark.lengthy
@given(JSON | st.fixed_dictionaries({"generation": JSON, "hash": JSON, "listeners": JSON, "pools": JSON}))
def test_whatever_comes_is_a_report_or_is_refused(data: object) -> None:
    with contextlib.suppress(heartbeat.Rejected):
        reports.decode(zlib.compress(json.dumps(data).encode()))


@given(st.binary())
def test_bytes_that_are_no_report_are_refused(data: bytes) -> None:
    with pytest.raises(heartbeat.Rejected):
        reports.decode(data)
