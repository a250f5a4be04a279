"""The order and the numbers in which HAProxy gets to know its servers."""

from __future__ import annotations

from amphora_agent import haproxy_config, haproxy_order

TEXT = """\
defaults
    retries 3

frontend l1
    bind 10.0.0.1:80

backend p1:l1
    balance roundrobin
    server a 10.0.0.1:80 weight 1
    server b 10.0.0.2:80 weight 2
    server z 10.0.0.9:80 backup
    server c 10.0.0.3:80
    server y 10.0.0.8:80 backup

backend p2:l1
    stick-table type ip size 1k
    server a 10.0.0.1:80 id 7
    server b 10.0.0.2:80"""


def names(text: str, backend: str) -> list[str]:
    return list(haproxy_config.servers_of(text)[backend])


def test_another_server_comes_first_and_the_backups_stay_where_they_are() -> None:
    assert names(haproxy_order.arranged(TEXT, lambda _: 0), "p1:l1") == ["a", "b", "z", "c", "y"]
    assert names(haproxy_order.arranged(TEXT, lambda _: 1), "p1:l1") == ["b", "c", "z", "a", "y"]
    assert names(haproxy_order.arranged(TEXT, lambda count: count - 1), "p1:l1") == ["c", "a", "z", "b", "y"]
    assert names(haproxy_order.arranged(TEXT, lambda _: 1), "p2:l1") == ["b", "a"]


def test_connections_are_counted_while_they_last_and_nothing_else_changes() -> None:
    def kept(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line.strip())

    found = haproxy_order.arranged(TEXT, lambda _: 1).replace(f" id {haproxy_config.number('b')}", "")
    assert "option contstats" in haproxy_config.parse(found)[0].lines
    assert kept(found.replace("    option contstats\n", "")) == kept(TEXT)


def test_where_there_is_a_stick_table_numbers_follow_from_names_and_given_ones_stay() -> None:
    servers = haproxy_config.servers_of(haproxy_order.arranged(TEXT, lambda _: 1))["p2:l1"]
    assert (servers["a"].words, servers["b"].words) == (("id", "7"), ("id", str(haproxy_config.number("b"))))


def test_whom_a_table_does_not_know_yet_waits_where_one_will_be_brought() -> None:
    text = TEXT.replace("size 1k\n", "size 1k\n    stick match req.cook(app)\n")
    assert "WAIT_END" not in haproxy_order.arranged(text, lambda _: 0)
    assert "WAIT_END" not in haproxy_order.arranged(TEXT, lambda _: 0, {"p2:l1"}), "a table that sends nobody anywhere"
    learning, *_, waiting = haproxy_config.parse(haproxy_order.arranged(text, lambda _: 0, {"p2:l1"}))
    assert (learning.header, learning.lines) == ("global", ("set-var proc.figlina_learns int(1)",))
    assert waiting.lines[:5] == (
        "tcp-request inspect-delay 300ms",
        "tcp-request content accept unless { var(proc.figlina_learns) -m int gt 0 }",
        "tcp-request content accept unless { req.cook(app) -m found }",
        "tcp-request content accept if { req.cook(app),in_table(p2:l1) }",
        "tcp-request content accept if WAIT_END",
    )


def test_a_server_that_comes_at_run_time_gets_the_number_that_a_reload_would_give_it() -> None:
    [_, backend] = list(haproxy_config.all_backends(TEXT))
    command = haproxy_config.add_commands(backend, haproxy_config.parse_server("server b 10.0.0.2:80"))[0]
    assert command.endswith(f" id {haproxy_config.number('b')}")


def test_two_names_of_one_number_get_two() -> None:
    # The CRC-32 of both is 0x4DDB0C25.
    assert haproxy_config.number("plumless") == haproxy_config.number("buckeroo")
    assert len(set(haproxy_order.numbers(["plumless", "buckeroo"]).values())) == 2
