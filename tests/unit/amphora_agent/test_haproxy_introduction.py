"""Backends whose servers are to be checked before clients are led there."""

from __future__ import annotations

import pytest

from amphora_agent.haproxy_introduction import strangers

FRONTEND = "frontend l1\n    mode http\n    default_backend p1:l1\n"
OLD = f"defaults\n    retries 3\n\n{FRONTEND}\nbackend p1:l1\n    mode http\n    server m1 198.19.0.1:80 weight 1 check inter 5s\n"
LINES = "    mode http\n    timeout check 5s\n    option httpchk\n    http-check expect status 200\n"
SERVERS = "    server m2 198.19.0.2:80 weight 3 check inter 5s\n    server m3 198.19.0.3:80 weight 1 check inter 5s disabled\n"


def changed(backend: str = f"backend p2:l1\n{LINES}{SERVERS}") -> str:
    return OLD.replace("default_backend p1:l1", "default_backend p2:l1") + f"\n{backend}"


def test_a_new_backend_below_a_frontend_that_serves_is_checked_by_its_own_lines() -> None:
    assert strangers(OLD, changed()) == f"\nbackend p2:l1\n{LINES}{SERVERS}"


def test_lines_that_name_other_sections_are_left_out() -> None:
    sticking = "    balance roundrobin\n    stick-table type ip size 1k peers others\n    stick on src\n    cookie SRV insert\n"
    assert strangers(OLD, changed(f"backend p2:l1\n{sticking}{LINES}{SERVERS}")) == f"\nbackend p2:l1\n{LINES}{SERVERS}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, OLD),
        (OLD, changed("backend p2:l1\n    mode http\n    server m2 198.19.0.2:80 weight 1\n")),
        (OLD, changed("backend p2:l2\n    mode http\n    server m2 198.19.0.2:80 weight 1 check\n")),
        (OLD, changed("backend p2:l1\n    option external-check\n    server m2 198.19.0.2:80 weight 1 check\n")),
        (OLD, changed("backend p2:l1\n    server m2 198.19.0.2:80 weight 1 check disabled\n")),
        (OLD.replace("    default_backend p1:l1\n", ""), changed()),
        (OLD, f"{changed()}# certificate l1.pem {'0' * 64}.pem\n"),
    ],
    ids=["nothing new", "no check", "new frontend", "a program", "switched off", "led nowhere", "other certificates"],
)
def test_nobody_else_is(old: str, new: str) -> None:
    assert strangers(old, new) == ""
