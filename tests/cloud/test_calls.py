"""What one create, member change, failover and delete ask of Nova, Neutron and Glance."""

from __future__ import annotations

import collections
import itertools
import time

import pytest

from controller.dev.client import eventually
from tests.cloud.proxy import Call
from tests.cloud.site import BOOT, Site

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1200)]


def _counted(calls: list[Call]) -> dict[str, int]:
    return dict(sorted(collections.Counter(call.shape for call in calls).items()))


def _twice(calls: list[Call]) -> dict[str, int]:
    """Things that were read more than once by the same words; facts of networks, by each of our processes once.

    A server that does not beat is looked at each ten seconds, and then more rarely.
    """
    read: dict[str, list[float]] = collections.defaultdict(list)
    for call in calls:
        if call.method == "GET" and not _is_fact(call):
            read[f"{call.service} {call.path}"].append(call.at)
    return {what: len(at) for what, at in read.items() if len(at) > 1 and not ("/servers/" in what and _are_apart(at))}


def _are_apart(moments: list[float]) -> bool:
    return all(later - earlier > 9 for earlier, later in itertools.pairwise(moments))


def _is_fact(call: Call) -> bool:
    """What a process knows of networks and subnets, and looks up anew after half a minute."""
    return call.method == "GET" and ("/subnets/" in call.path or "/networks" in call.path)


def _told(step: str, calls: list[Call]) -> None:
    print(f"\n{step}: {len(calls)} calls")
    for shape, times in _counted(calls).items():
        print(f"  {times} x {shape}")


def test_a_life_asks_the_cloud_for_little(site: Site) -> None:
    subnet_id = site.users.tenant.network.get_network(site.network("private")).subnet_ids[0]
    first = site.create(subnet_id, [])  # what is looked up once in the life of a process is looked up now
    site.active(first["id"])
    site.stop("housekeeping")  # it compares all that is there now and then

    since = time.monotonic()
    made = site.create(subnet_id, [{"address": "198.18.2.9", "protocol_port": 80}])
    pool_id = site.show(made["id"])["pools"][0]["id"]
    site.active(made["id"])
    create = site.proxy.calls(since)
    _told("create", create)

    since = time.monotonic()
    site.api.post(f"/pools/{pool_id}/members", {"member": {"address": "198.18.2.10", "protocol_port": 80}})
    site.active(made["id"])
    change = site.proxy.calls(since)
    _told("member change", change)

    (lost,) = site.amphorae(made["id"])
    since = time.monotonic()
    site.admin_api.put(f"/loadbalancers/{made['id']}/failover")
    eventually(lambda: [one["id"] != lost["id"] for one in site.amphorae(made["id"])] == [True], 2 * BOOT, "no failover", 0.5)
    site.active(made["id"])
    failover = site.proxy.calls(since)
    _told("failover", failover)

    since = time.monotonic()
    site.delete(made["id"])
    delete = site.proxy.calls(since)
    _told("delete", delete)
    site.start("housekeeping")
    site.delete(first["id"])

    assert [call.shape for call in change] == [], "a change of members is between us and the agent"
    for step, calls in {"create": create, "failover": failover, "delete": delete}.items():
        assert not _twice(calls), f"{step} reads the same thing again: {_twice(calls)}"
        assert [call for call in calls if call.status >= 400 and call.status != 404] == [], step
