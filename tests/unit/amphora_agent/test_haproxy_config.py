"""Which changes of a configuration the running HAProxy can take, and by which commands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import haproxy_config
from amphora_agent.haproxy_config import Server


def text(
    *servers: str, lines: tuple[str, ...] = ("balance roundrobin",), defaults: tuple[str, ...] = (), maxconn: str = "    maxconn 100"
) -> str:
    return "\n".join(
        [
            *("defaults", *(f"    {line}" for line in defaults), "", "frontend l1", maxconn, "    bind 10.0.0.1:80", ""),
            *("backend p1:l1", *(f"    {line}" for line in lines), *(f"    server {server}" for server in servers)),
        ]
    )


ONE, TWO = "m1 10.0.0.1:80 weight 1 check inter 5s", "m2 10.0.0.2:80 weight 1 check inter 5s"


def test_a_server_line_is_read_whatever_the_order_of_its_words() -> None:
    server = haproxy_config.parse_server("server m1 10.0.0.1:80 check disabled weight 5 inter 5s backup")
    assert server == Server("m1", "10.0.0.1:80", 5, True, ("check", "inter", "5s", "backup"))
    assert server.backup


@pytest.mark.parametrize("line", ["server", "server m1", "server m1 10.0.0.1:80 weight", "server m1 10.0.0.1:80 weight x"])
def test_a_broken_server_line_is_left_to_haproxy_to_refuse(line: str) -> None:
    assert haproxy_config.parse_server(line).words == ()


def test_comments_blank_lines_and_indentation_are_no_difference() -> None:
    plan = haproxy_config.plan(text(ONE), text(ONE).replace("    ", "\t") + "\n\n# a comment\n")
    assert plan == haproxy_config.Plan((), (), (), (), (), ())


def test_servers_that_come_change_and_go_are_told_apart() -> None:
    plan = haproxy_config.plan(
        text(ONE, TWO, "m3 10.0.0.3:80"), text(ONE.replace("weight 1", "weight 9"), f"{TWO} disabled", "m4 10.0.0.4:80")
    )
    assert plan is not None
    assert [(section.backend, server.name) for section, server in plan.added] == [("p1:l1", "m4")]
    assert [(backend, server.name, server.weight) for backend, server in plan.weighed] == [("p1:l1", "m1", 9)]
    assert [(backend, server.name, server.disabled) for backend, server in plan.switched] == [("p1:l1", "m2", True)]
    assert plan.removed == (("p1:l1", "m3"),)
    assert plan.touched == ("p1:l1",)


@pytest.mark.parametrize(
    "new",
    [
        text(ONE, lines=("balance leastconn",)),
        text(ONE, maxconn="    maxconn 200\n    timeout client 7s"),
        text(ONE.replace("10.0.0.1", "10.0.0.9")),
        text(ONE.replace("5s", "6s")),
        text(ONE) + "\nbackend p2:l1\n    balance roundrobin",
        text(ONE, f"{TWO} cookie m2"),
    ],
    ids=["algorithm", "frontend", "address", "check", "new backend", "static cookie"],
)
def test_everything_else_needs_a_reload(new: str) -> None:
    assert haproxy_config.plan(text(ONE), new) is None


def test_servers_with_external_checks_come_and_go_by_a_reload_because_haproxy_would_crash() -> None:
    lines = ("balance roundrobin", "option external-check")
    assert haproxy_config.plan(text(ONE, lines=lines), text(ONE, TWO, lines=lines)) is None
    assert haproxy_config.plan(text(ONE, TWO, lines=lines), text(ONE, lines=lines)) is None
    assert haproxy_config.plan(text(ONE, lines=lines), text(f"{ONE} disabled", lines=lines)) is not None


def test_the_order_of_servers_matters_only_where_one_is_a_backup() -> None:
    assert haproxy_config.plan(text(ONE, TWO), text(TWO, ONE)) is not None
    assert haproxy_config.plan(text(ONE, f"{TWO} backup"), text(f"{TWO} backup", ONE)) is None


def test_a_new_server_inherits_the_defaults_that_haproxy_would_not_give_it() -> None:
    defaults = ("default-server inter 3s",)
    plan = haproxy_config.plan(text(ONE, defaults=defaults), text(ONE, TWO, defaults=defaults))
    assert plan is not None
    assert haproxy_config.add_commands(*plan.added[0]) == [
        "add server p1:l1/m2 10.0.0.2:80 weight 1 inter 3s check inter 5s pool-max-conn -1 pool-purge-delay 5s",
        "enable health p1:l1/m2",
        "set server p1:l1/m2 weight 0",
        "enable server p1:l1/m2",
        "set server p1:l1/m2 health down",
        "set server p1:l1/m2 weight 1",
    ]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("check ssl verify none", "check-ssl"),
        ("check ssl verify none check-ssl", ""),
        ("check send-proxy", "check-send-proxy"),
        ("check send-proxy-v2-ssl-cn ssl verify none", "check-ssl check-send-proxy"),
        ("check port 81 send-proxy ssl verify none", ""),
        ("send-proxy ssl verify none", ""),
        ("check", ""),
    ],
)
def test_a_new_server_is_checked_as_it_is_spoken_to_unless_its_check_goes_elsewhere(words: str, more: str) -> None:
    plan = haproxy_config.plan(text(ONE), text(ONE, f"m2 10.0.0.2:80 weight 1 {words}"))
    assert plan is not None
    wanted = f"{words} {more}".rstrip()
    assert haproxy_config.add_commands(*plan.added[0])[0] == (
        f"add server p1:l1/m2 10.0.0.2:80 weight 1 {wanted} pool-max-conn -1 pool-purge-delay 5s"
    )


def test_a_new_server_gets_its_cookie_and_a_disabled_one_stays_out() -> None:
    lines = ("balance roundrobin", "cookie SRV insert indirect nocache dynamic", "dynamic-cookie-key secret")
    plan = haproxy_config.plan(text(ONE, lines=lines), text(ONE, "m2 10.0.0.2:80 weight 1 disabled", lines=lines))
    assert plan is not None
    assert haproxy_config.add_commands(*plan.added[0])[1:] == ["set dynamic-cookie-key backend p1:l1 secret"]


def test_connection_limits_add_up_and_are_capped() -> None:
    assert haproxy_config.maximum_connections(text(ONE)) == 100
    assert haproxy_config.maximum_connections(text(ONE, maxconn="")) == haproxy_config.DEFAULT_MAXCONN
    assert haproxy_config.maximum_connections("") == 1
    assert haproxy_config.maximum_connections(text(ONE, maxconn="    maxconn 9999999")) == haproxy_config.HIGHEST_MAXCONN


SAME = ("one 10.0.0.1:80 weight 1 check", "two 10.0.0.2:80 weight 1")


@pytest.mark.parametrize(
    ("servers", "plain"),
    [
        (("one 10.0.0.1:80 weight 9 check", "two 10.0.0.2:80 weight 1 disabled"), True),
        (("one 10.0.0.1:80 weight 257 check", "two 10.0.0.2:80 weight 1"), False),
        (("one 10.0.0.1:80 weight check", "two 10.0.0.2:80 weight 1"), False),
        (("one 10.0.0.1:80 weight \u0663 check", "two 10.0.0.2:80 weight 1"), False),
        (("one 10.0.0.1:80 weight 1 check",), True),
        ((), True),
        (("one 10.0.0.1:80 weight 1 chekc", "two 10.0.0.2:80 weight 1"), False),
        ((*SAME, "three 10.0.0.3:80 weight 1"), True),
        ((*SAME, "three 10.0.0.3:80 weight 7 check disabled"), True),
        ((*SAME, "three [2001:db8::3]:80 weight 1 check"), True),
        ((*SAME, "three 10.0.0.3:80 weight 1 check inter 1s"), False),
        ((*SAME, "three 10.0.0.3:80 weight 257"), False),
        ((*SAME, "three 10.0.0.300:80 weight 1"), False),
        ((*SAME, "three [10.0.0.3]:80 weight 1"), False),
        ((*SAME, "three 2001:db8::3:80 weight 1"), False),
        ((*SAME, "three 10.0.0.3:80000 weight 1"), False),
        ((*SAME, "three 10.0.0.3 weight 1"), False),
        ((*SAME, "thr/ee 10.0.0.3:80 weight 1"), False),
        ((*SAME, "three 10.0.0.3:80 weight 1", "three 10.0.0.3:80 weight 1"), False),
        ((*SAME, "two 10.0.0.2:80 weight 2"), False),
    ],
)
def test_only_what_haproxy_is_sure_to_take_goes_without_asking_it(servers: tuple[str, ...], plain: bool) -> None:
    def text(*lines: str) -> str:
        return "backend b\n    balance roundrobin\n" + "".join(f"    server {line}\n" for line in lines)

    assert haproxy_config.differ_plainly(text(*SAME), text(*servers)) is plain
    assert haproxy_config.differ_plainly(text(*SAME), text(*SAME))


@pytest.mark.parametrize("words", ["check id 7", "check track b/one"])
def test_a_server_with_what_others_may_have_or_lose_is_asked_about(words: str) -> None:
    before = f"backend b\n    server one 10.0.0.1:80 weight 1\n    server two 10.0.0.2:80 weight 1 {words}\n"
    assert not haproxy_config.differ_plainly(before, f"{before}    server three 10.0.0.3:80 weight 1 {words}\n")
    assert haproxy_config.differ_plainly(before, before.replace("    server one 10.0.0.1:80 weight 1\n", "")) is ("track" not in words)


def test_another_limit_of_a_frontend_is_a_runtime_command_and_of_the_process_seldom_a_change() -> None:
    before, after = text(ONE), text(ONE, maxconn="    maxconn 3000")
    found = haproxy_config.plan(before, after)
    assert found is not None
    assert [limit for _, limit in found.limited] == [3000]
    assert not found.touched
    assert not haproxy_config.differ_plainly(before, after)
    assert haproxy_config.plan(before, after.replace("bind ", "bind  1")) is None
    assert haproxy_config.plan(before, text(ONE, maxconn="")) is None
    rooms = [haproxy_config.room_for_connections(one, 8 << 30) for one in (before, after, text(ONE, maxconn="    maxconn 70000"))]
    assert rooms == [haproxy_config.SMALLEST_ROOM, haproxy_config.SMALLEST_ROOM, 2 * haproxy_config.SMALLEST_ROOM]


@pytest.mark.parametrize(("mebibytes", "room"), [(0, 65_536), (480, 65_536), (1024, 262_144), (1023, 131_072), (8192, 1_000_000)])
def test_there_is_room_for_as_many_connections_as_memory_could_hold(mebibytes: int, room: int) -> None:
    frontends = "".join(f"frontend f{number}\n    maxconn 50000\n" for number in range(50))
    assert haproxy_config.room_for_connections(frontends, mebibytes << 20) == room
    assert haproxy_config.room_for_connections(text(ONE, maxconn="    maxconn 9999999"), mebibytes << 20) == room
    assert haproxy_config.room_for_connections(text(ONE), mebibytes << 20) == haproxy_config.SMALLEST_ROOM


@pytest.mark.parametrize(("mebibytes", "sessions"), [(128, 10_000), (256, 10_000), (512, 30_000), (1024, 60_000), (65536, 100_000)])
def test_tls_sessions_are_remembered_as_memory_allows(mebibytes: int, sessions: int) -> None:
    assert haproxy_config.remembered_sessions(mebibytes << 20) == sessions


@given(
    st.lists(
        st.sampled_from(["", " ", "\t", "x", "# frontend", "frontend f", "  backend b", "\tlisten l", "frontends", "backend-x", " # x"])
    )
)
def test_a_text_is_cut_where_sections_begin_and_nothing_but_comments_is_lost(lines: list[str]) -> None:
    chunks = haproxy_config.cut("\n".join(lines))
    kept = [line.strip() for chunk in chunks for line in chunk.splitlines()]
    assert [line for line in kept if line[:1] not in ("", "#")] == [line.strip() for line in lines if line.strip()[:1] not in ("", "#")]
    begins = [chunk.split(maxsplit=1)[0] for chunk in chunks if not chunk[:1].isspace()]
    wanted = [line.split()[0] for line in lines if line.strip().startswith(("frontend f", "backend", "listen"))]
    assert [one for one in begins if one in ("frontend", "backend", "backend-x", "listen")] == wanted
