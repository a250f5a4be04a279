"""Servers that are to be checked before clients are led to them."""

from __future__ import annotations

import pytest

from amphora_agent.haproxy_introduction import strangers

FRONTEND = "frontend l1\n    mode http\n    default_backend p1:l1\n"
M1, M2 = (f"    server m{number} 198.19.0.{number}:80 weight 1 check inter 5s" for number in (1, 2))
BACKEND = "backend p1:l1\n    mode http\n"
OLD = f"defaults\n    retries 3\n\n{FRONTEND}\n{BACKEND}{M1}\n"
LINES = "    mode http\n    timeout check 5s\n    option httpchk\n    http-check expect status 200\n"
M3 = "    server m3 198.19.0.3:80 weight 1 check inter 5s disabled"
FILE, OTHER = (f"{letter * 64}.pem" for letter in "ab")


def changed(backend: str = f"backend p2:l1\n{LINES}{M2}\n{M3}\n") -> str:
    return OLD.replace("default_backend p1:l1", "default_backend p2:l1") + f"\n{backend}"


def test_a_new_backend_below_a_frontend_that_serves_is_checked_by_its_own_lines() -> None:
    assert strangers(OLD, changed()) == f"\nbackend figlina-next-p2:l1\n{LINES}{M2}\n"


def test_lines_that_name_other_sections_are_left_out() -> None:
    sticking = "    balance roundrobin\n    stick-table type ip size 1k peers others\n    stick on src\n    cookie SRV insert\n"
    assert strangers(OLD, changed(f"backend p2:l1\n{sticking}{LINES}{M2}\n")) == f"\nbackend figlina-next-p2:l1\n{LINES}{M2}\n"


def test_a_program_is_a_line_by_which_servers_are_checked() -> None:
    by_program = f'    option external-check\n    external-check command "ping"\n{M2}\n'
    assert strangers(OLD, changed(f"backend p2:l1\n{by_program}")) == f"\nbackend figlina-next-p2:l1\n{by_program}"


def test_who_is_new_goes_by_the_file_of_a_certificate_that_is_not_known_or_another_than_before() -> None:
    words = "ssl crt p2.pem verify required ca-file p2-ca.pem crl-file p2-crl.pem"
    before = f"{OLD}# certificate p2-ca.pem {OTHER}\n# certificate p2-crl.pem {OTHER}\n"
    notes = f"# certificate p2.pem {FILE}\n# certificate p2-ca.pem {FILE}\n# certificate p2-crl.pem {OTHER}\n"
    of_files = f"ssl crt {FILE} verify required ca-file {FILE} crl-file p2-crl.pem"
    found = strangers(before, changed(f"backend p2:l1\n{M2} {words}\n") + notes)
    assert found == f"\nbackend figlina-next-p2:l1\n{M2} {of_files}\n"


def test_whoever_replaces_all_of_a_backend_is_checked_by_the_new_lines() -> None:
    new = OLD.replace(f"    mode http\n{M1}", f"{LINES}{M2}")
    assert strangers(OLD, new) == f"\nbackend figlina-next-p1:l1\n{LINES}{M2}\n"


@pytest.mark.parametrize("leaving", [f"{M1} disabled", M1.replace("weight 1", "weight 0")])
def test_who_is_switched_on_while_the_others_go_takes_over_too(leaving: str) -> None:
    old = OLD.replace(M1, f"{M1}\n{M2} disabled")
    assert strangers(old, OLD.replace(M1, f"{leaving}\n{M2}")) == f"\nbackend figlina-next-p1:l1\n    mode http\n{M2}\n"


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
    ],
)
def test_nobody_else_is(old: str, new: str) -> None:
    assert strangers(old, new) == ""
