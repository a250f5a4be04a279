"""What no amphora can do yet is said last: who made another mistake as well, or has no more quota, or names what is not there, hears of
that first, so that a client can tell by the status what to do.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import builders
from tests.functional.api.conftest import PROJECT, Api

NO_QUOTA = dict.fromkeys(("load_balancer", "listener", "pool", "l7policy", "l7rule"), 0)
BY_CERTIFICATE = {"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "True"}
BY_PORT = {"protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT"}
POLICED = {"protocol": "TCP", "protocol_port": 53, "l7policies": [{"action": "REJECT"}]}


def _full(api: Api) -> None:
    api.ok("PUT", f"/quotas/{PROJECT}", {"quota": NO_QUOTA}, 202)


def test_a_full_quota_is_told_first(api: Api) -> None:
    parent = api.load_balancer()["id"]
    plain = api.listener(parent, protocol="TCP")["id"]
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("pool", "/pools", {"loadbalancer_id": parent, **BY_PORT}),
        ("l7policy", "/l7policies", {"listener_id": plain, "action": "REJECT"}),
        ("loadbalancer", "/loadbalancers", {"vip_subnet_id": api.network.subnet_id, "listeners": [POLICED]}),
    ]
    for key, path, fields in writes:
        assert api.refused(501, "POST", path, {key: fields}).startswith("Provider 'amphora' does not support a requested option: ")
    _full(api)
    for key, path, fields in writes:
        assert api.refused(403, "POST", path, {key: fields}).startswith("Quota has been met for resources: ")


@pytest.mark.parametrize(
    ("below", "sentence"),
    [
        ({"listeners": [{**POLICED, "allowed_cidrs": ["::/0"]}]}, "allowed_cidrs: the VIP is IPv4, and ::/0 is not."),
        (
            {
                "pools": [
                    {
                        "name": "p",
                        "protocol": "HTTP",
                        "lb_algorithm": "ROUND_ROBIN",
                        "members": [{"address": "10.0.0.1", "protocol_port": 80, "request_sriov": True}],
                    }
                ]
            },
            "request_sriov: the flavor of this load balancer does not allow member ports by SR-IOV (allow_member_sriov).",
        ),
    ],
)
def test_what_is_wrong_in_a_whole_load_balancer_is_told_first_and_costs_no_port(api: Api, below: dict[str, Any], sentence: str) -> None:
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, **below}}
    assert api.refused(400, "POST", "/loadbalancers", body) == f"Validation failure: {sentence}"
    assert api.network.script.calls_of("allocate_vip") == []


def test_what_is_not_there_or_does_not_fit_is_told_first(api: Api) -> None:
    nobody = builders.an_id("nobody")
    assert api.refused(404, "POST", f"/l7policies/{nobody}/rules", {"rule": BY_CERTIFICATE}) == f"L7 Policy {nobody} not found."
    listener = api.listener(api.load_balancer()["id"])["id"]
    policy = api.create("l7policy", "/l7policies", listener_id=listener, action="REJECT")["id"]
    path = f"/l7policies/{policy}/rules"
    rule = api.create("rule", path, type="PATH", compare_type="STARTS_WITH", value="/")["id"]
    assert api.refused(404, "PUT", f"{path}/{nobody}", {"rule": BY_CERTIFICATE}) == f"L7 Rule {nobody} not found."
    said = api.refused(400, "PUT", f"{path}/{rule}", {"rule": {"type": "SSL_CONN_HAS_CERT"}})
    assert said.endswith("STARTS_WITH is an invalid comparison type for rule type SSL_CONN_HAS_CERT")
    plain = api.listener(api.load_balancer()["id"], protocol="TCP")["id"]
    redirect = {"listener_id": plain, "action": "REDIRECT_TO_POOL", "redirect_pool_id": nobody}
    assert api.refused(404, "POST", "/l7policies", {"l7policy": redirect}) == f"Pool {nobody} not found."


def test_a_profile_in_use_or_with_a_wrong_value_says_so_first(api: Api) -> None:
    profile = api.create("flavorprofile", "/flavorprofiles", name="p", provider_name="amphora", flavor_data="{}")["id"]
    path, unknown = f"/flavorprofiles/{profile}", '{"colour": "red", "loadbalancer_topology": "NONE"}'
    said = api.refused(400, "PUT", path, {"flavorprofile": {"flavor_data": unknown}})
    assert said.startswith("Invalid input for field/attribute loadbalancer_topology. Value: 'NONE'.")
    assert "colour" in api.refused(501, "PUT", path, {"flavorprofile": {"flavor_data": '{"colour": "red"}'}})
    api.create("flavor", "/flavors", name="f", flavor_profile_id=profile)
    assert api.refused(409, "PUT", path, {"flavorprofile": {"flavor_data": unknown}}).endswith("is in use and cannot be modified.")
