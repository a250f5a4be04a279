"""What the packet filter is told about security groups, and how it goes from one state to the next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from controller.embedded import filter_parts
from controller.embedded.filter_parts import Part

RULE = {"direction": "ingress", "ethertype": "IPv4", "protocol": None, "port_min": None, "port_max": None, "prefix": None}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({}, "ether type ip"),
        ({"ethertype": "IPv6"}, "ether type ip6"),
        ({"protocol": "tcp", "port_min": 80, "port_max": 80}, "ether type ip meta l4proto 6 th dport 80"),
        ({"protocol": "17", "port_min": 53, "port_max": 60}, "ether type ip meta l4proto 17 th dport 53-60"),
        ({"protocol": "tcp", "port_min": 1, "port_max": 65535}, "ether type ip meta l4proto 6"),
        ({"protocol": "icmp", "port_min": 8, "port_max": 0}, "ether type ip meta l4proto 1 icmp type 8 icmp code 0"),
        ({"protocol": "ipv6-icmp", "ethertype": "IPv6", "port_min": 128}, "ether type ip6 meta l4proto 58 icmpv6 type 128"),
        ({"prefix": "192.0.2.0/24"}, "ether type ip ip saddr 192.0.2.0/24"),
        ({"prefix": "0.0.0.0/0"}, "ether type ip"),
        ({"prefix": "192.0.2.0/24", "direction": "egress"}, "ether type ip ip daddr 192.0.2.0/24"),
        ({"remote_group_id": "a-b"}, "ether type ip ip saddr @m4_a_b"),
        ({"remote_group_id": "a-b", "ethertype": "IPv6"}, "ether type ip6 ip6 saddr @m6_a_b"),
    ],
    ids=str,
)
def test_a_rule_is_said_in_the_words_of_the_filter(changes: dict[str, Any], match: str) -> None:
    assert filter_parts.matches([SimpleNamespace(**{"remote_group_id": None, **RULE, **changes})]) == [match]


def test_rules_for_single_ports_are_one_for_the_filter() -> None:
    tcp = {"remote_group_id": None, **RULE, "protocol": "tcp"}
    rules: list[dict[str, Any]] = [{**tcp, "port_min": port, "port_max": port} for port in (443, 80, 80)]
    rules += [{**tcp, "port_min": 90, "port_max": 99}, {**tcp, "port_min": 80, "port_max": 80, "prefix": "192.0.2.0/24"}, tcp]
    assert filter_parts.matches(SimpleNamespace(**rule) for rule in rules) == [
        "ether type ip meta l4proto 6 th dport 90-99",
        "ether type ip meta l4proto 6",
        "ether type ip meta l4proto 6 th dport { 80, 443 }",
        "ether type ip ip saddr 192.0.2.0/24 meta l4proto 6 th dport 80",
    ]


def test_nothing_is_said_where_nothing_changed() -> None:
    part = Part(sets={"s": "ipv4_addr"}, chains={"c": ("accept",)}, elements=frozenset({("s", "192.0.2.1")}))
    assert filter_parts.script("t", part, part) == ""


def test_a_change_speaks_of_what_changed_alone() -> None:
    before = Part(chains={"a": ("accept",), "b": ("drop",)}, elements=frozenset({("s", "1"), ("s", "2")}))
    after = Part(chains={"a": ("accept",), "b": ("accept",)}, elements=frozenset({("s", "2"), ("s", "3")}))
    assert filter_parts.script("t", before, after).splitlines() == [
        "add chain bridge t b",
        "flush chain bridge t b",
        "add rule bridge t b accept",
        "add element bridge t s { 1 }",
        "delete element bridge t s { 1 }",
        "add element bridge t s { 3 }",
    ]


def test_chains_go_when_nothing_leads_to_them_any_more() -> None:
    before = Part(chains={"port": ("jump group",), "group": ("accept",)}, sets={"m": "ipv4_addr"}, elements=frozenset({("m", "1")}))
    lines = filter_parts.script("t", before, Part(chains={"port": ("drop",)})).splitlines()
    assert lines.index("flush chain bridge t port") < lines.index("delete chain bridge t group")
    assert lines[-1] == "delete set bridge t m"


def test_the_set_of_a_groups_members_names_its_group() -> None:
    name, address = filter_parts.member("6f2b8c54-9a0e", "2001:db8::1")
    assert (filter_parts.group_of_set(name), address) == ("6f2b8c54-9a0e", "2001:db8::1")
    assert filter_parts.group_of_set("senders4") is None
