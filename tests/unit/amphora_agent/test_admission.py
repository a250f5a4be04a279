"""What an amphora admits by NICs that no security group guards: how it is said, and what an older agent makes of it."""

from __future__ import annotations

import dataclasses
import ipaddress
import shutil
import subprocess

import pytest

from amphora_agent import admission, interfaces, load_balancer
from amphora_agent.protocol import rest

PLAIN = rest.Interface(mac="02:f1:00:00:00:02", name="eth1", mtu=1400, addresses=("198.19.251.2/24",), vips=("198.19.251.100/32",))
RULES = (
    rest.Admission("tcp", 80),
    rest.Admission("udp", 53, "203.0.113.0/24"),
    rest.Admission("sctp", 9, "2001:db8::/32"),
    rest.Admission("vrrp", None, "198.19.251.3/32"),
    rest.Admission("vrrp", None, "2001:db8::3/128"),
)


STANDING = (
    admission.Connection(4, "198.19.251.9", 80, "198.19.251.2", 40_000),
    admission.Connection(6, "2001:db8::9", 80, "2001:db8::2", 40_001),
    admission.Connection(6, "2001:db8::9", 80, "2001:db8::2", 40_002),
)


def guarded(*rules: rest.Admission, name: str = "eth1") -> rest.Interface:
    return dataclasses.replace(PLAIN, name=name, admits=rules)


def wanted(*nics: rest.Interface) -> rest.WantedState:
    return rest.WantedState(load_balancer_id="2f1c6a2e-6f3b-4c39-9d0b-1c2d3e4f5a6b", generation=3, interfaces=nics)


def test_what_is_admitted_comes_over_the_wire_and_changes_the_hash() -> None:
    states = [wanted(nic) for nic in (PLAIN, guarded(), guarded(*RULES), guarded(*RULES[1:]))]
    assert [rest.WantedState.parse(one.dump()) for one in states] == states
    assert len({one.hash for one in states}) == 4


def test_an_amphora_without_such_nics_is_sent_what_older_agents_know() -> None:
    (sent,) = wanted(PLAIN).fields()["interfaces"]
    assert "admits" not in sent


@pytest.mark.parametrize(
    "rule",
    [
        rest.Admission("tcp", None),
        rest.Admission("tcp", 0),
        rest.Admission("udp", 65536),
        rest.Admission("vrrp", 80),
        rest.Admission("icmp", None),
        rest.Admission("tcp", 80, "any } drop"),
        rest.Admission("tcp", 80, "198.19.251.1; flush ruleset"),
    ],
    ids=str,
)
def test_what_is_no_rule_is_refused_by_its_name(rule: rest.Admission) -> None:
    with pytest.raises(rest.Malformed, match=r"is (not|neither)"):
        load_balancer._refuse_malformed(wanted(guarded(rule)))


def test_every_rule_that_is_one_is_taken() -> None:
    load_balancer._refuse_malformed(wanted(guarded(*RULES)))


def test_while_a_change_is_under_way_both_are_admitted() -> None:
    before, after = guarded(RULES[0], RULES[1]), guarded(RULES[1], RULES[2])
    for known, coming, both in (
        (before, after, RULES[:3]),
        (PLAIN, after, after.admits),
        (before, PLAIN, None),
        (guarded(), guarded(), ()),
    ):
        (merged,) = interfaces.merged([known], [coming])
        assert merged.admits == both


@pytest.mark.skipif(shutil.which("nft") is None, reason="nftables is not installed")
@pytest.mark.parametrize(
    "nics", [(), (PLAIN,), (guarded(),), (guarded(*RULES), guarded(name="eth2"), dataclasses.replace(PLAIN, name="eth3"))]
)
@pytest.mark.parametrize("standing", [(), STANDING[:1], STANDING], ids=len)
def test_nft_takes_it_also_in_place_of_itself(nics: tuple[rest.Interface, ...], standing: tuple[admission.Connection, ...]) -> None:
    """In a network namespace that lives as long as the command."""
    script = admission.script(nics, standing)
    twice = 'printf %s "$0" | nft -f - && printf %s "$0" | nft -f - && nft list ruleset'
    doubled = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", twice]
    done = subprocess.run([*doubled, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sets = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("\tset ")]
    assert len(sets) == (len({one.version for one in standing}) if any(one.admits is not None for one in nics) else 0)
    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("\tchain ")]
    assert names == [f"nic_{one.name}" for one in nics if one.admits is not None] + ["arriving"] * bool(names)


_SOURCES = ("203.0.113.5/24", "198.51.100.7", "2001:db8:0:8000::/49", "10.0.0.0/9")


@pytest.mark.parametrize(
    ("client", "is_admitted"),
    [
        ("203.0.113.0", True),  # a source is a network also where it is written as an address within
        ("203.0.113.255", True),
        ("203.0.112.255", False),
        ("203.0.114.0", False),
        ("198.51.100.7", True),
        ("198.51.100.6", False),
        ("2001:db8:0:8000::", True),
        ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:7fff::1", False),
        ("2001:db8:1::1", False),
        ("::cb00:7105", False),  # the bits of 203.0.113.5, and another version of IP
        ("10.127.255.255", True),
        ("10.128.0.0", False),
    ],
)
def test_clients_are_in_what_is_admitted_or_not(client: str, is_admitted: bool) -> None:
    ranges = admission._tcp([guarded(*(rest.Admission("tcp", 80, one) for one in _SOURCES))])[80]
    assert admission._is_in(ipaddress.ip_address(client), ranges) is is_admitted


def test_who_says_nothing_of_clients_admits_all() -> None:
    ranges = admission._tcp([guarded(rest.Admission("tcp", 80))])[80]
    assert all(admission._is_in(ipaddress.ip_address(one), ranges) for one in ("0.0.0.0", "255.255.255.255", "::1", "ff::"))
