"""Every mistake of a client has its status and its sentence."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import pools
from tests.functional.api.conftest import Api

UNKNOWN = "11111111-1111-4111-8111-111111111111"


class Site:
    """A load balancer with a listener, a pool, a member and a monitor; and bodies of further ones."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.load_balancer = api.load_balancer()["id"]
        self.listener = api.listener(self.load_balancer)["id"]
        self.pool = api.pool(listener_id=self.listener)["id"]
        self.member = api.member(self.pool)["id"]
        self.monitor = api.monitor(self.pool)["id"]
        self.bodies: dict[str, tuple[str, str, dict[str, Any]]] = {
            "loadbalancer": ("loadbalancer", "/loadbalancers", {"vip_subnet_id": api.network.subnet_id}),
            "listener": ("listener", "/listeners", {"loadbalancer_id": self.load_balancer, "protocol": "HTTP", "protocol_port": 81}),
            "pool": ("pool", "/pools", {"loadbalancer_id": self.load_balancer, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
            "member": ("member", f"/pools/{self.pool}/members", {"address": "10.9.9.9", "protocol_port": 80}),
        }
        other = api.pool(loadbalancer_id=self.load_balancer)["id"]
        monitor = {"pool_id": other, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2}
        self.bodies["healthmonitor"] = ("healthmonitor", "/healthmonitors", monitor)

    def refused(self, status: int, kind: str, **fields: Any) -> str:
        """POST an object with these fields; the sentence."""
        key, path, body = self.bodies[kind]
        return self.api.refused(status, "POST", path, {key: body | fields})

    def refused_put(self, status: int, kind: str, **fields: Any) -> str:
        """PUT these fields to the object that exists; the sentence."""
        paths = {
            "loadbalancer": f"/loadbalancers/{self.load_balancer}",
            "listener": f"/listeners/{self.listener}",
            "pool": f"/pools/{self.pool}",
            "member": f"/pools/{self.pool}/members/{self.member}",
            "healthmonitor": f"/healthmonitors/{self.monitor}",
        }
        return self.api.refused(status, "PUT", paths[kind], {kind: fields})


@pytest.fixture
def site(api: Api) -> Site:
    """A whole load balancer."""
    return Site(api)


def _invalid(field: str, value: Any, reason: str) -> str:
    return f"Invalid input for field/attribute {field}. Value: '{value}'. {reason}"


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b"\xff\xfe", b'{"a": NaN}', b'{"listener": {"name": "\\ud800"}}', b"[" * 2000])
def test_a_body_that_is_no_json(api: Api, data: bytes) -> None:
    answer = api.send("POST", "/listeners", data=data)
    assert (answer.status_code, answer.get_json()["faultstring"]) == (400, "Request is not in valid JSON format")


@pytest.mark.parametrize("body", [[], "word", 5, None, True])
def test_a_body_that_is_no_object(api: Api, body: Any) -> None:
    answer = api.send("POST", "/listeners", data=orjson.dumps(body))
    assert answer.status_code == 400
    assert "Value should be a JSON object" in answer.get_json()["faultstring"]


@pytest.mark.parametrize("body", [{}, {"listener": None}])
def test_an_envelope_without_its_key(api: Api, body: Any) -> None:
    assert api.refused(400, "POST", "/listeners", body) == _invalid("listener", None, "Mandatory field missing.")


def test_a_wrong_envelope(api: Api) -> None:
    assert api.refused(400, "POST", "/listeners", {"pool": {}}) == "Unknown attribute for argument listener_: pool"


@pytest.mark.parametrize(
    ("kind", "argument"),
    [("loadbalancer", "load_balancer"), ("listener", "listener_"), ("pool", "pool_"), ("member", "member_"),
     ("healthmonitor", "health_monitor_")],
)  # fmt: skip
def test_an_unknown_key_is_named(site: Site, kind: str, argument: str) -> None:
    expected = f"Unknown attribute for argument {argument}.{kind}: colour"
    assert site.refused(400, kind, colour="red") == expected
    assert site.refused_put(400, kind, colour="red") == expected


@pytest.mark.parametrize(
    ("kind", "field"),
    [("loadbalancer", "vip_address"), ("loadbalancer", "project_id"), ("loadbalancer", "provider"), ("listener", "protocol"),
     ("listener", "protocol_port"), ("listener", "loadbalancer_id"), ("pool", "protocol"), ("pool", "listener_id"),
     ("member", "address"), ("member", "subnet_id"), ("healthmonitor", "type"), ("healthmonitor", "pool_id"), ("pool", "id"),
     ("listener", "provisioning_status"), ("member", "operating_status")],
)  # fmt: skip
def test_what_can_not_be_changed_is_unknown_to_a_put(site: Site, kind: str, field: str) -> None:
    assert site.refused_put(400, kind, **{field: "x"}).endswith(f".{kind}: {field}")


@pytest.mark.parametrize(
    ("kind", "field", "value", "reason"),
    [
        ("loadbalancer", "vip_subnet_id", "x", "Value should be UUID format"),
        ("loadbalancer", "vip_address", "10.0.0.256", "Value should be IPv4 or IPv6 format"),
        ("loadbalancer", "vip_address", "fe80::1%eth0", "Value should be IPv4 or IPv6 format"),
        ("loadbalancer", "name", "x" * 256, "Value should have a maximum character requirement of 255"),
        ("loadbalancer", "name", 5, "Value should be string"),
        ("loadbalancer", "name", "a\nb", "Value should not contain control characters"),
        ("loadbalancer", "description", "a\x00b", "Value should not contain control characters"),
        ("loadbalancer", "description", "a\u2028b", "Value should not contain control characters"),
        ("loadbalancer", "project_id", "x" * 37, "Value should have a maximum character requirement of 36"),
        ("loadbalancer", "tags", "word", "Value should be a list"),
        ("loadbalancer", "tags", ["a\tb"], "Value should not contain control characters"),
        ("loadbalancer", "tags", [5], "Value should be string"),
        ("loadbalancer", "admin_state_up", "perhaps", "Value should be boolean"),
        ("loadbalancer", "listeners", "none", "Value should be a list"),
        ("listener", "loadbalancer_id", 5, "Value should be UUID format"),
        ("listener", "protocol", "GOPHER", "Value should be one of: HTTP, HTTPS, SCTP, PROMETHEUS, TCP, TERMINATED_HTTPS, UDP"),
        ("listener", "protocol_port", 0, "Value should be greater or equal to 1"),
        ("listener", "protocol_port", 65536, "Value should be lower or equal to 65535"),
        ("listener", "protocol_port", "http", "Value should be integer"),
        ("listener", "protocol_port", 80.5, "Value should be integer"),
        ("listener", "protocol_port", True, "Value should be integer"),
        ("listener", "protocol_port", None, "Mandatory field missing."),
        ("listener", "connection_limit", -2, "Value should be greater or equal to -1"),
        ("listener", "timeout_client_data", 2073600001, "Value should be lower or equal to 2073600000"),
        ("listener", "insert_headers", [], "Value should be an object of header names and strings"),
        ("listener", "insert_headers", {"X-Forwarded-For": True}, "Value should be string"),
        ("listener", "insert_headers", {"X-Evil": "true"}, "X-Evil is not a valid option for insert_headers"),
        ("listener", "allowed_cidrs", ["10.0.0.0/33"], "Value should be IPv4 or IPv6 CIDR format"),
        ("listener", "tls_ciphers", "a b", "Value should match the pattern ^[A-Za-z0-9\\-+!:@=_.]{0,2048}$"),
        ("listener", "tls_versions", ["TLSv9"], "Value should be one of: SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"),
        ("listener", "client_authentication", "MAYBE", "Value should be one of: NONE, OPTIONAL, MANDATORY"),
        ("pool", "lb_algorithm", "RANDOM", "Value should be one of: LEAST_CONNECTIONS, ROUND_ROBIN, SOURCE_IP, SOURCE_IP_PORT"),
        ("pool", "protocol", "FTP", "Value should be one of: HTTP, HTTPS, PROXY, PROXYV2, SCTP, TCP, UDP"),
        ("member", "address", "web-1", "Value should be IPv4 or IPv6 format"),
        ("member", "weight", 257, "Value should be lower or equal to 256"),
        ("member", "monitor_port", 0, "Value should be greater or equal to 1"),
        ("healthmonitor", "max_retries", 11, "Value should be lower or equal to 10"),
        ("healthmonitor", "max_retries_down", 0, "Value should be greater or equal to 1"),
        ("healthmonitor", "delay", -1, "Value should be greater or equal to 0"),
        ("healthmonitor", "url_path", "http://x", "Value must be a valid URL Path string"),
        ("healthmonitor", "url_path", "/a b", "Value must be a valid URL Path string"),
        ("healthmonitor", "url_path", "/a\nb", "Value must be a valid URL Path string"),
        ("healthmonitor", "expected_codes", "2xx", "Value should match the pattern ^(\\d{3}(\\s*,\\s*\\d{3})*)$|^(\\d{3}-\\d{3})$"),
        ("healthmonitor", "expected_codes", "999", "Value should hold HTTP status codes from 100 to 599"),
        ("healthmonitor", "expected_codes", "500-200", "Value should be a range from a lower to a higher HTTP status code"),
        ("healthmonitor", "http_method", "BREW", "Value should be one of: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE"),
        ("healthmonitor", "http_version", 2.0, "Value should be one of: 1.0, 1.1"),
        ("healthmonitor", "domain_name", "a b", "Value must be a valid host name of at most 255 characters"),
    ],
)
def test_a_value_that_is_not_of_its_kind(site: Site, kind: str, field: str, value: Any, reason: str) -> None:
    said = site.refused(400, kind, **{field: value})
    assert said.startswith(f"Invalid input for field/attribute {field}. Value: '")
    assert said.endswith(reason)


def test_a_value_is_repeated_but_not_all_of_it(site: Site) -> None:
    assert site.refused(400, "member", weight=300) == _invalid("weight", 300, "Value should be lower or equal to 256")
    assert len(site.refused(400, "member", name="x" * 100000)) < 500


@pytest.mark.parametrize(
    ("kind", "field"),
    [("listener", "protocol"), ("listener", "protocol_port"), ("listener", "loadbalancer_id"), ("pool", "protocol"),
     ("pool", "lb_algorithm"), ("member", "address"), ("member", "protocol_port"), ("healthmonitor", "pool_id"),
     ("healthmonitor", "type"), ("healthmonitor", "delay"), ("healthmonitor", "timeout"), ("healthmonitor", "max_retries")],
)  # fmt: skip
def test_a_mandatory_field_that_is_missing(site: Site, kind: str, field: str) -> None:
    key, path, body = site.bodies[kind]
    without = {name: value for name, value in body.items() if name != field}
    assert site.api.refused(400, "POST", path, {key: without}) == _invalid(field, None, "Mandatory field missing.")


@pytest.mark.parametrize(
    ("kind", "field"),
    [("pool", "lb_algorithm"), ("healthmonitor", "delay"), ("healthmonitor", "timeout"), ("healthmonitor", "max_retries")],
)
def test_what_has_no_default_can_not_be_null(site: Site, kind: str, field: str) -> None:
    assert site.refused_put(400, kind, **{field: None}) == _invalid(field, None, "Mandatory field missing.")


@pytest.mark.parametrize(
    ("kind", "title", "path"),
    [("loadbalancer", "Load Balancer", "/loadbalancers/{}"), ("listener", "Listener", "/listeners/{}"), ("pool", "Pool", "/pools/{}"),
     ("healthmonitor", "Health Monitor", "/healthmonitors/{}")],
)  # fmt: skip
@pytest.mark.parametrize("named", [UNKNOWN, "not-an-id", "%00", "x" * 100, "%C3%A9"])
def test_what_does_not_exist(api: Api, kind: str, title: str, path: str, named: str) -> None:
    shown = {"%00": "\x00", "%C3%A9": "é"}.get(named, named)
    for method, body in (("GET", None), ("PUT", {kind: {}}), ("DELETE", None)):
        assert api.refused(404, method, path.format(named), body) == f"{title} {shown} not found."


def test_what_does_not_exist_below_an_object(site: Site) -> None:
    api = site.api
    assert api.refused(404, "GET", f"/pools/{site.pool}/members/{UNKNOWN}") == f"Member {UNKNOWN} not found."
    assert api.refused(404, "GET", f"/pools/{UNKNOWN}/members/{site.member}") == f"Member {site.member} not found."
    assert api.refused(404, "GET", f"/pools/{UNKNOWN}/members") == f"Pool {UNKNOWN} not found."
    assert api.refused(404, "PUT", f"/pools/{UNKNOWN}/members", {"members": []}) == f"Pool {UNKNOWN} not found."
    for path in ("stats", "status", "statuses"):
        assert api.refused(404, "GET", f"/loadbalancers/{UNKNOWN}/{path}") == f"Load Balancer {UNKNOWN} not found."
    assert api.refused(404, "PUT", f"/loadbalancers/{UNKNOWN}/failover") == f"Load Balancer {UNKNOWN} not found."
    assert api.refused(404, "GET", f"/listeners/{UNKNOWN}/stats") == f"Listener {UNKNOWN} not found."
    assert api.refused(404, "GET", f"/pools/{UNKNOWN}/stats") == f"Pool {UNKNOWN} not found."
    for method, path in (("GET", ""), ("GET", "/stats"), ("PUT", "/failover"), ("PUT", "/config"), ("DELETE", "")):
        assert api.refused(404, method, f"//v2/octavia/amphorae/{UNKNOWN}{path}") == f"Amphora {UNKNOWN} not found."


@pytest.mark.parametrize(
    ("kind", "field", "title"),
    [("listener", "loadbalancer_id", "Load Balancer"), ("listener", "default_pool_id", "Pool"),
     ("pool", "loadbalancer_id", "Load Balancer"),
     ("pool", "listener_id", "Listener"), ("healthmonitor", "pool_id", "Pool"), ("member", "subnet_id", "Subnet")],
)  # fmt: skip
def test_a_parent_that_does_not_exist(site: Site, kind: str, field: str, title: str) -> None:
    assert site.refused(404, kind, **{field: UNKNOWN}) == f"{title} {UNKNOWN} not found."


@pytest.mark.parametrize(("field", "title"), [("vip_subnet_id", "Subnet"), ("vip_network_id", "Network"), ("vip_port_id", "Port")])
def test_a_place_for_the_vip_that_does_not_exist_is_a_mistake_in_the_body(api: Api, field: str, title: str) -> None:
    said = api.refused(400, "POST", "/loadbalancers", {"loadbalancer": {field: UNKNOWN}})
    assert said == f"{title} {UNKNOWN} not found."


def test_the_vip_needs_a_place(api: Api) -> None:
    said = api.refused(400, "POST", "/loadbalancers", {"loadbalancer": {"name": "nowhere"}})
    assert said == "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id."


def test_an_address_that_is_taken(api: Api) -> None:
    address = api.load_balancer()["vip_address"]
    said = api.refused(409, "POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, "vip_address": address}})
    assert said.startswith("The VIP IP address is already in use")
    assert address in said


def test_a_place_for_the_vip_that_the_operator_does_not_allow(api_with: Any) -> None:
    api = api_with(("networking", "allow_vip_subnet_id"), False)
    subnet = api.network.subnet_id
    said = api.refused(400, "POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": subnet}})
    assert said == f"The selected vip_subnet_id is not allowed in this deployment: {subnet}"
    elsewhere = api_with(("networking", "valid_vip_networks"), [UNKNOWN])
    said = elsewhere.refused(400, "POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": elsewhere.network.subnet_id}})
    assert said == f"The selected vip_network_id is not allowed in this deployment: {elsewhere.network.network_id}"
    assert not [port for port in elsewhere.network.list_ours() if port.device_id.startswith("lb-")]


def test_a_provider_that_is_not_enabled(site: Site) -> None:
    assert site.refused(400, "loadbalancer", provider="f5") == "Provider 'f5' is not enabled."
    assert site.api.load_balancer(provider="octavia")["provider"] == "octavia"


def test_a_create_without_any_project(api: Api) -> None:
    answer = api.send("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}, headers={})
    assert answer.status_code == 400
    assert answer.get_json()["faultstring"].startswith("Validation failure: Missing project ID in request where one is required.")


@pytest.mark.parametrize("project", ["p" * 37, "na\u00efve", "two\tparts"])
def test_a_create_for_what_can_be_no_project(api_with: Any, project: str) -> None:
    api: Api = api_with(("api_settings", "auth_strategy"), "testing")
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}
    answer = api.send("POST", "/loadbalancers", body, headers={"X-Project-Id": project, "X-Roles": "member"})
    assert answer.status_code == 400
    assert answer.get_json()["faultstring"].startswith("Invalid input for field/attribute project_id.")


def test_a_pool_without_a_parent_and_with_two_that_disagree(site: Site) -> None:
    body = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    said = site.api.refused(400, "POST", "/pools", {"pool": body})
    assert said == "Validation failure: Must provide at least one of: loadbalancer_id, listener_id"
    other = site.api.load_balancer()["id"]
    said = site.api.refused(400, "POST", "/pools", {"pool": body | {"loadbalancer_id": other, "listener_id": site.listener}})
    assert said == f"Validation failure: Listener {site.listener} is not on load balancer {other}."


def test_two_listeners_on_one_port(site: Site) -> None:
    said = site.refused(409, "listener", protocol="TCP", protocol_port=80)
    assert said == "Another Listener on this Load Balancer is already using protocol TCP and protocol_port 80"


def test_one_server_twice_in_a_pool(site: Site) -> None:
    said = site.refused(409, "member", address="10.0.0.1", protocol_port=80)
    assert said == "Another member on this pool is already using ip 10.0.0.1 on protocol_port 80"


def test_a_second_monitor_and_a_second_default_pool(site: Site) -> None:
    assert site.refused(409, "healthmonitor", pool_id=site.pool) == "This pool already has a health monitor"
    said = site.refused(409, "pool", loadbalancer_id=None, listener_id=site.listener)
    assert said == f"Listener {site.listener} already has a default pool: {site.pool}"


def test_a_load_balancer_with_children_is_not_deleted(site: Site) -> None:
    said = site.api.refused(400, "DELETE", f"/loadbalancers/{site.load_balancer}")
    assert said == f"Validation failure: Cannot delete Load Balancer {site.load_balancer} - it has children"
    said = site.api.refused(400, "DELETE", f"/loadbalancers/{site.load_balancer}?cascade=perhaps")
    assert said == _invalid("cascade", "perhaps", "Value should be boolean")


@pytest.mark.parametrize(
    ("listener", "pool", "fits"),
    [("HTTP", "HTTP", True), ("HTTP", "PROXY", True), ("HTTP", "PROXYV2", True), ("HTTP", "TCP", False), ("HTTP", "HTTPS", False),
     ("TCP", "TCP", True), ("TCP", "HTTP", True), ("TCP", "HTTPS", True), ("TCP", "PROXY", True), ("TCP", "PROXYV2", True),
     ("HTTPS", "HTTPS", True), ("HTTPS", "TCP", True), ("HTTPS", "PROXY", True), ("HTTPS", "PROXYV2", True), ("HTTPS", "HTTP", False)],
)  # fmt: skip
def test_which_pool_fits_which_listener(api: Api, listener: str, pool: str, fits: bool) -> None:
    parent = api.load_balancer()["id"]
    owner = api.listener(parent, protocol=listener)["id"]
    loose = api.pool(loadbalancer_id=parent, protocol=pool)["id"]
    sentence = f"Validation failure: The pool protocol '{pool}' is invalid while the listener protocol is '{listener}'."
    further = {"loadbalancer_id": parent, "protocol": listener, "protocol_port": 81}
    requests = [
        ("POST", "/pools", {"pool": {"listener_id": owner, "protocol": pool, "lb_algorithm": "ROUND_ROBIN"}}, 201),
        ("PUT", f"/listeners/{owner}", {"listener": {"default_pool_id": loose}}, 200),
        ("POST", "/listeners", {"listener": further | {"default_pool_id": loose}}, 201),
    ]  # fmt: skip
    for method, path, body, status in requests:
        if fits:
            api.ok(method, path, body, status)
        else:
            assert api.refused(400, method, path, body) == sentence


def test_a_pool_of_another_load_balancer_is_not_found(site: Site) -> None:
    foreign = site.api.pool(loadbalancer_id=site.api.load_balancer()["id"])["id"]
    assert site.refused(404, "listener", default_pool_id=foreign) == f"Pool {foreign} not found."
    assert site.refused_put(404, "listener", default_pool_id=foreign) == f"Pool {foreign} not found."


@pytest.mark.parametrize(
    ("protocol", "given", "sentence"),
    [
        ("HTTP", {}, "Invalid session_persistence provided."),
        ("HTTP", {"cookie_name": "a"}, "session_persistence must have a type."),
        ("HTTP", {"type": "APP_COOKIE"}, "session_persistence of type APP_COOKIE must have a cookie_name."),
        ("HTTP", {"type": "HTTP_COOKIE", "cookie_name": "a"}, "session_persistence of type HTTP_COOKIE must not have a cookie_name."),
        ("TCP", {"type": "HTTP_COOKIE"}, "session_persistence of type HTTP_COOKIE is invalid for a pool of protocol TCP."),
        ("HTTP", {"type": "SOURCE_IP", "persistence_timeout": 5},
         "persistence_timeout and persistence_granularity are for UDP and SCTP pools of type SOURCE_IP only."),
    ],
)  # fmt: skip
def test_session_persistence_that_can_not_be(site: Site, protocol: str, given: dict[str, Any], sentence: str) -> None:
    assert site.refused(400, "pool", protocol=protocol, session_persistence=given) == f"Validation failure: {sentence}"


@pytest.mark.parametrize("name", ["a b", "a;b", "a,b", "a\\b", "a\nb", "", 'a"b'])
def test_a_cookie_name_that_could_end_a_directive(site: Site, name: str) -> None:
    said = site.refused(400, "pool", session_persistence={"type": "APP_COOKIE", "cookie_name": name})
    assert "Value should be a valid cookie name" in said


def test_headers_are_inserted_by_http_listeners_only(site: Site) -> None:
    said = site.refused(400, "listener", protocol="TCP", insert_headers={"X-Forwarded-For": "true"})
    assert said == "X-Forwarded-For is not a valid option for insert_headers of a TCP listener"
    said = site.refused_put(400, "listener", insert_headers={"X-SSL-Client-DN": "true"})
    assert said == "X-SSL-Client-DN is not a valid option for insert_headers of a HTTP listener"


def test_ranges_of_clients_have_the_version_of_the_vip(site: Site) -> None:
    for said in (site.refused(400, "listener", allowed_cidrs=["2001:db8::/32"]), site.refused_put(400, "listener", allowed_cidrs=["::/0"])):
        assert said.startswith("Validation failure: allowed_cidrs: the VIP ")


def test_addresses_that_no_member_may_have(site: Site) -> None:
    assert site.refused(400, "member", address="169.254.169.254") == "169.254.169.254 is not a valid option for member address"
    body = {"members": [{"address": "169.254.169.254", "protocol_port": 80}]}
    assert "is not a valid option" in site.api.refused(400, "PUT", f"/pools/{site.pool}/members", body)


@pytest.mark.parametrize("spelling", ["169.254.169.254", "::ffff:169.254.169.254", "::FFFF:a9fe:a9fe", "0:0:0:0:0:ffff:a9fe:a9fe"])
def test_no_other_spelling_reaches_an_address_that_no_member_may_have(site: Site, spelling: str) -> None:
    assert spelling in site.refused(400, "member", address=spelling)
    for said in (site.refused(400, "member", monitor_address=spelling), site.refused_put(400, "member", monitor_address=spelling)):
        assert said == f"{spelling} is not a valid option for member monitor address"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1", "::1", "::ffff:127.9.9.9", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_no_member_is_where_no_other_machine_can_be(site: Site, address: str) -> None:
    assert site.refused(400, "member", address=address) == f"{address} is not a valid option for member address"
    assert site.refused_put(400, "member", monitor_address=address) == f"{address} is not a valid option for member monitor address"


@pytest.mark.parametrize("field", ["http_method", "url_path", "expected_codes", "http_version", "domain_name"])
def test_a_monitor_that_speaks_no_http_has_no_fields_of_http(site: Site, field: str) -> None:
    value = {"http_method": "GET", "url_path": "/", "expected_codes": "200", "http_version": 1.1, "domain_name": "example.org"}[field]
    said = site.refused(400, "healthmonitor", type="TCP", **{field: value})
    assert said == f"Validation failure: {field} is not a valid option for a health monitor of type TCP."


def test_rules_of_monitors(site: Site, api_with: Any) -> None:
    said = site.refused(400, "healthmonitor", domain_name="example.org")
    assert said == "Validation failure: http_version must be 1.1 where a health monitor has a domain_name."
    said = site.refused(400, "healthmonitor", type="UDP-CONNECT")
    assert said == "Validation failure: The health monitor type 'UDP-CONNECT' is invalid for a pool of protocol 'HTTP'."
    careful = Site(api_with(("api_settings", "allow_ping_health_monitors"), False))
    said = careful.refused(400, "healthmonitor", type="PING")
    assert said == "The selected health monitor type is not allowed in this deployment: PING"


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("pool", "lb_algorithm", "SOURCE_IP_PORT"),
    ],
)
def test_what_no_amphora_can_do_yet_is_never_accepted_silently(site: Site, kind: str, field: str, value: Any) -> None:
    said = site.refused(501, kind, **{field: value})
    assert said.startswith(f"Provider 'amphora' does not support a requested option: {field} ")


def test_hashes_of_ports_are_for_datagrams(site: Site) -> None:
    made = site.api.pool(loadbalancer_id=site.load_balancer, protocol="UDP", lb_algorithm="SOURCE_IP_PORT")
    site.api.ok("PUT", f"/pools/{made['id']}", {"pool": {"lb_algorithm": "SOURCE_IP"}})
    site.api.ok("PUT", f"/pools/{made['id']}", {"pool": {"lb_algorithm": "SOURCE_IP_PORT"}})
    words = "Provider 'amphora' does not support a requested option: lb_algorithm SOURCE_IP_PORT"
    assert site.refused_put(501, "pool", lb_algorithm="SOURCE_IP_PORT") == words


def test_what_can_not_be_done_with_an_amphora(site: Site) -> None:
    api = site.api
    broken, whole, spare = (str(uuid.uuid4()) for _ in range(3))
    for amphora, status, owner in ((broken, "ERROR", site.load_balancer), (whole, "ALLOCATED", site.load_balancer), (spare, "ERROR", None)):
        api.write(sa.insert(tables.amphorae).values(id=amphora, status=status, created_at=rows.now(), load_balancer_id=owner))
    path = "//v2/octavia/amphorae"
    for amphora in (whole, spare):
        assert api.refused(409, "DELETE", f"{path}/{amphora}") == f"Amphora {amphora} is immutable and cannot be updated."
    assert "serves no load balancer" in api.refused(409, "PUT", f"{path}/{spare}/config")
    assert "serves no load balancer" in api.refused(409, "PUT", f"{path}/{spare}/failover")


def test_a_bug_of_ours_is_500_without_its_details(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(pools.Pools, "get", broken)
    said = api.refused(500, "GET", f"/pools/{UNKNOWN}")
    assert "secret" not in said
    assert "req-" in said


def test_a_database_that_is_away_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(pools.Pools, "get", away)
    assert "nothing was changed" in api.refused(503, "GET", f"/pools/{UNKNOWN}")
