"""Neutron's documents as nouns of ours."""

from __future__ import annotations

import pytest

from controller.drivers.network import neutron_shapes as shapes

SUBNET = dict.fromkeys(shapes.SUBNET_FIELDS) | {"host_routes": [], "cidr": "fd00::/64", "ip_version": 6}


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ({}, False),
        ({"ipv6_address_mode": "slaac"}, True),
        ({"ipv6_ra_mode": "slaac"}, True),
        ({"ipv6_ra_mode": "dhcpv6-stateless", "ipv6_address_mode": "dhcpv6-stateless"}, True),
        ({"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}, False),
    ],
)
def test_addresses_come_by_themselves_where_routers_advertise_them(modes: dict[str, str], expected: bool) -> None:
    assert shapes.subnet({**SUBNET, **modes}).is_automatic is expected
