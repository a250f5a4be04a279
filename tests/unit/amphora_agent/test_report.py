"""HAProxy's table as a report."""

from __future__ import annotations

import copy
import csv
import io
from typing import Any

import pytest

from amphora_agent import report
from tests import recorded

TOTALS = {"open": [100, 200, 9, 1]}
TABLE = recorded.haproxy("show-info") + recorded.haproxy("show-stat")


def columns() -> dict[tuple[str, str], dict[str, str]]:
    rows = csv.DictReader(io.StringIO(recorded.haproxy("show-stat").removeprefix("# ")))
    return {(row["pxname"], row["svname"]): row for row in rows}


def row(proxy: str, name: str, status: str, weight: str = "", numbers: tuple[int, ...] = (0, 0, 0, 0, 0)) -> str:
    columns = [proxy, name] + [""] * 90
    columns[4], columns[7], columns[8], columns[9], columns[12] = map(str, numbers)
    columns[17], columns[18] = status, weight
    return ",".join(columns)


def made_of(statistics: report.Statistics, totals: dict[str, list[int]]) -> dict[str, Any]:
    return report.make(3, "hash", [report.part(statistics, totals, {})])


def test_each_of_haproxys_words_for_a_server_is_one_of_five_words() -> None:
    assert report.read_statistics(TABLE).members["states"] == {
        "up": "UP",
        "weightless": "DRAIN",
        "falling": "UP",
        "down": "DOWN",
        "rising": "DOWN",
        "unloved": "DRAIN",
        "agent-down": "DOWN",
        "maint": "MAINT",
        "drain": "DRAIN",
        "spare": "UP",
        "unchecked": "no check",
    }
    assert report.read_statistics(TABLE).members["tracking"] == {"via": "MAINT", "via-down": "DOWN"}


def test_the_recording_has_the_words_that_need_a_closer_look() -> None:
    said = {name: row["status"] for (proxy, name), row in columns().items() if proxy in ("states", "tracking")}
    assert said["falling"].startswith("UP ")
    assert said["rising"].startswith("DOWN ")
    assert {said["unloved"], said["agent-down"], said["via"]} == {"NOLB", "DOWN (agent)", "MAINT (via states/maint)"}
    assert {columns()[listener, "FRONTEND"]["status"] for listener in ("full", "open")} == {"OPEN"}, "HAProxy has no word for a full one"


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
    statistics = report.read_statistics(TABLE, {("states", name) for name in ("spare", "maint", "drain", "rising", "falling")})
    made = made_of(statistics, {"full": [100, 200, 9, 1], "open": [1, 2, 3, 4]})
    stats = {"bytes_in": 100, "bytes_out": 200, "active_connections": 2, "total_connections": 9, "request_errors": 1}
    assert made["listeners"]["full"] == {"status": "FULL", "stats": stats}, "two connections of two"
    assert made["listeners"]["open"]["status"] == "OPEN"
    assert {pool: item["status"] for pool, item in made["pools"].items()} == {
        **dict.fromkeys(("states", "plain", "empty"), "UP"),
        **dict.fromkeys(("tracking", "down"), "DOWN"),
    }
    assert made["pools"]["states"]["members"].keys() == {"up", "weightless", "down", "unloved", "agent-down", "unchecked"}
    assert made["pools"]["empty"]["members"] == {}
    row = columns()["full", "FRONTEND"]
    assert statistics.raw["full"] == [int(row[name]) for name in ("bin", "bout", "stot", "ereq")]


def test_the_digest_changes_with_every_status_and_with_no_counter() -> None:
    made = made_of(report.read_statistics(TABLE), TOTALS)
    counted = made_of(report.read_statistics(TABLE), {**TOTALS, "open": [101, 200, 9, 1]})
    assert report.digest(made) == report.digest(counted)
    for path, value in (
        (("generation",), 4),
        (("hash",), "other"),
        (("pools", "states", "members", "up"), "DOWN"),
        (("listeners", "open", "status"), "FULL"),
    ):
        changed = copy.deepcopy(made)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert report.digest(changed) != report.digest(made), path


def test_a_listener_that_disappears_changes_the_digest() -> None:
    statistics = report.read_statistics(TABLE)
    assert report.digest(made_of(statistics, {})) != report.digest(made_of(statistics, TOTALS))


def test_backends_of_our_own_are_no_pools() -> None:
    own = [row(name, "BACKEND", "UP") for name in ("figlina-metrics", "figlina-split-1")]
    found = report.read_statistics("\n".join([*own, row("figlina-split-1", "pool-256", "no check"), row("pool", "BACKEND", "UP")]))
    assert (found.pools, found.members) == ({"pool": "UP"}, {"pool": {}})


def test_pools_and_members_are_counted_by_the_numbers_of_backends_and_servers() -> None:
    rows = columns()
    pool, member = next((pool, member) for pool, member in rows if pool == "states" and member == "up")
    statistics = report.read_statistics(TABLE)
    for name, found in ((pool, rows[pool, "BACKEND"]), (f"{pool}/{member}", rows[pool, member])):
        errors = int(found["econ"] or 0) + int(found["eresp"] or 0)
        assert statistics.raw_of_members[name] == [*(int(found[one]) for one in ("bin", "bout", "stot")), errors]
    assert statistics.raw_of_members.keys() == {
        pool if member == "BACKEND" else f"{pool}/{member}" for pool, member in rows if member != "FRONTEND"
    } - {name for name in statistics.raw_of_members if name.startswith("figlina")}


def test_what_is_open_is_added_up_over_the_listeners_of_a_pool() -> None:
    table = "\n".join(row(f"p1:{listener}", name, "UP", "1", (3, 0, 0, 0, 0)) for listener in ("l1", "l2") for name in ("m1", "BACKEND"))
    found = report.counts({"p1": [1, 2, 3, 4], "m1": [5, 6, 7, 8]}, report.read_statistics(table).active)
    assert found == {"p1": [1, 2, 6, 3, 4], "m1": [5, 6, 6, 7, 8]}


def test_counts_of_pools_and_members_are_no_part_of_the_state() -> None:
    made = report.make(3, "hash", [report.part(report.read_statistics(TABLE), TOTALS, {"m1": [1, 2, 3, 4]})])
    assert made[report.COUNTS] == {"m1": [1, 2, 0, 3, 4]}
    assert report.digest(made) == report.digest({**made, report.COUNTS: {}})
    assert report.COUNTS not in report.without_counts(made)
