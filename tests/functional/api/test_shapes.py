"""The exact keys and values that clients parse, in the answer to a minimal create and in a GET."""

from __future__ import annotations

import re
import uuid
from typing import Any

import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import rows, tables
from controller.model.status import AmphoraStatus
from tests import builders, recorded
from tests.functional.api.conftest import PROJECT, Api

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?").fullmatch
_OWNED = {"project_id": PROJECT, "tenant_id": PROJECT}
_NEW: dict[str, Any] = {
    "admin_state_up": True,
    "name": "",
    "provisioning_status": "PENDING_CREATE",
    "tags": [],
    "updated_at": None,
    **_OWNED,
}


def _checked(shown: dict[str, Any], expected: dict[str, Any]) -> None:
    """The object has exactly the expected keys and values, beside an id and a time that look as they should."""
    rest = dict(shown)
    assert len(rest.pop("id")) == 36
    assert _TIME(rest.pop("created_at"))
    assert rest == expected
    assert list(shown) == sorted(shown)


def test_a_load_balancer(api: Api) -> None:
    made = api.create("loadbalancer", "/loadbalancers", vip_subnet_id=api.network.subnet_id)
    _checked(
        made,
        _NEW
        | {
            "additional_vips": [],
            "availability_zone": None,
            "description": "",
            "flavor_id": None,
            "listeners": [],
            "operating_status": "OFFLINE",
            "pools": [],
            "provider": "amphora",
            "vip_address": made["vip_address"],
            "vip_network_id": api.network.network_id,
            "vip_port_id": made["vip_port_id"],
            "vip_qos_policy_id": None,
            "vip_sg_ids": [],
            "vip_subnet_id": api.network.subnet_id,
            "vip_vnic_type": "normal",
        },
    )
    assert api.network.get_port(made["vip_port_id"]).fixed_ips[0].ip_address == made["vip_address"]
    assert api.get("loadbalancer", f"/loadbalancers/{made['id']}") == made


def test_a_listener(api: Api) -> None:
    parent = api.load_balancer()["id"]
    made = api.listener(parent)
    _checked(
        made,
        _NEW
        | {
            "allowed_cidrs": None,
            "alpn_protocols": None,
            "client_authentication": "NONE",
            "client_ca_tls_container_ref": None,
            "client_crl_container_ref": None,
            "connection_limit": -1,
            "default_pool_id": None,
            "default_tls_container_ref": None,
            "description": "",
            "hsts_include_subdomains": False,
            "hsts_max_age": None,
            "hsts_preload": False,
            "insert_headers": {},
            "l7policies": [],
            "loadbalancers": [{"id": parent}],
            "operating_status": "OFFLINE",
            "protocol": "HTTP",
            "protocol_port": 80,
            "sni_container_refs": [],
            "timeout_client_data": 50000,
            "timeout_member_connect": 5000,
            "timeout_member_data": 50000,
            "timeout_tcp_inspect": 0,
            "tls_ciphers": None,
            "tls_versions": None,
        },
    )
    assert api.get("listener", f"/listeners/{made['id']}") == made


def test_a_pool_and_its_references(api: Api) -> None:
    parent = api.load_balancer()["id"]
    listener = api.listener(parent)["id"]
    made = api.pool(listener_id=listener)
    expected = _NEW | {
        "alpn_protocols": None,
        "ca_tls_container_ref": None,
        "crl_container_ref": None,
        "description": "",
        "lb_algorithm": "ROUND_ROBIN",
        "listeners": [{"id": listener}],
        "loadbalancers": [{"id": parent}],
        "members": [],
        "operating_status": "OFFLINE",
        "protocol": "HTTP",
        "session_persistence": None,
        "tls_ciphers": None,
        "tls_container_ref": None,
        "tls_enabled": False,
        "tls_versions": None,
    }
    _checked(made, expected)
    member, monitor = api.member(made["id"])["id"], api.monitor(made["id"])["id"]
    shown = api.get("pool", f"/pools/{made['id']}")
    _checked(shown, expected | {"members": [{"id": member}], "healthmonitor_id": monitor})
    assert api.get("listener", f"/listeners/{listener}")["default_pool_id"] == made["id"]
    assert api.get("loadbalancer", f"/loadbalancers/{parent}")["pools"] == [{"id": made["id"]}]


def test_session_persistence_has_four_keys(api: Api) -> None:
    made = api.pool(loadbalancer_id=api.load_balancer()["id"], session_persistence={"type": "SOURCE_IP"})
    assert made["session_persistence"] == {
        "type": "SOURCE_IP",
        "cookie_name": None,
        "persistence_timeout": None,
        "persistence_granularity": None,
    }


def test_a_member(api: Api) -> None:
    made = api.member(api.pool(loadbalancer_id=api.load_balancer()["id"])["id"])
    _checked(
        made,
        _NEW
        | {
            "address": "10.0.0.1",
            "backup": False,
            "monitor_address": None,
            "monitor_port": None,
            "operating_status": "NO_MONITOR",
            "protocol_port": 80,
            "subnet_id": None,
            "vnic_type": "normal",
            "weight": 1,
        },
    )


def test_a_health_monitor(api: Api) -> None:
    pool = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
    made = api.monitor(pool)
    expected = _NEW | {
        "delay": 5,
        "domain_name": None,
        "expected_codes": "200",
        "http_method": "GET",
        "http_version": None,
        "max_retries": 2,
        "max_retries_down": 3,
        "operating_status": "OFFLINE",
        "pools": [{"id": pool}],
        "timeout": 3,
        "type": "HTTP",
        "url_path": "/",
    }
    _checked(made, expected)
    other = api.monitor(api.pool(loadbalancer_id=api.load_balancer()["id"])["id"], type="TCP")
    assert (other["http_method"], other["url_path"], other["expected_codes"]) == (None, None, None)


def test_an_amphora_and_its_counters(api: Api) -> None:
    parent = api.load_balancer()["id"]
    listener, amphora = api.listener(parent)["id"], builders.an_id("amphora")
    api.write(
        sa.insert(tables.amphorae).values(
            id=amphora,
            load_balancer_id=parent,
            status=AmphoraStatus.ALLOCATED,
            role="STANDALONE",
            management_address="198.19.0.9",
            created_at=rows.now(),
            cert_expiration=rows.now(),
        )
    )
    path = f"//v2/octavia/amphorae/{amphora}"
    assert api.refused(404, "GET", f"{path}/stats") == f"Amphora stats for {amphora} not found."
    api.write(
        sa.insert(tables.listener_statistics).values(
            listener_id=listener, amphora_id=amphora, load_balancer_id=parent, bytes_in=5, bytes_out=7, active_connections=2
        )
    )
    shown = api.get("amphora", path)
    assert ",".join(shown) == (
        "cached_zone,cert_busy,cert_expiration,compute_flavor,compute_id,created_at,ha_ip,ha_port_id,id,image_id,lb_network_ip,"
        "loadbalancer_id,role,status,updated_at,vrrp_id,vrrp_interface,vrrp_ip,vrrp_port_id,vrrp_priority"
    )
    assert (shown["loadbalancer_id"], shown["lb_network_ip"], shown["status"]) == (parent, "198.19.0.9", "ALLOCATED")
    counted = {"active_connections": 2, "bytes_in": 5, "bytes_out": 7, "request_errors": 0, "total_connections": 0}
    row = {"id": amphora, "loadbalancer_id": parent, "listener_id": listener, **counted}
    assert api.ok("GET", f"{path}/stats") == {"amphora_stats": [row]}
    assert api.ok("GET", f"/listeners/{listener}/stats") == {"stats": counted}
    assert api.ok("GET", f"/loadbalancers/{parent}/stats") == {"stats": counted}
    assert [item["id"] for item in api.ok("GET", f"//v2/octavia/amphorae?project_id={PROJECT}")["amphorae"]] == [amphora]
    assert api.ok("GET", "//v2/octavia/amphorae?project_id=another")["amphorae"] == []
    assert [item["id"] for item in api.ok("GET", f"//v2/octavia/amphorae?loadbalancer_id={parent}&role=STANDALONE")["amphorae"]] == [
        amphora
    ]


def test_what_a_dead_amphora_counted_still_counts_except_what_was_open(api: Api) -> None:
    parent = api.load_balancer()["id"]
    listener = api.listener(parent)["id"]
    for word, state in (("dead", AmphoraStatus.DELETED), ("alive", AmphoraStatus.ALLOCATED)):
        amphora = builders.an_id(word)
        api.write(sa.insert(tables.amphorae).values(id=amphora, load_balancer_id=parent, status=state, created_at=rows.now()))
        api.write(
            sa.insert(tables.listener_statistics).values(
                listener_id=listener, amphora_id=amphora, load_balancer_id=parent, bytes_in=10, total_connections=3, active_connections=1
            )
        )
    shown = api.ok("GET", f"/loadbalancers/{parent}/stats")["stats"]
    assert (shown["bytes_in"], shown["total_connections"], shown["active_connections"]) == (20, 6, 1)


def test_counters_of_pools_and_members_are_shown_of_the_right_pool_only(api: Api) -> None:
    parent = api.load_balancer()["id"]
    pool, other = (api.create("pool", "/pools", protocol="HTTP", lb_algorithm="ROUND_ROBIN", loadbalancer_id=parent) for _ in range(2))
    member = api.create("member", f"/pools/{pool['id']}/members", address="10.0.0.1", protocol_port=80)
    nothing = {"active_connections": 0, "bytes_in": 0, "bytes_out": 0, "request_errors": 0, "total_connections": 0}
    path = f"/pools/{pool['id']}/members/{member['id']}/stats"
    assert api.ok("GET", path) == api.ok("GET", f"/pools/{pool['id']}/stats") == {"stats": nothing}
    amphora = builders.an_id("amphora")
    api.write(sa.insert(tables.amphorae).values(id=amphora, load_balancer_id=parent, status=AmphoraStatus.ALLOCATED, created_at=rows.now()))
    with api.db.begin() as tx:
        counted = {uuid.UUID(one["id"]).bytes: heartbeat.pack_counters(range(n, n + 5)) for n, one in ((1, member), (10, pool))}
        tx.member_statistics.count({amphora: (parent, counted)})
    names = ("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors")
    assert api.ok("GET", path) == {"stats": dict(zip(names, range(1, 6), strict=True))}
    assert api.ok("GET", f"/pools/{pool['id']}/stats") == {"stats": dict(zip(names, range(10, 15), strict=True))}
    assert api.ok("GET", f"/pools/{other['id']}/stats") == {"stats": nothing}
    assert api.refused(404, "GET", f"/pools/{other['id']}/members/{member['id']}/stats") == f"Member {member['id']} not found."


def test_a_fault_is_shown_while_there_is_one(api: Api) -> None:
    parent = api.load_balancer()["id"]
    listener = api.listener(parent)["id"]
    assert "fault" not in api.get("listener", f"/listeners/{listener}")
    words = recorded.refusal()
    api.write(
        sa.insert(tables.faults).values(
            object_id=listener,
            load_balancer_id=parent,
            code="config_refused",
            message=words,
            step="PushConfig",
            request_id="req-1",
            occurred_at=rows.now(),
        )
    )
    fault = api.get("listener", f"/listeners/{listener}")["fault"]
    assert set(fault) == {"code", "message", "step", "request_id", "occurred_at", "next_try_at"}
    assert (fault["code"], fault["message"], fault["next_try_at"]) == ("config_refused", words, None)
    assert _TIME(fault["occurred_at"])
    assert api.ok("GET", "/listeners")["listeners"][0]["fault"] == fault


def test_empty_lists_have_their_links(api: Api) -> None:
    for key in ("loadbalancers", "listeners", "pools", "healthmonitors"):
        assert api.ok("GET", f"/{key}") == {key: [], f"{key}_links": []}
    assert api.ok("GET", "//v2.0/octavia/amphorae") == {"amphorae": [], "amphorae_links": []}
    assert api.ok("GET", "/providers")["providers"][0] == {"name": "amphora", "description": "The Octavia Amphora driver."}
    assert api.ok("GET", "/providers?fields=name") == {"providers": [{"name": "amphora"}, {"name": "octavia"}]}
