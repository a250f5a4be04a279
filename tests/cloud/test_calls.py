"""What one create, member change, update, failover and delete ask of Nova, Neutron, Glance and the agents."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Iterator

import pytest

from amphora_agent.protocol import rest
from controller.dev.client import eventually
from tests.cloud.proxy import Call
from tests.cloud.site import BOOT, Site

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1200)]
OPTIONS = {
    "DEFAULT": {"default_log_levels": "taskflow=WARN,sqlalchemy=WARN,urllib3=WARN,keystoneauth=WARN,controller.drivers.amphora.rest=DEBUG"}
}


PAIR = {"loadbalancer_topology": "ACTIVE_STANDBY"}
STATE = rest.load_balancer_path("ID")


def _counted(calls: list[Call]) -> dict[str, int]:
    return dict(sorted(collections.Counter(call.shape for call in calls).items()))


def _lasting(calls: list[Call]) -> dict[str, int]:
    """Without what is known for a while (facts of networks, the image), and without the looks at a server that does not beat yet, which are
    as many as its boot takes time.
    """
    kept = [call for call in calls if not (_is_fact(call) or call.service == "image" or _is_look(call) or _is_of_versions(call))]
    return {shape.replace("/v2.1", "").replace("/v2.0", ""): times for shape, times in _counted(kept).items()}


def _is_look(call: Call) -> bool:
    return call.method == "GET" and call.shape.endswith("/servers/ID")


def _is_of_versions(call: Call) -> bool:
    """Which versions of itself a service speaks, which a process asks once."""
    return call.method == "GET" and call.path.partition("?")[0].strip("/") in ("", "v2.1", "v2.0")


def _is_fact(call: Call) -> bool:
    """What a process knows of networks and subnets, and looks up anew after half a minute."""
    return call.method == "GET" and ("/subnets/" in call.path or "/networks" in call.path)


def _twice(calls: list[Call]) -> dict[str, int]:
    """Things that were read more than once by the same words; facts of networks, by each of our processes once.

    A server that does not beat is looked at each ten seconds, and then more rarely. The groups of a load balancer, and the ports that bear
    its VIP, are read again after they were written.
    """
    read: dict[str, list[float]] = collections.defaultdict(list)
    for call in calls:
        if call.method == "GET" and not _is_fact(call):
            read[f"{call.service} {call.path}"].append(call.at)
    return {
        what: len(at) for what, at in read.items() if len(at) > 1 and not (_may_change(what) or ("/servers/" in what and _are_apart(at)))
    }


def _may_change(what: str) -> bool:
    return "/security-groups" in what or ("/ports?" in what and "VIP" in what)


def _are_apart(moments: list[float]) -> bool:
    return all(later - earlier > 9 for earlier, later in itertools.pairwise(moments))


@dataclasses.dataclass
class Steps:
    """What each step of a life asked of the cloud and of agents."""

    site: Site
    cloud: dict[str, list[Call]] = dataclasses.field(default_factory=dict)
    agents: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens within."""
        since, seen = time.monotonic(), len(self.site.asked_of_agents())
        yield
        self.cloud[name] = self.site.proxy.calls(since)
        self.agents[name] = dict(collections.Counter(self.site.asked_of_agents(seen)))
        print(f"\n{name}: {len(self.cloud[name])} calls, and of agents {self.agents[name]}")
        for shape, times in _counted(self.cloud[name]).items():
            print(f"  {times} x {shape}")


@pytest.mark.parametrize("halves", [1, 2], ids=["single", "pair"])
def test_a_life_asks_the_cloud_and_the_agents_for_little(site: Site, halves: int) -> None:
    subnet_id = site.users.tenant.network.get_network(site.network("private")).subnet_ids[0]
    first = site.create(subnet_id, [])  # what is looked up once in the life of a process is looked up now
    site.active(first["id"])
    more = {"flavor_id": _flavor(site)} if halves == 2 else {}
    site.stop("housekeeping")  # it compares all that is there now and then
    steps = Steps(site)
    with steps.step("create"):
        made = site.create(subnet_id, [{"address": "198.18.2.9", "protocol_port": 80}], **more)
        site.active(made["id"], halves * BOOT)
    pool_id = site.show(made["id"])["pools"][0]["id"]
    with steps.step("member change"):
        site.api.post(f"/pools/{pool_id}/members", {"member": {"address": "198.18.2.10", "protocol_port": 80}})
        site.active(made["id"])
    with steps.step("update"):
        listener = {"protocol": "HTTP", "protocol_port": 8443, "loadbalancer_id": made["id"]}
        site.api.post("/listeners", {"listener": listener})
        site.active(made["id"])
    lost = site.amphorae(made["id"])[0]["id"]
    with steps.step("failover"):
        site.admin_api.request("PUT", f"/v2/octavia/amphorae/{lost}/failover")
        eventually(lambda: lost not in [one["id"] for one in site.amphorae(made["id"])], 2 * BOOT, "no failover", 0.5)
        site.active(made["id"])
    with steps.step("delete"):
        site.delete(made["id"])
    site.start("housekeeping")
    site.delete(first["id"])
    assert {name: _lasting(calls) for name, calls in steps.cloud.items()} == _expected(halves)
    state = {f"PUT {STATE}": halves}
    changed = {f"PUT {STATE}": 1 + halves, f"DELETE {STATE}": 2}
    assert steps.agents["failover"].pop(f"GET {rest.INFO_PATH}", 0) <= halves, "an answer that comes too late is none"
    assert steps.agents == {"create": state, "member change": state, "update": state, "failover": changed, "delete": {}}
    for name, calls in steps.cloud.items():
        assert not _twice(calls), f"{name} reads the same thing again: {_twice(calls)}"
        assert [call for call in calls if call.status >= 400 and call.status != 404] == [], name


def _flavor(site: Site) -> str:
    profile = {"name": "pair", "provider_name": "amphora", "flavor_data": json.dumps(PAIR)}
    made = site.admin_api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
    flavor = {"name": f"pair-{made['id']}", "flavor_profile_id": made["id"], "enabled": True}
    return str(site.admin_api.post("/flavors", {"flavor": flavor})["flavor"]["id"])


def _expected(halves: int) -> dict[str, dict[str, int]]:
    """As `tests/functional/test_cloud_flows.py` has it for the worker; with what the API asks for the VIP of a new load balancer."""
    pair = halves == 2
    looks_for_group = {"compute GET /os-server-groups": 1} if pair else {}
    create = {
        "compute GET /servers/detail": halves,
        "compute POST /servers": halves,
        "network GET /ports": halves + pair,
        "network GET /security-groups": 1,
        "network POST /ports": 1 + 2 * halves,
        "network PUT /ports/ID": 1 + 2 * pair,
        "network POST /security-groups": 1 + pair,
        "network POST /security-group-rules": 1 + pair,
    }
    failover = {
        "compute GET /servers/detail": 2,
        "compute POST /servers": 1,
        "compute DELETE /servers/ID": 1,
        "network POST /ports": 2,
        "network GET /ports": 2 + pair,
        "network GET /security-groups": 1 + 2 * pair,
        "network DELETE /ports/ID": 2,
    }
    delete = {
        "compute GET /servers/detail": halves,
        "compute DELETE /servers/ID": halves,
        "network GET /ports": halves + 1,
        "network DELETE /ports/ID": 2 * halves + 1,
        "network GET /security-groups": 1,
        "network DELETE /security-groups/ID": 1 + pair,
    }
    of_pair = {"network POST /security-group-rules": 1, "network DELETE /security-group-rules/ID": 2} if pair else {}
    return {
        "create": {**create, **looks_for_group, **({"compute POST /os-server-groups": 1} if pair else {})},
        "member change": {},
        "update": {"network GET /security-groups": 1, "network POST /security-group-rules": 1},
        "failover": {**failover, **looks_for_group, **of_pair},
        "delete": {**delete, **looks_for_group, **({"compute DELETE /os-server-groups/ID": 1} if pair else {})},
    }
