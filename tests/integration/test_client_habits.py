"""Clients with the habits of those that people use, on a whole site: none is refused, and what they made serves."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import pytest
import requests

from controller.dev.client import eventually
from tests.functional.api.test_clients_cli import Shell
from tests.integration import habits, terraform_plan
from tests.integration.habits import Client, Refused, Service
from tests.integration.site import Site
from tests.integration.terraform import Terraform

pytestmark = [pytest.mark.integration]

LISTENERS = 50
WRITES = 5 * LISTENERS
FEW_RELOADS = WRITES // 10
NOWHERE = "203.0.113.0/24"


@pytest.fixture
def client(site: Site) -> Client:
    """A client that has sent nothing yet."""
    return Client(site.machine.settings.api_url)


@pytest.fixture
def load_balancer(site: Site, client: Client) -> Iterator[dict[str, Any]]:
    """One that was just asked for; whatever is left of it goes with everything below it."""
    made = client.create("loadbalancer", "/loadbalancers", name="t", vip_subnet_id=site.subnet_id)
    yield made
    path = f"/loadbalancers/{made['id']}"
    if not client.is_gone(path):
        site.api.delete(f"{path}?cascade=true")
        site.api.wait_gone(path)


def side_by_side(work: Callable[[Any], Any], items: Any, threads: int = LISTENERS) -> list[Any]:
    """Do something with every item at once; the results in their order. The first exception is raised."""
    with futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def services_of(client: Client, site: Site, load_balancer_id: str) -> list[Service]:
    """Fifty, made side by side."""
    return side_by_side(lambda number: habits.a_service(client, site, load_balancer_id, number), range(LISTENERS))


def test_fifty_listeners_made_side_by_side_without_a_wait_are_all_served(site: Site, client: Client, load_balancer: dict[str, Any]) -> None:
    client.wait_active(load_balancer["id"])
    before = habits.applied(site, load_balancer["id"])
    services = services_of(client, site, load_balancer["id"])
    client.wait_active(load_balancer["id"])
    habits.settled(client, services)
    habits.serve(site, load_balancer["vip_address"], services)
    assert (habits.applied(site, load_balancer["id"]) - before)["reload"] <= FEW_RELOADS

    side_by_side(lambda service: _change(client, service), services)
    client.wait_active(load_balancer["id"])
    habits.settled(client, services)
    habits.serve(site, load_balancer["vip_address"], services)
    client.send("DELETE", f"/loadbalancers/{load_balancer['id']}?cascade=true")
    eventually(lambda: client.is_gone(f"/loadbalancers/{load_balancer['id']}"), 60)
    assert all(client.is_gone(path) for service in services[::10] for path in service.paths.values())
    assert client.refusals() == {}


def _change(client: Client, service: Service) -> None:
    client.update("listener", f"/listeners/{service.listener}", timeout_client_data=60000)
    client.update("pool", f"/pools/{service.pool}", lb_algorithm="LEAST_CONNECTIONS")
    client.update("member", f"/pools/{service.pool}/members/{service.members[0]}", weight=7)
    client.update("healthmonitor", f"/healthmonitors/{service.monitor}", delay=7)


def test_children_of_a_load_balancer_that_is_still_being_made_are_served_and_go_side_by_side(
    site: Site, client: Client, load_balancer: dict[str, Any]
) -> None:
    assert load_balancer["provisioning_status"] == "PENDING_CREATE"
    services = services_of(client, site, load_balancer["id"])
    client.wait_active(load_balancer["id"])
    habits.settled(client, services)
    habits.serve(site, load_balancer["vip_address"], services)
    assert habits.applied(site, load_balancer["id"])["reload"] <= FEW_RELOADS

    side_by_side(lambda service: habits.remove(client, service), services)
    client.wait_active(load_balancer["id"])
    eventually(lambda: client.every("listeners", f"/listeners?loadbalancer_id={load_balancer['id']}") == [], 60)
    assert all(client.is_gone(path) for service in services for path in service.paths.values())
    assert habits.answers_of(site, load_balancer["vip_address"], [service.port for service in services[::25]]) == {}
    assert client.status(load_balancer["id"]) == "ACTIVE"
    client.delete(f"/loadbalancers/{load_balancer['id']}")
    eventually(lambda: client.is_gone(f"/loadbalancers/{load_balancer['id']}"), 60)
    assert client.refusals() == {}


@pytest.mark.parametrize("waits", [False, True], ids=["while it is made", "once it serves"])
def test_a_killed_worker_costs_a_client_that_never_waits_nothing(
    site: Site, client: Client, load_balancer: dict[str, Any], waits: bool
) -> None:
    if waits:
        client.wait_active(load_balancer["id"])
    half = threading.Semaphore(0)

    def make(number: int) -> Service:
        made = habits.a_service(client, site, load_balancer["id"], number)
        half.release()
        return made

    def kill() -> None:
        for _ in range(LISTENERS // 2):
            assert half.acquire(timeout=60)
        site.kill(site.machine.processes.pids("worker"))

    with futures.ThreadPoolExecutor(1) as beside:
        killed = beside.submit(kill)
        services = side_by_side(make, range(LISTENERS), threads=10)
        killed.result()
    eventually(lambda: not site.machine.processes.running("worker"), 60, "the worker was not killed")
    site.machine.start("worker")
    _active_or_reasoned(client, load_balancer["id"])
    habits.settled(client, services)
    habits.serve(site, load_balancer["vip_address"], services)
    assert client.refusals() == {}


def _active_or_reasoned(client: Client, load_balancer_id: str) -> None:
    """An ERROR may be seen on the way to ACTIVE, if it says why."""
    found: dict[str, Any] = {}

    def active() -> bool:
        found.clear()
        found.update(client.get("loadbalancer", f"/loadbalancers/{load_balancer_id}"))
        assert found["provisioning_status"] != "ERROR" or found["fault"]["message"], found
        return bool(found["provisioning_status"] == "ACTIVE")

    eventually(active, 90, lambda: str(found))


def test_a_client_that_waits_gets_what_it_planned_and_nothing_to_do_again(site: Site, client: Client) -> None:
    terraform = Terraform(client)
    terraform_plan.walk(site, terraform)
    assert terraform.retries == 0
    assert client.refusals() == {}


def test_a_cloud_provider_makes_changes_and_drops_a_load_balancer_for_a_service(site: Site, client: Client) -> None:
    assert _announced(site) >= max((2, minor) for minor in (1, 5, 6, 12, 14, 16))
    name, owner, second = "kube_service_c_default_shop", "kube_service_c_default_shop", "kube_service_c_default_other"
    assert client.every("loadbalancers", f"/loadbalancers?name={name}") == []
    nodes = [{"name": one, "address": site.web[one], "protocol_port": 80, "subnet_id": site.subnet_id} for one in ("web-1", "web-2")]
    monitor = {"type": "TCP", "delay": 5, "timeout": 3, "max_retries": 1, "max_retries_down": 3}
    listeners = [
        {"name": f"listener_{number}_{name}", "protocol": "TCP", "protocol_port": port, "connection_limit": -1, "tags": [owner],
         "allowed_cidrs": ["0.0.0.0/0"],
         "timeout_client_data": 50000, "timeout_member_connect": 5000, "timeout_member_data": 50000, "timeout_tcp_inspect": 0,
         "default_pool": {"name": f"pool_{number}_{name}", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "members": nodes,
                          "healthmonitor": monitor | {"name": f"monitor_{number}_{name}"}}}
        for number, port in enumerate((80, 8080))
    ]  # fmt: skip
    made = client.create(
        "loadbalancer", "/loadbalancers", name=name, description="Kubernetes external service", vip_subnet_id=site.subnet_id,
        provider="octavia", tags=[owner], listeners=listeners,
    )  # fmt: skip
    path, vip = f"/loadbalancers/{made['id']}", made["vip_address"]
    client.wait_active(made["id"])
    _answered_by(site, vip, 80, {"web-1", "web-2"})
    _answered_by(site, vip, 8080, {"web-1", "web-2"})

    (found,) = client.every("loadbalancers", f"/loadbalancers?name={name}")
    assert found["id"] == made["id"]
    first, other = client.every("listeners", f"/listeners?loadbalancer_id={made['id']}")
    client.update("listener", f"/listeners/{first['id']}", allowed_cidrs=[NOWHERE], timeout_client_data=70000)
    client.wait_active(made["id"])
    eventually(lambda: habits.answers_of(site, vip, [80, 8080]).keys() == {8080}, 60, "the range is not heeded")
    client.update("listener", f"/listeners/{first['id']}", allowed_cidrs=["198.19.64.0/20", NOWHERE])
    client.wait_active(made["id"])
    _answered_by(site, vip, 80, {"web-1", "web-2"})

    (pool,) = [one for one in client.every("pools", f"/pools?loadbalancer_id={made['id']}") if one["listeners"] == [{"id": first["id"]}]]
    moved = [nodes[1], nodes[1] | {"name": "web-3", "address": site.web["web-3"]}]
    client.send("PUT", f"/pools/{pool['id']}/members", {"members": moved}, habits.BATCH)
    client.wait_active(made["id"])
    _answered_by(site, vip, 80, {"web-2", "web-3"})
    _answered_by(site, vip, 8080, {"web-1", "web-2"})

    client.update("loadbalancer", path, tags=[owner, second])
    client.wait_active(made["id"])
    assert [one["id"] for one in client.every("loadbalancers", f"/loadbalancers?tags={second}")] == [made["id"]]
    assert client.every("loadbalancers", f"/loadbalancers?tags={second},nobody") == []
    _without(client, other["id"], made["id"])
    _cascade(client, path)


def _announced(site: Site) -> tuple[int, ...]:
    """The version that this client takes for the running one: the last."""
    versions = requests.get(f"{site.machine.settings.api_url}/", timeout=10).json()["versions"]
    return tuple(int(word) for word in versions[-1]["id"].removeprefix("v").split("."))


def _answered_by(site: Site, vip: str, port: int, names: set[str]) -> None:
    seen: set[str] = set()

    def by_them() -> bool:
        seen.clear()
        seen.update(site.fetch(vip, port) for _ in range(2 * len(names)))
        return seen == names

    eventually(by_them, 60, lambda: f"{sorted(seen)} answer on {port}, not {sorted(names)}")


def _without(client: Client, listener_id: str, load_balancer_id: str) -> None:
    """A port of the service is dropped: its pool, then its listener, with a wait for each."""
    pool_id = client.get("listener", f"/listeners/{listener_id}")["default_pool_id"]
    for path in (f"/pools/{pool_id}", f"/listeners/{listener_id}"):
        client.delete(path)
        client.wait_active(load_balancer_id)
        assert client.is_gone(path)
        with pytest.raises(Refused, match="404"):
            client.delete(path)


def _cascade(client: Client, path: str) -> None:
    """The service is gone: what still has children is refused without `cascade`, and a second delete may come too early or too late."""
    with pytest.raises(Refused, match="it has children") as refused:
        client.delete(path)
    assert refused.value.status == 400
    client.send("DELETE", f"{path}?cascade=true")
    with pytest.raises(Refused) as refused:
        client.send("DELETE", f"{path}?cascade=true")
    assert refused.value.status == 404 or refused.value.sentence.startswith("Invalid state PENDING_DELETE of loadbalancer resource ")
    eventually(lambda: client.is_gone(path), 60)


@pytest.fixture
def shell(site: Site, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """`openstack`, for somebody who has only the address."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return Shell(site.machine.settings.api_url)


def test_the_command_line_waits_for_every_step_and_knows_everything_by_name(site: Site, shell: Shell) -> None:
    made = shell("create", "--name", "web", "--vip-subnet-id", "private-subnet", "--wait")
    assert made["provisioning_status"] == "ACTIVE"
    vip = made["vip_address"]
    waited = [
        shell("listener", "create", "--name", "http", "--protocol", "HTTP", "--protocol-port", "80", "--allowed-cidr", NOWHERE, "--wait",
              "web"),
        shell("pool", "create", "--name", "servers", "--listener", "http", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN", "--wait"),
        *(shell("member", "create", "--name", name, "--address", site.web[name], "--protocol-port", "80", "--subnet-id", "private-subnet",
                "--wait", "servers") for name in ("web-1", "web-2")),
        shell("healthmonitor", "create", "--name", "probe", "--type", "HTTP", "--url-path", "/health", "--delay", "5", "--timeout", "3",
              "--max-retries", "1", "--wait", "servers"),
    ]  # fmt: skip
    assert {one["provisioning_status"] for one in waited} == {"ACTIVE"}
    assert site.fetch(vip) == ""
    shell.silently("listener", "unset", "--allowed-cidrs", "--wait", "http")
    _answered_by(site, vip, 80, {"web-1", "web-2"})
    shell.silently("member", "set", "--weight", "0", "--wait", "servers", "web-2")
    _answered_by(site, vip, 80, {"web-1"})
    shell.silently("member", "unset", "--weight", "--wait", "servers", "web-2")
    _answered_by(site, vip, 80, {"web-1", "web-2"})
    shell.silently("healthmonitor", "delete", "--wait", "probe")
    shell.silently("member", "delete", "--wait", "servers", "web-1")
    _answered_by(site, vip, 80, {"web-2"})
    shell.silently("delete", "--cascade", "--wait", "web")
    assert shell("list", "--name", "web") == []
