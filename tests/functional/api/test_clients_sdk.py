"""The `load_balancer` proxy of openstacksdk, unmodified, over HTTP: every resource and every verb that it has for them."""

from __future__ import annotations

import pytest
from openstack import connection, exceptions

from tests.functional.api.conftest import Api


@pytest.fixture(scope="module")
def cloud(served: tuple[Api, str]) -> connection.Connection:
    """A connection without authentication, as `clouds.yaml` of a developer has it."""
    return connection.Connection(auth_type="none", auth={"endpoint": served[1]})


def test_a_load_balancer_lives_its_whole_life(served: tuple[Api, str], cloud: connection.Connection) -> None:
    api, proxy = served[0], cloud.load_balancer
    made = proxy.create_load_balancer(name="sdk-1", vip_subnet_id=api.network.subnet_id, tags=["one", "two"])
    assert (made.provisioning_status, made.operating_status, made.vip_network_id) == ("PENDING_CREATE", "OFFLINE", api.network.network_id)
    api.settle()
    assert proxy.wait_for_load_balancer(made.id, interval=0.01, wait=5).name == "sdk-1"
    assert proxy.update_load_balancer(made.id, description="changed").description == "changed"
    assert proxy.find_load_balancer("sdk-1").id == made.id
    assert [item.id for item in proxy.load_balancers(name="sdk-1", tags="one")] == [made.id]
    assert proxy.get_load_balancer_statistics(made.id).total_connections == 0
    assert proxy.get(f"/lbaas/loadbalancers/{made.id}/status").json()["statuses"]["loadbalancer"]["id"] == made.id
    api.settle()
    proxy.failover_load_balancer(made.id)
    assert proxy.get_load_balancer(made.id).provisioning_status == "PENDING_UPDATE"
    api.settle()
    proxy.delete_load_balancer(made.id)
    assert proxy.get_load_balancer(made.id).provisioning_status == "PENDING_DELETE"
    api.settle()
    with pytest.raises(exceptions.NotFoundException):
        proxy.get_load_balancer(made.id)


def test_everything_below_a_load_balancer_is_made_changed_listed_and_deleted(served: tuple[Api, str], cloud: connection.Connection) -> None:
    api, proxy = served[0], cloud.load_balancer
    parent = proxy.create_load_balancer(name="sdk-2", vip_subnet_id=api.network.subnet_id)
    listener = proxy.create_listener(
        name="front", load_balancer_id=parent.id, protocol="HTTP", protocol_port=80, insert_headers={"X-Forwarded-For": "true"}
    )
    assert listener.load_balancers == [{"id": parent.id}]
    assert proxy.update_listener(listener.id, connection_limit=100, allowed_cidrs=["10.0.0.0/8"]).connection_limit == 100
    assert proxy.get_listener_statistics(listener.id).bytes_in == 0
    pool = proxy.create_pool(name="back", listener_id=listener.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    assert proxy.update_pool(pool.id, lb_algorithm="SOURCE_IP", session_persistence={"type": "HTTP_COOKIE"}).lb_algorithm == "SOURCE_IP"
    member = proxy.create_member(pool.id, address="10.0.0.1", protocol_port=80, subnet_id=api.network.subnet_id)
    assert proxy.update_member(member.id, pool.id, weight=0).weight == 0
    assert [item.id for item in proxy.members(pool.id)] == [member.id]
    assert proxy.find_member(member.id, pool.id).address == "10.0.0.1"
    monitor = proxy.create_health_monitor(pool_id=pool.id, type="HTTP", delay=5, timeout=3, max_retries=2, url_path="/health")
    assert proxy.update_health_monitor(monitor.id, max_retries=4).max_retries == 4
    assert proxy.get_pool(pool.id).health_monitor_id == monitor.id
    assert [item.id for item in proxy.listeners(load_balancer_id=parent.id)] == [listener.id]
    assert [item.id for item in proxy.pools(load_balancer_id=parent.id)] == [pool.id]
    assert monitor.id in [item.id for item in proxy.health_monitors()]
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


def test_errors_carry_our_sentence(cloud: connection.Connection) -> None:
    with pytest.raises(exceptions.BadRequestException, match="VIP must contain one of"):
        cloud.load_balancer.create_load_balancer(name="nowhere")


def test_lists_are_followed_over_their_pages(served: tuple[Api, str], cloud: connection.Connection) -> None:
    api, proxy = served[0], cloud.load_balancer
    made = {proxy.create_load_balancer(name="paged", vip_subnet_id=api.network.subnet_id).id for _ in range(5)}
    assert {item.id for item in proxy.load_balancers(name="paged", limit=2)} == made


def test_providers_and_amphorae_are_listed(cloud: connection.Connection) -> None:
    assert [item.name for item in cloud.load_balancer.providers()] == ["amphora", "octavia"]
    assert list(cloud.load_balancer.amphorae()) == []
