"""The rules of listeners, of what the data plane can do and of what it can't do yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.api import secrets_site
from tests.functional.api.conftest import PROJECT, SETTINGS, Api, an_api

TLS = "TERMINATED_HTTPS"
CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:"
"""How the default begins."""
LENIENT = {(SETTINGS, "refuse_unsupported"): False}


class Site:
    """A load balancer whose listeners may be of every protocol; words such as `@server` stand for references of secrets."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.references = secrets_site.store(api.secrets, PROJECT)
        self.load_balancer = api.load_balancer()
        self.pools = {protocol: self.pool(protocol) for protocol in ("HTTP", "TCP", "UDP", "SCTP", "PROXY", "PROXYV2", "HTTPS")}
        self._port = 1000

    def pool(self, protocol: str) -> Any:
        """A pool of the load balancer."""
        return self.api.pool(loadbalancer_id=self.load_balancer["id"], protocol=protocol)["id"]

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._port += 1
        base = {"loadbalancer_id": self.load_balancer["id"], "protocol": "HTTP", "protocol_port": self._port}
        return {"listener": base | self.resolved(fields)}

    def resolved(self, value: Any) -> Any:
        """The same with references in the place of words."""
        if isinstance(value, dict):
            return {key: self.resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        return self.references.get(value[1:], value) if isinstance(value, str) and value.startswith("@") else value

    def create(self, **fields: Any) -> Any:
        """A new listener."""
        return self.api.ok("POST", "/listeners", self._body(fields), 201)["listener"]

    def refused(self, status: int = 400, **fields: Any) -> str:
        """The sentence that refuses a new one."""
        return self.api.refused(status, "POST", "/listeners", self._body(fields))

    def change(self, made: Any, **fields: Any) -> Any:
        """Other values for one."""
        return self.api.ok("PUT", f"/listeners/{made['id']}", {"listener": self.resolved(fields)})["listener"]

    def change_refused(self, made: Any, status: int = 400, **fields: Any) -> str:
        """The sentence that refuses other values."""
        return self.api.refused(status, "PUT", f"/listeners/{made['id']}", {"listener": self.resolved(fields)})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all tests here."""
    with an_api(LENIENT) as api:
        yield Site(api)


@pytest.fixture(scope="module")
def strict() -> Iterator[Site]:
    """One whose operator forbids much."""
    options = LENIENT | {
        ("api_settings", "tls_cipher_prohibit_list"): "RC4-SHA:DES-CBC3-SHA",
        ("api_settings", "minimum_tls_version"): "TLSv1.2",
        ("api_settings", "allow_prometheus_listeners"): False,
        ("api_settings", "default_listener_ciphers"): "ECDHE-RSA-AES128-GCM-SHA256",
        ("api_settings", "default_listener_tls_versions"): ["TLSv1.3"],
        ("api_settings", "default_listener_alpn_protocols"): ["http/1.1"],
    }
    with an_api(options) as api:
        yield Site(api)


def _failure(sentence: str) -> str:
    return f"Validation failure: {sentence}"


@pytest.mark.parametrize("protocol", ["HTTP", "HTTPS", "TCP", "UDP", "SCTP", "PROMETHEUS"])
def test_a_listener_that_ends_no_tls_has_no_field_of_it(site: Site, protocol: str) -> None:
    asked_for: dict[str, Any] = {
        "default_tls_container_ref": "@server",
        "sni_container_refs": ["@server"],
        "client_ca_tls_container_ref": "@ca",
        "client_authentication": "OPTIONAL",
        "client_crl_container_ref": "@crl",
        "tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256",
        "tls_versions": ["TLSv1.2"],
        "alpn_protocols": ["h2"],
        "hsts_max_age": 0,
        "hsts_include_subdomains": True,
        "hsts_preload": True,
    }
    made = site.create(protocol=protocol, default_tls_container_ref="", tls_ciphers="")
    assert (made["default_tls_container_ref"], made["tls_ciphers"]) == (None, None)
    for field, value in asked_for.items():
        sentence = _failure(f"A listener of protocol {protocol} can't have {field}: only TERMINATED_HTTPS ends TLS.")
        assert site.refused(protocol=protocol, **{field: value}) == sentence
        assert site.change_refused(made, **{field: value}) == sentence
    site.change(made, default_tls_container_ref="", tls_ciphers="", sni_container_refs=[])  # what some clients send for nothing
    back = site.change(made, **dict.fromkeys(asked_for))
    nothing = {"sni_container_refs": [], "client_authentication": "NONE", "hsts_include_subdomains": False, "hsts_preload": False}
    assert {field: back[field] for field in asked_for} == dict.fromkeys(asked_for) | nothing


def test_a_listener_that_ends_tls_has_the_operators_defaults(site: Site, strict: Site) -> None:
    made = site.create(protocol=TLS, default_tls_container_ref="@server")
    assert made["tls_ciphers"].startswith(CIPHERS)
    assert (made["tls_versions"], made["alpn_protocols"]) == (["TLSv1.2", "TLSv1.3"], ["h2", "http/1.1", "http/1.0"])
    nulls = {"tls_ciphers": "", "tls_versions": None, "alpn_protocols": None}
    own = {"tls_ciphers": "AES256-SHA:!MD5", "tls_versions": ["TLSv1"], "alpn_protocols": ["http/1.0"]}
    changed = site.change(made, **own)
    assert {name: changed[name] for name in own} == own
    assert {name: site.change(made, **nulls)[name] for name in own} == {name: made[name] for name in own}
    theirs = strict.create(protocol=TLS, sni_container_refs=["@server", "@other"])
    assert (theirs["tls_ciphers"], theirs["tls_versions"]) == ("ECDHE-RSA-AES128-GCM-SHA256", ["TLSv1.3"])
    assert theirs["alpn_protocols"] == ["http/1.1"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "A listener of protocol TERMINATED_HTTPS must have a default_tls_container_ref or sni_container_refs."),
        ({"default_tls_container_ref": "@server", "client_authentication": "MANDATORY"},
         "client_authentication MANDATORY needs a client_ca_tls_container_ref."),
        ({"default_tls_container_ref": "@server", "client_crl_container_ref": "@crl"},
         "client_crl_container_ref needs a client_ca_tls_container_ref."),
        ({"client_ca_tls_container_ref": "@ca"},
         "A listener of protocol TERMINATED_HTTPS must have a default_tls_container_ref or sni_container_refs."),
        ({"default_tls_container_ref": "@server", "tls_versions": []}, "tls_versions: the list of TLS versions must not be empty."),
        ({"default_tls_container_ref": "@server", "tls_versions": ["SSLv3"]},
         "tls_versions: nothing speaks SSLv3 any more (RFC 7568): name TLSv1.2 or TLSv1.3, too."),
        ({"default_tls_container_ref": "@server", "alpn_protocols": []}, "alpn_protocols: the list of ALPN protocols must not be empty."),
        ({"default_tls_container_ref": "@server", "hsts_preload": True}, "hsts_include_subdomains and hsts_preload need hsts_max_age."),
        ({"default_tls_container_ref": "@server", "hsts_include_subdomains": True},
         "hsts_include_subdomains and hsts_preload need hsts_max_age."),
        ({"default_tls_container_ref": "@server", "client_ca_tls_container_ref": "@ca", "client_crl_container_ref": "@foreign_crl"},
         "client_crl_container_ref is not signed by the CA of client_ca_tls_container_ref."),
    ],
)  # fmt: skip
def test_a_listener_that_ends_tls_lacks_something(site: Site, fields: dict[str, Any], sentence: str) -> None:
    assert site.refused(protocol=TLS, **fields) == _failure(sentence)


def test_what_a_listener_that_ends_tls_must_keep(site: Site) -> None:
    whole = {
        "default_tls_container_ref": "@server",
        "sni_container_refs": ["@other", "@san"],
        "client_ca_tls_container_ref": "@ca",
        "client_authentication": "MANDATORY",
        "client_crl_container_ref": "@crl",
        "hsts_max_age": 31536000,
        "hsts_preload": True,
        "insert_headers": {"X-SSL-Client-DN": "true", "X-Forwarded-For": "true"},
    }
    made = site.create(protocol=TLS, **whole)
    assert {name: made[name] for name in whole} == site.resolved(whole)
    site.change(made, default_tls_container_ref=None)  # the others are still there
    needs_one = _failure("A listener of protocol TERMINATED_HTTPS must have a default_tls_container_ref or sni_container_refs.")
    assert site.change_refused(made, sni_container_refs=None) == needs_one
    needs_ca = _failure("client_authentication MANDATORY needs a client_ca_tls_container_ref.")
    assert site.change_refused(made, client_ca_tls_container_ref=None) == needs_ca
    assert site.change_refused(made, hsts_max_age=None) == _failure("hsts_include_subdomains and hsts_preload need hsts_max_age.")
    foreign = _failure("client_crl_container_ref is not signed by the CA of client_ca_tls_container_ref.")
    assert site.change_refused(made, client_crl_container_ref="@foreign_crl") == foreign
    nothing = site.change(
        made,
        client_authentication=None,
        client_ca_tls_container_ref=None,
        client_crl_container_ref=None,
        hsts_preload=None,
        hsts_max_age=None,
    )
    assert (nothing["client_authentication"], nothing["client_ca_tls_container_ref"], nothing["hsts_max_age"]) == ("NONE", None, None)


_NO_NAME = "The certificate has no subject and no alternative name: have one issued for the name of your service."
_NO_CA = "The CA certificate can't be read: it must be PEM."
_NO_LIST = "The revocation list can't be read: it must be PEM."


@pytest.mark.parametrize(
    ("fields", "unreadable", "why"),
    [
        ({"default_tls_container_ref": "nowhere"}, ["nowhere"], ""),
        ({"default_tls_container_ref": "@nameless"}, ["@nameless"], _NO_NAME),
        ({"default_tls_container_ref": "@server", "sni_container_refs": ["@ca", "nowhere", "@other"]}, ["@ca", "nowhere"], ""),
        ({"default_tls_container_ref": "@server", "client_ca_tls_container_ref": "@server"}, ["@server"], ""),
        ({"default_tls_container_ref": "@server", "client_ca_tls_container_ref": "@garbage"}, ["@garbage"], _NO_CA),
        (
            {"default_tls_container_ref": "@server", "client_ca_tls_container_ref": "@ca", "client_crl_container_ref": "@ca"},
            ["@ca"],
            _NO_LIST,
        ),
    ],
)
def test_certificates_that_can_not_be_read_are_named(site: Site, fields: dict[str, Any], unreadable: list[str], why: str) -> None:
    sentence = f"Could not retrieve certificate: {site.resolved(unreadable)}"
    sentence += f". {site.resolved(unreadable)[0]}: {why}" if why else ""
    assert site.refused(protocol=TLS, **fields) == sentence
    made = site.create(protocol=TLS, sni_container_refs=["@server"])
    assert site.change_refused(made, **fields) == sentence


def test_certificates_of_another_project_are_not_there(site: Site) -> None:
    theirs = secrets_site.store(site.api.secrets, "somebody-else")["server"]
    said = site.refused(protocol=TLS, default_tls_container_ref=theirs)
    assert said == f"Could not retrieve certificate: ['{theirs}']"


def test_what_the_operator_forbids(strict: Site, api_with: Any) -> None:
    good: dict[str, Any] = {"protocol": TLS, "default_tls_container_ref": "@server"}
    made = strict.create(**good)
    for fields, sentence in (
        ({"tls_ciphers": "AES128-SHA:RC4-SHA"}, "tls_ciphers: RC4-SHA must not be used in this deployment."),
        ({"tls_ciphers": "AES128-SHA:+DES-CBC3-SHA"}, "tls_ciphers: DES-CBC3-SHA must not be used in this deployment."),
        ({"tls_versions": ["TLSv1.1", "TLSv1.2"]}, "tls_versions: TLSv1.1 is older than this deployment allows."),
        ({"tls_versions": ["SSLv3", "TLSv1"]}, "tls_versions: SSLv3, TLSv1 is older than this deployment allows."),
    ):
        assert strict.refused(**good, **fields) == _failure(sentence)
        assert strict.change_refused(made, **fields) == _failure(sentence)
    assert strict.create(**good, tls_ciphers="AES128-SHA:!RC4-SHA")["tls_ciphers"] == "AES128-SHA:!RC4-SHA"  # which is what is wanted
    assert strict.refused(protocol="PROMETHEUS") == "The selected protocol is not allowed in this deployment: PROMETHEUS"
    without = Site(api_with((SETTINGS, "refuse_unsupported"), False, ("api_settings", "allow_tls_terminated_listeners"), False))
    assert without.refused(**good) == f"The selected protocol is not allowed in this deployment: {TLS}"


@pytest.mark.parametrize(
    ("protocol", "header", "allowed"),
    [
        *(
            (protocol, "X-Forwarded-For", protocol in ("HTTP", TLS))
            for protocol in ("HTTP", TLS, "TCP", "HTTPS", "UDP", "SCTP", "PROMETHEUS")
        ),
        *(("HTTP", header, True) for header in ("X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-IP", "X-Client-IP", "X-Forwarded-IP")),
        *((TLS, f"X-SSL-{rest}", True) for rest in ("Client-Verify", "Client-Has-Cert", "Client-DN", "Client-CN", "Issuer", "Client-SHA1")),
        ("HTTP", "X-SSL-Client-Not-After", False),
        (TLS, "X-SSL-Client-Not-Before", True),
    ],
)
def test_which_headers_a_listener_inserts(site: Site, protocol: str, header: str, allowed: bool) -> None:
    fields: dict[str, Any] = {"protocol": protocol, "insert_headers": {header: "TRUE"}}
    if protocol == TLS:
        fields["sni_container_refs"] = ["@server"]
    if allowed:
        assert site.create(**fields)["insert_headers"] == {header: "TRUE"}
    else:
        assert site.refused(**fields) == f"{header} is not a valid option for insert_headers of a {protocol} listener"


def test_ports_are_shared_between_transport_protocols_only(site: Site) -> None:
    port = 7000
    for protocol in ("HTTP", "UDP", "SCTP"):
        site.create(protocol=protocol, protocol_port=port)
    for protocol in ("HTTP", "HTTPS", "TCP", "PROMETHEUS", "UDP", "SCTP"):
        said = site.refused(409, protocol=protocol, protocol_port=port)
        assert said == f"Another Listener on this Load Balancer is already using protocol {protocol} and protocol_port {port}"


@pytest.mark.parametrize(
    ("protocol", "fitting"),
    [("UDP", {"UDP"}), ("SCTP", {"SCTP"}), ("PROMETHEUS", set()), (TLS, {"HTTP", "PROXY", "PROXYV2"})],
)
def test_which_pools_fit_the_listeners_that_are_to_come(site: Site, protocol: str, fitting: set[str]) -> None:
    tls: dict[str, Any] = {"default_tls_container_ref": "@server"} if protocol == TLS else {}
    for pool, pool_id in site.pools.items():
        if pool in fitting:
            assert site.create(protocol=protocol, default_pool_id=pool_id, **tls)["default_pool_id"] == pool_id
        else:
            sentence = f"The pool protocol '{pool}' is invalid while the listener protocol is '{protocol}'."
            assert site.refused(protocol=protocol, default_pool_id=pool_id, **tls) == _failure(sentence)


def test_a_listener_alone_has_no_nested_pool_and_no_nested_policies(site: Site) -> None:
    nested: dict[str, Any] = {"default_pool": {"name": "p"}, "l7policies": []}
    for field, value in nested.items():
        assert site.refused(**{field: value}) == f"Unknown attribute for argument listener_.listener: {field}"


def test_a_range_of_clients_has_the_version_of_one_of_the_vips(site: Site) -> None:
    subnet = site.api.network.create_subnet("private", "six", "2001:db8::/64")
    both = site.api.load_balancer(additional_vips=[{"subnet_id": subnet, "ip_address": "2001:db8::5"}])
    allowed = ["10.0.0.0/8", "2001:db8:1::/48"]
    assert site.create(loadbalancer_id=both["id"], allowed_cidrs=allowed)["allowed_cidrs"] == allowed
    made = site.create()
    for said in (site.refused(allowed_cidrs=allowed), site.change_refused(made, allowed_cidrs=allowed)):
        assert said == _failure("allowed_cidrs: the VIP is IPv4, and 2001:db8:1::/48 is not.")


def test_security_groups_and_ranges_of_clients_exclude_each_other(site: Site) -> None:
    group = site.api.security_group()
    grouped = site.api.load_balancer(vip_sg_ids=[group])
    sentence = _failure("allowed_cidrs can't be used together with vip_sg_ids: the security groups say who may reach the VIP.")
    assert site.refused(loadbalancer_id=grouped["id"], allowed_cidrs=["10.0.0.0/8"]) == sentence
    made = site.create(loadbalancer_id=grouped["id"])
    assert site.change_refused(made, allowed_cidrs=["10.0.0.0/8"]) == sentence
    ranged = site.api.load_balancer()
    site.create(loadbalancer_id=ranged["id"], allowed_cidrs=["10.0.0.0/8"])
    said = site.api.refused(400, "PUT", f"/loadbalancers/{ranged['id']}", {"loadbalancer": {"vip_sg_ids": [group]}})
    assert said == _failure("vip_sg_ids can't be used together with allowed_cidrs, which a listener of this load balancer has.")
