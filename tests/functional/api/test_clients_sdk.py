"""The `load_balancer` proxy of openstacksdk, unmodified, over HTTP: every call that it has."""

from __future__ import annotations

import json
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from openstack import connection, exceptions
from openstack.load_balancer.v2 import _proxy

from controller.db import rows, tables
from tests.functional.api.conftest import PROJECT, Api

CALLS = {name for name, what in vars(_proxy.Proxy).items() if callable(what) and not name.startswith("_")}


class Proxy:
    """The proxy of the client."""

    def __init__(self, proxy: Any) -> None:
        self.plain = proxy

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A call of the proxy; a list is read to its end."""

        def call(*arguments: Any, **more: Any) -> Any:
            answer = getattr(self.plain, name)(*arguments, **more)
            return list(answer) if hasattr(answer, "__next__") else answer

        return call


@pytest.fixture(scope="module")
def proxy(served: tuple[Api, str]) -> Proxy:
    """A connection without authentication, as `clouds.yaml` of a developer has it."""
    return Proxy(connection.Connection(auth_type="none", auth={"endpoint": served[1]}).load_balancer)


def test_a_load_balancer_lives_its_whole_life(served: tuple[Api, str], proxy: Proxy) -> None:
    api = served[0]
    made = proxy.create_load_balancer(name="sdk-1", vip_subnet_id=api.network.subnet_id, tags=["one", "two"])
    assert (made.provisioning_status, made.operating_status, made.vip_network_id) == ("PENDING_CREATE", "OFFLINE", api.network.network_id)
    api.settle()
    assert proxy.wait_for_load_balancer(made.id, interval=0.01, wait=5).name == "sdk-1"
    assert proxy.update_load_balancer(made.id, description="changed").description == "changed"
    assert proxy.find_load_balancer("sdk-1").id == made.id
    for tags in ({"tags": "one"}, {"tags": "one,two"}, {"any_tags": "one,three"}, {"not_tags": "one,three"}, {"not_any_tags": "three"}):
        assert [item.id for item in proxy.load_balancers(name="sdk-1", **tags)] == [made.id], tags
    assert proxy.load_balancers(name="sdk-1", not_any_tags="one") == []
    assert proxy.get_load_balancer_statistics(made.id).total_connections == 0
    assert proxy.plain.get(f"/lbaas/loadbalancers/{made.id}/status").json()["statuses"]["loadbalancer"]["id"] == made.id
    api.settle()
    proxy.failover_load_balancer(made.id)
    assert proxy.get_load_balancer(made.id).provisioning_status == "PENDING_UPDATE"
    api.settle()
    assert proxy.wait_for_status(proxy.get_load_balancer(made.id), "ACTIVE", attribute="provisioning_status", interval=0.01, wait=5)
    proxy.delete_load_balancer(made.id)
    gone = proxy.get_load_balancer(made.id)
    assert gone.provisioning_status == "PENDING_DELETE"
    api.settle()
    proxy.wait_for_delete(gone, interval=0.01, wait=5)
    with pytest.raises(exceptions.NotFoundException):
        proxy.get_load_balancer(made.id)


@pytest.mark.lengthy
def test_everything_below_a_load_balancer_is_made_changed_listed_and_deleted(served: tuple[Api, str], proxy: Proxy) -> None:
    api = served[0]
    parent = proxy.create_load_balancer(name="sdk-2", vip_subnet_id=api.network.subnet_id)
    listener = proxy.create_listener(
        name="front", load_balancer_id=parent.id, protocol="HTTP", protocol_port=80, insert_headers={"X-Forwarded-For": "true"}
    )
    assert listener.load_balancers == [{"id": parent.id}]
    assert proxy.update_listener(listener.id, connection_limit=100, allowed_cidrs=["10.0.0.0/8"]).connection_limit == 100
    assert proxy.get_listener(listener.id).connection_limit == 100
    assert proxy.get_listener_statistics(listener.id).bytes_in == 0
    pool = proxy.create_pool(name="back", listener_id=listener.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    assert proxy.update_pool(pool.id, lb_algorithm="SOURCE_IP", session_persistence={"type": "HTTP_COOKIE"}).lb_algorithm == "SOURCE_IP"
    member = proxy.create_member(pool.id, address="10.0.0.1", protocol_port=80, subnet_id=api.network.subnet_id)
    assert proxy.update_member(member.id, pool.id, weight=0).weight == 0
    assert [item.id for item in proxy.members(pool.id)] == [member.id]
    assert proxy.find_member(member.id, pool.id).address == proxy.get_member(member.id, pool.id).address == "10.0.0.1"
    batch = [{"address": "10.0.0.1", "protocol_port": 80}, {"address": "10.0.0.2", "protocol_port": 80}]
    assert proxy.plain.put(f"/lbaas/pools/{pool.id}/members", json={"members": batch}).status_code == 202
    assert len(proxy.members(pool.id)) == 2
    monitor = proxy.create_health_monitor(pool_id=pool.id, type="HTTP", delay=5, timeout=3, max_retries=2, url_path="/health", name="probe")
    assert proxy.update_health_monitor(monitor.id, max_retries=4).max_retries == 4
    assert proxy.get_pool(pool.id).health_monitor_id == proxy.find_health_monitor("probe").id == monitor.id
    assert proxy.get_health_monitor(monitor.id).url_path == "/health"
    assert proxy.find_listener("front").id == proxy.listeners(load_balancer_id=parent.id)[0].id == listener.id
    assert proxy.find_pool("back").id == proxy.pools(load_balancer_id=parent.id)[0].id == pool.id
    assert monitor.id in [item.id for item in proxy.health_monitors()]
    _walk_l7(proxy, listener.id, pool.id)
    proxy.delete_health_monitor(monitor.id)
    proxy.delete_member(member.id, pool.id)
    proxy.delete_pool(pool.id)
    proxy.delete_listener(listener.id)
    api.settle()
    for find, gone in ((proxy.get_listener, listener), (proxy.get_pool, pool), (proxy.get_health_monitor, monitor)):
        with pytest.raises(exceptions.NotFoundException):
            find(gone.id)
    proxy.delete_load_balancer(parent.id, cascade=True)
    api.settle()


def _walk_l7(proxy: Proxy, listener_id: str, pool_id: str) -> None:
    policy = proxy.create_l7_policy(name="away", listener_id=listener_id, action="REDIRECT_TO_POOL", redirect_pool_id=pool_id)
    assert (policy.position, policy.redirect_pool_id) == (1, pool_id)
    changed = proxy.update_l7_policy(policy.id, action="REDIRECT_TO_URL", redirect_url="http://example.org/", description="x")
    assert (changed.redirect_pool_id, changed.redirect_url) == (None, "http://example.org/")
    rule = proxy.create_l7_rule(policy.id, type="HEADER", key="X-Shop", compare_type="EQUAL_TO", value="old")
    assert proxy.update_l7_rule(rule.id, policy.id, rule_value="new", invert=True).rule_value == "new"
    assert [item.id for item in proxy.l7_rules(policy.id)] == [rule.id]
    assert proxy.find_l7_rule(rule.id, policy.id).key == proxy.get_l7_rule(rule.id, policy.id).key == "X-Shop"
    assert proxy.get_l7_policy(policy.id).rules == [{"id": rule.id}]
    assert proxy.find_l7_policy("away").id == proxy.l7_policies(listener_id=listener_id)[0].id == policy.id
    proxy.delete_l7_rule(rule.id, policy.id)
    proxy.delete_l7_policy(policy.id)


def test_a_load_balancer_is_made_with_everything_below_it_in_one_call(served: tuple[Api, str], proxy: Proxy) -> None:
    pool = {
        "name": "back", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [{"address": "10.0.0.1", "protocol_port": 80}],
        "healthmonitor": {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2},
    }  # fmt: skip
    policy = {
        "action": "REDIRECT_TO_POOL",
        "redirect_pool": {"name": "back"},
        "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"}],
    }
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, "l7policies": [policy]}
    made = proxy.create_load_balancer(name="whole", vip_subnet_id=served[0].network.subnet_id, listeners=[listener])
    assert made.listeners[0]["l7policies"][0]["rules"][0]["value"] == "/"
    assert made.pools[0]["members"][0]["address"] == "10.0.0.1"
    assert len(proxy.get_load_balancer(made.id).pools) == 1
    served[0].settle()
    proxy.delete_load_balancer(made.id, cascade=True)
    served[0].settle()


def test_operators_offer_flavors_and_availability_zones(proxy: Proxy) -> None:
    data = json.dumps({"loadbalancer_topology": "SINGLE"})
    profile = proxy.create_flavor_profile(name="single", provider_name="amphora", flavor_data=data)
    assert proxy.update_flavor_profile(profile.id, name="one").name == "one"
    assert proxy.find_flavor_profile("one").id == proxy.get_flavor_profile(profile.id).id == proxy.flavor_profiles()[0].id == profile.id
    flavor = proxy.create_flavor(name="small", flavor_profile_id=profile.id)
    assert proxy.update_flavor(flavor.id, is_enabled=False).is_enabled is False
    assert proxy.find_flavor("small").id == proxy.get_flavor(flavor.id).id == proxy.flavors()[0].id == flavor.id
    proxy.delete_flavor(flavor.id)
    proxy.delete_flavor_profile(profile.id)
    profile = proxy.create_availability_zone_profile(name="east", provider_name="amphora", availability_zone_data="{}")
    assert proxy.update_availability_zone_profile(profile.id, name="far-east").name == "far-east"
    assert proxy.find_availability_zone_profile("far-east").id == proxy.get_availability_zone_profile(profile.id).id == profile.id
    assert [item.id for item in proxy.availability_zone_profiles()] == [profile.id]
    zone = proxy.create_availability_zone(name="z-1", availability_zone_profile_id=profile.id)
    assert proxy.update_availability_zone(zone.name, description="x").description == "x"
    assert (
        proxy.find_availability_zone("z-1").name == proxy.get_availability_zone("z-1").name == proxy.availability_zones()[0].name == "z-1"
    )
    proxy.delete_availability_zone("z-1")
    proxy.delete_availability_zone_profile(profile.id)


def test_quotas_are_set_and_reset(proxy: Proxy) -> None:
    assert proxy.get_quota_default().load_balancers == -1
    assert proxy.update_quota(PROJECT, load_balancers=7).load_balancers == 7
    assert proxy.get_quota(PROJECT).load_balancers == 7
    assert [item.project_id for item in proxy.quotas()] == [PROJECT]
    proxy.delete_quota(PROJECT)
    assert proxy.get_quota(PROJECT).load_balancers == -1


def test_providers_say_what_they_can_do(proxy: Proxy) -> None:
    assert [item.name for item in proxy.providers()] == ["amphora", "octavia"]
    assert "loadbalancer_topology" in [item.name for item in proxy.provider_flavor_capabilities("amphora")]


def test_amphorae_are_listed_configured_and_replaced(served: tuple[Api, str], proxy: Proxy) -> None:
    api, amphora = served[0], str(uuid.uuid4())
    parent = api.load_balancer()["id"]
    row = {"load_balancer_id": parent, "created_at": rows.now(), "role": "STANDALONE", "status": "ALLOCATED"}
    api.write(sa.insert(tables.amphorae).values(id=amphora, **row))
    api.settle()
    assert [item.id for item in proxy.amphorae(loadbalancer_id=parent)] == [amphora]
    assert proxy.get_amphora(amphora).role == proxy.find_amphora(amphora).role == "STANDALONE"
    proxy.configure_amphora(amphora)
    api.settle()
    proxy.failover_amphora(amphora)
    assert proxy.get_load_balancer(parent).provisioning_status == "PENDING_UPDATE"
    api.write(sa.delete(tables.amphorae))


def test_errors_carry_our_sentence(proxy: Proxy) -> None:
    with pytest.raises(exceptions.BadRequestException, match="VIP must contain one of"):
        proxy.create_load_balancer(name="nowhere")


def test_lists_are_followed_over_their_pages(served: tuple[Api, str], proxy: Proxy) -> None:
    made = {proxy.create_load_balancer(name="paged", vip_subnet_id=served[0].network.subnet_id).id for _ in range(5)}
    assert {item.id for item in proxy.load_balancers(name="paged", limit=2)} == made


def test_no_call_was_left_out() -> None:
    """By what is written here, for the tests of a run may be made by several processes."""
    written = pathlib.Path(__file__).read_text()
    assert [name for name in sorted(CALLS) if f"proxy.{name}(" not in written] == []
