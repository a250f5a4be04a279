"""Ranges of addresses, as texts."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model import addresses


@given(
    ranges=st.lists(st.ip_addresses().flatmap(lambda one: st.integers(0, one.max_prefixlen).map(lambda length: (one, length))), max_size=4),
    address=st.ip_addresses(),
)
def test_an_address_is_in_the_ranges_that_hold_it(
    ranges: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]], address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    some = [ipaddress.ip_network(f"{one}/{length}", strict=False) for one, length in ranges]
    assert (str(address) in addresses.Ranges(some)) is any(address in one for one in some)
    assert str(address) in addresses.Ranges([*some, ipaddress.ip_network(address)])


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.01", "::g", "10.0.0.1/32", "web.example", "10.0.0.1\0", "\ud800"])
def test_what_is_no_address_is_in_none(text: str) -> None:
    everything = addresses.Ranges([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
    assert text not in everything
    assert "10.0.0.1" in everything
