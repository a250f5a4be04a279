"""`immutable_while_pending = true`: who does not wait is refused as by the compatible API, and who does wait gets everything done."""

from __future__ import annotations

import re
from concurrent import futures
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration import habits, terraform_plan
from tests.integration.habits import Client, Refused
from tests.integration.site import Site
from tests.integration.terraform import Terraform

pytestmark = [pytest.mark.integration]

OPTIONS = {"api_settings.immutable_while_pending": "true"}
LISTENERS = 50
UUID = "[0-9a-f-]{36}"
SENTENCE = re.compile(
    f"Invalid state PENDING_(CREATE|UPDATE) of loadbalancer resource {UUID}|(Listener|Pool) {UUID} is immutable and cannot be updated[.]"
).fullmatch


@pytest.fixture
def client(site: Site) -> Client:
    """A client that has sent nothing yet."""
    return Client(site.machine.settings.api_url)


def test_a_client_that_never_waits_is_refused_with_the_state_and_loses_nothing_that_was_accepted(site: Site, client: Client) -> None:
    made = client.create("loadbalancer", "/loadbalancers", name="t", vip_subnet_id=site.subnet_id)
    path = f"/loadbalancers/{made['id']}"
    accepted: list[habits.Service] = []
    refused: list[Refused] = []

    def make(number: int) -> None:
        try:
            accepted.append(habits.a_service(client, site, made["id"], number))
        except Refused as answer:
            refused.append(answer)

    with futures.ThreadPoolExecutor(LISTENERS) as threads:
        list(threads.map(make, range(LISTENERS)))
    assert len(refused) + len(accepted) == LISTENERS
    assert any(f"Invalid state PENDING_CREATE of loadbalancer resource {made['id']}" == answer.sentence for answer in refused)
    assert [answer for answer in refused if answer.status != 409 or not SENTENCE(answer.sentence)] == []
    client.wait_active(made["id"])
    habits.settled(client, accepted)
    kept = client.every("listeners", f"/listeners?loadbalancer_id={made['id']}")
    assert {one["provisioning_status"] for one in kept} <= {"ACTIVE"}
    client.send("DELETE", f"{path}?cascade=true")
    eventually(lambda: client.is_gone(path), 60, f"{path} is still there")


def test_every_write_is_refused_while_one_is_under_way_and_other_load_balancers_are_free(site: Site, client: Client) -> None:
    terraform = Terraform(client)
    shop = terraform_plan.create(site, terraform)
    site.machine.stop("worker")
    client.update("loadbalancer", shop.balancer.path, name="changed")
    sentence = f"Invalid state PENDING_UPDATE of loadbalancer resource {shop.balancer.id}"
    calls: list[tuple[str, str, Any]] = [
        ("PUT", one.path, {one.key: {"name": "x"} if one.key != "rule" else {"value": "/z"}}) for one in shop.resources
    ]
    calls += [("DELETE", one.path, None) for one in shop.resources]
    calls += [
        ("PUT", f"{shop.pool.path}/members", {"members": []}),
        ("PUT", f"{shop.balancer.path}/failover", None),
        ("DELETE", f"{shop.balancer.path}?cascade=true", None),
        ("POST", "/listeners", {"listener": {"loadbalancer_id": shop.balancer.id, "protocol": "TCP", "protocol_port": 81}}),
    ]
    for method, path, body in calls:
        with pytest.raises(Refused) as refused:
            client.send(method, path, body)
        assert (refused.value.status, refused.value.sentence) == (409, sentence), (method, path)
    other = client.create("loadbalancer", "/loadbalancers", name="other", vip_subnet_id=site.subnet_id)
    site.machine.start("worker")
    client.wait_active(shop.balancer.id)
    client.wait_active(other["id"])
    for load_balancer_id in (shop.balancer.id, other["id"]):
        client.send("DELETE", f"/loadbalancers/{load_balancer_id}?cascade=true")
    for load_balancer_id in (shop.balancer.id, other["id"]):
        site.api.wait_gone(f"/loadbalancers/{load_balancer_id}")


def test_a_client_that_waits_gets_everything_done_without_one_refusal(site: Site, client: Client) -> None:
    terraform = Terraform(client)
    terraform_plan.walk(site, terraform)
    assert terraform.retries == 0
    assert client.refusals() == {}


def test_a_failover_is_waited_for_like_any_other_change(site: Site, client: Client) -> None:
    terraform = Terraform(client)
    shop = terraform_plan.create(site, terraform)
    client.send("PUT", f"{shop.balancer.path}/failover", success={202})
    assert client.status(shop.balancer.id) in ("PENDING_UPDATE", "ACTIVE")
    client.wait_active(shop.balancer.id)
    terraform.update(shop.listener, connection_limit=700)
    eventually(lambda: habits.answers_of(site, shop.vip, [80]).get(80, "") in terraform_plan.WEB, 60, "nobody answers on the VIP")
    for resource in shop.resources:
        terraform.delete(resource)
    assert terraform.retries == 0
    assert client.refusals() == {}
