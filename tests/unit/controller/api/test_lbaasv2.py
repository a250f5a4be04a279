"""The parts of LBaaS v2 that need neither rows nor a network service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller import exceptions
from controller.api.lbaasv2 import app, attributes, errors, neutron, shapes
from controller.embedded import networking
from controller.resources import json_schema, kinds

THEIRS, OURS = "http://neutron:9696", "https://cloud.example/network"


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_links_are_found_wherever_the_text_is_cut(size: int, separators: tuple[str, str]) -> None:
    document: dict[str, Any] = {
        "links": [{"href": f"{THEIRS}/v2.0/ports?marker={i}", "rel": "next"} for i in range(20)],
        "other": [f"{THEIRS}/v2.0", f'"href": "{THEIRS}/x', {"href": f"{THEIRS}9/x"}, {"href": THEIRS}, {"href": "http://elsewhere/"}],
    }
    text = json.dumps(document, separators=separators).encode()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    found = json.loads(b"".join(neutron.relinked(pieces, THEIRS, OURS)))
    assert {one["href"].partition("/v2.0")[0] for one in found["links"]} == {OURS}
    assert found["other"] == [*document["other"][:3], {"href": OURS}, {"href": "http://elsewhere/"}]


_LBAAS = ("/v2.0/lbaas/pools", "/v2.0/quotas", "/v2.0/quotas.json", "/v2.0/quotas/p/default", "/v2.0/extensions/l7", "/v2.0/flavors.json")
_MORE = ("", "/", "/v2.0", "/v2.0/", "/v2.0/service-providers.json", "/v2.0/agents/1/agent-loadbalancers.json")


@pytest.mark.parametrize("path", [*_LBAAS, *_MORE])
def test_what_is_about_load_balancers_is_ours(path: str) -> None:
    assert neutron.is_ours("GET", path)


@pytest.mark.parametrize(
    "path", ["/v2.0/networks", "/v2.0/agents", "/v2.0/agents/1", "/v2.0/lb/vips", "/v2.0/lbaasx", "/v2.1/lbaas", "/v2.0/flavors"]
)
def test_everything_else_is_the_network_services(path: str) -> None:
    assert not neutron.is_ours("POST", path)


def test_headers_of_one_hop_and_of_our_own_gate_stay_here() -> None:
    environ = {
        "HTTP_X_AUTH_TOKEN": "t",
        "HTTP_X_SERVICE_TOKEN": "s",
        "HTTP_X_PROJECT_ID": "p",
        "HTTP_X_SERVICE_ROLES": "r",
        "HTTP_X_ROLES": "r",
        "HTTP_HOST": "h",
        "HTTP_TE": "trailers",
        "HTTP_IF_MATCH": "revision_number=2",
        "HTTP_ACCEPT_ENCODING": "gzip",
        "CONTENT_TYPE": "application/json",
        "keystone.token_auth": object(),
    }
    sent = {"x-auth-token": "t", "x-service-token": "s", "if-match": "revision_number=2", "content-type": "application/json"}
    assert neutron.headers_of(environ) == sent | {"accept-encoding": "identity"}
    without = neutron.headers_of({"HTTP_X_PROJECT_ID": "p"})  # a service without authentication goes by it
    assert without == {"x-project-id": "p", "accept-encoding": "identity"}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (exceptions.NotFound("Load Balancer", "1"), 404, "EntityNotFound"),
        (exceptions.NotFound("SecurityGroup", "1"), 404, "SecurityGroupNotFound"),
        (exceptions.NotFound("Subnet", "1"), 404, "SubnetNotFound"),
        (exceptions.Immutable("1", "PENDING_DELETE"), 409, "StateInvalid"),
        (exceptions.QuotaExceeded(["Load Balancer", "Pool"]), 409, "OverQuota"),
        (exceptions.Forbidden(), 403, "PolicyNotAuthorized"),
        (exceptions.NotSupported("no"), 501, "UnsupportedOption"),
        (exceptions.Transient("away"), 503, "ServiceUnavailable"),
        (exceptions.Conflict("something"), 409, "Conflict"),
        (exceptions.RuleBroken("something"), 400, "HTTPBadRequest"),
        (networking.NetworkConflict("PortInUse", "x"), 409, "PortInUse"),
        (networking.NetworkInvalid("InvalidInput", "x"), 400, "InvalidInput"),
    ],
)
def test_errors_of_ours_have_the_names_that_old_clients_know(error: exceptions.ControllerError, status: int, kind: str) -> None:
    fault = errors.translated(error)
    assert (fault.status, fault.kind) == (status, kind)


def test_quota_kinds_are_named_as_in_lbaas_v2() -> None:
    fault = errors.translated(exceptions.QuotaExceeded(["Load Balancer", "Health Monitor"]))
    assert str(fault) == "Quota exceeded for resources: ['loadbalancer', 'healthmonitor']."


def test_paths_lose_their_suffix_and_nothing_else() -> None:
    assert [app.shortened(path) for path in ("/v2.0/x.json", "/v2.0/x/", "/v2.0/x.json/", "/", "", "/a.json.b")] == [
        "/v2.0/x",
        "/v2.0/x",
        "/v2.0/x",
        "/",
        "/",
        "/a.json.b",
    ]


def test_statuses_that_lbaas_v2_does_not_have_are_told_in_its_words() -> None:
    assert [shapes.operating_status(word) for word in ("ONLINE", "ERROR", "DEGRADED")] == ["ONLINE", "DEGRADED", "DEGRADED"]
    of_members = [shapes.operating_status(word, of_member=True) for word in ("ERROR", "DRAINING", "NO_MONITOR")]
    assert of_members == ["OFFLINE", "ONLINE", "NO_MONITOR"]


_SUBNET = "ade43f53-b991-5e19-bd80-2da82518c7a9"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (exceptions.AddressInUse(f"The address 192.0.2.9 of subnet {_SUBNET} is in use."), 409, "IpAddressAlreadyAllocated"),
        (exceptions.SubnetFull(_SUBNET, "192.0.2.0/28"), 409, "IpAddressGenerationFailure"),
        (exceptions.AddressNotOnSubnet("10.0.0.1", _SUBNET, "192.0.2.0/28"), 400, "InvalidIpForSubnet"),
        (exceptions.UnknownReference(exceptions.NotFound("Subnet", _SUBNET)), 404, "SubnetNotFound"),
        (exceptions.UnknownReference(exceptions.NotFound("Network", _SUBNET)), 404, "NetworkNotFound"),
        (exceptions.ObjectImmutable("Pool", _SUBNET), 409, "StateInvalid"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_network_refuses_has_the_name_that_old_clients_know(error: exceptions.ControllerError, status: int, kind: str) -> None:
    fault = errors.translated(error)
    assert (fault.status, fault.kind) == (status, kind)


@pytest.mark.parametrize("resource", attributes.RESOURCES, ids=lambda resource: resource.name)
def test_an_object_that_passed_here_is_stored_as_if_the_first_api_had_taken_it(resource: attributes.Resource) -> None:
    """Only what the first API would look at otherwise is looked at again; nothing that it fills in is left out."""
    fields = [field for field in (*resource.schema.fields.values(), *resource.fields.values()) if field.post and field.required]
    required = {field.name: kinds.example_of(field.kind) for field in fields}
    everything = {name: value for name, value in json_schema.example_of_post(resource).items() if name != "tenant_id"}
    for given in (required, required | everything):
        assert resource.complete(resource.created(given)) == resource.schema.created(given)


def test_nulls_and_old_names_are_what_the_first_api_stores_for_them() -> None:
    listener = {"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": _SUBNET, "sni_container_refs": None, "default_pool_id": None}
    whole = attributes.LISTENER.complete(attributes.LISTENER.created(listener))
    assert (whole["sni_container_refs"], whole["default_pool_id"], whole["connection_limit"]) == ([], None, -1)
    load_balancer = attributes.LOAD_BALANCER.created({"tenant_id": "p", "vip_subnet_id": _SUBNET})
    assert attributes.LOAD_BALANCER.complete(load_balancer)["project_id"] == "p"
    with pytest.raises(exceptions.InvalidRequest, match="cookie_name") as refused:
        attributes.POOL.complete(
            {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "session_persistence": {"type": "APP_COOKIE", "cookie_name": "a b"}}
        )
    assert errors.translated(refused.value).kind == "SessionPersistenceConfigurationInvalid"


def test_what_is_missing_is_told_before_what_is_wrong() -> None:
    with pytest.raises(errors.Fault, match="Required attribute 'lb_algorithm' not specified"):
        attributes.POOL.created({"protocol": "BOGUS"})
    with pytest.raises(errors.Fault, match="Invalid input for protocol"):
        attributes.POOL.created({"protocol": "BOGUS", "lb_algorithm": "ROUND_ROBIN"})
