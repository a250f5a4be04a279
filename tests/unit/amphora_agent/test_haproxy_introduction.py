"""Servers that are to be checked before clients are led to them."""

from __future__ import annotations

import pytest

from amphora_agent.haproxy_introduction import Introduction, introduction

FRONTEND = "frontend l1\n    mode http\n    default_backend p1:l1\n"
M1, M2 = (f"    server m{number} 198.19.0.{number}:80 weight 1 check inter 5s" for number in (1, 2))
BACKEND = "backend p1:l1\n    mode http\n"
OLD = f"defaults\n    retries 3\n\n{FRONTEND}\n{BACKEND}{M1}\n"
LINES = "    mode http\n    timeout check 5s\n    option httpchk\n    http-check expect status 200\n"
SERVERS = "    server m2 198.19.0.2:80 weight 3 check inter 5s\n    server m3 198.19.0.3:80 weight 1 check inter 5s disabled\n"
FILE, OTHER = (f"{letter * 64}.pem" for letter in "ab")


def changed(backend: str = f"backend p2:l1\n{LINES}{SERVERS}") -> str:
    return OLD.replace("default_backend p1:l1", "default_backend p2:l1") + f"\n{backend}"


def test_a_new_backend_below_a_frontend_that_serves_is_checked_by_its_own_lines() -> None:
    assert introduction(OLD, changed()) == Introduction(f"{OLD}\nbackend p2:l1\n{LINES}{SERVERS}")


def test_lines_that_name_other_sections_are_left_out() -> None:
    sticking = "    balance roundrobin\n    stick-table type ip size 1k peers others\n    stick on src\n    cookie SRV insert\n"
    found = introduction(OLD, changed(f"backend p2:l1\n{sticking}{LINES}{SERVERS}"))
    assert found == Introduction(f"{OLD}\nbackend p2:l1\n{LINES}{SERVERS}")


def test_a_program_is_a_line_by_which_servers_are_checked() -> None:
    by_program = f'backend p2:l1\n    option external-check\n    external-check command "ping"\n{M2}\n'
    assert introduction(OLD, changed(by_program)) == Introduction(f"{OLD}\n{by_program}")


def test_who_is_new_goes_by_the_file_of_a_certificate_that_is_not_known_or_another_than_before() -> None:
    words = "ssl crt p2.pem verify required ca-file p2-ca.pem crl-file p2-crl.pem"
    before = f"{OLD}# certificate p2-ca.pem {OTHER}\n# certificate p2-crl.pem {OTHER}\n"
    notes = f"# certificate p2.pem {FILE}\n# certificate p2-ca.pem {FILE}\n# certificate p2-crl.pem {OTHER}\n"
    of_files = f"ssl crt {FILE} verify required ca-file {FILE} crl-file p2-crl.pem"
    found = introduction(before, changed(f"backend p2:l1\n{M2} {words}\n") + notes)
    assert found == Introduction(f"{before}\nbackend p2:l1\n{M2} {of_files}\n")


def test_who_takes_over_in_a_backend_is_checked_in_it_and_gets_no_clients_yet() -> None:
    new = OLD.replace(M1, f"    option forwardfor\n{M2}")
    assert introduction(OLD, new) == Introduction(f"{OLD}{M2.replace('weight 1', 'weight 0')}\n", frozenset({("p1:l1", "m1")}))


def test_who_is_switched_on_while_the_others_go_takes_over_too() -> None:
    old = OLD.replace(M1, f"{M1}\n{M2} disabled")
    expected = Introduction(f"{OLD}{M2.replace('weight 1', 'weight 0')}\n", frozenset({("p1:l1", "m1")}))
    for leaving in (f"{M1} disabled", M1.replace("weight 1", "weight 0")):
        assert introduction(old, OLD.replace(M1, f"{leaving}\n{M2}")) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, OLD),
        (OLD, changed("backend p2:l1\n    mode http\n    server m2 198.19.0.2:80 weight 1\n")),
        (OLD, changed("backend p2:l2\n    mode http\n    server m2 198.19.0.2:80 weight 1 check\n")),
        (OLD, changed("backend p2:l1\n    server m2 198.19.0.2:80 weight 1 check disabled\n")),
        (OLD.replace("    default_backend p1:l1\n", ""), changed()),
        (OLD, OLD.replace(M1, f"{M1}\n{M2}")),
        (OLD, OLD.replace(M1, "    server m2 198.19.0.2:80 weight 1")),
        (OLD, OLD.replace(M1, f"{M2} disabled")),
        (OLD.replace(M1, f"{M1} disabled"), OLD.replace(M1, M2)),
        (OLD, OLD.replace(M1, f"    option httpchk\n{M2}")),
    ],
    ids=[
        "nothing new",
        "no check",
        "new frontend",
        "switched off",
        "led nowhere",
        "one remains",
        "no check of a successor",
        "no successor is on",
        "nobody has served",
        "another check",
    ],
)
def test_nobody_else_is(old: str, new: str) -> None:
    assert introduction(old, new) is None
