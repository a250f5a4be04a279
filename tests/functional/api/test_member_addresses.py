"""Where a member can be: not at the amphora itself, in whatever spelling, by whatever way it comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from controller.db import tables
from controller.model import addresses
from tests.functional.api.conftest import Api

NOWHERE = [
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.1.2.3", "224.0.0.1", "255.255.255.255", "169.254.169.254"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0.1.2.3", "::ffff:169.254.169.254", "::169.254.169.254"),
    *("2002:7f00:1::", "2002:7f00:0001:0:0:0:0:1", "64:ff9b::7f00:1", "64:FF9B::127.0.0.1", "64:ff9b::a9fe:a9fe", "fe80::1", "ff02::1"),
]
SOMEWHERE = [
    "10.0.0.1",
    "192.0.2.1",
    "1.0.0.0",
    "100.64.0.1",
    "2001:db8::1",
    "2002:c000:201::1",
    "64:ff9b::c000:201",
    "fd00::1",
    "::ffff:192.0.2.1",
]
VIP_SPELLINGS = ["{vip}", "::ffff:{vip}", "64:ff9b::{vip}", "::{vip}"]

Write = Callable[[Api, str, dict[str, Any]], Any]


def _alone(api: Api, pool: str, member: dict[str, Any]) -> Any:
    return api.refused(400, "POST", f"/pools/{pool}/members", {"member": member})


def _in_a_batch(api: Api, pool: str, member: dict[str, Any]) -> Any:
    return api.refused(400, "PUT", f"/pools/{pool}/members", {"members": [{"address": "10.9.9.9", "protocol_port": 1}, member]})


WAYS: dict[str, Write] = {"alone": _alone, "in a batch": _in_a_batch}


@pytest.mark.parametrize("address", NOWHERE)
def test_addresses_at_which_no_server_is_are_known(address: str) -> None:
    assert addresses.is_no_server(address, {"169.254.169.254"})


@pytest.mark.parametrize("address", SOMEWHERE)
def test_addresses_of_servers_are_no_others(address: str) -> None:
    assert not addresses.is_no_server(address, {"169.254.169.254"})


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
def test_nobody_sends_requests_or_checks_to_an_amphora_itself(api: Api, write: Write) -> None:
    pool = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
    for address in NOWHERE:
        assert "is not a valid option for member address" in write(api, pool, {"address": address, "protocol_port": 80})
        checked = {"address": "10.0.0.1", "protocol_port": 80, "monitor_address": address}
        assert "is not a valid option for member monitor address" in write(api, pool, checked)


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("spelling", VIP_SPELLINGS)
def test_a_vip_is_no_member_of_its_own_load_balancer(api: Api, write: Write, spelling: str) -> None:
    owner = api.load_balancer()
    pool = api.pool(loadbalancer_id=owner["id"])["id"]
    vip = spelling.format(vip=owner["vip_address"])
    for port in (80, 8080):
        assert "which would send requests to itself" in write(api, pool, {"address": vip, "protocol_port": port})
    assert "member monitor address" in write(api, pool, {"address": "10.0.0.1", "protocol_port": 80, "monitor_address": vip})
    member = api.member(pool, "10.0.0.2")["id"]
    body = {"member": {"monitor_address": vip}}
    assert "which would send requests to itself" in api.refused(400, "PUT", f"/pools/{pool}/members/{member}", body)


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "given"])
def test_a_whole_load_balancer_is_not_its_own_member(api: Api, asked: bool) -> None:
    before = api.load_balancer()["vip_address"]
    vip = before.rpartition(".")[0] + "." + str(int(before.rpartition(".")[2]) + 1)
    wish = {"vip_address": vip} if asked else {}
    pools = [{"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [{"address": vip, "protocol_port": 80}]}]
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, "pools": pools, **wish}}
    assert "which would send requests to itself" in api.refused(400, "POST", "/loadbalancers", body)
    assert len(api.ok("GET", "/loadbalancers")["loadbalancers"]) == 1, "and nothing of it is left"


def test_two_spellings_of_an_ipv6_address_are_one_member(api: Api) -> None:
    pool = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
    member = api.member(pool, "2001:DB8:0::1")
    with api.services.db.begin() as tx:  # as an earlier version stored it
        tx.connection.execute(sa.update(tables.members).values(address="2001:0db8:0:0:0:0:0:1"))
    port = member["protocol_port"]
    assert "Another member on this pool" in api.refused(
        409, "POST", f"/pools/{pool}/members", {"member": {"address": "2001:db8::1", "protocol_port": port}}
    )
    api.ok("PUT", f"/pools/{pool}/members", {"members": [{"address": "2001:db8::0001", "protocol_port": port, "weight": 7}]}, 202)
    (shown,) = api.ok("GET", f"/pools/{pool}/members")["members"]
    assert (shown["id"], shown["weight"]) == (member["id"], 7)
    twice = [{"address": spelling, "protocol_port": 9} for spelling in ("2001:db8::2", "2001:DB8::0:2")]
    assert "Another member on this pool" in api.refused(409, "PUT", f"/pools/{pool}/members", {"members": twice})
