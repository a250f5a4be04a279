"""What happened to a load balancer, for who asks."""

from __future__ import annotations

import uuid

from controller.model import load_balancer as model
from tests.functional.api.conftest import Api


def _codes(api: Api, load_balancer_id: str) -> list[str]:
    return [event["code"] for event in api.ok("GET", f"/loadbalancers/{load_balancer_id}/events")["events"]]


def test_what_was_asked_of_a_load_balancer_is_told_with_its_request(api: Api) -> None:
    load_balancer = api.load_balancer()
    (event,) = api.ok("GET", f"/loadbalancers/{load_balancer['id']}/events")["events"]
    assert event.pop("request_id").startswith("req-")
    assert event.pop("occurred_at") >= load_balancer["created_at"]
    assert isinstance(event.pop("id"), int)
    assert event == {
        "object_type": "load_balancer",
        "object_id": load_balancer["id"],
        "code": "requested",
        "message": "it was asked to create load balancer",
        "step": "create-load-balancer",
        "next_try_at": None,
    }
    api.settle()
    api.listener(load_balancer["id"])
    api.settle()
    api.ok("PUT", f"/loadbalancers/{load_balancer['id']}/failover", status=202)
    api.settle()
    answer = api.send("DELETE", f"/loadbalancers/{load_balancer['id']}?cascade=true")
    steps = [(event["step"], event["request_id"]) for event in api.ok("GET", f"/loadbalancers/{load_balancer['id']}/events")["events"]]
    assert [step for step, _ in steps] == ["delete-load-balancer", "failover-load-balancer", "create-load-balancer"]
    assert steps[0][1] == answer.headers["x-openstack-request-id"]


def test_events_are_paged_the_newest_first_and_filtered(api: Api) -> None:
    load_balancer_id, other = api.load_balancer()["id"], api.load_balancer()["id"]
    with api.db.begin() as tx:
        for number in range(5):
            tx.faults.add_event(load_balancer_id, "amphora", str(uuid.uuid4()), model.Fault(code=f"code-{number}", message="…", step="s"))
            tx.faults.add_event(other, "amphora", str(uuid.uuid4()), model.Fault(code="other", message="…"))
    path = f"/loadbalancers/{load_balancer_id}/events"
    first = api.ok("GET", f"{path}?limit=2")
    assert [event["code"] for event in first["events"]] == ["code-4", "code-3"]
    (link,) = first["events_links"]
    assert link["rel"] == "next"
    assert link["href"].endswith(f"{path}?limit=2&marker={first['events'][1]['id']}")
    second = api.ok("GET", f"{path}?limit=2&marker={first['events'][1]['id']}")
    assert [event["code"] for event in second["events"]] == ["code-2", "code-1"]
    back = api.ok("GET", f"{path}?limit=2&marker={second['events'][0]['id']}&page_reverse=True")
    assert [event["code"] for event in back["events"]] == ["code-4", "code-3"]
    assert [event["code"] for event in api.ok("GET", f"{path}?code=code-3&fields=code")["events"]] == ["code-3"]
    assert _codes(api, load_balancer_id) == ["code-4", "code-3", "code-2", "code-1", "code-0", "requested"]
    for query in ("marker=x", "marker=-1", "marker=99999999999999999999", f"marker={10**17}", "gadget=1", "sort=id:up"):
        assert api.send("GET", f"{path}?{query}").status_code == 400, query
    assert api.ok("GET", f"{path}?sort=id&limit=1")["events"][0]["code"] == "requested"


def test_events_outlive_their_load_balancer_but_not_its_row(api: Api) -> None:
    load_balancer_id = api.load_balancer()["id"]
    api.ok("DELETE", f"/loadbalancers/{load_balancer_id}", status=204)
    api.settle()
    api.refused(404, "GET", f"/loadbalancers/{load_balancer_id}")
    assert _codes(api, load_balancer_id) == ["requested", "requested"]
    unknown = str(uuid.uuid4())
    assert api.refused(404, "GET", f"/loadbalancers/{unknown}/events") == f"Load Balancer {unknown} not found."
    api.refused(404, "GET", "/loadbalancers/%00/events")
