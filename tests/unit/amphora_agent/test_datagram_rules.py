"""Rules of services: what a pool decides stands once, however many listeners it has."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from amphora_agent import datagram_rules
from amphora_agent.datagram_rules import Standing
from amphora_agent.protocol import datagrams

MEMBERS = tuple(
    datagrams.Member(id=f"m-{at}", address=f"198.19.0.{at + 1}", port=53, weight=1, check_address=f"198.19.0.{at + 1}", check_port=53)
    for at in range(50)
)
STANDING = Standing(frozenset(one.id for one in MEMBERS))
ONE = datagrams.Service(id="l-1", transport="udp", addresses=("198.19.1.1",), port=1, pool_id="p", members=MEMBERS)


def _elements(services: list[datagrams.Service]) -> dict[str, int]:
    """How many elements each service writes into maps of members."""
    leads = datagram_rules.Leads(services)
    rules = {one.id: datagram_rules.rules(one, STANDING, leads) for one in services}
    return {name: sum(line.count(" : ") for line in lines if line.startswith("add element")) for name, lines in rules.items()}


@pytest.mark.parametrize("algorithm", datagrams.ALGORITHMS)
def test_members_of_a_pool_are_written_down_once(algorithm: str) -> None:
    one = dataclasses.replace(ONE, algorithm=algorithm)
    alone = _elements([one])["l-1"]
    found = _elements([one, *(dataclasses.replace(one, id=f"l-{at}", port=at) for at in range(2, 12))])
    own = 256 if algorithm == datagrams.LEAST_CONNECTIONS else 0  # who is next depends on a listener's own flows
    assert found == {"l-1": alone, **{f"l-{at}": own for at in range(2, 12)}}


@pytest.mark.parametrize(
    "other",
    [
        {"pool_id": "q"},
        {"pool_id": None},
        {"algorithm": datagrams.SOURCE_IP},
        {"members": MEMBERS[1:]},
        {"persistence": datagrams.Persistence(timeout=5)},
        {"preserve_client_ip": True},
        {"addresses": ("2001:db8::1",), "members": (dataclasses.replace(MEMBERS[0], address="2001:db8::2"),)},
    ],
)
def test_who_differs_in_what_a_pool_decides_has_members_of_its_own(other: dict[str, Any]) -> None:
    assert _elements([ONE, dataclasses.replace(ONE, id="l-2", port=2, **other)])["l-2"]


def test_a_listener_of_one_version_of_ip_leads_none_of_the_other() -> None:
    six = dataclasses.replace(MEMBERS[0], id="six", address="2001:db8::2")
    both = dataclasses.replace(ONE, members=(*MEMBERS, six))
    second = dataclasses.replace(both, id="l-2", port=2, addresses=("198.19.1.1", "2001:db8::1"))
    leads = datagram_rules.Leads([both, second])
    assert (leads.of_all(both), leads.of_all(second)) == (("l-1",), ("l-1", "l-2"))
