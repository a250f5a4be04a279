"""Amphorae, as administrators see them: every field is a filter, and what they are told to do becomes a job."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from controller.db import tables
from controller.model.status import ProvisioningStatus
from tests.functional.api.conftest import Api

PATH = "//v2/octavia/amphorae"
NOW = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def amphora(api: Api) -> Any:
    """One whose every field has a value; beside it one that has none, and one that is deleted."""
    balancer = api.load_balancer()
    full = {
        "id": str(uuid.uuid4()),
        "load_balancer_id": balancer["id"],
        "status": "ALLOCATED",
        "role": "MASTER",
        "compute_id": "machine-1",
        "management_address": "198.19.0.7",
        "vrrp_ip": "10.0.0.5",
        "vrrp_port_id": str(uuid.uuid4()),
        "ha_ip": "10.0.0.4",
        "ha_port_id": str(uuid.uuid4()),
        "vrrp_interface": "eth1",
        "vrrp_id": 1,
        "vrrp_priority": 100,
        "cert_expiration": NOW,
        "cert_busy": True,
        "cached_zone": "nova",
        "image_id": str(uuid.uuid4()),
        "compute_flavor": "namespace",
        "created_at": NOW,
        "updated_at": NOW,
    }
    later = NOW + datetime.timedelta(days=1)
    for values in (
        full,
        {"id": str(uuid.uuid4()), "status": "READY", "created_at": later},
        {"id": str(uuid.uuid4()), "status": "DELETED", "created_at": later, "load_balancer_id": balancer["id"]},
    ):
        api.write(sa.insert(tables.amphorae).values(values))
    return api.ok("GET", f"{PATH}/{full['id']}")["amphora"]


def test_every_field_is_a_filter(api: Api, amphora: Any) -> None:
    assert len(api.ok("GET", PATH)["amphorae"]) == 2
    assert None not in amphora.values()
    for name, value in amphora.items():
        found = api.ok("GET", f"{PATH}?{name}={value}")["amphorae"]
        assert [one["id"] for one in found] == [amphora["id"]], name
    assert "invalid" in api.refused(400, "GET", f"{PATH}?colour=red")


def test_the_project_of_the_load_balancer_is_a_filter(api: Api, amphora: Any) -> None:
    project_id = api.get("loadbalancer", f"/loadbalancers/{amphora['loadbalancer_id']}")["project_id"]
    assert [one["id"] for one in api.ok("GET", f"{PATH}?project_id={project_id}")["amphorae"]] == [amphora["id"]]
    assert api.ok("GET", f"{PATH}?project_id=another") == {"amphorae": [], "amphorae_links": []}


def test_a_new_configuration_becomes_one_job_that_changes_nothing_else(api: Api, amphora: Any) -> None:
    api.settle()
    before = api.get("loadbalancer", f"/loadbalancers/{amphora['loadbalancer_id']}")
    rings = api.rings
    for _ in range(2):
        assert api.ok("PUT", f"{PATH}/{amphora['id']}/config", status=202) is None
    (job,) = api.jobs()
    assert (job["kind"], job["details"]["amphora_id"], job["load_balancer_id"]) == ("configure-amphora", amphora["id"], before["id"])
    assert api.rings > rings
    assert api.get("loadbalancer", f"/loadbalancers/{before['id']}") == before


@pytest.mark.parametrize(("method", "what"), [("GET", ""), ("GET", "/stats"), ("PUT", "/failover"), ("PUT", "/config"), ("DELETE", "")])
def test_one_that_is_unknown_or_deleted_is_not_found(api: Api, amphora: Any, method: str, what: str) -> None:
    with api.db.engine.connect() as connection:
        gone = connection.execute(sa.select(tables.amphorae.c.id).where(tables.amphorae.c.status == "DELETED")).scalar()
    for amphora_id in (str(uuid.uuid4()), gone, "no-id"):
        assert api.refused(404, method, f"{PATH}/{amphora_id}{what}") == f"Amphora {amphora_id} not found."


def test_a_broken_one_can_be_deleted_below_a_broken_load_balancer_in_the_strict_mode_too(api_with: Any) -> None:
    api = api_with(("api_settings", "immutable_while_pending"), True)
    balancer = api.load_balancer()["id"]
    broken = {"id": str(uuid.uuid4()), "status": "ERROR", "role": "STANDALONE", "load_balancer_id": balancer, "created_at": NOW}
    api.write(sa.insert(tables.amphorae).values(broken))
    path = f"{PATH}/{broken['id']}"
    assert api.refused(409, "DELETE", path) == f"Invalid state PENDING_CREATE of loadbalancer resource {balancer}"
    api.settle(ProvisioningStatus.ERROR)
    api.ok("DELETE", path, status=204)
    assert api.get("amphora", path)["status"] == "PENDING_DELETE"
    assert [job["kind"] for job in api.jobs()] == ["update-load-balancer"]
