"""What of a stick table goes to another worker, by which commands."""

from __future__ import annotations

import pathlib

import pytest

from amphora_agent import haproxy, haproxy_states, haproxy_tables

TABLE = "p1:l1"
SHOWN = """\
# table: p1:l1, type: string, size:10240, used:4
0x56382eba7050: key='a use=0 exp=0 server_id=0 server_key=-
0x56382eba6a40: key=v\\=1\\ x use=0 exp=0 server_id=1 server_key=a
0x7f9040042db0: key=v740938 use=1 exp=4321 server_id=2 server_key=-
0x7f9040042dc0: key=\\x01 use=1 exp=4321 shard=0 server_id=2 server_key=c
"""


def servers(**numbers: int) -> dict[haproxy_states.Key, haproxy_states.Row]:
    lines = (f"5 {TABLE} {number} {name} 10.0.0.1 2 0 1 1 59 15 3 3 6 0 0 0 - 80 - 0 0 - - 0" for name, number in numbers.items())
    return haproxy_states.rows("\n".join(lines))


def test_entries_name_servers_by_name_or_by_number() -> None:
    assert haproxy_tables.entries(SHOWN, TABLE, servers(a=1, c=2)) == [("v\\=1\\ x", "a"), ("v740938", "c"), ("\\x01", "c")]


def test_a_server_has_another_number_in_the_next_worker_and_one_that_is_gone_has_no_clients() -> None:
    found = haproxy_tables.entries(SHOWN, TABLE, servers(a=1, c=2))
    assert list(haproxy_tables.commands(TABLE, found, servers(a=77))) == [f"set table {TABLE} key v\\=1\\ x data.server_id 77"]


def test_what_can_not_be_written_as_it_is_shown_is_left_out_and_a_semicolon_ends_no_command() -> None:
    found = [("\\x01", "a"), ("a;b", "a"), ("\\n", "a"), ("::ffff:10.0.0.1", "a")]
    keys = [command.split()[4] for command in haproxy_tables.commands(TABLE, found, servers(a=1))]
    assert keys == ["a\\;b", "::ffff:10.0.0.1"]


def config(*lines: str, backend: str = TABLE) -> str:
    return "\n".join([f"backend {backend}", *lines, "    server a 10.0.0.1:80"])


STICKY = ("    stick-table type ipv6 size 10k peers p", "    stick on src")


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (config(*STICKY), config(*STICKY, "    balance leastconn"), [TABLE]),
        (config(*STICKY), config("    stick-table type string len 64 size 10k peers p", "    stick match req.cook(a)"), []),
        (config(*STICKY), config("    stick-table type ipv6 size 20k expire 9s peers p", "    stick on src"), [TABLE]),
        (config(*STICKY), config(*STICKY, backend="p2:l1"), []),
        (config(), config(*STICKY), []),
        (config(*STICKY), config(), []),
    ],
)
def test_a_table_is_the_same_if_keys_and_their_finding_are(old: str, new: str, same: list[str]) -> None:
    assert list(haproxy_tables.same_tables(old, new)) == same


SHOWN_PEERS = """0x1: [29/Nov/2026:16:08:06] id=lb_peers disabled=0 flags=0x1103 resync_timeout=3s task_calls=2
  0x2: id=other(remote,active) addr=127.0.0.1:2002 last_status=ESTA last_hdshk=1s
        last_local_table:0x3 id=p1:l1 local_id=1 remote_id=0
        shared tables:
          0x3 local_id=1 remote_id=0 flags=0x0 remote_data=0x0
              last_acked=0 last_pushed={sent} last_get=0 teaching_origin=0 update=8
              table:0x4 id=p1:l1 update=8 localupdate=8 commitupdate=8 refcnt=1
  0x5: id=me(local,inactive) addr=127.0.0.1:1025 last_status=ESTA last_hdshk=1s
        shared tables:
          0x6 local_id=1 remote_id=1 flags=0x0 remote_data=0x80001
              last_acked=4 last_pushed=0 last_get=4 teaching_origin=0 update=0
              table:0x4 id=p1:l1 update=8 localupdate=8 commitupdate=8 refcnt=1
"""


def test_a_peer_is_told_when_it_was_sent_the_newest_of_every_table() -> None:
    all_sent, some_sent = SHOWN_PEERS.format(sent=8), SHOWN_PEERS.format(sent=7)
    assert haproxy_tables.is_told(all_sent, "other", ["p1:l1"])
    assert not haproxy_tables.is_told(some_sent, "other", ["p1:l1"])
    assert not haproxy_tables.is_told(all_sent, "other", ["p1:l1", "p2:l1"])
    assert not haproxy_tables.is_told(all_sent, "me", ["p1:l1"])
    assert not haproxy_tables.is_told(all_sent, "who", ["p1:l1"])


def test_new_peers_are_those_that_were_not_named_before() -> None:
    alone = "peers p\n    peer me 127.0.0.1:1025\n\nbackend b\n    server peer 127.0.0.1:1\n"
    paired = alone.replace("\n\n", "\n    peer other 198.19.0.2:1025\n\n", 1)
    assert haproxy_tables.new_peers(alone, paired) == {"other"}
    assert haproxy_tables.new_peers(paired, alone) == haproxy_tables.new_peers(paired, paired) == frozenset()


LISTENING = "peers p\n    peer me 198.19.0.1:1025\n    peer other [fd00::2]:1026\n\nbackend b\n    server peer 127.0.0.1:1\n"


@pytest.mark.parametrize(("present", "then"), [("1025\n", "1025,1026"), ("\n", "\n")])
def test_ports_of_peers_are_reserved_where_an_agent_has_prepared_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, present: str, then: str
) -> None:
    """Also by one that lives in the tenant's namespace itself, but on no machine of others."""
    monkeypatch.setattr(haproxy, "_RESERVED", file := tmp_path / "reserved")
    file.write_text(present)
    haproxy.HAProxy(haproxy.Places(tmp_path / "state", tmp_path / "run"), "haproxy", "")._reserve_ports(LISTENING)
    assert file.read_text() == then


def test_ports_of_peers_are_those_on_which_they_listen() -> None:
    listening = LISTENING
    assert haproxy_tables.ports_of_peers(listening) == {1025, 1026}
    assert haproxy_tables.ports_of_peers(listening.partition("\n\n")[2]) == frozenset()
