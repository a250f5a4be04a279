"""gophercloud, unmodified: all that it reads of each resource is what the API said, in the types that it expects."""

from __future__ import annotations

import pytest

from tests.clients import shapes
from tests.clients.conftest import Cloud
from tests.clients.days import PATHS, Day, differences
from tests.clients.golang import GoClients, Gophercloud
from tests.clients.shapes import Stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]  # the first run builds the clients


@pytest.fixture(scope="module")
def client(go: GoClients) -> Gophercloud:
    return Gophercloud(go)


@pytest.mark.parametrize("full", [False, True], ids=["with what is required", "with all that it can say"])
def test_a_day_of_gophercloud(cloud: Cloud, client: Gophercloud, full: bool) -> None:
    cloud.recorder.forget()
    day = Day(client, cloud.recorder, cloud.subnet_id, cloud.site.web["web-1"])
    day.live(full)
    assert not day.faults, "\n".join(day.faults)
    assert day.seen == {(noun, stage) for noun in PATHS for stage in Stage}


def test_what_operators_read_and_write_with_gophercloud(cloud: Cloud, client: Gophercloud) -> None:
    profile = client.ask("flavorprofile", "create", fields={"name": "one", "provider_name": "amphora", "flavor_data": "{}"})
    fields = {"name": "small", "flavor_profile_id": profile["id"], "enabled": False}
    flavor = client.ask("flavor", "create", fields=fields)
    balancer = client.create("loadbalancer", "", {"vip_subnet_id": cloud.subnet_id})
    project = cloud.keystone.projects["blue"]
    limits = {"loadbalancer": 7, "listener": 8, "pool": 9, "member": 10, "healthmonitor": 11, "l7policy": 12, "l7rule": 13}
    try:
        Day(client, cloud.recorder, cloud.subnet_id, "").wait("loadbalancer", balancer["id"])
        amphora = client.ask("amphora", "list")[0]
        read = {
            "flavorprofile": [client.ask("flavorprofile", "get", id=profile["id"])],
            "flavor": [client.ask("flavor", "get", id=flavor["id"])],
            "quota": [client.ask("quota", "update", id=project, fields=limits), client.ask("quota", "get", id=project)],
            "amphora": [client.ask("amphora", "get", id=amphora["id"])],
            "provider": client.ask("provider", "list"),
        }
        told = {
            "flavorprofile": [cloud.recorder.last("GET", profile["id"])["flavorprofile"]],
            "flavor": [cloud.recorder.last("GET", flavor["id"])["flavor"]],
            "quota": [cloud.recorder.last(method, project)["quota"] for method in ("PUT", "GET")],
            "amphora": [cloud.recorder.last("GET", amphora["id"])["amphora"]],
            "provider": cloud.recorder.last("GET", "providers")["providers"],
        }
        wrong = [
            f"{noun}: {words}" for noun in read for one, two in zip(read[noun], told[noun], strict=True) for words in differences(one, two)
        ]
        wrong += [words for noun, objects in told.items() for one in objects for words in shapes.faults(noun, Stage.ACTIVE, one)]
        assert not wrong, "\n".join(wrong)
        assert client.ask("loadbalancer", "stats", id=balancer["id"])["bytes_in"] == 0
        assert client.ask("loadbalancer", "statuses", id=balancer["id"])["loadbalancer"]["id"] == balancer["id"]
    finally:
        client.delete("loadbalancer", "", balancer["id"])
        client.ask("flavor", "delete", id=flavor["id"])
        client.ask("flavorprofile", "delete", id=profile["id"])
