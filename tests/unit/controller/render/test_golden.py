"""Whole configurations as a person would read them: each case is a file in `tests/golden/`, and each is accepted by the real program.

After an intended change: `pytest tests/unit/controller/render --update-golden`, then read the diff.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from controller import render
from controller.model import load_balancer as model
from controller.model import protocols
from controller.model.network import FixedIp
from controller.model.status import ProvisioningStatus, Topology
from controller.resources import tls as tls_options
from tests import builders
from tests.unit.controller.render import tools

GOLDEN = pathlib.Path(__file__).parents[3] / "golden"


def _owner(word: str, **fields: Any) -> model.LoadBalancer:
    return builders.a_load_balancer(id=builders.an_id(word), **fields)


def _one_pool(
    word: str, *, listener: dict[str, Any], pool: dict[str, Any], monitor: dict[str, Any] | None = None, **owner: Any
) -> model.Snapshot:
    pool_id = builders.an_id(f"{word}-pool")
    monitors = [] if monitor is None else [builders.a_health_monitor(id=builders.an_id(f"{word}-monitor"), pool_id=pool_id, **monitor)]
    return builders.a_snapshot(
        _owner(word, **owner),
        listeners=[builders.a_listener(id=builders.an_id(f"{word}-listener"), default_pool_id=pool_id, **listener)],
        pools=[builders.a_pool(id=pool_id, **pool)],
        members=[
            builders.a_member(id=builders.an_id(f"{word}-web-1"), pool_id=pool_id, address="198.19.10.101"),
            builders.a_member(id=builders.an_id(f"{word}-web-2"), pool_id=pool_id, address="198.19.10.102", weight=3),
            builders.a_member(id=builders.an_id(f"{word}-web-3"), pool_id=pool_id, address="198.19.10.103", backup=True, weight=0),
        ],
        health_monitors=monitors,
    )


def _http_single() -> model.Snapshot:
    return _one_pool(
        "http-single",
        listener={"insert_headers": {"X-Forwarded-For": "true", "X-Forwarded-Port": "True", "X-Forwarded-Proto": "false"}},
        pool={},
        monitor={
            "url_path": "/health?deep=1&who=it's#here",
            "expected_codes": "200, 202-204",
            "http_version": 1.1,
            "domain_name": "web.example",
        },
    )


def _grpc() -> model.Snapshot:
    return _one_pool(
        "grpc",
        listener={"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "local:web", "alpn_protocols": ("h2",)},
        pool={"tls_enabled": True, "alpn_protocols": ("h2",)},
        monitor={"type": "HTTPS", "grpc_service": "shop.Cart", "http_version": 1.1, "domain_name": "web.example"},
    )


def _grpc_over_tcp() -> model.Snapshot:
    """Clients and members speak HTTP/2 with each other."""
    return _one_pool("grpc-tcp", listener={"protocol": "TCP"}, pool={"protocol": "TCP"}, monitor={"grpc_service": ""})


def _cookies_in_a_pair() -> model.Snapshot:
    persistence = model.SessionPersistence(type="APP_COOKIE", cookie_name="JSESSION#ID'`|~$%&*+!")
    return _one_pool("app-cookie-pair", listener={}, pool={"session_persistence": persistence}, topology=Topology.ACTIVE_STANDBY)


def _inserted_cookie() -> model.Snapshot:
    persistence = model.SessionPersistence(type="HTTP_COOKIE")
    return _one_pool(
        "http-cookie",
        listener={"connection_limit": 100},
        pool={"protocol": "PROXYV2", "session_persistence": persistence},
        monitor={"type": "TCP"},
    )


def _source_ip_over_ipv6() -> model.Snapshot:
    word = "source-ip-ipv6"
    pool_id = builders.an_id(f"{word}-pool")
    return builders.a_snapshot(
        _owner(word, vip=builders.a_vip(address="2001:db8:10::10")),
        listeners=[
            builders.a_listener(
                id=builders.an_id(f"{word}-listener"), protocol="TCP", protocol_port=5432, default_pool_id=pool_id, timeout_tcp_inspect=100
            )
        ],
        pools=[
            builders.a_pool(
                id=pool_id, protocol="PROXY", lb_algorithm="SOURCE_IP", session_persistence=model.SessionPersistence(type="SOURCE_IP")
            )
        ],
        members=[
            builders.a_member(id=builders.an_id(f"{word}-db-1"), pool_id=pool_id, address="2001:db8:10::101", protocol_port=5432),
            builders.a_member(
                id=builders.an_id(f"{word}-db-2"),
                pool_id=pool_id,
                address="2001:db8:10:0::102",
                protocol_port=5432,
                monitor_address="2001:DB8:10::202",
                monitor_port=8008,
                admin_state_up=False,
            ),
        ],
        health_monitors=[
            builders.a_health_monitor(id=builders.an_id(f"{word}-monitor"), pool_id=pool_id, type="TLS-HELLO", delay=0, timeout=0)
        ],
        amphorae=[builders.an_amphora(id=builders.an_id(f"{word}-amphora"), vrrp_ip="2001:db8:10::21")],
    )


def _tls_pass_through() -> model.Snapshot:
    return _one_pool(
        "https-pass-through",
        listener={"protocol": "HTTPS", "protocol_port": 443, "timeout_client_data": 0, "timeout_member_connect": 1500},
        pool={"protocol": "HTTPS", "lb_algorithm": "LEAST_CONNECTIONS"},
        monitor={"type": "HTTPS", "http_method": "HEAD", "http_version": 1.1},
    )


def _pinged() -> model.Snapshot:
    return _one_pool("ping", listener={"protocol": "TCP"}, pool={"protocol": "TCP"}, monitor={"type": "PING"})


def _tls_to_both_sides() -> model.Snapshot:
    """All that can be said of TLS to clients and to members, with rules about clients' certificates."""
    word = "tls"
    listener_id, pool_id = builders.an_id(f"{word}-listener"), builders.an_id(f"{word}-pool")
    policies = [builders.an_l7policy(id=builders.an_id(f"{word}-policy"), listener_id=listener_id)]
    rules = [
        builders.an_l7rule(id=builders.an_id(f"{word}-{kind}"), l7policy_id=policies[0].id, type=kind, compare_type="EQUAL_TO", **fields)
        for kind, fields in (
            ("SSL_CONN_HAS_CERT", {"value": "True"}),
            ("SSL_VERIFY_RESULT", {"value": "26"}),
            ("SSL_DN_FIELD", {"key": "CN", "value": "it's #1"}),
        )
    ]
    tls = {"tls_ciphers": tls_options._CIPHERS, "tls_versions": ("TLSv1.2", "TLSv1.3"), "alpn_protocols": ("h2", "http/1.1")}
    listener = builders.a_listener(
        id=listener_id,
        protocol="TERMINATED_HTTPS",
        protocol_port=443,
        default_pool_id=pool_id,
        insert_headers=dict.fromkeys(protocols.HEADERS + protocols.HEADERS_OF_TLS, "true"),
        default_tls_container_ref="local:default",
        sni_container_refs=("local:other", "local:default"),
        client_ca_tls_container_ref="local:ca",
        client_authentication="OPTIONAL",
        client_crl_container_ref="local:crl",
        hsts_max_age=31536000,
        hsts_include_subdomains=True,
        hsts_preload=True,
        **tls,
    )
    odd = builders.a_listener(
        id=builders.an_id(f"{word}-odd"),
        protocol="TERMINATED_HTTPS",
        protocol_port=8443,
        default_pool_id=pool_id,
        sni_container_refs=("local:other",),
        tls_ciphers="TLS_AES_256_GCM_SHA384:ECDHE-RSA-AES256-GCM-SHA384:!aNULL",
        tls_versions=("TLSv1.1", "TLSv1.3"),
    )
    pool = builders.a_pool(
        id=pool_id,
        protocol="PROXYV2",
        tls_enabled=True,
        tls_container_ref="local:ours",
        ca_tls_container_ref="local:their-ca",
        crl_container_ref="local:their-crl",
        **tls,
    )
    return builders.a_snapshot(
        _owner(word),
        listeners=[listener, odd, builders.a_listener(id=builders.an_id(f"{word}-tcp"), protocol="TCP", default_pool_id=pool_id)],
        pools=[pool],
        members=[builders.a_member(id=builders.an_id(f"{word}-web-1"), pool_id=pool_id, address="198.19.10.101", protocol_port=443)],
        health_monitors=[builders.a_health_monitor(id=builders.an_id(f"{word}-monitor"), pool_id=pool_id, type="HTTPS")],
        l7policies=policies,
        l7rules=rules,
    )


def _shared_and_partly_off() -> model.Snapshot:
    """Two listeners share a pool; others are off, being deleted, without members, or without a pool."""
    word = "shared"
    shared, empty, off, leaving = (builders.an_id(f"{word}-{name}") for name in ("pool", "empty-pool", "pool-off", "pool-leaving"))

    def listener(name: str, port: int, pool_id: str | None, **fields: Any) -> model.Listener:
        return builders.a_listener(id=builders.an_id(f"{word}-{name}"), protocol_port=port, default_pool_id=pool_id, **fields)

    return builders.a_snapshot(
        _owner(word),
        listeners=[
            listener("b", 8080, shared, protocol="TCP"),
            listener("a", 80, shared, provisioning_status=ProvisioningStatus.ERROR),
            listener("c", 81, empty),
            listener("d", 82, off),
            listener("e", 83, leaving),
            listener("f", 84, None),
            listener("g", 85, shared, admin_state_up=False),
            listener("h", 86, shared, provisioning_status=ProvisioningStatus.PENDING_DELETE),
        ],
        pools=[
            builders.a_pool(id=shared),
            builders.a_pool(id=empty),
            builders.a_pool(id=off, admin_state_up=False),
            builders.a_pool(id=leaving, provisioning_status=ProvisioningStatus.PENDING_DELETE),
            builders.a_pool(id=builders.an_id(f"{word}-unused")),
        ],
        members=[
            builders.a_member(id=builders.an_id(f"{word}-web-1"), pool_id=shared),
            builders.a_member(id=builders.an_id(f"{word}-web-2"), pool_id=shared, provisioning_status=ProvisioningStatus.PENDING_DELETE),
            builders.a_member(id=builders.an_id(f"{word}-web-3"), pool_id=off),
        ],
    )


def _l7() -> model.Snapshot:
    """Every action and type of rules; policies and rules that are off, leaving, or without rules; a pool used twice."""
    word = "l7"
    ids = {name: builders.an_id(f"{word}-{name}") for name in ("listener", "tcp", "default", "api", "off", "leaving")}
    policies: list[model.L7Policy] = []
    rules: list[model.L7Rule] = []

    def policy(name: str, *below: dict[str, Any], action: str = "REJECT", pool: str | None = None, **fields: Any) -> None:
        policy_id = builders.an_id(f"{word}-{name}")
        target = {"redirect_pool_id": ids[pool], "action": "REDIRECT_TO_POOL"} if pool else {"action": action}
        wanted = {"id": policy_id, "listener_id": ids["listener"], "position": len(policies) + 1} | target | fields
        policies.append(builders.an_l7policy(**wanted))
        rules.extend(
            builders.an_l7rule(**({"id": builders.an_id(f"{word}-{name}-rule-{i}"), "l7policy_id": policy_id} | item))
            for i, item in enumerate(below)
        )

    gone = {"provisioning_status": ProvisioningStatus.PENDING_DELETE}
    policy("api", {"value": "/api'#\\"}, pool="api")
    policy("default-too", {"type": "FILE_TYPE", "compare_type": "EQUAL_TO", "value": "jpg"}, pool="default")
    policy("api-again", {"type": "COOKIE", "compare_type": "EQUAL_TO", "key": "a#'b", "value": "-i", "invert": True}, pool="api")
    policy("url", {"type": "FILE_TYPE", "compare_type": "REGEX", "value": "^/[a b]+\\.(jpg|png)$"},
           action="REDIRECT_TO_URL", redirect_url="https://a.example/%20?q='#f", redirect_http_code=None)  # fmt: skip
    policy("prefix", {"type": "HEADER", "compare_type": "REGEX", "key": "User-Agent", "value": "a{2,3}$"},
           action="REDIRECT_PREFIX", redirect_prefix="http://[2001:db8::1]:8080", redirect_http_code=308)  # fmt: skip
    policy(
        "reject",
        {"type": "HOST_NAME", "compare_type": "ENDS_WITH", "value": ".example"},
        {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "a.example:8080", "invert": True},
        {"type": "HEADER", "compare_type": "CONTAINS", "key": "X-A", "value": '"say \\"a, b\\" # \\\\ \'"'},
        {"value": "/off", "admin_state_up": False},
        {"value": "/gone"} | gone,
    )
    policy("off", {}, admin_state_up=False)
    policy("gone", {}, position=1, **gone)
    policy("no-rules")
    policy("no-rule-on", {"admin_state_up": False})
    policy("to-off", {}, pool="off")
    policy("to-leaving", {}, pool="leaving")
    policy("on-tcp", {}, listener_id=ids["tcp"])
    return builders.a_snapshot(
        _owner(word),
        listeners=[
            builders.a_listener(id=ids["listener"], default_pool_id=ids["default"], insert_headers={"X-Forwarded-For": "true"}),
            builders.a_listener(id=ids["tcp"], protocol="TCP", protocol_port=81),
        ],
        pools=[
            builders.a_pool(id=ids["default"]),
            builders.a_pool(id=ids["api"], session_persistence=model.SessionPersistence(type="SOURCE_IP")),
            builders.a_pool(id=ids["off"], admin_state_up=False),
            builders.a_pool(id=ids["leaving"], provisioning_status=ProvisioningStatus.PENDING_DELETE),
        ],
        members=[builders.a_member(id=builders.an_id(f"{word}-{pool}-web"), pool_id=ids[pool]) for pool in ("default", "api", "off")],
        health_monitors=[builders.a_health_monitor(id=builders.an_id(f"{word}-monitor"), pool_id=ids["api"], type="TCP")],
        l7policies=policies,
        l7rules=rules,
    )


def _additions() -> model.Snapshot:
    """What only we have."""
    page = model.Page(content_type="text/html; charset=utf-8", body="<h1>Zürück um 12</h1>\n'\"%[env(HOME)] $HOME #\\")
    snapshot = _one_pool(
        "additions",
        listener={
            "rate_limit": model.RateLimit(requests=100, period=10),
            "insert_headers": {"X-Forwarded-For": "true"},
            "error_page": page,
        },
        pool={"slow_start": 30, "drain_timeout": 300},
        monitor={},
    )
    fixed = {
        "json": model.FixedResponse(status=200, content_type="application/json", body='{"lua.x": "%[env(HOME)]"}'),
        "empty": model.FixedResponse(status=204, content_type="text/plain", body=""),
    }
    policies = [
        builders.an_l7policy(
            id=builders.an_id(f"additions-{name}"),
            listener_id=snapshot.listeners[0].id,
            action="FIXED_RESPONSE",
            fixed_response=response,
            position=position,
        )
        for position, (name, response) in enumerate(fixed.items(), start=1)
    ]
    rules = [builders.an_l7rule(id=builders.an_id(f"rule of {one.id}"), l7policy_id=one.id) for one in policies]
    return dataclasses.replace(snapshot, l7policies=tuple(policies), l7rules=tuple(rules))


def _split() -> model.Snapshot:
    """Two policies of the case `l7` that split requests between pools, in both ways; of one of them, a pool is off."""
    snapshot = _l7()
    serving, *others = [pool.id for pool in snapshot.pools if pool.admin_state_up]
    off = [pool.id for pool in snapshot.pools if not pool.admin_state_up]
    splits = iter(("REQUEST", "SOURCE_IP"))
    policies = []
    for one in snapshot.l7policies:
        if one.action == "REDIRECT_TO_POOL" and (by := next(splits, None)) is not None:
            weights = [(serving, 90), *((pool_id, 10) for pool_id in others), *((pool_id, 50) for pool_id in off)]
            shares = tuple(model.Share(pool_id=pool_id, weight=weight) for pool_id, weight in weights)
            one = dataclasses.replace(one, split=model.Split(pools=shares, by=by))
        policies.append(one)
    return dataclasses.replace(snapshot, l7policies=tuple(policies))


def _logged(snapshot: model.Snapshot, **target: Any) -> model.Snapshot:
    """The same, with an access log."""
    values: dict[str, Any] = {"address": "198.19.10.99", "port": 514} | target
    log = model.AccessLog(**values)
    return dataclasses.replace(snapshot, load_balancer=dataclasses.replace(snapshot.load_balancer, access_log=log))


CASES: dict[str, Callable[[], model.Snapshot]] = {
    "grpc": _grpc,
    "grpc-tcp": _grpc_over_tcp,
    "http-single": _http_single,
    "app-cookie-pair": _cookies_in_a_pair,
    "http-cookie": _inserted_cookie,
    "source-ip-ipv6": _source_ip_over_ipv6,
    "https-pass-through": _tls_pass_through,
    "ping": _pinged,
    "shared-and-partly-off": _shared_and_partly_off,
    "l7": _l7,
    "tls": _tls_to_both_sides,
    "additions": _additions,
    "split": _split,
    "access-log-udp": lambda: _logged(_shared_and_partly_off(), protocol="UDP", address="2001:db8::99"),
    "access-log-tcp": lambda: _logged(_shared_and_partly_off(), protocol="TCP"),
    "access-log-tls": lambda: _logged(_tls_to_both_sides(), protocol="TLS", ca_tls_container_ref="local:log", host_name="logs.example"),
    "several-vips": lambda: tools.with_additional_vips(_one_pool("several-vips", listener={}, pool={})),
}


def _compare(name: str, text: str, request: pytest.FixtureRequest) -> None:
    file = GOLDEN / name
    if request.config.getoption("--update-golden"):
        file.write_text(text)
    assert text == file.read_text(), f"{file} differs: if that is intended, run again with --update-golden and read the diff"


@pytest.mark.parametrize("case", CASES)
def test_haproxy_accepts_what_a_person_has_read(case: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> None:
    snapshot = CASES[case]()
    text = tools.haproxy_config(snapshot)
    tools.put_certificates(tools.wanted(snapshot), tmp_path)
    _compare(f"{case}.cfg", text, request)
    tools.ask_haproxy(text, tmp_path, snapshot.amphorae[0].id)


@pytest.mark.parametrize("half", [0, 1], ids=["master", "backup"])
@pytest.mark.parametrize("version", [4, 6])
def test_keepalived_accepts_what_a_person_has_read(version: int, half: int, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> None:
    snapshot = builders.a_serving_snapshot(word="vrrp", topology=Topology.ACTIVE_STANDBY)
    networks = tools.NETWORKS
    if version == 6:
        amphorae = [dataclasses.replace(one, vrrp_ip=f"2001:db8:10::{number}") for number, one in enumerate(snapshot.amphorae, start=22)]
        owner = dataclasses.replace(snapshot.load_balancer, vip=builders.a_vip(address="2001:db8:10::10"))
        snapshot = builders.a_snapshot(owner, amphorae=amphorae)
        networks = dataclasses.replace(networks, vips=(dataclasses.replace(networks.vips[0], cidr="2001:db8:10::/64", gateway_ip=None),))
    text = render.wanted_state(snapshot, snapshot.amphorae[half], networks).programs.get("keepalived")
    assert text is not None
    _compare(f"vrrp-ipv{version}-{'master' if half == 0 else 'backup'}.conf", text, request)
    tools.ask_keepalived(text, tmp_path)


def test_keepalived_accepts_what_a_half_is_told_whose_partner_is_lost(tmp_path: pathlib.Path) -> None:
    """It has itself for a peer, and speaks to nobody by multicast, in which it would meet other pairs of its network."""
    snapshot = builders.a_serving_snapshot(word="vrrp", topology=Topology.ACTIVE_STANDBY)
    alone = dataclasses.replace(snapshot, amphorae=snapshot.amphorae[:1])
    text = render.wanted_state(alone, alone.amphorae[0], tools.NETWORKS).programs["keepalived"]
    assert f"unicast_peer {{\n        {alone.amphorae[0].vrrp_ip}\n    }}" in text
    tools.ask_keepalived(text, tmp_path)


@pytest.mark.parametrize("first", [4, 6])
def test_an_instance_of_keepalived_speaks_one_version_of_ip_and_moves_vips_of_both(
    first: int, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    snapshot = tools.with_additional_vips(builders.a_serving_snapshot(word="vrrp", topology=Topology.ACTIVE_STANDBY))
    subnets = (*tools.NETWORKS.vips, *tools.ADDITIONAL)
    if first == 6:
        snapshot, subnets = _with_ipv6_first(snapshot), (subnets[1], subnets[0], subnets[2])
    networks = dataclasses.replace(tools.NETWORKS, vips=subnets)
    text = render.wanted_state(snapshot, snapshot.amphorae[0], networks).programs.get("keepalived")
    assert text is not None
    _compare(f"vrrp-several-vips-ipv{first}-first.conf", text, request)
    tools.ask_keepalived(text, tmp_path)


def _with_ipv6_first(snapshot: model.Snapshot) -> model.Snapshot:
    owner, (four, six, other) = snapshot.load_balancer, snapshot.load_balancer.vip.addresses
    amphorae = []
    for one in snapshot.amphorae:
        own_six, own_other = one.additional_vrrp_ips
        own_four = FixedIp(four.subnet_id, str(one.vrrp_ip))
        amphorae.append(dataclasses.replace(one, vrrp_ip=own_six.ip_address, additional_vrrp_ips=(own_four, own_other)))
    vip = dataclasses.replace(owner.vip, addresses=(six, four, other))
    return dataclasses.replace(snapshot, load_balancer=dataclasses.replace(owner, vip=vip), amphorae=tuple(amphorae))
