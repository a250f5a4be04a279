"""What holds for every request: spellings of paths, verbs, headers, discovery."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.functional.api.conftest import Api


@pytest.mark.parametrize(
    "path",
    ["/v2.0/lbaas/pools", "/v2/lbaas/pools", "/v2.0/pools", "/v2/pools", "/v2/lbaas/pools/", "/v2.0/pools/"],
)
def test_every_spelling_of_a_path_is_served(api: Api, path: str) -> None:
    assert api.ok("GET", f"/{path}") == {"pools": [], "pools_links": []}


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/loadbalancers", "/v2/nothing", "/v2/lbaas/octavia/amphorae", "/v2/amphorae", "/v2/octavia/pools", "/v2//pools",
     "/v3/pools", "/v2/lbaas/lbaas/pools", "/healthcheck", "/v2/l7rules", "/v2/subnets/x"],
)  # fmt: skip
def test_unknown_paths_are_answered_in_the_shape_of_routing_errors(api: Api, path: str) -> None:
    answer = api.send("GET", f"/{path}")
    assert answer.status_code == 404
    assert answer.get_json() == {"code": 404, "description": "", "title": "Not Found"}


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/pools"), ("PATCH", "/pools/x"), ("POST", "/loadbalancers/x"), ("HEAD", "/pools")])
def test_other_verbs_are_405_and_say_which_there_are(api: Api, method: str, path: str) -> None:
    answer = api.send(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "DELETE, GET, POST, PUT"


@pytest.mark.parametrize("path", ["/loadbalancers", "/listeners", "/pools", "/healthmonitors"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_collection_can_be_neither_changed_nor_deleted(api: Api, method: str, path: str) -> None:
    assert api.refused(400, method, path) == 'Missing argument: "id"'


def test_every_answer_names_its_request(api: Api) -> None:
    named = [api.send("GET", path).headers["x-openstack-request-id"] for path in ("/pools", "/pools/x", "//nothing")]
    assert all(re.fullmatch(r"req-[0-9a-f-]{36}", name) for name in named)
    assert len(set(named)) == 3


def test_answers_are_json_without_validators(api: Api) -> None:
    answer = api.send("GET", "/pools")
    assert answer.headers["Content-Type"] == "application/json"
    assert not {"ETag", "Location", "Last-Modified"} & set(answer.headers.keys())


def test_empty_answers_have_no_body_and_no_type(api: Api) -> None:
    parent = api.load_balancer()["id"]
    answer = api.send("DELETE", f"/loadbalancers/{parent}")
    assert (answer.status_code, answer.data, "Content-Type" in answer.headers) == (204, b"", False)


@pytest.mark.parametrize("accepted", ["*/*", "application/json", "text/html, application/*;q=0.8", "application/json;q=0.1"])
def test_json_is_sent_to_who_takes_it(api: Api, accepted: str) -> None:
    assert api.send("GET", "/pools", headers={"Accept": accepted}).status_code == 200


@pytest.mark.parametrize("accepted", ["text/html", "application/xml", "application/json;q=0"])
def test_json_is_not_sent_to_who_excludes_it(api: Api, accepted: str) -> None:
    answer = api.send("GET", "/pools", headers={"Accept": accepted})
    assert (answer.status_code, answer.get_json()["code"]) == (406, 406)


def test_versions_end_with_the_current_one(api: Api) -> None:
    versions = api.ok("GET", "//")["versions"]
    assert [version["id"] for version in versions] == [f"v2.{minor}" for minor in range(31)]
    assert [version["status"] for version in versions] == ["SUPPORTED"] * 30 + ["CURRENT"]
    assert {version["links"][0]["href"] for version in versions} == {"http://localhost/v2"}
    assert versions[-1]["updated"] == "2025-02-26T00:00:00Z"


@pytest.mark.lengthy
def test_links_begin_as_the_operator_says(api_with: Any) -> None:
    api = api_with(("api_settings", "api_base_uri"), "https://cloud.example/load-balancer/")
    assert api.ok("GET", "//")["versions"][0]["links"][0]["href"] == "https://cloud.example/load-balancer/v2"
    api.load_balancer()
    href = api.ok("GET", "/loadbalancers?limit=1")["loadbalancers_links"][0]["href"]
    assert href.startswith("https://cloud.example/load-balancer/v2.0/lbaas/loadbalancers?limit=1&marker=")


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2.0", "/v2/lbaas", "/v2.0/lbaas/", "/v2/octavia"])
def test_a_version_names_itself(api: Api, path: str) -> None:
    assert api.ok("GET", f"/{path}") == "v2"


@pytest.mark.lengthy
def test_the_health_check_is_there_if_it_is_wanted(api_with: Any) -> None:
    api = api_with(("api_settings", "healthcheck_enabled"), True)
    assert api.send("GET", "//healthcheck").data == b"OK"
    assert api.send("HEAD", "//healthcheck").status_code == 200
    assert api.send("POST", "//healthcheck").status_code == 405


@pytest.mark.lengthy
def test_options_are_answered_and_origins_are_told_if_they_are_allowed(api_with: Any) -> None:
    api = api_with(("cors", "allowed_origin"), ["https://dashboard.example"])
    answer = api.send("OPTIONS", "/pools", headers={"Origin": "https://dashboard.example"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://dashboard.example"
    assert answer.headers["Access-Control-Expose-Headers"] == "X-Auth-Token, X-Openstack-Request-Id"
    assert "Access-Control-Allow-Origin" not in api.send("GET", "/pools", headers={"Origin": "https://evil.example"}).headers


def test_a_body_that_is_too_large_is_413(api: Api) -> None:
    answer = api.send("POST", "/pools", data=b"{" + b" " * 1100000 + b"}")
    assert (answer.status_code, answer.get_json()["code"]) == (413, 413)


def test_ids_of_subnets_are_looked_up_where_the_operator_wants_it(api_with: Any) -> None:
    api = api_with(("api_settings", "embedded_networking"), True)
    subnet = api.ok("GET", f"//v2/subnets?id={api.network.subnet_id}")["subnets"][0]
    assert subnet["network_id"] == api.network.network_id
    assert api.ok("GET", f"//v2/networks/{api.network.network_id}")["network"]["id"] == api.network.network_id
    assert api.ok("GET", "//v2/ports?id=no-such") == {"ports": []}
    assert api.refused(404, "GET", "//v2/subnets/no-such") == "Subnet no-such not found."


@pytest.mark.lengthy
def test_a_project_comes_from_the_body_the_header_or_the_configuration(api_with: Any) -> None:
    api = api_with(("api_settings", "noauth_project_id"), "of-the-configuration")
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}
    assert api.send("POST", "/loadbalancers", body, headers={}).get_json()["loadbalancer"]["project_id"] == "of-the-configuration"
    body["loadbalancer"]["project_id"] = "of-the-body"
    assert api.send("POST", "/loadbalancers", body).get_json()["loadbalancer"]["tenant_id"] == "of-the-body"
    body["loadbalancer"]["tenant_id"] = "of-the-tenant"
    assert api.send("POST", "/loadbalancers", body).get_json()["loadbalancer"]["project_id"] == "of-the-tenant"
    body["loadbalancer"]["tenant_id"] = None
    assert api.send("POST", "/loadbalancers", body).get_json()["loadbalancer"]["project_id"] == "of-the-body"


@pytest.mark.parametrize("origin", [{}, {"Origin": "https://evil.example"}, {"Origin": "https://dashboard.example"}], ids=str)
@pytest.mark.parametrize("path", ["//v2", "/pools", "/pools/no-such", "//no-such", "//network/v2.0/lbaas/pools"])
def test_caches_are_told_that_answers_differ_by_origin_where_any_is_allowed(api_with: Any, origin: dict[str, str], path: str) -> None:
    api = api_with(("cors", "allowed_origin"), ["https://dashboard.example"])
    assert api.send("GET", path, headers=origin).headers.getlist("Vary") == ["Origin"]


def test_caches_are_told_nothing_where_no_origin_is_allowed(api: Any) -> None:
    assert "Vary" not in api.send("GET", "/pools", headers={"Origin": "https://dashboard.example"}).headers
