"""What an amphora is told, rule by rule."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from amphora_agent.protocol import rest
from controller import exceptions, render
from controller.model import load_balancer as model
from controller.model.network import HostRoute
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.resources import kinds
from tests import builders
from tests.unit.controller.render import tools


def _without_servers(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("    server ")]


def _changed(snapshot: model.Snapshot, **fields: object) -> model.Snapshot:
    member = dataclasses.replace(snapshot.members[0], **fields)  # type: ignore[arg-type]
    return dataclasses.replace(snapshot, members=(member, *snapshot.members[1:]))


def test_equal_snapshots_give_equal_texts_whatever_the_order_of_their_rows() -> None:
    snapshot = builders.a_serving_snapshot(listeners=5, members=7, topology=Topology.ACTIVE_STANDBY, monitor="HTTP", word="order")
    shuffled: dict[str, Any] = {
        name: tuple(random.Random(7).sample(getattr(snapshot, name), len(getattr(snapshot, name))))
        for name in ("listeners", "pools", "members", "health_monitors", "amphorae")
    }
    again = dataclasses.replace(snapshot, **shuffled)
    amphora = snapshot.amphorae[0]
    assert render.wanted_state(again, amphora, tools.NETWORKS).hash == render.wanted_state(snapshot, amphora, tools.NETWORKS).hash


def test_a_new_generation_of_the_same_state_has_the_same_hash() -> None:
    snapshot = builders.a_serving_snapshot(word="generation")
    later = dataclasses.replace(snapshot, load_balancer=dataclasses.replace(snapshot.load_balancer, generation=12345))
    first, second = tools.wanted(snapshot), tools.wanted(later)
    assert (first.generation, second.generation) == (1, 12345)
    assert first.hash == second.hash


@pytest.mark.parametrize("algorithm", ["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"])
@pytest.mark.parametrize("persistence", [None, "SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"])
@pytest.mark.parametrize("monitor", [None, "HTTP", "PING"])
def test_a_change_of_members_changes_server_lines_only(algorithm: str, persistence: str | None, monitor: str | None) -> None:
    kept = model.SessionPersistence(type=persistence, cookie_name="sid") if persistence else None
    snapshot = builders.a_serving_snapshot(members=3, monitor=monitor, word="members")
    pools = tuple(dataclasses.replace(pool, lb_algorithm=algorithm, session_persistence=kept) for pool in snapshot.pools)
    snapshot = dataclasses.replace(snapshot, pools=pools)
    before = tools.haproxy_config(snapshot)
    for after in (
        _changed(snapshot, weight=0),
        _changed(snapshot, admin_state_up=False),
        _changed(snapshot, provisioning_status=ProvisioningStatus.PENDING_DELETE),
        dataclasses.replace(snapshot, members=(*snapshot.members, builders.a_member(pool_id=pools[0].id, address="10.9.9.9"))),
        dataclasses.replace(snapshot, members=()),
    ):
        text = tools.haproxy_config(after)
        assert text != before
        assert _without_servers(text) == _without_servers(before)


def test_a_change_of_one_member_leaves_the_lines_of_the_others() -> None:
    snapshot = builders.a_serving_snapshot(members=20, word="others")
    pools = tuple(dataclasses.replace(pool, lb_algorithm="SOURCE_IP") for pool in snapshot.pools)
    snapshot = dataclasses.replace(snapshot, pools=pools)
    before = set(tools.haproxy_config(snapshot).splitlines())
    after = set(tools.haproxy_config(dataclasses.replace(snapshot, members=snapshot.members[1:])).splitlines())
    assert after < before
    assert len(before - after) == 1


def test_nothing_runs_without_a_listener() -> None:
    assert tools.wanted(builders.a_snapshot()).programs.get("haproxy") is None


@pytest.mark.parametrize("fields", [{"admin_state_up": False}, {"provisioning_status": ProvisioningStatus.PENDING_DELETE}])
def test_nothing_runs_while_the_load_balancer_is_off(fields: dict[str, Any]) -> None:
    assert tools.wanted(builders.a_serving_snapshot(**fields)).programs.get("haproxy") is None


def test_a_disabled_monitor_leaves_members_unchecked() -> None:
    snapshot = builders.a_serving_snapshot(monitor="HTTP")
    off = tuple(dataclasses.replace(monitor, admin_state_up=False) for monitor in snapshot.health_monitors)
    assert " check" not in tools.haproxy_config(dataclasses.replace(snapshot, health_monitors=off))


@pytest.mark.parametrize("limit", [-1, 0])
def test_a_listener_without_a_limit_of_its_own_has_the_operators(limit: int) -> None:
    snapshot = builders.a_snapshot(listeners=[builders.a_listener(connection_limit=limit)])
    assert "maxconn 777" in tools.section(tools.haproxy_config(snapshot, default_connection_limit=777), "frontend ")


def test_a_timeout_of_zero_means_the_operators() -> None:
    pool = builders.a_pool()
    listener = builders.a_listener(default_pool_id=pool.id, timeout_client_data=0, timeout_member_connect=0, timeout_member_data=0)
    text = tools.haproxy_config(builders.a_snapshot(listeners=[listener], pools=[pool]), timeout_client_data=7, timeout_member_data=9)
    assert "timeout client 7ms" in tools.section(text, "frontend ")
    assert {"timeout server 9ms", "timeout connect 5000ms"} <= set(tools.section(text, "backend "))


def test_headers_are_inserted_in_http_only() -> None:
    headers = {"X-Forwarded-For": "true", "X-Real-IP": "TRUE", "X-Client-IP": "no", "X-Unheard-Of\n": "true"}
    http = builders.a_listener(insert_headers=headers)
    tcp = builders.a_listener(insert_headers=headers, protocol="TCP", protocol_port=81)
    text = tools.haproxy_config(builders.a_snapshot(listeners=[http, tcp]))
    assert [line for line in tools.section(text, f"frontend {http.id}") if "header" in line or "forwardfor" in line] == [
        "option forwardfor",
        "http-request set-header X-Real-IP %[src]",
    ]
    assert not [line for line in tools.section(text, f"frontend {tcp.id}") if "header" in line or "forwardfor" in line]


def test_a_listener_that_lacks_what_its_protocol_needs_is_said_to_be_unsupported() -> None:
    with pytest.raises(exceptions.NotSupported, match="TERMINATED_HTTPS"):
        tools.wanted(builders.a_snapshot(listeners=[builders.a_listener(protocol="TERMINATED_HTTPS")]))


def test_metrics_have_a_limit_whatever_the_tenant_says(tmp_path: pathlib.Path) -> None:
    generous = builders.a_listener(protocol="PROMETHEUS", protocol_port=9100, connection_limit=50_000, timeout_client_data=600_000)
    strict = builders.a_listener(protocol="PROMETHEUS", protocol_port=9101, connection_limit=3)
    text = tools.haproxy_config(builders.a_snapshot(listeners=[generous, strict]))
    tools.ask_haproxy(text, tmp_path)
    assert {"maxconn 20", "timeout client 5000ms", "default_backend figlina-metrics"} <= set(tools.section(text, f"frontend {generous.id}"))
    assert "maxconn 3" in tools.section(text, f"frontend {strict.id}")


def test_cookies_are_left_out_where_there_is_no_http() -> None:
    snapshot = builders.a_serving_snapshot(protocol="TCP")
    persistence = model.SessionPersistence(type="HTTP_COOKIE")
    pools = tuple(dataclasses.replace(pool, session_persistence=persistence) for pool in snapshot.pools)
    assert "cookie" not in tools.haproxy_config(dataclasses.replace(snapshot, pools=pools))


def test_a_single_amphora_sets_the_vip_itself() -> None:
    snapshot = builders.a_serving_snapshot()
    wanted = tools.wanted(snapshot)
    [nic] = wanted.interfaces
    amphora = snapshot.amphorae[0]
    assert (nic.name, nic.mac, nic.mtu) == ("eth1", amphora.vrrp_mac, 1450)
    assert (nic.addresses, nic.vips) == (("198.19.10.21/24",), ("198.19.10.10/24",))
    assert [(route.destination, route.gateway) for route in nic.routes] == [("default", "198.19.10.1")]
    assert "keepalived" not in wanted.programs


def test_in_a_pair_keepalived_sets_the_vip_and_both_run_the_same_haproxy_text() -> None:
    snapshot = builders.a_serving_snapshot(topology=Topology.ACTIVE_STANDBY)
    master, backup = tools.wanted(snapshot, 0), tools.wanted(snapshot, 1)
    assert master.programs.get("haproxy") == backup.programs.get("haproxy")
    assert [nic.vips for nic in (*master.interfaces, *backup.interfaces)] == [(), ()]
    assert "keepalived" in master.programs
    assert "keepalived" in backup.programs
    assert "priority 100" in master.programs["keepalived"]
    assert "priority 90" in backup.programs["keepalived"]
    assert master.peer_name != backup.peer_name


def test_an_amphora_that_is_being_deleted_is_nobodys_peer() -> None:
    gone = builders.an_amphora(role=Role.MASTER, vrrp_ip="198.19.10.99", status=AmphoraStatus.PENDING_DELETE)
    pair = [builders.an_amphora(role=Role.MASTER), builders.an_amphora(role=Role.BACKUP)]
    snapshot = builders.a_snapshot(builders.a_load_balancer(topology=Topology.ACTIVE_STANDBY), amphorae=[*pair, gone])
    text = tools.wanted(snapshot).programs.get("keepalived")
    assert text is not None
    assert "198.19.10.23" in text
    assert "198.19.10.99" not in text


def test_stick_tables_of_a_single_amphora_have_a_peer_to_outlive_a_reload() -> None:
    snapshot = builders.a_serving_snapshot()
    pools = tuple(dataclasses.replace(pool, session_persistence=model.SessionPersistence(type="SOURCE_IP")) for pool in snapshot.pools)
    snapshot = dataclasses.replace(snapshot, pools=pools)
    peers = tools.section("\n" + tools.haproxy_config(snapshot), "peers ")
    assert peers == [f"peer {tools.wanted(snapshot).peer_name} 127.0.0.1:1025"]


def test_what_is_sent_from_a_vip_goes_by_the_gateway_of_its_own_subnet() -> None:
    nic, *_ = tools.wanted(tools.with_additional_vips(builders.a_serving_snapshot())).interfaces
    assert nic.addresses == ("198.19.10.21/24", "2001:db8:10::16/64", "192.0.2.22/24")
    assert nic.vips == ("198.19.10.10/24", "2001:db8:10::a/128", "192.0.2.10/24")
    assert [(one.destination, one.gateway, one.source) for one in nic.routes] == [
        ("default", "198.19.10.1", None),
        ("default", "2001:db8:10::1", None),
        ("203.0.113.0/24", "192.0.2.2", None),
        ("198.19.10.0/24", None, "198.19.10.10"),
        ("default", "198.19.10.1", "198.19.10.10"),
        ("2001:db8:10::/64", None, "2001:db8:10::a"),
        ("default", "2001:db8:10::1", "2001:db8:10::a"),
        ("192.0.2.0/24", None, "192.0.2.10"),
        ("default", "192.0.2.1", "192.0.2.10"),
        ("203.0.113.0/24", "192.0.2.2", "192.0.2.10"),
    ]


def test_amphorae_of_before_are_told_the_state_of_one_vip_as_ever() -> None:
    wanted = tools.wanted(builders.a_serving_snapshot())
    assert [sorted(route) for nic in wanted.fields()["interfaces"] for route in nic["routes"]] == [["destination", "gateway"]]
    several = tools.wanted(tools.with_additional_vips(builders.a_serving_snapshot()))
    assert rest.WantedState.parse(several.dump()) == several


def test_networks_of_members_get_nics_after_the_vips() -> None:
    snapshot = builders.a_serving_snapshot()
    route = HostRoute("10.1.0.0/16", "10.0.0.1")
    member = render.MemberNetwork(mac="FA:16:3E:00:00:02", mtu=1400, addresses=("10.0.0.5/24", "2001:db8::5/64"), host_routes=(route,))
    networks = dataclasses.replace(tools.NETWORKS, members=(member,))
    nics = render.wanted_state(snapshot, snapshot.amphorae[0], networks).interfaces
    assert [nic.name for nic in nics] == ["eth1", "eth2"]
    assert (nics[1].mac, nics[1].addresses, nics[1].vips) == ("fa:16:3e:00:00:02", ("10.0.0.5/24", "2001:db8::5/64"), ())
    assert [(one.destination, one.gateway) for one in nics[1].routes] == [("10.1.0.0/16", "10.0.0.1")]


@pytest.mark.parametrize("is_direct", [False, True], ids=["no port security", "a part of a card"])
@pytest.mark.parametrize("topology", list(Topology))
def test_a_vip_that_no_group_guards_is_guarded_in_the_amphora(topology: Topology, is_direct: bool) -> None:
    snapshot = builders.a_serving_snapshot(topology=topology, listeners=3)
    known = dataclasses.replace(snapshot, amphorae=tuple(dataclasses.replace(one, guards_itself=False) for one in snapshot.amphorae))
    assert {one.admits for some in (snapshot, known) for one in tools.wanted(some).interfaces} == {None}
    assert tools.wanted(known).hash == tools.wanted(snapshot).hash, "amphorae of before are told what they ever were"
    first, second, third = snapshot.listeners
    listeners = (
        dataclasses.replace(first, allowed_cidrs=("203.0.113.9/24", "2001:DB8::1/64")),
        dataclasses.replace(second, protocol="UDP", default_pool_id=None, allowed_cidrs=("198.51.100.7/32",)),
        third,
    )
    owner = snapshot.load_balancer
    vip = dataclasses.replace(owner.vip, vnic_type="direct" if is_direct else "normal")
    amphorae = tuple(dataclasses.replace(one, guards_itself=None if is_direct else True) for one in snapshot.amphorae)
    load_balancer = dataclasses.replace(owner, vip=vip)
    (nic,) = tools.wanted(dataclasses.replace(snapshot, load_balancer=load_balancer, listeners=listeners, amphorae=amphorae)).interfaces
    wanted = {rest.Admission("tcp", first.protocol_port, one) for one in ("203.0.113.0/24", "2001:db8::/64")}
    wanted |= {rest.Admission("udp", second.protocol_port, "198.51.100.7/32"), rest.Admission("tcp", third.protocol_port)}
    for half in snapshot.amphorae if topology is Topology.ACTIVE_STANDBY else ():
        wanted |= {rest.Admission("vrrp", None, f"{half.vrrp_ip}/32"), rest.Admission("tcp", 1025, f"{half.vrrp_ip}/32")}
    assert set(nic.admits or ()) == wanted


def test_numbers_of_a_consistent_hash_are_unique_even_if_two_members_hash_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = builders.a_serving_snapshot(members=4)
    monkeypatch.setattr("zlib.crc32", lambda _: 0x7FFFFFFF)
    pools = tuple(dataclasses.replace(pool, lb_algorithm="SOURCE_IP") for pool in snapshot.pools)
    lines = tools.section(tools.haproxy_config(dataclasses.replace(snapshot, pools=pools)), "backend ")
    assert [line.split()[-1] for line in lines if line.startswith("server ")] == ["2147483647", "1", "2", "3"]


def test_an_ssh_host_key_is_an_amphora_s_own_and_stays_the_same() -> None:
    private, public = render.boot.ssh_host_key(b"deployment", builders.an_id("boot"))
    assert render.boot.ssh_host_key(b"deployment", builders.an_id("boot"))[1] == public
    assert render.boot.ssh_host_key(b"deployment", builders.an_id("other"))[1] != public
    assert render.boot.ssh_host_key(b"another", builders.an_id("boot"))[1] != public
    loaded = serialization.load_ssh_private_key(private, None).public_key()
    assert loaded.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode() == public


def test_a_fresh_amphora_finds_its_own_heartbeat_key_and_whom_to_trust() -> None:
    nic = render.boot.ManagementNic(address="198.19.0.21/24", mac="fa:16:3e:00:00:01", mtu=1500)
    word = builders.an_id("boot")
    config = render.boot.config(word, nic, health_managers=[("198.19.0.2", 5555)], deployment_key=b"deployment")
    files = render.boot.files(config, b"server", b"roots")
    other = render.boot.config(builders.an_id("other"), nic, health_managers=[("198.19.0.2", 5555)], deployment_key=b"deployment")
    assert type(config).parse(files["/etc/figlina/agent.json"]) == config
    assert len(bytes.fromhex(config.heartbeat_key)) == 32
    assert other.heartbeat_key != config.heartbeat_key
    assert (files["/etc/figlina/certs/server.pem"], files["/etc/figlina/certs/client_roots.pem"]) == (b"server", b"roots")


@pytest.mark.lengthy
def test_haproxy_takes_every_set_of_tls_versions_that_the_api_does(tmp_path: pathlib.Path) -> None:
    """For listeners and for pools; of SSLv3 alone is nothing to take."""
    every = [some for size in range(1, 6) for some in itertools.combinations(kinds.TLS_VERSIONS, size)]
    sets = [some for some in every if some != ("SSLv3",)]
    assert len(sets) == 30
    listeners, pools, members = [], [], []
    for number, versions in enumerate(sets):
        pool = builders.a_pool(id=builders.an_id(f"versions-p-{number}"), tls_enabled=True, tls_versions=versions)
        pools.append(pool)
        members.append(builders.a_member(id=builders.an_id(f"versions-m-{number}"), pool_id=pool.id))
        listeners.append(
            builders.a_listener(
                id=builders.an_id(f"versions-l-{number}"),
                protocol="TERMINATED_HTTPS",
                protocol_port=1000 + number,
                default_pool_id=pool.id,
                default_tls_container_ref="local:one",
                tls_versions=versions,
            )
        )
    snapshot = builders.a_snapshot(listeners=listeners, pools=pools, members=members)
    tools.put_certificates(tools.wanted(snapshot), tmp_path)
    text = tools.haproxy_config(snapshot)
    assert "SSLv3" not in text
    tools.ask_haproxy(text, tmp_path)
