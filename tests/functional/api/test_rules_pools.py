"""The rules of pools and health monitors, of what the data plane can do and of what it can't do yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.api import secrets_site
from tests.functional.api.conftest import PROJECT, SETTINGS, Api, an_api

PROTOCOLS = ("HTTP", "HTTPS", "TCP", "PROXY", "PROXYV2", "UDP", "SCTP")
MONITORS = {
    **dict.fromkeys(("HTTP", "HTTPS", "TCP", "PROXY", "PROXYV2"), ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")),
    **dict.fromkeys(("UDP", "SCTP"), ("HTTP", "TCP", "UDP-CONNECT", "SCTP")),
}
FOUR = {"cookie_name": None, "persistence_granularity": None, "persistence_timeout": None}
BY_IPVS = "persistence_timeout and persistence_granularity are for UDP and SCTP pools of type SOURCE_IP only."


class Site:
    """A load balancer for pools of every protocol."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.references = secrets_site.store(api.secrets, PROJECT)
        self.load_balancer = api.load_balancer()["id"]

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        base = {"loadbalancer_id": self.load_balancer, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        return {"pool": base | {name: self._resolved(value) for name, value in fields.items()}}

    def _resolved(self, value: Any) -> Any:
        return self.references.get(value[1:], value) if isinstance(value, str) and value.startswith("@") else value

    def create(self, **fields: Any) -> Any:
        """A new pool."""
        return self.api.ok("POST", "/pools", self._body(fields), 201)["pool"]

    def refused(self, status: int = 400, **fields: Any) -> str:
        """The sentence that refuses a new one."""
        return self.api.refused(status, "POST", "/pools", self._body(fields))

    def change(self, made: Any, **fields: Any) -> Any:
        """Other values for one."""
        return self.api.ok("PUT", f"/pools/{made['id']}", {"pool": {name: self._resolved(value) for name, value in fields.items()}})["pool"]

    def change_refused(self, made: Any, **fields: Any) -> str:
        """The sentence that refuses other values."""
        values = {name: self._resolved(value) for name, value in fields.items()}
        return self.api.refused(400, "PUT", f"/pools/{made['id']}", {"pool": values})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all tests here."""
    options = {(SETTINGS, "refuse_unsupported"): False, ("api_settings", "tls_cipher_prohibit_list"): "RC4-SHA"}
    options |= {("api_settings", "minimum_tls_version"): "TLSv1.1", ("api_settings", "default_pool_alpn_protocols"): ["http/1.1"]}
    with an_api(options) as api:
        yield Site(api)


def _failure(sentence: str) -> str:
    return f"Validation failure: {sentence}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({"type": "SOURCE_IP"}, PROTOCOLS),
        ({"type": "HTTP_COOKIE"}, ("HTTP", "PROXY", "PROXYV2")),
        ({"type": "APP_COOKIE", "cookie_name": "JSESSIONID"}, ("HTTP", "PROXY", "PROXYV2")),
        ({"type": "SOURCE_IP", "persistence_timeout": 60, "persistence_granularity": "255.255.0.0"}, ("UDP", "SCTP")),
        ({"type": "SOURCE_IP", "persistence_granularity": "ffff:ffff::"}, ("UDP", "SCTP")),
    ],
)
def test_which_persistence_fits_which_pool(site: Site, protocol: str, given: dict[str, Any], fits: tuple[str, ...]) -> None:
    made = site.create(protocol=protocol)
    if protocol in fits:
        assert site.create(protocol=protocol, session_persistence=given)["session_persistence"] == FOUR | given
        assert site.change(made, session_persistence=given)["session_persistence"] == FOUR | given
        assert site.change(made, session_persistence=None)["session_persistence"] is None
        return
    wrong = given["type"]
    sentence = BY_IPVS if wrong == "SOURCE_IP" else f"session_persistence of type {wrong} is invalid for a pool of protocol {protocol}."
    assert site.refused(protocol=protocol, session_persistence=given) == _failure(sentence)
    assert site.change_refused(made, session_persistence=given) == _failure(sentence)


def test_persistence_that_is_none(site: Site) -> None:
    made = site.create(protocol="UDP", session_persistence={"type": "SOURCE_IP", "persistence_timeout": 5})
    assert site.change_refused(made, session_persistence={}) == _failure("Invalid session_persistence provided.")
    assert site.change(made, session_persistence={"persistence_granularity": "255.0.0.0"})["session_persistence"] == {
        "type": "SOURCE_IP",
        "cookie_name": None,
        "persistence_timeout": 5,
        "persistence_granularity": "255.0.0.0",
    }
    for mask in ("255.0.255.0", "10.0.0.1", "::1"):
        said = site.refused(protocol="UDP", session_persistence={"type": "SOURCE_IP", "persistence_granularity": mask})
        assert said.endswith("Value should be a netmask, such as 255.255.255.0")
    web = site.create()
    assert site.change_refused(web, session_persistence={"cookie_name": "a"}) == _failure("session_persistence must have a type.")


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_pools_of_datagrams_speak_no_tls(site: Site, protocol: str) -> None:
    asked_for: dict[str, Any] = {
        "tls_enabled": True,
        "tls_container_ref": "@server",
        "ca_tls_container_ref": "@ca",
        "crl_container_ref": "@crl",
        "tls_ciphers": "AES128-SHA",
        "tls_versions": ["TLSv1.2"],
        "alpn_protocols": ["h2"],
    }
    made = site.create(protocol=protocol)
    for field, value in asked_for.items():
        sentence = _failure(f"A pool of protocol {protocol} can't have {field}: it speaks no TLS.")
        assert site.refused(protocol=protocol, **{field: value}) == sentence
        assert site.change_refused(made, **{field: value}) == sentence
    back = site.change(made, **dict.fromkeys(asked_for))
    assert {field: back[field] for field in asked_for} == dict.fromkeys(asked_for) | {"tls_enabled": False}


def test_nulls_ask_for_nothing_that_no_amphora_can_do_yet(api: Api) -> None:
    made = api.pool(loadbalancer_id=api.load_balancer()["id"])
    nulls = dict.fromkeys(("tls_enabled", "tls_container_ref", "ca_tls_container_ref", "crl_container_ref", "alpn_protocols"))
    back = api.ok("PUT", f"/pools/{made['id']}", {"pool": nulls | {"tls_ciphers": None, "tls_versions": None}})["pool"]
    assert {name: back[name] for name in nulls} == nulls | {"tls_enabled": False}
    assert back["tls_ciphers"].startswith("TLS_AES_128_GCM_SHA256:")  # as the compatible API has it, and without effect
    assert back["tls_versions"] == ["TLSv1.2", "TLSv1.3"]


def test_a_pool_that_speaks_tls_has_the_operators_defaults(site: Site) -> None:
    plain = site.create()
    assert [plain[name] for name in ("tls_ciphers", "tls_versions", "alpn_protocols")] == [None, None, None]
    made = site.create(tls_enabled=True)
    assert made["tls_ciphers"].startswith("TLS_AES_128_GCM_SHA256:")
    assert (made["tls_versions"], made["alpn_protocols"]) == (["TLSv1.2", "TLSv1.3"], ["http/1.1"])
    own = {"tls_ciphers": "AES256-SHA", "tls_versions": ["TLSv1.1"], "alpn_protocols": ["h2"]}
    changed = site.change(made, **own)
    assert {name: changed[name] for name in own} == own
    back = site.change(made, **dict.fromkeys(own))
    assert {name: back[name] for name in own} == {name: made[name] for name in own} | {"alpn_protocols": None}
    turned_on = site.change(plain, tls_enabled=True, tls_versions=["TLSv1.3"])
    assert (turned_on["tls_ciphers"], turned_on["tls_versions"]) == (made["tls_ciphers"], ["TLSv1.3"])
    assert site.change(made, tls_enabled=None)["tls_enabled"] is False


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"crl_container_ref": "@crl"}, _failure("crl_container_ref needs a ca_tls_container_ref.")),
        ({"ca_tls_container_ref": "@ca", "crl_container_ref": "@foreign_crl"},
         _failure("crl_container_ref is not signed by the CA of ca_tls_container_ref.")),
        ({"tls_container_ref": "nowhere", "ca_tls_container_ref": "@garbage"},
         "Could not retrieve certificate: ['nowhere', '@garbage']. @garbage: The CA certificate can't be read: it must be PEM."),
        ({"tls_enabled": True, "tls_versions": []}, _failure("tls_versions: the list of TLS versions must not be empty.")),
        ({"tls_enabled": True, "tls_versions": ["SSLv3"]},
         _failure("tls_versions: nothing speaks SSLv3 any more (RFC 7568): name TLSv1.2 or TLSv1.3, too.")),
        ({"tls_enabled": True, "alpn_protocols": []}, _failure("alpn_protocols: the list of ALPN protocols must not be empty.")),
        ({"tls_ciphers": "RC4-SHA"}, _failure("tls_ciphers: RC4-SHA must not be used in this deployment.")),
        ({"tls_versions": ["TLSv1", "TLSv1.2"]}, _failure("tls_versions: TLSv1 is older than this deployment allows.")),
    ],
)  # fmt: skip
def test_tls_that_can_not_be(site: Site, fields: dict[str, Any], sentence: str) -> None:
    said = sentence.replace("@garbage", site.references["garbage"])
    assert site.refused(**fields) == said
    assert site.change_refused(site.create(), **fields) == said


def test_what_a_pool_that_proves_its_members_must_keep(site: Site) -> None:
    whole = {"tls_enabled": True, "tls_container_ref": "@server", "ca_tls_container_ref": "@ca", "crl_container_ref": "@crl"}
    made = site.create(**whole)
    assert made["crl_container_ref"] == site.references["crl"]
    assert site.change_refused(made, ca_tls_container_ref=None) == _failure("crl_container_ref needs a ca_tls_container_ref.")
    said = site.change_refused(made, crl_container_ref="@foreign_crl")
    assert said == _failure("crl_container_ref is not signed by the CA of ca_tls_container_ref.")
    nothing = site.change(made, tls_container_ref="", ca_tls_container_ref=None, crl_container_ref="")
    assert (nothing["tls_container_ref"], nothing["ca_tls_container_ref"], nothing["crl_container_ref"]) == (None, None, None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO", "UDP-CONNECT", "SCTP"])
def test_which_monitor_fits_which_pool(site: Site, protocol: str, kind: str) -> None:
    pool = site.create(protocol=protocol)["id"]
    body = {"healthmonitor": {"pool_id": pool, "type": kind, "delay": 5, "timeout": 3, "max_retries": 2}}
    if kind not in MONITORS[protocol]:
        said = site.api.refused(400, "POST", "/healthmonitors", body)
        assert said == _failure(f"The health monitor type '{kind}' is invalid for a pool of protocol '{protocol}'.")
        return
    made = site.api.ok("POST", "/healthmonitors", body, 201)["healthmonitor"]
    speaks_http = kind in ("HTTP", "HTTPS")
    expected = {"http_method": "GET", "url_path": "/", "expected_codes": "200"} if speaks_http else {}
    shown = {name: made[name] for name in ("http_method", "url_path", "expected_codes", "http_version", "domain_name")}
    assert shown == dict.fromkeys(shown) | expected
    nulls = site.api.ok("PUT", f"/healthmonitors/{made['id']}", {"healthmonitor": dict.fromkeys(shown)})["healthmonitor"]
    assert {name: nulls[name] for name in shown} == shown
    assert site.api.refused(409, "POST", "/healthmonitors", body) == "This pool already has a health monitor"


def test_a_monitor_by_udp_is_no_flood(site: Site) -> None:
    body = {"pool_id": site.create(protocol="UDP")["id"], "type": "UDP-CONNECT", "delay": 2, "timeout": 1, "max_retries": 1}
    sentence = _failure("The delay of a health monitor of type UDP-CONNECT must be at least 3 seconds.")
    assert site.api.refused(400, "POST", "/healthmonitors", {"healthmonitor": body}) == sentence
    made = site.api.ok("POST", "/healthmonitors", {"healthmonitor": body | {"delay": 3}}, 201)["healthmonitor"]
    assert site.api.refused(400, "PUT", f"/healthmonitors/{made['id']}", {"healthmonitor": {"delay": 1}}) == sentence
    site.api.ok("PUT", f"/healthmonitors/{made['id']}", {"healthmonitor": {"timeout": 2}})


def test_a_host_header_needs_the_version_of_http_that_has_it(site: Site) -> None:
    pool = site.create()["id"]
    body = {"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 9, "max_retries": 1, "domain_name": "example.org"}
    sentence = _failure("http_version must be 1.1 where a health monitor has a domain_name.")
    for version in ({}, {"http_version": 1.0}):
        assert site.api.refused(400, "POST", "/healthmonitors", {"healthmonitor": body | version}) == sentence
    made = site.api.ok("POST", "/healthmonitors", {"healthmonitor": body | {"http_version": "1.1"}}, 201)["healthmonitor"]
    assert (made["http_version"], made["timeout"]) == (1.1, 9)  # longer than the delay, as clients may have it
    path = f"/healthmonitors/{made['id']}"
    assert site.api.refused(400, "PUT", path, {"healthmonitor": {"http_version": None}}) == sentence
    bare = site.api.ok("PUT", path, {"healthmonitor": {"http_version": None, "domain_name": None}})["healthmonitor"]
    assert (bare["http_version"], bare["domain_name"]) == (None, None)
