"""HAProxy's table as a report."""

from __future__ import annotations

import copy

import pytest

from amphora_agent import report


def row(proxy: str, name: str, status: str, weight: str = "", numbers: tuple[int, ...] = (0, 0, 0, 0, 0)) -> str:
    columns = [proxy, name] + [""] * 90
    columns[4], columns[7], columns[8], columns[9], columns[12] = map(str, numbers)
    columns[17], columns[18] = status, weight
    return ",".join(columns)


TABLE = "\n".join(
    [
        *("Name: HAProxy", "Pid: 7", "", "# pxname,svname"),
        row("l1", "FRONTEND", "OPEN", numbers=(2, 9, 100, 200, 1)),
        row("p1:l1", "m1", "UP", "1"),
        row("p1:l1", "m2", "DOWN 1/2", "1"),
        row("p1:l1", "gone", "MAINT", "1"),
        row("p1:l1", "BACKEND", "UP", "1"),
        row("p2:l1", "BACKEND", "DOWN", "0"),
    ]
)


@pytest.mark.parametrize(
    ("status", "weight", "expected"),
    [
        *(("UP", "1", "UP"), ("UP 1/3", "1", "UP"), ("UP", "0", "DRAIN"), ("DOWN", "1", "DOWN"), ("DOWN (agent)", "1", "DOWN")),
        *(
            ("no check", "1", "no check"),
            ("MAINT", "1", "MAINT"),
            ("MAINT (via a/b)", "1", "MAINT"),
            ("DRAIN", "1", "DRAIN"),
            ("NOLB", "1", "DRAIN"),
        ),
    ],
)
def test_a_member_status_is_one_of_five_words(status: str, weight: str, expected: str) -> None:
    assert report.member_status(status, weight) == expected


@pytest.mark.parametrize(
    ("status", "check", "expected"), [("DOWN", "INI", "unchecked"), ("UP", "* INI", "unchecked"), ("MAINT", "INI", "MAINT")]
)
def test_who_was_never_checked_is_neither_up_nor_down(status: str, check: str, expected: str) -> None:
    assert report.member_status(status, "1", check) == expected


def test_a_pool_without_a_better_member_than_one_that_waits_is_not_down() -> None:
    def pool(*members: str) -> str:
        table = "\n".join([*members, row("p1:l1", "BACKEND", "DOWN", "0")])
        return report.read_statistics(table).pools["p1:l1"]

    waiting = row("p1:l1", "m1", "DOWN", "1").split(",")
    waiting[36] = "INI"
    assert pool(",".join(waiting), row("p1:l1", "m2", "DOWN", "1")) == "unchecked"
    assert pool(row("p1:l1", "m2", "DOWN", "1")) == "DOWN"


def test_a_table_becomes_a_report_without_the_servers_that_only_finish() -> None:
    statistics = report.read_statistics(TABLE, {("p1:l1", "gone")})
    made = report.make(3, "hash", statistics, {"l1": [100, 200, 9, 1]})
    assert made == {
        "generation": 3,
        "hash": "hash",
        "listeners": {
            "l1": {
                "status": "OPEN",
                "stats": {"bytes_in": 100, "bytes_out": 200, "active_connections": 2, "total_connections": 9, "request_errors": 1},
            }
        },
        "pools": {"p1:l1": {"status": "UP", "members": {"m1": "UP", "m2": "DOWN"}}, "p2:l1": {"status": "DOWN", "members": {}}},
    }
    assert statistics.raw == {"l1": [100, 200, 9, 1]}


def test_the_digest_changes_with_every_status_and_with_no_counter() -> None:
    made = report.make(3, "hash", report.read_statistics(TABLE), {"l1": [100, 200, 9, 1]})
    counted = report.make(3, "hash", report.read_statistics(TABLE), {"l1": [101, 200, 9, 1]})
    assert report.digest(made) == report.digest(counted)
    for path, value in (
        (("generation",), 4),
        (("hash",), "other"),
        (("pools", "p1:l1", "members", "m1"), "DOWN"),
        (("listeners", "l1", "status"), "FULL"),
    ):
        changed = copy.deepcopy(made)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert report.digest(changed) != report.digest(made), path


def test_a_listener_that_disappears_changes_the_digest() -> None:
    statistics = report.read_statistics(TABLE)
    assert report.digest(report.make(3, "h", statistics, {})) != report.digest(report.make(3, "h", statistics, {"l1": [0, 0, 0, 0]}))
