"""No string of a tenant starts a directive, an argument or a comment of its own: it is written as one word, or refused."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from controller import exceptions, render
from controller.model import load_balancer as model
from controller.model.network import HostRoute
from controller.model.status import Topology
from tests import builders
from tests.unit.controller.render import tools

# Whatever may matter to the parsers of HAProxy and keepalived, in strings that are otherwise believable.
_NASTY = strategies.sampled_from([*"\n\r\0\x0b\x85\u2028 \t\"'#\\%${}!(),"])
_PIECES = strategies.sampled_from(["a", "/", "1", ".", "[::1]", "global", "user root"])
_BEGINNINGS = strategies.sampled_from(["/", "200", "GET", "10.0.0.1", "web.example", "HTTP", ""])
_HOSTILE = strategies.one_of(
    strategies.text(max_size=30),
    strategies.lists(strategies.one_of(_NASTY, _PIECES), max_size=8).map("".join),
    strategies.tuples(_BEGINNINGS, _NASTY, strategies.text(max_size=10)).map("".join),
)
_WORDS = re.compile(r"(?:[^\s\\\"'#]|\\.|\"\$\{FIGLINA_CHECKS\}/ping\"|\"\$\{FIGLINA_CERTIFICATES\}/[0-9a-f-]+\.list\"|'[^']*')+")


@functools.cache
def _whole() -> model.Snapshot:
    """A load balancer that uses every string that it has."""
    pools = {name: builders.an_id(f"safe-{name}") for name in ("app", "plain")}
    persistence = model.SessionPersistence(type="APP_COOKIE", cookie_name="sid")
    http = builders.an_id("safe-http")
    page = model.Page(content_type="text/plain", body="a")
    policies = [
        builders.an_l7policy(
            id=builders.an_id(f"safe-{action}"),
            listener_id=http,
            position=position,
            action=action,
            redirect_pool_id=pools["plain"],
            redirect_url="https://a.example/",
            redirect_prefix="https://a.example",
            fixed_response=model.FixedResponse(status=200, content_type="text/plain", body="a") if action == "FIXED_RESPONSE" else None,
        )
        for position, action in enumerate(("REDIRECT_TO_URL", "REDIRECT_PREFIX", "REDIRECT_TO_POOL", "FIXED_RESPONSE"), start=1)
    ]
    log = model.AccessLog(protocol="TLS", address="192.0.2.9", port=514, ca_tls_container_ref="local:e", host_name="logs.example")
    snapshot = builders.a_snapshot(
        builders.a_load_balancer(id=builders.an_id("safe"), topology=Topology.ACTIVE_STANDBY, access_log=log),
        listeners=[
            builders.a_listener(id=http, default_pool_id=pools["app"], insert_headers={"X-Forwarded-For": "true"}, error_page=page),
            builders.a_listener(default_pool_id=pools["plain"], protocol="TCP", protocol_port=81),
            builders.a_listener(
                id=builders.an_id("safe-tls"),
                default_pool_id=pools["app"],
                protocol="TERMINATED_HTTPS",
                protocol_port=443,
                default_tls_container_ref="local:a",
                sni_container_refs=("local:b",),
                client_ca_tls_container_ref="local:c",
                tls_ciphers="ECDHE-RSA-AES256-GCM-SHA384",
            ),
        ],
        pools=[
            builders.a_pool(
                id=pools["app"],
                session_persistence=persistence,
                lb_algorithm="SOURCE_IP",
                tls_enabled=True,
                tls_container_ref="local:d",
                tls_ciphers="ECDHE-RSA-AES256-GCM-SHA384",
                alpn_protocols=("http/1.1",),
            ),
            builders.a_pool(id=pools["plain"], protocol="PROXY"),
        ],
        members=[
            builders.a_member(pool_id=pools["app"], monitor_address="10.0.0.1", monitor_port=80),
            builders.a_member(pool_id=pools["plain"]),
        ],
        health_monitors=[
            builders.a_health_monitor(pool_id=pools["app"], type="HTTPS", domain_name="web.example", http_version=1.1),
            builders.a_health_monitor(pool_id=pools["plain"], type="PING"),
        ],
        l7policies=policies,
        l7rules=[
            builders.an_l7rule(l7policy_id=policies[0].id, type="HEADER", key="X-A"),
            builders.an_l7rule(l7policy_id=policies[1].id, type="COOKIE", key="a", compare_type="REGEX"),
            builders.an_l7rule(l7policy_id=policies[2].id),
            builders.an_l7rule(l7policy_id=policies[2].id, type="HOST_NAME"),
            builders.an_l7rule(l7policy_id=policies[2].id, type="FILE_TYPE", compare_type="EQUAL_TO", value="jpg"),
            builders.an_l7rule(l7policy_id=policies[2].id, type="SSL_DN_FIELD", key="CN", compare_type="EQUAL_TO", value="a"),
            builders.an_l7rule(l7policy_id=policies[2].id, type="SSL_VERIFY_RESULT", compare_type="EQUAL_TO", value="0"),
            builders.an_l7rule(l7policy_id=policies[3].id),
        ],
    )
    return tools.with_additional_vips(snapshot)


# (tuple of the snapshot, index in it, path of attributes); None for the load balancer itself.
_PLACES: list[tuple[str | None, int, tuple[str, ...]]] = [
    (None, 0, ("id",)),
    (None, 0, ("name",)),
    (None, 0, ("vip", "addresses", "0", "ip_address")),
    (None, 0, ("vip", "addresses", "2", "ip_address")),
    (None, 0, ("access_log", "protocol")),
    (None, 0, ("access_log", "address")),
    (None, 0, ("access_log", "host_name")),
    (None, 0, ("access_log", "ca_tls_container_ref")),
    ("amphorae", 0, ("additional_vrrp_ips", "0", "ip_address")),
    ("listeners", 1, ("id",)),  # the other one has policies, which name it
    ("listeners", 0, ("protocol",)),
    ("listeners", 0, ("description",)),
    ("listeners", 2, ("tls_ciphers",)),
    ("listeners", 2, ("default_tls_container_ref",)),
    ("listeners", 2, ("client_ca_tls_container_ref",)),
    ("pools", 0, ("tls_ciphers",)),
    ("pools", 0, ("tls_container_ref",)),
    ("pools", 0, ("lb_algorithm",)),
    ("pools", 0, ("protocol",)),
    ("pools", 0, ("session_persistence", "type")),
    ("pools", 0, ("session_persistence", "cookie_name")),
    ("members", 0, ("id",)),
    ("members", 0, ("address",)),
    ("members", 0, ("monitor_address",)),
    ("health_monitors", 0, ("type",)),
    ("health_monitors", 0, ("http_method",)),
    ("health_monitors", 0, ("url_path",)),
    ("health_monitors", 0, ("expected_codes",)),
    ("health_monitors", 0, ("domain_name",)),
    ("health_monitors", 0, ("grpc_service",)),
    ("l7policies", 0, ("redirect_url",)),
    ("l7policies", 1, ("redirect_prefix",)),
    ("l7policies", 2, ("name",)),
    ("l7policies", 3, ("fixed_response", "body")),
    ("l7policies", 3, ("fixed_response", "content_type")),
    ("listeners", 0, ("error_page", "body")),
    ("listeners", 0, ("error_page", "content_type")),
    ("l7rules", 0, ("id",)),
    ("l7rules", 0, ("key",)),
    ("l7rules", 0, ("value",)),
    ("l7rules", 1, ("key",)),
    ("l7rules", 1, ("value",)),
    ("l7rules", 2, ("value",)),
    ("l7rules", 2, ("type",)),
    ("l7rules", 2, ("compare_type",)),
    ("l7rules", 3, ("value",)),
    ("l7rules", 4, ("value",)),
    ("l7rules", 5, ("key",)),
    ("l7rules", 5, ("value",)),
    ("l7rules", 6, ("value",)),
    ("amphorae", 0, ("id",)),
    ("amphorae", 1, ("vrrp_ip",)),
    ("amphorae", 0, ("vrrp_mac",)),
]


def _with(thing: Any, path: tuple[str, ...], value: object) -> Any:
    if len(path) == 1:
        return dataclasses.replace(thing, **{path[0]: value})
    if isinstance(thing, tuple):
        place = int(path[0])
        return (*thing[:place], _with(thing[place], path[1:], value), *thing[place + 1 :])
    return dataclasses.replace(thing, **{path[0]: _with(getattr(thing, path[0]), path[1:], value)})


def _poisoned(place: tuple[str | None, int, tuple[str, ...]], value: object) -> model.Snapshot:
    snapshot = _whole()
    kind, index, path = place
    if kind is None:
        return dataclasses.replace(snapshot, load_balancer=_with(snapshot.load_balancer, path, value))
    things = list(getattr(snapshot, kind))
    things[index] = _with(things[index], path, value)
    changes: dict[str, Any] = {kind: tuple(things)}
    return dataclasses.replace(snapshot, **changes)


def _shape(text: str) -> list[tuple[str, int]]:
    """The keyword of each line and the number of its words, read as HAProxy reads them."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    assert all(line.isprintable() for line in lines)
    words = [_WORDS.findall(line) for line in lines]
    assert [" ".join(one) for one in words] == lines, "a character that is neither part of a word nor a single space"
    return sorted(("address" if _is_address(one[0]) else one[0], len(one)) for one in words)


def _is_address(word: str) -> bool:
    try:
        return bool(ipaddress.ip_address(word))
    except ValueError:
        return False


@functools.cache
def _harmless(field: str) -> dict[str, list[tuple[str, int]]]:
    """The shapes of what is rendered when nobody is hostile; a monitor that names a service of gRPC asks in other ways than one without."""
    service = "shop.Cart" if field == "grpc_service" else None
    programs = tools.wanted(_poisoned(("health_monitors", 0, ("grpc_service",)), service)).programs
    return {name: _shape(programs[name]) for name in ("haproxy", "keepalived")}


@pytest.mark.lengthy
@pytest.mark.parametrize("place", _PLACES, ids=lambda place: ".".join((place[0] or "load_balancer", *place[2])))
@hypothesis.given(value=_HOSTILE)
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_hostile_string_is_refused_or_changes_no_line_but_its_word(place: tuple[str | None, int, tuple[str, ...]], value: str) -> None:
    try:
        wanted = tools.wanted(_poisoned(place, value))
    except (exceptions.UnsafeValue, exceptions.NotSupported):
        return
    assert set(wanted.programs) >= {"haproxy", "keepalived"}
    if place[2] == ("tls_ciphers",) and not value.strip(":"):
        return  # no cipher at all: those of HAProxy
    if value not in {"", "HTTP", "HTTPS", "TCP", "PROXY", "PING"}:  # known words, and absence, legitimately mean other directives
        harmless = _harmless(place[2][-1])
        assert {name: _shape(wanted.programs[name]) for name in harmless} == harmless


_SUSPICIOUS = (
    "lua.example",
    "www.lua.org",
    "/lua.html?a=map(1)",
    "/env(HOME)",
    "http://lua.example/map(a),env(b)",
    "my-lua.sid",
    "-f",
    "--",
)
"""Words that a tenant may well use, and that would read files or the environment where HAProxy looks for expressions and flags."""


@pytest.mark.parametrize("place", _PLACES, ids=lambda place: ".".join((place[0] or "load_balancer", *place[2])))
@pytest.mark.parametrize("value", _SUSPICIOUS)
def test_whatever_a_tenant_may_say_is_taken_by_an_agent(place: tuple[str | None, int, tuple[str, ...]], value: str) -> None:
    try:
        tools.wanted(_poisoned(place, value))
    except (exceptions.UnsafeValue, exceptions.NotSupported):
        return  # refused before any agent hears of it, with a fault that names the field


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("members", 0, ("address",)), "10.0.0.1\n    user root"),
        (("members", 0, ("address",)), "fe80::1%eth0 backup"),
        (("members", 0, ("address",)), "web.example"),
        (("members", 0, ("address",)), "010.0.0.1"),
        (("health_monitors", 0, ("url_path",)), '/ ver HTTP/1.0"'),
        (("health_monitors", 0, ("url_path",)), "/a\\"),
        (("health_monitors", 0, ("url_path",)), "relative"),
        (("health_monitors", 0, ("domain_name",)), "%[env(HOME)]"),
        (("health_monitors", 0, ("grpc_service",)), "shop.Cart\n    user root"),
        (("health_monitors", 0, ("http_method",)), "BREW"),
        (("health_monitors", 0, ("expected_codes",)), "200-"),
        (("pools", 0, ("session_persistence", "cookie_name")), "a),b("),
        (("listeners", 0, ("id",)), "x\nglobal"),
        (("l7policies", 0, ("redirect_url",)), "https://a.example/ if TRUE"),
        (("l7policies", 1, ("redirect_prefix",)), "//a.example"),
        (("l7rules", 0, ("key",)), "a)"),
        (("l7rules", 0, ("value",)), "a\n    user root"),
        (("l7rules", 2, ("value",)), "/\x85"),
        (("l7rules", 2, ("value",)), ""),
        ((None, 0, ("vip", "addresses", "0", "ip_address")), "198.19.10.10:80,198.19.10.11"),
        (("amphorae", 0, ("vrrp_mac",)), "fa:16:3e:00:00"),
    ],
)
def test_the_refusal_names_the_field(place: tuple[str | None, int, tuple[str, ...]], value: str) -> None:
    with pytest.raises(exceptions.UnsafeValue) as refusal:
        tools.wanted(_poisoned(place, value))
    word = {"id": "listener id", "vrrp_mac": "MAC", "vip": "VIP address"}.get(place[2][0], place[2][-1])
    assert word in str(refusal.value)


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(exceptions.UnsafeValue):
        tools.wanted(_poisoned(("members", 0, ("protocol_port",)), 65536))


@pytest.mark.parametrize(
    "networks",
    [{"cidr": "198.19.10.0/24 x"}, {"gateway_ip": "198.19.10.1 dev"}, {"host_routes": (HostRoute("x", "y"),)}],
)
def test_hostile_facts_about_networks_are_refused(networks: dict[str, Any]) -> None:
    snapshot = _whole()
    poisoned = dataclasses.replace(tools.NETWORKS, vips=(dataclasses.replace(tools.NETWORKS.vips[0], **networks), *tools.ADDITIONAL))
    with pytest.raises(exceptions.UnsafeValue):
        render.wanted_state(snapshot, snapshot.amphorae[0], poisoned, certificates=tools.known(snapshot))
