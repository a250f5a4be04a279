"""The main job on a real cloud: VMs of Nova, ports of Neutron, traffic of a tenant, and every way in which an amphora can be lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.cloud.site import BOOT, Site
from tests.cloud.tenant import Machine

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3000)]


def _serves(client: Machine, address: str, machines: Iterable[Machine], within: float = 30) -> None:
    """Wait until exactly these machines answer on an address."""
    wanted = {machine.name for machine in machines}
    seen: set[str] = set()

    def only_they() -> bool:
        seen.clear()
        seen.update(client.fetch(address) for _ in range(2 * len(wanted)))
        return seen == wanted

    eventually(only_they, within, lambda: f"{sorted(seen)} answer on {address}, not {sorted(wanted)}", 0.2)


def _member(machine: Machine, **more: Any) -> dict[str, Any]:
    return {"name": machine.name, "address": machine.addresses[0], "protocol_port": 80, **more}


class Tenant:
    """Machines on the networks of the tenant; made once for all stories."""

    def __init__(self, site: Site) -> None:
        self.private, self.beyond = site.network("private"), site.network("member")
        self.client = site.machine(self.private)
        self.web = [site.machine(self.private), site.machine(self.private)]
        self.far = site.machine(self.beyond)

    @property
    def subnet_id(self) -> str:
        return str(self.client.port.fixed_ips[0]["subnet_id"])


@pytest.fixture(scope="module")
def tenant(site: Site) -> Tenant:
    """See the class."""
    return Tenant(site)


def _replaced(site: Site, load_balancer_id: str, lost: dict[str, Any]) -> Callable[[], bool]:
    def look() -> bool:
        now = site.amphorae(load_balancer_id)
        ready = bool(now) and all(one["status"] == "ALLOCATED" for one in now)
        return ready and lost["id"] not in {one["id"] for one in now} and site.show(load_balancer_id)["provisioning_status"] == "ACTIVE"

    return look


def _shutoff(site: Site, amphora: dict[str, Any]) -> None:
    """As when the hypervisor loses the domain."""
    site.users.admin.compute.stop_server(amphora["compute_id"])


def _deleted(site: Site, amphora: dict[str, Any]) -> None:
    site.users.admin.compute.delete_server(amphora["compute_id"])


def _silent(site: Site, amphora: dict[str, Any]) -> None:
    """Nothing of it reaches the controllers any more, nor they it."""
    ports = site.users.admin.network.ports(device_id=amphora["compute_id"], network_id=site.management)
    for port in ports:
        site.users.admin.network.update_port(port, admin_state_up=False)


def _by_operator(site: Site, amphora: dict[str, Any]) -> None:
    site.admin_api.request("PUT", f"/v2/octavia/amphorae/{amphora['id']}/failover")


LOSSES = [_by_operator, _deleted, _shutoff, _silent]


def test_a_single_amphora(site: Site, tenant: Tenant) -> None:
    made = site.create(tenant.subnet_id, [_member(one) for one in tenant.web])
    site.active(made["id"])
    vip = made["vip_address"]
    _serves(tenant.client, vip, tenant.web)
    pool_id = site.show(made["id"])["pools"][0]["id"]

    # a member on another network: a port is plugged into the running VM
    member = site.api.post(
        f"/pools/{pool_id}/members", {"member": _member(tenant.far, subnet_id=tenant.far.port.fixed_ips[0]["subnet_id"])}
    )
    site.active(made["id"])
    _serves(tenant.client, vip, [*tenant.web, tenant.far])

    # a floating IP on the VIP's port
    network = site.users.tenant.network
    public = next(one.id for one in network.networks(is_router_external=True))
    floating = network.create_ip(floating_network_id=public, port_id=made["vip_port_id"])
    try:
        names = {one.name for one in (*tenant.web, tenant.far)}
        ask = ["curl", "--silent", "--noproxy", "*", "--max-time", "3", f"http://{floating.floating_ip_address}/"]
        eventually(
            lambda: subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() in names,
            60,
            "no answer on the floating IP",
        )
    finally:
        network.delete_ip(floating)

    # the tenant's own security group decides, and then ours again
    closed = network.create_security_group(name="figlina-closed")
    try:
        site.api.put(f"/loadbalancers/{made['id']}", {"loadbalancer": {"vip_sg_ids": [closed.id]}})
        site.active(made["id"])
        eventually(lambda: tenant.client.fetch(vip) == "", 30, "the VIP answers although its group admits nothing")
        site.api.put(f"/loadbalancers/{made['id']}", {"loadbalancer": {"vip_sg_ids": []}})
        site.active(made["id"])
        _serves(tenant.client, vip, [*tenant.web, tenant.far], 60)
    finally:
        network.delete_security_group(closed)

    # the far member goes, and its port with it
    site.api.delete(f"/pools/{pool_id}/members/{member['member']['id']}")
    site.active(made["id"])
    _serves(tenant.client, vip, tenant.web)

    for lose in LOSSES:
        (lost,) = site.amphorae(made["id"])
        began = time.monotonic()
        lose(site, lost)
        words = f"{lose.__name__}: no other amphora took over: {site.show(made['id'])}"
        eventually(_replaced(site, made["id"], lost), 2 * BOOT, words, 1)
        _serves(tenant.client, vip, tenant.web, 60)
        print(f"{lose.__name__}: replaced and serving after {time.monotonic() - began:.1f} s")
    site.delete(made["id"])


def test_a_pair(site: Site, tenant: Tenant) -> None:
    made = site.create(tenant.subnet_id, [_member(one) for one in tenant.web], flavor_id=site.pair)
    site.active(made["id"], 2 * BOOT)
    vip = made["vip_address"]
    pair = site.amphorae(made["id"])
    assert {one["role"] for one in pair} == {"MASTER", "BACKUP"}
    groups = {group.id: set(group.member_ids) for group in site.users.admin.compute.server_groups(all_projects=True)}
    assert {one["compute_id"] for one in pair} in groups.values(), "both VMs are in one server group"
    _serves(tenant.client, vip, tenant.web)
    (master,) = [one for one in pair if one["role"] == "MASTER"]
    traffic = tenant.client.traffic(vip)
    try:
        _deleted(site, master)
        eventually(_replaced(site, made["id"], master), 2 * BOOT, lambda: f"the half was not replaced: {site.show(made['id'])}", 1)
        time.sleep(2)
    finally:
        seen = traffic.stop()
    print(f"the death of the master's VM: {seen}")
    assert seen["ok"] > 0
    assert seen["longest_gap"] < BOOT / 4, seen  # emulated, and beside a VM that boots
    _serves(tenant.client, vip, tenant.web)
    site.delete(made["id"], 2 * BOOT)


def test_an_ipv6_vip(site: Site, tenant: Tenant) -> None:
    network = site.users.tenant.network
    net = network.create_network(name="figlina-v6")
    machines: list[Machine] = []
    made: dict[str, Any] = {}
    try:
        subnet = network.create_subnet(network_id=net.id, ip_version=6, cidr="fd00:f19::/64", name="figlina-v6", is_dhcp_enabled=False)
        machines = [site.machine(net.id) for _ in range(3)]
        made = site.create(subnet.id, [_member(one) for one in machines[1:]])
        site.active(made["id"])
        assert ":" in made["vip_address"]
        _serves(machines[0], made["vip_address"], machines[1:], 60)
    finally:
        if made:
            site.delete(made["id"])
        for machine in machines:
            machine.close()
        network.delete_network(net)


def test_a_vip_without_port_security(site: Site) -> None:
    """No security group holds there, so the amphora itself refuses who is not in `allowed_cidrs`."""
    network = site.users.tenant.network
    net = network.create_network(name="figlina-unguarded", is_port_security_enabled=False)
    machines: list[Machine] = []
    made: dict[str, Any] = {}
    try:
        subnet = network.create_subnet(
            network_id=net.id, ip_version=4, cidr="198.19.77.0/24", name="figlina-unguarded", is_dhcp_enabled=False
        )
        friend, stranger, *web = machines = [site.machine(net.id, groups=()) for _ in range(4)]
        made = site.create(subnet.id, [_member(one) for one in web])
        site.active(made["id"])
        for client in (friend, stranger):
            _serves(client, made["vip_address"], web, 60)
        (listener,) = site.show(made["id"])["listeners"]

        def allow(*cidrs: str) -> None:
            site.api.put(f"/listeners/{listener['id']}", {"listener": {"allowed_cidrs": list(cidrs)}})
            site.active(made["id"])

        allow(f"{friend.addresses[0]}/32")
        assert stranger.fetch(made["vip_address"]) == ""
        _serves(friend, made["vip_address"], web)
        allow(f"{friend.addresses[0]}/32", f"{stranger.addresses[0]}/32")
        _serves(stranger, made["vip_address"], web)
    finally:
        if made:
            site.delete(made["id"])
        for machine in machines:
            machine.close()
        network.delete_network(net)
