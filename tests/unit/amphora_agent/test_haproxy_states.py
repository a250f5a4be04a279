"""What of one HAProxy's health is still true in the next one, and how running servers differ from a configuration."""

from __future__ import annotations

import pytest

from amphora_agent import haproxy_config, haproxy_states
from tests import recorded

HEALTHY = ("balance roundrobin", "timeout check 5s", "option httpchk", "http-check expect status 200")
ONE = "m1 10.0.0.1:80 weight 1 check inter 5s fall 3 rise 2"


def text(*servers: str, lines: tuple[str, ...] = HEALTHY, defaults: tuple[str, ...] = ()) -> str:
    return "\n".join(
        [
            *("defaults", *(f"    {line}" for line in defaults), "", "frontend l1", "    bind 10.0.0.1:80", ""),
            *("backend p1:l1", *(f"    {line}" for line in lines), *(f"    server {server}" for server in servers)),
        ]
    )


RECORDED = recorded.haproxy("show-servers-state").splitlines()


def dump(*rows: str) -> str:
    return "\n".join([*RECORDED[:2], *rows, ""])


def row(
    name: str = "m1", *, operation: str = "0", admin: str = "0", weight: str = "7", check_port: str = "0", check_address: str = "-"
) -> str:
    """The line that HAProxy has for a server that is down, with other values."""
    heading = RECORDED[1].removeprefix("# ").split()
    line = dict(zip(heading, next(line for line in RECORDED if " down " in line).split(), strict=True))
    line |= {"be_name": "p1:l1", "srv_name": name, "srv_addr": "10.0.0.1", "srv_port": "80"}
    line |= {"srv_op_state": operation, "srv_admin_state": admin, "srv_uweight": weight}
    line |= {"srv_check_port": check_port, "srv_check_addr": check_address, "srv_agent_port": check_port}
    return " ".join(line.values())


def kept(old: str | None, new: str, *rows: str) -> list[str]:
    """Names of the servers whose health goes to the next worker."""
    start = haproxy_states.start(haproxy_states.rows(dump(*rows)), old, new)
    names = {line.split()[3] for line in start.text.splitlines()[2:]}
    return sorted(names - {name for _, name in start.unchecked})


def test_health_goes_to_the_next_worker_but_weights_switches_and_targets_do_not() -> None:
    dumped = dump(row(admin="4", check_port="81", check_address="10.0.0.9"))
    [line] = haproxy_states.start(haproxy_states.rows(dumped), text(ONE), text(ONE)).text.splitlines()[2:]
    values = dict(zip(RECORDED[1].removeprefix("# ").split(), line.split(), strict=True))
    expected = {"srv_op_state": "0", "srv_admin_state": "0", "srv_uweight": "1", "srv_iweight": "1", "srv_check_result": "2"}
    assert values.items() >= {**expected, "srv_check_port": "0", "srv_check_addr": "-"}.items()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (text(ONE), text(ONE.partition(" check")[0])),
        (text(ONE.partition(" check")[0]), text(ONE)),
        (text(ONE), text(f"{ONE} port 81")),
        (text(f"{ONE} port 81"), text(ONE)),
        (text(f"{ONE} addr 10.0.0.9"), text(ONE)),
        (text(ONE), text(ONE.replace("10.0.0.1:80", "10.0.0.2:80"))),
        (text(ONE), text(ONE.replace("10.0.0.1:80", "10.0.0.1:81"))),
        (text(ONE), text(ONE.replace("fall 3", "fall 4"))),
        (text(ONE), text(f"{ONE} send-proxy-v2")),
        (text(ONE), text(ONE, lines=(*HEALTHY[:3], "http-check expect status 418"))),
        (text(ONE), text(ONE, lines=(*HEALTHY[:3],))),
        (text(ONE), text(ONE, lines=HEALTHY[:2])),
        (text(ONE), text(ONE, lines=(HEALTHY[0], "timeout check 6s", *HEALTHY[2:]))),
        (text(ONE, lines=(*HEALTHY[:2], "option external-check")), text(ONE, lines=HEALTHY[:2])),
        (text(ONE, defaults=("timeout connect 1s",)), text(ONE, defaults=("timeout connect 2s",))),
        (text(ONE, defaults=("default-server inter 1s",)), text(ONE)),
        (text(f"{ONE} disabled"), text(ONE)),
        (text(ONE), text(f"{ONE} disabled")),
        (text(), text(ONE)),
        (text(ONE), text(ONE).replace("p1:l1", "p1:l2")),
        (None, text(ONE)),
    ],
)
def test_whose_check_or_target_is_another_starts_as_in_a_fresh_process(old: str | None, new: str) -> None:
    assert kept(old, new, row(), row("m2")) == []


@pytest.mark.parametrize(
    "new",
    [
        text(ONE),
        text(ONE.replace("weight 1", "weight 9")),
        text(f"{ONE} backup"),
        text(f"{ONE} id 77"),
        text(ONE, "m2 10.0.0.2:80 weight 1 check"),
        text(ONE, lines=("balance leastconn", "cookie SRV insert", "http-reuse safe", *HEALTHY[1:])),
        text(ONE).replace("bind 10.0.0.1:80", "bind 10.0.0.1:81"),
    ],
)
def test_whose_check_is_unchanged_stays_down_whatever_else_changes(new: str) -> None:
    assert kept(text(ONE), new, row()) == ["m1"]


@pytest.mark.parametrize("before", [text("m0 10.0.0.9:80 weight 1 check"), text(f"{ONE} disabled"), ""])
def test_what_was_found_of_who_is_about_to_serve_is_known_where_it_serves(before: str) -> None:
    beside = "\n    ".join(("backend figlina-next-p1:l1", *HEALTHY[1:], f"server {ONE}"))
    old = f"{before}\n\n{beside}\n"
    found = haproxy_states.start(haproxy_states.rows(dump(row().replace("p1:l1", "figlina-next-p1:l1"))), old, text(ONE))
    assert [line.split()[1] for line in found.text.splitlines()[2:]] == ["p1:l1"]
    assert found.unchecked == frozenset()


def test_a_server_in_maintenance_was_not_checked() -> None:
    assert kept(text(ONE), text(ONE), row(admin="1")) == []


@pytest.mark.parametrize("running", [(), (row(),)])
@pytest.mark.parametrize(("words", "expected"), [("ssl verify none", "1"), ("", "0")])
def test_tls_is_spoken_with_a_member_as_the_configuration_says(running: tuple[str, ...], words: str, expected: str) -> None:
    new = text(f"{ONE} {words}")
    [line] = haproxy_states.start(haproxy_states.rows(dump(*running)), new, new).text.splitlines()[2:]
    assert dict(zip(RECORDED[1].removeprefix("# ").split(), line.split(), strict=True))["srv_use_ssl"] == expected


def unchecked(old: str | None, new: str, *rows: str) -> list[str]:
    """Names of the servers that begin DOWN until they are checked."""
    return sorted(name for _, name in haproxy_states.start(haproxy_states.rows(dump(*rows)), old, new).unchecked)


@pytest.mark.parametrize(
    ("old", "new", "rows", "expected"),
    [
        (None, text(ONE), (), ["m1"]),  # nothing is known
        (text(), text(ONE), (), ["m1"]),  # a new member
        (text(f"{ONE} disabled"), text(ONE), (row(admin="5"),), ["m1"]),  # back from maintenance
        (text(ONE), text(f"{ONE} port 81"), (row(operation="0"),), ["m1"]),  # did not serve, and is checked otherwise
        (text(ONE), text(f"{ONE} port 81"), (row(operation="2"),), []),  # served: goes on until a check fails
        (text("m1 10.0.0.1:80"), text(ONE), (row(operation="2"),), []),  # served without a check
        (text(ONE), text(ONE), (row(operation="0"),), []),  # is known to be DOWN
        (text(ONE), text("m1 10.0.0.1:80"), (row(operation="0"),), []),  # is checked no more
        (None, text(f"{ONE} disabled"), (), []),
        (None, text("m1 10.0.0.1:80"), (), []),
    ],
)
def test_who_did_not_serve_or_is_not_known_begins_down_until_it_is_checked(
    old: str | None, new: str, rows: tuple[str, ...], expected: list[str]
) -> None:
    assert unchecked(old, new, *rows) == expected


def test_what_was_reported_of_a_dead_haproxy_is_known_to_the_next() -> None:
    names = ("up", "down", "out", "drained", "waiting", "free")
    text_of_all = text(*(ONE.replace("m1", name) for name in names))
    words = dict(zip(names, ("UP", "DOWN", "MAINT", "DRAIN", "unchecked", "no check"), strict=True))
    start = haproxy_states.start(haproxy_states.seen({"p1:l1": words}), text_of_all, text_of_all)
    operations = {line.split()[3]: line.split()[5] for line in start.text.splitlines()[2:]}
    assert operations == {"up": "2", "down": "0", "out": "0", "drained": "2", "waiting": "0", "free": "2"}
    assert sorted(name for _, name in start.unchecked) == ["out", "waiting"]


def differences(*rows: str, wanted: str, lingering: frozenset[haproxy_states.Key] = frozenset()) -> list[str]:
    return haproxy_states.differences(dump(*rows), haproxy_config.servers_of(text(wanted)), lingering)


@pytest.mark.parametrize(
    ("wanted", "difference"),
    [
        ("m1 10.0.0.1:80 weight 7", None),
        ("m1 10.0.0.1:80 weight 8", "weight"),
        ("m1 10.0.0.2:80 weight 7", "address"),
        ("m1 10.0.0.1:81 weight 7", "port"),
        ("m1 10.0.0.1:80 weight 7 disabled", "state"),
        ("m1 10.0.0.1:80 weight 7 check port 81", "port of its check"),
        ("m1 10.0.0.1:80 weight 7 check addr 10.0.0.9", "address of its check"),
        ("m1 10.0.0.1:80 weight 7 ssl verify none", "use of TLS"),
        ("m1 10.0.0.1:80 weight 7 check check-ssl", None),
    ],
)
def test_what_runs_is_compared_with_what_was_asked_for(wanted: str, difference: str | None) -> None:
    expected = [] if difference is None else [f"server p1:l1/m1 has another {difference} than was asked for"]
    assert differences(row(operation="2"), wanted=wanted) == expected


def test_a_server_drained_by_hand_a_missing_one_and_an_unwanted_one_are_differences() -> None:
    assert differences(row(admin="8"), wanted="m1 10.0.0.1:80 weight 7") == ["server p1:l1/m1 has another state than was asked for"]
    assert differences(wanted="m1 10.0.0.1:80 weight 7") == ["server p1:l1/m1 is missing"]
    both = (row(), row("m2", admin="1"))
    assert differences(*both, wanted="m1 10.0.0.1:80 weight 7") == ["server p1:l1/m2 is not wanted, and serves"]
    assert differences(*both, wanted="m1 10.0.0.1:80 weight 7", lingering=frozenset({("p1:l1", "m2")})) == []


def test_two_spellings_of_an_ipv6_address_are_one() -> None:
    line = row(operation="2", check_address="2001:db8::9").replace("10.0.0.1", "2001:db8::1")
    assert differences(line, wanted="m1 [2001:DB8:0::1]:80 weight 7 check addr [2001:db8:0:0::9]") == []
