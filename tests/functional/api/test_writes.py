"""What a write leaves behind: states, generations, jobs and a ring; and what is accepted while work is under way."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent import futures
from typing import Any

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import rows, tables
from controller.db.repositories import load_balancers
from controller.model.status import AmphoraStatus, ProvisioningStatus, Topology
from tests.functional.api.conftest import Api


class Tree:
    """A settled load balancer with a listener, its pool, a member and a monitor, and a second pool that nobody uses."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.load_balancer = api.load_balancer()["id"]
        self.listener = api.listener(self.load_balancer)["id"]
        self.pool = api.pool(listener_id=self.listener)["id"]
        self.member = api.member(self.pool)["id"]
        self.monitor = api.monitor(self.pool)["id"]
        self.other = api.pool(loadbalancer_id=self.load_balancer)["id"]
        api.settle()
        self.generation = self.row("load_balancer")["generation"]

    def row(self, name: str) -> dict[str, Any]:
        """The row of one of the objects."""
        by_name = {
            "load_balancer": tables.load_balancers,
            "listener": tables.listeners,
            "pool": tables.pools,
            "other": tables.pools,
            "member": tables.members,
            "monitor": tables.health_monitors,
        }
        return self.api.row(by_name[name], getattr(self, name))

    def states(self) -> dict[str, str]:
        """Provisioning statuses that are not ACTIVE, by name."""
        names = ("load_balancer", "listener", "pool", "other", "member", "monitor")
        found = {name: self.row(name)["provisioning_status"] for name in names}
        return {name: status for name, status in found.items() if status != "ACTIVE"}


@pytest.fixture
def tree(api: Api) -> Tree:
    """A settled load balancer."""
    return Tree(api)


_UPDATE, _DELETE = "PENDING_UPDATE", "PENDING_DELETE"
_BELOW_POOL = {"load_balancer": _UPDATE, "listener": _UPDATE, "pool": _UPDATE}
_WRITES: dict[str, tuple[Callable[[Tree], Any], dict[str, str]]] = {
    "load balancer update": (
        lambda t: t.api.ok("PUT", f"/loadbalancers/{t.load_balancer}", {"loadbalancer": {}}),
        {"load_balancer": _UPDATE},
    ),
    "listener create": (lambda t: t.api.listener(t.load_balancer, protocol_port=81), {"load_balancer": _UPDATE}),
    "listener update": (
        lambda t: t.api.ok("PUT", f"/listeners/{t.listener}", {"listener": {"name": "x"}}),
        {"load_balancer": _UPDATE, "listener": _UPDATE},
    ),
    "listener delete": (
        lambda t: t.api.ok("DELETE", f"/listeners/{t.listener}", status=204),
        {"load_balancer": _UPDATE, "listener": _DELETE},
    ),
    "pool create": (lambda t: t.api.pool(loadbalancer_id=t.load_balancer), {"load_balancer": _UPDATE}),
    "pool update": (lambda t: t.api.ok("PUT", f"/pools/{t.pool}", {"pool": {"name": "x"}}), _BELOW_POOL),
    "pool delete": (
        lambda t: t.api.ok("DELETE", f"/pools/{t.pool}", status=204),
        _BELOW_POOL | {"pool": _DELETE, "member": _DELETE, "monitor": _DELETE},
    ),
    "member create": (lambda t: t.api.member(t.pool, "10.0.0.2"), _BELOW_POOL),
    "member update": (
        lambda t: t.api.ok("PUT", f"/pools/{t.pool}/members/{t.member}", {"member": {"weight": 5}}),
        _BELOW_POOL | {"member": _UPDATE},
    ),
    "member delete": (lambda t: t.api.ok("DELETE", f"/pools/{t.pool}/members/{t.member}", status=204), _BELOW_POOL | {"member": _DELETE}),
    "member batch": (
        lambda t: t.api.ok("PUT", f"/pools/{t.pool}/members", {"members": [{"address": "10.0.0.1", "protocol_port": 80}]}, 202),
        _BELOW_POOL | {"member": _UPDATE},
    ),
    "monitor create": (lambda t: t.api.monitor(t.other), {"load_balancer": _UPDATE, "other": _UPDATE}),
    "monitor update": (
        lambda t: t.api.ok("PUT", f"/healthmonitors/{t.monitor}", {"healthmonitor": {"delay": 9}}),
        _BELOW_POOL | {"monitor": _UPDATE},
    ),
    "monitor delete": (lambda t: t.api.ok("DELETE", f"/healthmonitors/{t.monitor}", status=204), _BELOW_POOL | {"monitor": _DELETE}),
}


@pytest.mark.parametrize("write", _WRITES)
def test_a_write_moves_what_it_touches_and_stamps_the_generation(tree: Tree, write: str) -> None:
    rings = tree.api.rings
    act, expected = _WRITES[write]
    act(tree)
    assert tree.states() == expected
    row = tree.row("load_balancer")
    assert row["generation"] == tree.generation + 1
    assert row["applied_generation"] == tree.generation
    assert {tree.row(name)["generation"] for name in expected} == {tree.generation + 1}
    assert [(job["kind"], job["load_balancer_id"]) for job in tree.api.jobs()] == [("update-load-balancer", tree.load_balancer)]
    assert tree.api.rings == rings + 1


@pytest.mark.parametrize("state", [ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.PENDING_UPDATE, ProvisioningStatus.ERROR])
@pytest.mark.parametrize("write", _WRITES)
def test_a_write_is_accepted_while_another_one_is_under_way(tree: Tree, write: str, state: ProvisioningStatus) -> None:
    for table in (tables.load_balancers, tables.listeners, tables.pools, tables.members, tables.health_monitors):
        tree.api.write(sa.update(table).values(provisioning_status=state))
    act, expected = _WRITES[write]
    act(tree)
    states = tree.states()
    for name, status in expected.items():
        kept = state is ProvisioningStatus.PENDING_CREATE and status == _UPDATE
        assert states[name] == ("PENDING_CREATE" if kept else status), name


@pytest.mark.parametrize("write", _WRITES)
def test_nothing_below_a_load_balancer_that_is_being_deleted_changes(tree: Tree, write: str) -> None:
    tree.api.ok("DELETE", f"/loadbalancers/{tree.load_balancer}?cascade=true", status=204)
    generation = tree.row("load_balancer")["generation"]
    jobs = tree.api.jobs()
    with pytest.raises(AssertionError, match=f"409.*Invalid state PENDING_DELETE of loadbalancer resource {tree.load_balancer}"):
        _WRITES[write][0](tree)
    assert tree.row("load_balancer")["generation"] == generation
    assert tree.api.jobs() == jobs


@pytest.mark.parametrize("state", ["PENDING_CREATE", "PENDING_UPDATE", "ERROR"])
@pytest.mark.parametrize("write", ["load balancer update", "listener create", "member update", "member batch", "monitor delete"])
def test_the_strict_mode_refuses_what_the_compatible_api_refuses(api_with: Any, write: str, state: str) -> None:
    tree = Tree(_settling(api_with(("api_settings", "immutable_while_pending"), True)))
    tree.api.write(sa.update(tables.load_balancers).values(provisioning_status=state))
    with pytest.raises(AssertionError, match=f"409.*Invalid state {state} of loadbalancer resource"):
        _WRITES[write][0](tree)


@pytest.mark.parametrize(
    ("writes", "moving", "state", "title"),
    [
        (("listener update",), "listener", "ERROR", "Listener"),
        (("listener update", "listener delete"), "listener", "PENDING_UPDATE", "Listener"),
        (("pool update", "pool delete", "member create", "monitor update"), "listener", "PENDING_CREATE", "Listener"),
        (("member create", "member update", "member delete", "member batch"), "pool", "ERROR", "Pool"),
        (("monitor update", "monitor delete", "member batch"), "pool", "PENDING_UPDATE", "Pool"),
        (("monitor create",), "other", "ERROR", "Pool"),
    ],
)
def test_the_strict_mode_waits_for_what_is_below_the_load_balancer_too(
    api_with: Any, writes: tuple[str, ...], moving: str, state: str, title: str
) -> None:
    tree = Tree(_settling(api_with(("api_settings", "immutable_while_pending"), True)))
    table = tables.listeners if moving == "listener" else tables.pools
    tree.api.write(sa.update(table).where(table.c.id == getattr(tree, moving)).values(provisioning_status=state))
    for write in writes:
        with pytest.raises(AssertionError, match=f"409.*{title} {getattr(tree, moving)} is immutable and cannot be updated."):
            _WRITES[write][0](tree)
    assert tree.states() == {moving: state}


def test_the_strict_mode_lets_a_broken_listener_go(api_with: Any) -> None:
    tree = Tree(_settling(api_with(("api_settings", "immutable_while_pending"), True)))
    tree.api.write(sa.update(tables.listeners).values(provisioning_status="ERROR"))
    tree.api.ok("DELETE", f"/listeners/{tree.listener}", status=204)


def _settling(api: Api) -> Api:
    """The API, with a worker that settles each create at once, as strict clients wait for it."""
    create = api.create

    def settled(key: str, path: str, **fields: Any) -> Any:
        made = create(key, path, **fields)
        api.settle()
        return made

    api.create = settled  # type: ignore[method-assign]
    return api


def test_an_object_that_is_being_deleted_is_left_alone(tree: Tree) -> None:
    api = tree.api
    paths = {
        "Member": ("member", f"/pools/{tree.pool}/members/{tree.member}", tree.member),
        "Health Monitor": ("healthmonitor", f"/healthmonitors/{tree.monitor}", tree.monitor),
        "Pool": ("pool", f"/pools/{tree.other}", tree.other),
        "Listener": ("listener", f"/listeners/{tree.listener}", tree.listener),
    }
    for title, (key, path, object_id) in paths.items():
        api.ok("DELETE", path, status=204)
        sentence = f"{title} {object_id} is immutable and cannot be updated."
        assert api.refused(409, "PUT", path, {key: {}}) == sentence
        assert api.refused(409, "DELETE", path) == sentence
        assert api.get(key, path)["provisioning_status"] == "PENDING_DELETE"
    assert api.refused(409, "POST", f"/pools/{tree.other}/members", {"member": {"address": "10.0.0.9", "protocol_port": 1}}).startswith(
        "Pool "
    )
    body = {"listener": {"loadbalancer_id": tree.load_balancer, "protocol": "HTTP", "protocol_port": 90, "default_pool_id": tree.other}}
    assert api.refused(409, "POST", "/listeners", body).startswith("Pool ")


def test_what_is_being_deleted_makes_room_at_once(tree: Tree) -> None:
    api = tree.api
    api.ok("DELETE", f"/pools/{tree.pool}/members/{tree.member}", status=204)
    assert api.member(tree.pool)["id"] != tree.member
    api.ok("DELETE", f"/healthmonitors/{tree.monitor}", status=204)
    again = api.monitor(tree.pool)["id"]
    assert api.get("pool", f"/pools/{tree.pool}")["healthmonitor_id"] == again
    api.ok("DELETE", f"/pools/{tree.pool}", status=204)
    assert api.pool(listener_id=tree.listener)["listeners"] == [{"id": tree.listener}]
    api.ok("DELETE", f"/listeners/{tree.listener}", status=204)
    assert api.listener(tree.load_balancer)["id"] != tree.listener
    for path in (f"/pools/{tree.other}", f"/pools/{api.ok('GET', '/pools?provisioning_status=PENDING_CREATE')['pools'][0]['id']}"):
        api.ok("DELETE", path, status=204)
    api.ok("DELETE", f"/listeners/{api.ok('GET', '/listeners?provisioning_status=PENDING_CREATE')['listeners'][0]['id']}", status=204)
    api.ok("DELETE", f"/loadbalancers/{tree.load_balancer}", status=204)  # all that is left is on its way out


def test_a_deleted_pool_is_taken_from_its_listeners(tree: Tree) -> None:
    tree.api.ok("DELETE", f"/pools/{tree.pool}", status=204)
    assert tree.api.get("listener", f"/listeners/{tree.listener}")["default_pool_id"] is None


def test_a_refused_write_leaves_nothing(tree: Tree) -> None:
    rings = tree.api.rings
    tree.api.refused(
        409, "POST", "/listeners", {"listener": {"loadbalancer_id": tree.load_balancer, "protocol": "TCP", "protocol_port": 80}}
    )
    tree.api.refused(400, "PUT", f"/pools/{tree.pool}", {"pool": {"session_persistence": {}}})
    assert (tree.states(), tree.api.jobs(), tree.api.rings) == ({}, [], rings)
    assert tree.row("load_balancer")["generation"] == tree.generation


def test_many_writes_leave_one_job(tree: Tree) -> None:
    for number in range(20):
        tree.api.member(tree.pool, f"10.0.1.{number}")
    assert len(tree.api.jobs()) == 1
    assert tree.row("load_balancer")["generation"] == tree.generation + 20


def test_concurrent_writes_are_all_accepted(tree: Tree) -> None:
    def create(number: int) -> int:
        client = tree.api.app.test_client()
        body = {"member": {"address": f"10.0.2.{number}", "protocol_port": 80}}
        return client.post(f"/v2/pools/{tree.pool}/members", json=body, headers={"X-Project-Id": "x"}).status_code

    with futures.ThreadPoolExecutor(8) as threads:
        assert set(threads.map(create, range(1, 41))) == {201}
    assert len(tree.api.jobs()) == 1
    assert tree.row("load_balancer")["generation"] == tree.generation + 40
    assert len(tree.api.get("pool", f"/pools/{tree.pool}")["members"]) == 41


def test_of_equal_concurrent_creates_one_wins(tree: Tree) -> None:
    def create(_number: int) -> int:
        body = {"listener": {"loadbalancer_id": tree.load_balancer, "protocol": "HTTP", "protocol_port": 99}}
        return tree.api.app.test_client().post("/v2/listeners", json=body).status_code

    with futures.ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(create, range(8))) == [201] + [409] * 7


def test_a_write_resets_the_back_off_of_failures(tree: Tree) -> None:
    tree.api.write(sa.update(tables.load_balancers).values(failures=5, next_try_at=9e9, provisioning_status="ERROR"))
    tree.api.member(tree.pool, "10.0.0.7")
    row = tree.row("load_balancer")
    assert (row["failures"], row["next_try_at"]) == (0, 0.0)


@pytest.mark.parametrize(("topology", "count"), [("SINGLE", 1), ("ACTIVE_STANDBY", 2)])
def test_a_create_posts_its_job_with_an_amphora_id_for_each_role(api_with: Any, topology: str, count: int) -> None:
    api = api_with(("controller_worker", "loadbalancer_topology"), topology)
    answer = api.send("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}})
    made = answer.get_json()["loadbalancer"]["id"]
    (job,) = api.jobs()
    assert (job["kind"], job["load_balancer_id"], job["details"]["topology"]) == ("create-load-balancer", made, topology)
    assert tuple(job["details"]["amphora_ids"]) == jobs.amphora_ids(made, Topology(topology))
    assert len(set(job["details"]["amphora_ids"])) == count
    assert job["request_id"] == answer.headers["x-openstack-request-id"]
    assert api.row(tables.load_balancers, made)["topology"] == topology
    assert api.rings == 1


def test_a_delete_posts_its_job_and_marks_everything_below(tree: Tree) -> None:
    tree.api.ok("DELETE", f"/loadbalancers/{tree.load_balancer}?cascade=True", status=204)
    assert set(tree.states().values()) == {_DELETE}
    assert len(tree.states()) == 6
    assert [job["kind"] for job in tree.api.jobs()] == ["delete-load-balancer"]


def test_a_failover_of_a_load_balancer_names_replacements(tree: Tree) -> None:
    tree.api.ok("PUT", f"/loadbalancers/{tree.load_balancer}/failover", status=202)
    (job,) = tree.api.jobs()
    assert job["kind"] == "failover-load-balancer"
    assert len(job["details"]["replacement_ids"]) == 1
    assert tree.states() == {"load_balancer": _UPDATE}


def test_a_failover_of_an_amphora_names_its_replacement(tree: Tree) -> None:
    amphora = str(uuid.uuid4())
    row = {
        "id": amphora,
        "load_balancer_id": tree.load_balancer,
        "status": AmphoraStatus.ALLOCATED,
        "role": "MASTER",
        "created_at": rows.now(),
    }
    tree.api.write(sa.insert(tables.amphorae).values(row))
    tree.api.ok("PUT", f"//v2.0/octavia/amphorae/{amphora}/failover", status=202)
    (job,) = tree.api.jobs()
    assert (job["kind"], job["details"]["amphora_id"], job["details"]["role"]) == ("failover-amphora", amphora, "MASTER")
    assert uuid.UUID(job["details"]["replacement_id"])
    assert tree.states() == {"load_balancer": _UPDATE}


def test_a_broken_amphora_is_taken_apart_by_a_worker(tree: Tree) -> None:
    amphora = str(uuid.uuid4())
    row = {"id": amphora, "load_balancer_id": tree.load_balancer, "status": AmphoraStatus.ERROR, "role": "MASTER", "created_at": rows.now()}
    tree.api.write(sa.insert(tables.amphorae).values(row))
    tree.api.ok("DELETE", f"//v2.0/octavia/amphorae/{amphora}", status=204)
    assert tree.api.get("amphora", f"//v2/octavia/amphorae/{amphora}")["status"] == "PENDING_DELETE"
    assert [job["kind"] for job in tree.api.jobs()] == ["update-load-balancer"]
    assert tree.api.refused(409, "DELETE", f"//v2/octavia/amphorae/{amphora}").startswith("Amphora ")


def test_a_load_balancer_that_was_never_built_can_not_be_failed_over(api: Api) -> None:
    made = api.load_balancer()["id"]
    said = api.refused(409, "PUT", f"/loadbalancers/{made}/failover")
    assert said == f"Invalid state PENDING_CREATE of loadbalancer resource {made}"


@pytest.mark.parametrize(
    ("key", "where", "nulls", "shown"),
    [
        (
            "loadbalancer",
            "load_balancer",
            {"name": None, "description": None, "admin_state_up": None},
            {"name": "", "description": "", "admin_state_up": True},
        ),
        (
            "listener",
            "listener",
            {"connection_limit": None, "timeout_client_data": None, "insert_headers": None, "default_pool_id": None, "allowed_cidrs": None},
            {"connection_limit": -1, "timeout_client_data": 50000, "insert_headers": {}, "default_pool_id": None, "allowed_cidrs": None},
        ),
        ("pool", "pool", {"session_persistence": None, "tls_enabled": None}, {"session_persistence": None, "tls_enabled": False}),
        (
            "member",
            "member",
            {"weight": None, "backup": None, "monitor_address": None, "monitor_port": None},
            {"weight": 1, "backup": False, "monitor_address": None, "monitor_port": None},
        ),
        (
            "healthmonitor",
            "monitor",
            {"http_method": None, "url_path": None, "expected_codes": None, "max_retries_down": None, "http_version": None},
            {"http_method": "GET", "url_path": "/", "expected_codes": "200", "max_retries_down": 3, "http_version": None},
        ),
    ],
)
def test_null_goes_back_to_the_default(tree: Tree, key: str, where: str, nulls: dict[str, Any], shown: dict[str, Any]) -> None:
    api = tree.api
    by_noun: dict[str, dict[str, Any]] = {
        "load_balancer": {"name": "x", "description": "x", "admin_state_up": False},
        "listener": {
            "connection_limit": 5,
            "timeout_client_data": 5,
            "insert_headers": {"X-Forwarded-For": "true"},
            "allowed_cidrs": ["10.0.0.1/8"],
        },
        "pool": {"session_persistence": {"type": "SOURCE_IP"}},
        "member": {"weight": 5, "backup": True, "monitor_address": "10.0.0.2", "monitor_port": 81},
        "monitor": {"http_method": "HEAD", "url_path": "/x", "expected_codes": "200-299", "max_retries_down": 5, "http_version": "1.1"},
    }
    others = by_noun[where]
    paths = {
        "load_balancer": f"/loadbalancers/{tree.load_balancer}",
        "listener": f"/listeners/{tree.listener}",
        "pool": f"/pools/{tree.pool}",
        "member": f"/pools/{tree.pool}/members/{tree.member}",
        "monitor": f"/healthmonitors/{tree.monitor}",
    }
    changed = api.ok("PUT", paths[where], {key: others})[key]
    assert all(changed[name] != shown.get(name) for name in others if name in shown)
    back = api.ok("PUT", paths[where], {key: nulls})[key]
    assert {name: back[name] for name in shown} == shown
    assert back["updated_at"] is not None


def test_persistence_is_changed_in_parts(tree: Tree) -> None:
    path = f"/pools/{tree.pool}"

    def put(given: Any) -> Any:
        shown = tree.api.ok("PUT", path, {"pool": {"session_persistence": given}})["pool"]["session_persistence"]
        return shown and (shown["type"], shown["cookie_name"])

    assert put({"type": "APP_COOKIE", "cookie_name": "a"}) == ("APP_COOKIE", "a")
    assert put({"cookie_name": "b"}) == ("APP_COOKIE", "b")
    assert put({"type": "HTTP_COOKIE"}) == ("HTTP_COOKIE", None)
    assert put(None) is None


def test_numbers_and_switches_may_be_strings(api: Api) -> None:
    made = api.listener(api.load_balancer(admin_state_up="False")["id"], protocol_port="8080", admin_state_up="yes")
    assert (made["protocol_port"], made["admin_state_up"]) == (8080, True)


def test_ids_without_dashes_and_ranges_with_host_bits_are_brought_into_form(api: Api) -> None:
    made = api.load_balancer(vip_subnet_id=api.network.subnet_id.replace("-", "").upper())
    assert made["vip_subnet_id"] == api.network.subnet_id
    assert api.listener(made["id"], allowed_cidrs=["10.1.2.3/8", "10.0.0.0/8"])["allowed_cidrs"] == ["10.0.0.0/8"]


def test_members_start_unwatched_or_offline(tree: Tree) -> None:
    assert tree.api.member(tree.pool, "10.0.0.3")["operating_status"] == "OFFLINE"
    assert tree.api.member(tree.other, "10.0.0.3")["operating_status"] == "NO_MONITOR"


def test_a_vip_port_of_a_load_balancer_that_was_not_stored_is_given_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(load_balancers.LoadBalancers, "add", broken)
    api.refused(500, "POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}})
    assert list(api.network.list_ours()) == []
    assert api.rings == 0


def test_the_vip_may_be_a_network_or_an_address(api: Api) -> None:
    made = api.load_balancer(vip_subnet_id=None, vip_network_id=api.network.network_id)
    assert made["vip_subnet_id"] == api.network.subnet_id
    assert api.load_balancer(vip_address="172.16.5.5")["vip_address"] == "172.16.5.5"


def test_tags_that_differ_in_blanks_at_their_end_are_one(api: Api) -> None:
    """So some databases have it."""
    balancer = api.load_balancer(tags=["a", "b", "a  ", " a"])
    assert [tag.rstrip() for tag in sorted(balancer["tags"])] == [" a", "a", "b"]
    api.settle()
    changed = api.ok("PUT", f"/loadbalancers/{balancer['id']}", {"loadbalancer": {"tags": ["b", "a "]}})["loadbalancer"]
    assert sorted(changed["tags"]) == ["a ", "b"]
