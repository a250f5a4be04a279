"""Terraform's OpenStack provider, unmodified: what was applied leaves nothing to change, can be changed, imported and destroyed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import Cloud
from tests.clients.golang import GoClients

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]  # the first run builds the clients

_PREFIX = "openstack_lb_"


class Workspace:
    """Resources by their kind; each is applied, read, and planned once more, as `terraform apply` and `terraform plan` do."""

    def __init__(self, go: GoClients) -> None:
        self._go = go
        self.states: dict[str, dict[str, Any]] = {}

    def apply(self, kind: str, **plan: Any) -> dict[str, Any]:
        """The state after the apply; a second plan must find nothing to do, and every planned value must be in the state."""
        answer = self._go.ask(terraform=f"{_PREFIX}{kind}_v2", name=kind, plan=plan)
        assert "error" not in answer, (kind, plan, answer["error"])
        assert answer["changes"] == {}, (kind, plan)
        state: dict[str, Any] = answer["state"]
        assert {name: value for name, value in plan.items() if not _same(state[name], value)} == {}, (kind, state)
        self.states[kind] = state
        return state

    def imported(self, kind: str, object_id: str) -> dict[str, Any]:
        """What `terraform import` reads of an object."""
        answer = self._go.ask(terraform=f"{_PREFIX}{kind}_v2", name=f"imported {kind}", do="import", id=object_id)
        assert "error" not in answer, (kind, answer["error"])
        return dict(answer["state"])

    def destroy(self, kind: str) -> None:
        """End the resource."""
        answer = self._go.ask(terraform=f"{_PREFIX}{kind}_v2", name=kind)
        assert "error" not in answer, (kind, answer["error"])
        del self.states[kind]

    def id(self, kind: str) -> str:
        """The id of what was applied."""
        return str(self.states[kind]["id"])


@pytest.fixture
def workspace(go: GoClients) -> Iterator[Workspace]:
    """Nothing is left behind, whatever happens."""
    made = Workspace(go)
    yield made
    for kind in reversed(list(made.states)):
        made.destroy(kind)


def test_a_shop_is_applied_changed_stripped_imported_and_destroyed(cloud: Cloud, workspace: Workspace) -> None:
    _create(cloud, workspace)
    for kind, path in _import_ids(workspace).items():
        found = workspace.imported(kind, path)
        assert found == workspace.states[kind] | {name: found[name] for name in _NOT_IMPORTED.get(kind, ())}, kind
    _change(cloud, workspace)
    _strip(cloud, workspace)
    for kind in reversed(list(workspace.states)):
        workspace.destroy(kind)
    assert workspace.states == {}


def test_what_operators_offer(cloud: Cloud, workspace: Workspace) -> None:
    data = json.dumps({"loadbalancer_topology": "SINGLE"}, separators=(",", ":"))  # as the provider writes it
    workspace.apply("flavorprofile", name="single", provider_name="amphora", flavor_data=data)
    flavor = {"name": "small", "flavor_profile_id": workspace.id("flavorprofile")}
    workspace.apply("flavor", **flavor, description="one amphora")
    workspace.apply("flavor", **flavor, description="", enabled=False)
    limits = dict.fromkeys(("loadbalancer", "listener", "member", "pool", "health_monitor", "l7_policy", "l7_rule"), 11)
    workspace.apply("quota", project_id=cloud.keystone.projects["red"], **limits)
    workspace.apply("quota", project_id=cloud.keystone.projects["red"], **(limits | {"pool": -1}))


_NOT_IMPORTED = {"pool": ("listener_id", "loadbalancer_id"), "l7rule": ("listener_id",)}
"""By kind, what the provider takes from the plan, or finds only when it imports: an imported pool hangs below its listener."""


def _create(cloud: Cloud, workspace: Workspace) -> None:
    balancer = workspace.apply("loadbalancer", vip_subnet_id=cloud.subnet_id, name="shop", description="x", tags=["a", "b"])
    pool = workspace.apply(
        "pool", loadbalancer_id=balancer["id"], protocol="HTTP", lb_method="ROUND_ROBIN", name="back", description="x",
        persistence=[{"type": "APP_COOKIE", "cookie_name": "session"}], tags=["p"],
    )  # fmt: skip
    listener = workspace.apply(
        "listener", loadbalancer_id=balancer["id"], protocol="HTTP", protocol_port=80, name="front", description="x", connection_limit=500,
        default_pool_id=pool["id"], insert_headers={"X-Forwarded-For": "true"}, allowed_cidrs=["198.19.0.0/16", "10.0.0.0/8"],
        timeout_client_data=1000, timeout_member_connect=2000, timeout_member_data=3000, timeout_tcp_inspect=4, tags=["l"],
    )  # fmt: skip
    workspace.apply(
        "member", pool_id=pool["id"], address=cloud.site.web["web-1"], protocol_port=80, name="one", weight=3, subnet_id=cloud.subnet_id,
        monitor_address=cloud.site.web["web-1"], monitor_port=80, backup=False, tags=["m"],
    )  # fmt: skip
    workspace.apply(
        "monitor", pool_id=pool["id"], type="HTTP", delay=5, timeout=3, max_retries=2, max_retries_down=4, name="check", url_path="/health",
        http_method="HEAD", http_version="1.1", expected_codes="200,204", domain_name="shop.example",
    )  # fmt: skip
    policy = workspace.apply(
        "l7policy",
        listener_id=listener["id"],
        action="REDIRECT_TO_POOL",
        redirect_pool_id=pool["id"],
        name="away",
        description="x",
        position=1,
    )
    workspace.apply("l7rule", l7policy_id=policy["id"], type="HEADER", compare_type="EQUAL_TO", key="X-Shop", value="old", invert=True)


def _import_ids(workspace: Workspace) -> dict[str, str]:
    below = {"member": "pool", "l7rule": "l7policy"}
    return {
        kind: f"{workspace.id(below[kind])}/{state['id']}" if kind in below else state["id"] for kind, state in workspace.states.items()
    }


def _change(cloud: Cloud, workspace: Workspace) -> None:
    ids = {kind: workspace.id(kind) for kind in workspace.states}
    workspace.apply("loadbalancer", vip_subnet_id=cloud.subnet_id, name="renamed", tags=["c"])
    workspace.apply(
        "pool", loadbalancer_id=ids["loadbalancer"], protocol="HTTP", lb_method="LEAST_CONNECTIONS", persistence=[{"type": "SOURCE_IP"}]
    )
    workspace.apply(
        "listener", loadbalancer_id=ids["loadbalancer"], protocol="HTTP", protocol_port=80, connection_limit=600,
        default_pool_id=ids["pool"],
        allowed_cidrs=["198.19.64.0/20"],
    )  # fmt: skip
    workspace.apply(
        "member", pool_id=ids["pool"], address=cloud.site.web["web-1"], protocol_port=80, weight=0, subnet_id=cloud.subnet_id, backup=True,
        tags=["n"],
    )  # fmt: skip
    monitor = {"type": "HTTP", "delay": 9, "timeout": 3, "max_retries": 1, "http_version": "1.0"}
    workspace.apply("monitor", pool_id=ids["pool"], **monitor, expected_codes="200-299")
    workspace.apply("l7policy", listener_id=ids["listener"], action="REDIRECT_TO_URL", redirect_url="http://new.example/")
    workspace.apply("l7rule", l7policy_id=ids["l7policy"], type="PATH", compare_type="STARTS_WITH", value="/y")


def _strip(cloud: Cloud, workspace: Workspace) -> None:
    """Only what is required is left in the plans."""
    ids = {kind: workspace.id(kind) for kind in workspace.states}
    workspace.apply("loadbalancer", vip_subnet_id=cloud.subnet_id)
    workspace.apply("pool", loadbalancer_id=ids["loadbalancer"], protocol="HTTP", lb_method="ROUND_ROBIN")
    workspace.apply("listener", loadbalancer_id=ids["loadbalancer"], protocol="HTTP", protocol_port=80)
    member = {"address": cloud.site.web["web-1"], "protocol_port": 80, "subnet_id": cloud.subnet_id}
    workspace.apply(
        "member", pool_id=ids["pool"], **member, tags=["n"]
    )  # its last tag can't be taken away: the client leaves out an empty list
    monitor = {"type": "HTTP", "delay": 9, "timeout": 3, "max_retries": 1, "http_version": "1.0"}
    workspace.apply(
        "monitor", pool_id=ids["pool"], **monitor
    )  # its version can't be taken away: the client reads an empty word as a number
    workspace.apply("l7policy", listener_id=ids["listener"], action="REJECT")
    one = {"address": cloud.site.web["web-2"], "protocol_port": 80, "name": "two", "weight": 2}
    other = {"address": cloud.site.web["web-3"], "protocol_port": 80, "name": "three", "weight": 0, "backup": True}
    workspace.destroy("member")
    workspace.apply("members", pool_id=ids["pool"], member=[one, other])
    workspace.apply("members", pool_id=ids["pool"], member=[one])


def _same(found: Any, planned: Any) -> bool:
    """Sets have no order; a block has fields that nobody planned."""
    if isinstance(planned, list) and isinstance(found, list):
        return len(found) == len(planned) and all(any(_same(one, other) for one in found) for other in planned)
    if isinstance(planned, dict):
        return all(_same(found[name], value) for name, value in planned.items())
    return bool(found == planned or (planned in ("", False) and found is None))
