"""A cloud whose services break: each call that a load balancer's life needs fails once, in each way; everything comes to a good end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.dev import client
from controller.dev.client import eventually
from tests.cloud import inventory
from tests.cloud.site import BOOT, Site

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1800)]


class Once:
    """Breaks the first call of each shape, in turn by each of some ways."""

    def __init__(self, *ways: str, writes_only: bool) -> None:
        self._ways = ways
        self._writes_only = writes_only
        self.broken: dict[str, str] = {}

    def __call__(self, service: str, method: str, path: str) -> str | None:
        versioned = path.partition("?")[0].strip("/").split("/")  # such as v2.0/ports/ID
        shape = f"{service} {method} {'/'.join(versioned[1:2]) or 'versions'}"
        if shape in self.broken or (self._writes_only and method == "GET"):
            return None
        self.broken[shape] = way = self._ways[len(self.broken) % len(self._ways)]
        return way


@pytest.mark.parametrize(
    ("ways", "writes_only"), [(("500",), False), (("503", "reset"), False), (("lost",), True)], ids=["500", "503-reset", "lost-answers"]
)
def test_every_call_fails_once(site: Site, ways: tuple[str, ...], writes_only: bool) -> None:
    before = inventory.of(site.users.admin)
    network = site.users.tenant.network.get_network(site.network("private"))
    fault = Once(*ways, writes_only=writes_only)
    with site.proxy.breaking(fault) as broken:
        made = _created(site, network.subnet_ids[0])
        site.active(made["id"], 2 * BOOT)
        (lost,) = site.amphorae(made["id"])
        site.admin_api.put(f"/loadbalancers/{made['id']}/failover")
        eventually(
            lambda: [(one["status"], one["id"] != lost["id"]) for one in site.amphorae(made["id"])] == [("ALLOCATED", True)],
            2 * BOOT,
            lambda: f"it was not failed over: {site.show(made['id'])}",
            1,
        )
        site.active(made["id"])
        site.delete(made["id"], 2 * BOOT)
        assert broken() > 3, fault.broken
    print(f"\nbroken: {fault.broken}")

    def left() -> dict[str, list[str]]:
        return inventory.left(before, inventory.of(site.users.admin))

    eventually(lambda: not left(), 180, lambda: f"left in the cloud: {left()}", 1)


def _created(site: Site, subnet_id: str) -> dict[str, str]:
    made: dict[str, str] = _accepted(lambda: site.create(subnet_id, []))
    return made


def _accepted(ask: Callable[[], Any]) -> Any:
    """The API itself asks the network service: it may answer 503 then, and its client asks again."""
    found: list[Any] = []

    def accepted() -> bool:
        try:
            found.append(ask())
        except client.ApiError as error:
            if error.status != 503:
                raise
            return False
        return True

    eventually(accepted, 120, "the API never accepted it", 1)
    return found[0]


class Changed:
    """A load balancer that is changed in each way of which the cloud is told; machines of its tenant see what is in effect."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._private, self._beyond = site.network("private"), site.network("member")
        self.client, self.near = site.machine(self._private), site.machine(self._private)
        self.far = site.machine(self._beyond)
        fixed = self.client.port.fixed_ips[0]
        self._subnet = site.users.tenant.network.get_subnet(fixed["subnet_id"])
        self.closed = site.users.tenant.network.create_security_group(name=f"figlina-closed-{uuid.uuid4().hex[:8]}")
        made = site.create(self._subnet.id, [{"name": self.near.name, "address": self.near.addresses[0], "protocol_port": 80}])
        self.id, self.vip = str(made["id"]), str(made["vip_address"])
        site.active(self.id)
        self.pool_id = site.show(self.id)["pools"][0]["id"]
        eventually(lambda: self._answers() == {self.near.name}, 60, "it never served")

    def changes(self) -> Iterator[tuple[str, Callable[[], Any], Callable[[], bool]]]:
        """What is done, how, and how its effect is seen; what is done is undone."""
        api = self._site.api
        listener = {"protocol": "HTTP", "protocol_port": 81, "loadbalancer_id": self.id, "default_pool_id": self.pool_id}
        made = ""

        def add() -> None:
            nonlocal made
            made = f"/listeners/{api.post('/listeners', {'listener': listener})['listener']['id']}"

        yield "a listener comes", add, lambda: self._answers(81) == {self.near.name}
        yield "it is closed to all but others", lambda: self._admit(made, "203.0.113.0/24"), lambda: self._answers(81) == set()
        yield "it is opened to the client", lambda: self._admit(made, self._subnet.cidr), lambda: self._answers(81) == {self.near.name}
        yield "the listener goes", lambda: api.delete(made), lambda: self._answers(81) == set() and 81 not in self._open_ports()
        both = {self.near.name, self.far.name}
        yield "a member on another network", self._add_far, lambda: self._answers(80, 6) == both and self._ports_beyond() == 1
        yield "it goes", self._remove_far, lambda: self._answers(80, 6) == {self.near.name} and self._ports_beyond() == 0
        yield "a group of the tenant's, which admits nothing", lambda: self._wear(self.closed.id), lambda: self._answers() == set()
        yield "our own group again", self._wear, lambda: self._answers() == {self.near.name}

    def weigh(self, weight: int) -> None:
        """A change of which the cloud is not told."""
        (member,) = self._members()
        self._site.api.put(f"/pools/{self.pool_id}/members/{member['id']}", {"member": {"weight": weight}})

    def close(self) -> None:
        """Delete it, and what is the tenant's."""
        self._site.delete(self.id)
        self._site.users.tenant.network.delete_security_group(self.closed)
        for machine in (self.client, self.near, self.far):
            machine.close()

    def _members(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._site.api.get(f"/pools/{self.pool_id}/members")["members"]
        return found

    def _admit(self, listener: str, cidr: str) -> None:
        self._site.api.put(listener, {"listener": {"allowed_cidrs": [cidr]}})

    def _wear(self, *groups: str) -> None:
        self._site.api.put(f"/loadbalancers/{self.id}", {"loadbalancer": {"vip_sg_ids": list(groups)}})

    def _add_far(self) -> None:
        fixed = self.far.port.fixed_ips[0]
        member = {"name": self.far.name, "address": fixed["ip_address"], "protocol_port": 80, "subnet_id": fixed["subnet_id"]}
        self._site.api.post(f"/pools/{self.pool_id}/members", {"member": member})

    def _remove_far(self) -> None:
        (far,) = [one for one in self._members() if one["name"] == self.far.name]
        self._site.api.delete(f"/pools/{self.pool_id}/members/{far['id']}")

    def _answers(self, port: int = 80, times: int = 2) -> set[str]:
        """Who answers a client; none: nobody at all."""
        return {self.client.fetch(self.vip, port) for _ in range(times)} - {""}

    def _ports_beyond(self) -> int:
        (amphora,) = self._site.amphorae(self.id)
        return len(list(self._site.users.admin.network.ports(device_id=amphora["compute_id"], network_id=self._beyond)))

    def _open_ports(self) -> set[int]:
        """What the groups on the VIP's port admit."""
        network = self._site.users.admin.network
        port = network.get_port(self._site.show(self.id)["vip_port_id"])
        rules = [rule for group in port.security_group_ids for rule in network.get_security_group(group).security_group_rules]
        return {rule["port_range_min"] for rule in rules if rule["direction"] == "ingress"}


@pytest.fixture(scope="module")
def changed(site: Site) -> Iterator[Changed]:
    """See the class; one for all ways in which calls fail."""
    made = Changed(site)
    yield made
    made.close()


@pytest.mark.parametrize(("way", "writes_only"), [("500", False), ("429", False), ("reset", False), ("lost", True)])
def test_every_call_of_a_change_fails_once(site: Site, changed: Changed, way: str, writes_only: bool) -> None:
    for words, change, is_seen in changed.changes():
        fault = Once(way, writes_only=writes_only)
        with site.proxy.breaking(fault) as broken:
            _accepted(change)
            site.active(changed.id)
            eventually(is_seen, 60, f"{words}: ACTIVE, and not in effect; broken: {fault.broken}", 0.5)
            assert broken() > 0, f"{words}: the cloud was asked for nothing"
        print(f"\n{words}: {sorted(fault.broken)}")


def test_a_change_is_made_up_for_when_the_cloud_is_back(site: Site, changed: Changed) -> None:
    (words, add, is_seen), *_ = changed.changes()
    seen: dict[str, Any] = {}
    with site.proxy.breaking(lambda *_: "500") as broken:
        changed.weigh(7)  # the cloud need not know
        site.active(changed.id, 30)
        add()

        def told() -> bool:
            seen.update(site.show(changed.id))
            return seen["provisioning_status"] == "ERROR" and "The tests have broken this call." in seen["fault"]["message"]

        eventually(told, 60, lambda: f"nobody says how the cloud fails: {seen}", 0.5)
        assert broken() > 0
        assert not is_seen()
    site.active(changed.id, 60)
    eventually(is_seen, 60, f"{words}: ACTIVE, and not in effect", 0.5)
