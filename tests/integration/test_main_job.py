"""The main job: a load balancer that serves, drains, notices what died, and counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.dev import client
from controller.dev.client import eventually
from tests.integration.site import QUICK_MONITOR, Balancer, Site

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def balancer(site: Site) -> Iterator[Balancer]:
    made = site.balancer(("web-1", "web-2", "web-3"), QUICK_MONITOR)
    yield made
    made.delete()
    eventually(lambda: not made.amphorae(), 60, "an amphora is left")


def test_the_answers_come_from_the_members_in_turn(site: Site, balancer: Balancer) -> None:
    answers = [site.fetch(balancer.vip) for _ in range(9)]
    assert answers[:3] == answers[3:6] == answers[6:9]
    assert set(answers) == {"web-1", "web-2", "web-3"}


def test_a_stopped_server_leaves_the_rotation_and_comes_back(site: Site, balancer: Balancer) -> None:
    site.machine.stop("web-2")
    try:
        balancer.serves({"web-1", "web-3"})
        eventually(lambda: balancer.members()["web-2"]["operating_status"] == "ERROR", 60, "the member is not shown as ERROR")
        assert balancer.members()["web-1"]["operating_status"] == "ONLINE"
        eventually(lambda: balancer.show()["operating_status"] == "DEGRADED", 60, "the load balancer is not shown as DEGRADED")
    finally:
        site.machine.start("web-2")
    balancer.serves({"web-1", "web-2", "web-3"})
    eventually(lambda: balancer.members()["web-2"]["operating_status"] == "ONLINE", 60, "the member is not shown as ONLINE")
    eventually(lambda: balancer.show()["operating_status"] == "ONLINE", 60, "the load balancer is not shown as ONLINE")


def test_a_member_of_weight_zero_drains(site: Site, balancer: Balancer) -> None:
    member = f"{balancer.members_path}/{balancer.members()['web-1']['id']}"
    site.api.put(member, {"member": {"weight": 0}})
    balancer.serves({"web-2", "web-3"})
    eventually(lambda: balancer.members()["web-1"]["operating_status"] == "DRAINING", 60, "the member is not shown as DRAINING")
    site.api.put(member, {"member": {"weight": 1}})
    balancer.serves({"web-1", "web-2", "web-3"})


def test_a_disabled_listener_answers_nobody(site: Site, balancer: Balancer) -> None:
    listener = f"/listeners/{balancer.listener_id}"
    site.api.put(listener, {"listener": {"admin_state_up": False}})
    eventually(lambda: site.fetch(balancer.vip) == "", 60, "it still answers")
    site.api.put(listener, {"listener": {"admin_state_up": True}})
    balancer.serves({"web-1", "web-2", "web-3"})


def test_statistics_count_and_survive_a_reload(site: Site, balancer: Balancer) -> None:
    path = f"/loadbalancers/{balancer.id}/stats"

    def total() -> int:
        return int(site.api.get(path)["stats"]["total_connections"])

    for _ in range(5):
        site.fetch(balancer.vip)
    eventually(lambda: total() >= 5, 60, lambda: f"only {total()} connections were counted")
    before = total()
    extra = site.api.post("/listeners", {"listener": {"loadbalancer_id": balancer.id, "protocol": "HTTP", "protocol_port": 8080}})
    balancer.wait_active()
    assert total() >= before
    site.fetch(balancer.vip)
    eventually(lambda: total() > before, 60, "the counters stand still after a reload")
    site.api.delete(f"/listeners/{extra['listener']['id']}")
    balancer.wait_active()


@pytest.mark.parametrize(("protocol", "port", "scheme", "target"), [("TCP", 8081, "http", 80), ("HTTPS", 8443, "https", 443)])
def test_tcp_and_https_pass_through(site: Site, balancer: Balancer, protocol: str, port: int, scheme: str, target: int) -> None:
    body = {"loadbalancer_id": balancer.id, "protocol": protocol, "protocol_port": port}
    listener = site.api.post("/listeners", {"listener": body})["listener"]
    body = {"listener_id": listener["id"], "protocol": protocol, "lb_algorithm": "LEAST_CONNECTIONS"}
    pool = site.api.post("/pools", {"pool": body})["pool"]
    member = {"address": site.web["web-4"], "protocol_port": target}
    site.api.post(f"/pools/{pool['id']}/members", {"member": member})
    eventually(lambda: site.fetch(balancer.vip, port, scheme) == "web-4", 60, "web-4 does not answer")
    site.api.delete(f"/pools/{pool['id']}")
    site.api.delete(f"/listeners/{listener['id']}")
    site.api.wait_gone(f"/listeners/{listener['id']}")


def test_the_status_tree_shows_everything_online(site: Site, balancer: Balancer) -> None:
    def tree() -> dict[str, object]:
        found: dict[str, object] = site.api.get(f"/loadbalancers/{balancer.id}/status")["statuses"]["loadbalancer"]
        return found

    def everything_online() -> bool:
        return str(tree()).count("ONLINE") == 1 + 1 + 1 + 1 + 3 and "OFFLINE" not in str(tree())

    eventually(everything_online, 60, lambda: str(tree()))


def test_a_vip_lets_only_its_listeners_ports_in(site: Site, balancer: Balancer) -> None:
    assert site.fetch(balancer.vip, 22) == ""
    with pytest.raises(client.ApiError) as refused:
        site.api.post("/listeners", {"listener": {"loadbalancer_id": balancer.id, "protocol": "HTTP", "protocol_port": 80}})
    assert refused.value.status == 409
