"""Before a real cloud: its Keystone proves the callers, its Neutron answers whatever is not load balancing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import openstack
import pytest
import requests
from openstack.connection import Connection

from tests.cloud import catalogue
from tests.cloud.conftest import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(catalogue.WAIT)]


@pytest.fixture(scope="module")
def catalogued(cloud: Cloud) -> Iterator[Cloud]:
    """The load balancing service stands in the catalogue for the time of the tests."""
    with catalogue.alone():
        identity = catalogue.identity(cloud.admin)
        service = identity.create_service(name=f"figlina-{uuid.uuid4()}", type="load-balancer")
        endpoint = identity.create_endpoint(
            service_id=service.id, interface="public", url=cloud.api_url, region_id=cloud.admin.config.region_name
        )
        try:
            yield cloud
        finally:
            identity.delete_endpoint(endpoint)
            identity.delete_service(service)


def _anew(connection: Connection) -> Connection:
    """The same user with a new token, whose catalogue is of now."""
    return openstack.connect(cloud=connection.config.name)


def test_a_caller_without_a_token_is_told_where_to_get_one(cloud: Cloud) -> None:
    answer = requests.get(f"{cloud.api_url}/v2.0/lbaas/loadbalancers", timeout=30)
    assert answer.status_code == 401
    assert "Keystone uri=" in answer.headers["WWW-Authenticate"]


def test_clients_find_load_balancing_in_the_catalogue(catalogued: Cloud) -> None:
    assert list(_anew(catalogued.tenant).load_balancer.load_balancers()) == []
    assert [provider.name for provider in _anew(catalogued.tenant).load_balancer.providers()]


def test_amphorae_are_for_administrators(catalogued: Cloud) -> None:
    assert list(_anew(catalogued.admin).load_balancer.amphorae()) == []
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(_anew(catalogued.tenant).load_balancer.amphorae())


def test_the_old_client_sees_the_networks_of_the_cloud(cloud: Cloud) -> None:
    seen = {network["name"] for network in json.loads(cloud.neutron("net-list", "-f", "json"))}
    assert seen == {network.name for network in cloud.tenant.network.networks()}
    assert seen


def test_the_old_client_changes_the_network_service_through_us(cloud: Cloud) -> None:
    name = f"figlina-{uuid.uuid4()}"
    made = json.loads(cloud.neutron("security-group-create", name, "-f", "json"))
    try:
        cloud.neutron(
            "security-group-rule-create",
            "--direction",
            "ingress",
            "--protocol",
            "tcp",
            "--port-range-min",
            "80",
            "--port-range-max",
            "80",
            name,
        )
        ports = {rule.port_range_max for rule in cloud.tenant.network.security_group_rules(security_group_id=made["id"])}
        assert 80 in ports
        assert json.loads(cloud.neutron("security-group-show", name, "-f", "json"))["id"] == made["id"]
    finally:
        cloud.neutron("security-group-delete", name)
    assert cloud.tenant.network.find_security_group(name, ignore_missing=True) is None


def test_load_balancers_of_the_old_api_are_ours(cloud: Cloud) -> None:
    assert json.loads(cloud.neutron("lbaas-loadbalancer-list", "-f", "json") or "[]") == []
    aliases = {extension["alias"] for extension in json.loads(cloud.neutron("ext-list", "-f", "json"))}
    assert {"lbaasv2", "l7", "shared_pools", "lb-graph"} <= aliases
    assert {"security-group", "router"} <= aliases, "the network service's own are there as well"


def test_quotas_are_those_of_both(cloud: Cloud) -> None:
    shown = json.loads(cloud.neutron("quota-show", "-f", "json"))
    assert {"loadbalancer", "listener", "pool", "network", "floatingip"} <= set(shown)


def test_what_the_network_service_refuses_is_refused_in_its_words(cloud: Cloud) -> None:
    token = str(cloud.tenant.session.get_token())
    asked = f"/v2.0/networks/{uuid.uuid4()}"
    through_us = requests.get(cloud.network_url + asked, headers={"X-Auth-Token": token}, timeout=30)
    endpoint = cloud.tenant.session.get_endpoint(service_type="network", interface="public")
    assert endpoint is not None
    itself = requests.get(endpoint.rstrip("/") + asked, headers={"X-Auth-Token": token}, timeout=30)
    assert through_us.status_code == itself.status_code == 404
    assert through_us.json() == itself.json()


def test_a_foreign_token_is_worth_nothing_behind_us_either(cloud: Cloud) -> None:
    answer = requests.get(f"{cloud.network_url}/v2.0/networks", headers={"X-Auth-Token": "gAAAA-forged"}, timeout=30)
    assert answer.status_code == 401
