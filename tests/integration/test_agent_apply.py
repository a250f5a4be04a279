"""The agent in a machine-like namespace: what a wanted state does to real traffic."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import pathlib
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

from amphora_agent import system
from amphora_agent.protocol import rest
from tests.integration import agent_amphora
from tests.integration.agent_amphora import VIP, VRRP, WEB, Amphora, config, eventually

pytestmark = pytest.mark.integration
SESSIONS, WEIGHT = 4, 18  # columns of HAProxy's table
CHECK = "check inter 300 fall 2 rise 1"


@pytest.fixture
def amphora(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    with agent_amphora.running(tmp_path / "amphora") as amphora:
        yield amphora


def test_traffic_alternates_between_members_of_a_new_listener(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    assert amphora.apply(1, config(f"m1 {one} weight 1", f"m2 {two} weight 1")) == "reload"
    assert amphora.fetch_all() == {"9001", "9002"}
    assert amphora.apply(2, config(f"m1 {one} weight 1", f"m2 {two} weight 1")) == "none"


def test_member_changes_need_no_reload(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(1, config(f"m1 {one} weight 1 {CHECK}"))
    workers = amphora.workers()
    assert amphora.apply(2, config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 1 {CHECK}")) == "runtime"
    assert amphora.fetch_all() == {"9001", "9002"}
    assert amphora.apply(3, config(f"m1 {one} weight 0 {CHECK}", f"m2 {two} weight 1 {CHECK}")) == "runtime"
    assert amphora.fetch_all() == {"9002"}
    assert amphora.apply(4, config(f"m1 {one} weight 5 {CHECK}", f"m2 {two} weight 1 disabled {CHECK}")) == "runtime"
    assert amphora.fetch_all() == {"9001"}
    assert amphora.apply(5, config(f"m1 {one} weight 5 {CHECK}", f"m2 {two} weight 1 {CHECK}")) == "runtime"
    assert amphora.apply(6, config(f"m2 {two} weight 1 {CHECK}")) == "runtime"
    assert amphora.fetch_all() == {"9002"}
    assert amphora.workers() == workers


def test_a_member_that_came_at_run_time_is_checked_and_leaves_when_it_stops(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(1, config(f"m1 {one} weight 1 {CHECK}"))
    assert amphora.apply(2, config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 1 {CHECK}")) == "runtime"
    beats = amphora.beats()
    amphora.stop_web(9002)
    beats.report(lambda report: report["pools"].get("p1:l1", {}).get("members") == {"m1": "UP", "m2": "DOWN"})
    assert amphora.fetch_all() == {"9001"}


@pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not installed")
def test_members_are_checked_by_ping(amphora: Amphora) -> None:
    one, two = amphora.web(9001), "198.19.251.77:9001"
    ping = '    timeout check 2s\n    option external-check\n    external-check command "${FIGLINA_CHECKS}/ping"'
    beats = amphora.beats()
    assert amphora.apply(1, config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 1 {CHECK}", extra=ping)) == "reload"
    beats.report(lambda report: report["pools"].get("p1:l1", {}).get("members") == {"m1": "UP", "m2": "DOWN"})
    assert amphora.apply(2, config(f"m1 {one} weight 1 {CHECK}", f"m3 {two} weight 1 {CHECK}", extra=ping)) == "reload"
    beats.report(lambda report: report["pools"]["p1:l1"]["members"] == {"m1": "UP", "m3": "DOWN"})


def test_a_listener_at_its_limit_is_reported_as_full(amphora: Amphora) -> None:
    one, beats = amphora.web(9001), amphora.beats()
    assert amphora.apply(1, config(f"m1 {one} weight 1").replace("maxconn 2000", "maxconn 2")) == "reload"
    held = [amphora.connect() for _ in range(2)]
    beats.report(lambda report: report["listeners"].get("l1", {}).get("status") == "FULL")
    held.pop().close()
    beats.report(lambda report: report["listeners"]["l1"]["status"] == "OPEN")
    held.pop().close()


@pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not installed")
def test_a_ping_goes_where_the_member_is_to_be_monitored(amphora: Amphora) -> None:
    """Not to the server: `monitor_address` may be somewhere where nobody is, or the only one that answers."""
    here, nobody = amphora.web(9001), "198.19.251.77"
    ping = '    timeout check 2s\n    option external-check\n    external-check command "${FIGLINA_CHECKS}/ping"'
    beats = amphora.beats()
    one, two = f"m1 {here} weight 1 {CHECK} addr {nobody}", f"m2 {nobody}:9001 weight 1 {CHECK} addr {here.partition(':')[0]}"
    assert amphora.apply(1, config(one, two, f"m3 {here} weight 1 {CHECK}", extra=ping)) == "reload"
    beats.report(lambda report: report["pools"].get("p1:l1", {}).get("members") == {"m1": "DOWN", "m2": "UP", "m3": "UP"})
    assert amphora.apply(2, config(one.replace(nobody, VRRP), two.replace(f"addr {WEB}", f"addr {nobody}"), extra=ping)) == "reload"
    beats.report(lambda report: report["pools"]["p1:l1"]["members"] == {"m1": "UP", "m2": "DOWN"})


def test_a_removed_member_finishes_its_requests_and_is_then_deleted(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(1, config(f"m2 {two} weight 1 pool-purge-delay 300ms"))  # its idle connection goes only then
    slow = amphora.connect(timeout=30)
    slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    eventually(lambda: table(amphora)["m2"][SESSIONS] == "1")
    assert amphora.apply(2, config(f"m1 {one} weight 1")) == "runtime"
    assert amphora.fetch_all(4) == {"9001"}
    amphora.release(9002)
    answer = b""
    while chunk := slow.recv(4096):
        answer += chunk
    slow.close()
    assert answer.endswith(b"9002")
    # The name may come back once the old server is gone: proof that it was deleted.
    eventually(lambda: "m2" not in table(amphora))
    assert amphora.apply(3, config(f"m1 {one} weight 1", f"m2 {two} weight 1")) == "runtime"


def test_members_with_session_cookies_change_without_a_reload(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    cookies = "    cookie SRV insert indirect nocache dynamic\n    dynamic-cookie-key secret"
    amphora.apply(1, config(f"m1 {one} weight 1", extra=cookies))
    assert amphora.apply(2, config(f"m1 {one} weight 1", f"m2 {two} weight 1", extra=cookies)) == "runtime"
    seen = {}
    for _ in range(4):
        connection = amphora.connect()
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
        connection.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        seen[body] = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"set-cookie"))
    assert set(seen) == {b"9001", b"9002"}
    assert len(set(seen.values())) == 2


def test_an_algorithm_that_admits_no_change_at_run_time_is_reloaded(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(1, config(f"m1 {one} weight 1", balance="source"))
    assert amphora.apply(2, config(f"m1 {one} weight 1", f"m2 {two} weight 1", balance="source")) == "reload"
    consistent = "source\n    hash-type consistent"
    assert amphora.apply(3, config(f"m1 {one} weight 1", balance=consistent)) == "reload"
    assert amphora.apply(4, config(f"m1 {one} weight 1", f"m2 {two} weight 3", balance=consistent)) == "runtime"


def test_weights_and_switches_are_right_after_a_reload(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(1, config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 1 {CHECK}"))
    amphora.apply(2, config(f"m1 {one} weight 7 {CHECK}", f"m2 {two} weight 1 disabled {CHECK}"))
    # Back to the weight and switch it was started with, by way of a structural change.
    assert amphora.apply(3, config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 0 {CHECK}", extra="    option forwardfor")) == "reload"
    assert {name: row[WEIGHT] for name, row in table(amphora).items()} == {"m1": "1", "m2": "0"}
    assert amphora.apply(4, config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 1 {CHECK}", extra="    option forwardfor")) == "runtime"
    assert amphora.fetch_all() == {"9001", "9002"}


def test_a_refused_configuration_leaves_the_old_one_serving_and_says_why(amphora: Amphora) -> None:
    one = amphora.web(9001)
    good = config(f"m1 {one} weight 1")
    amphora.apply(1, good)
    status, answer = amphora.put(amphora.wanted(2, good.replace("default_backend p1:l1", "default_backend nowhere")))
    error = json.loads(answer)
    assert (status, error["code"]) == (rest.CONFIG_REFUSED, "config-refused")
    assert "unable to find required default_backend: 'nowhere'" in error["details"]
    assert str(amphora.folder) not in error["details"]
    assert "/run" not in error["details"]
    status, answer = amphora.put(amphora.wanted(2, good + "\nglobal\n    lua-load /tmp/x.lua\n"))
    assert status == 400
    assert "does not take line" in json.loads(answer)["message"]
    assert amphora.fetch() == "9001"
    status, answer = amphora.call("GET", rest.load_balancer_path(amphora.load_balancer_id))
    assert rest.Receipt.parse(answer).generation == 1
    assert amphora.apply(3, good) in ("none", "runtime")


def test_a_first_configuration_is_refused_by_its_start_and_forgotten(amphora: Amphora) -> None:
    good = config(f"m1 {amphora.web(9001)} weight 1")
    eventually(lambda: amphora.call("GET", rest.INFO_PATH)[0] == 200)
    _is_refused_and_forgotten(amphora, good.replace("default_backend p1:l1", "default_backend nowhere"))
    assert amphora.apply(2, good) == "reload"
    assert amphora.fetch() == "9001"


def test_a_first_configuration_that_killed_its_agent_is_no_base_of_a_plain_change(tmp_path: pathlib.Path) -> None:
    command, killed = tmp_path / "haproxy", tmp_path / "killed"
    command.write_text(f'#!/bin/sh\nif mkdir {killed} 2> /dev/null; then kill -9 $PPID; fi\nexec haproxy "$@"\n')
    command.chmod(0o755)
    with agent_amphora.running(tmp_path / "amphora", haproxy_command=str(command)) as amphora:
        good = config(f"m1 {amphora.web(9001)} weight 1")
        bad = good.replace("default_backend p1:l1", "default_backend nowhere")
        with pytest.raises((OSError, http.client.HTTPException)):
            amphora.put(amphora.wanted(1, bad))
        assert killed.exists()
        eventually(lambda: amphora.call("GET", rest.INFO_PATH)[0] == 200)
        _is_refused_and_forgotten(amphora, bad.replace("weight 1", "weight 2"))
        assert amphora.apply(2, good) == "reload"
        assert amphora.fetch() == "9001"


def _is_refused_and_forgotten(amphora: Amphora, bad: str) -> None:
    status, answer = amphora.put(amphora.wanted(1, bad))
    assert status == rest.CONFIG_REFUSED, answer
    assert "unable to find required default_backend: 'nowhere'" in json.loads(answer)["details"]
    for secret in (str(amphora.folder), "/run"):
        assert secret not in json.loads(answer)["details"]
    assert not (amphora.folder / "state" / "haproxy.cfg").exists()
    assert amphora.pids("haproxy") == []


def test_a_member_of_a_kind_that_its_pool_has_comes_without_asking_haproxy_and_outlives_a_reload(tmp_path: pathlib.Path) -> None:
    command, asked = tmp_path / "haproxy", tmp_path / "asked"
    command.write_text(f'#!/bin/sh\ncase " $* " in *" -c "*) echo once >> {asked};; esac\nexec haproxy "$@"\n')
    command.chmod(0o755)
    with agent_amphora.running(tmp_path / "amphora", haproxy_command=str(command)) as amphora:
        one, two, three = (amphora.web(port) for port in (9001, 9002, 9003))
        amphora.apply(1, config(f"m1 {one} weight 1 {CHECK}"))
        workers = amphora.workers()
        both = config(f"m1 {one} weight 1 {CHECK}", f"m2 {two} weight 3 {CHECK}")
        assert amphora.apply(2, both) == "runtime"
        assert amphora.fetch_all() == {"9001", "9002"}
        assert amphora.workers() == workers
        assert not asked.exists(), "its start was its answer, and a server of a known kind needs none"
        assert amphora.apply(3, both.replace("retries 3", "retries 2")) == "reload"
        assert amphora.fetch_all() == {"9001", "9002"}
        assert amphora.apply(4, config(f"m1 {one} weight 1 {CHECK}", f"m3 {three} weight 1")) == "reload"
        assert asked.read_text().split() == ["once", "once"]


def test_a_port_that_can_not_be_bound_leaves_the_old_one_serving_and_says_why(amphora: Amphora) -> None:
    one = amphora.web(9001)
    good = config(f"m1 {one} weight 1")
    amphora.apply(1, good)
    tenant = f"/proc/{amphora.pids('haproxy')[0]}/ns/net"
    with system.inside_namespace(tenant, lambda: socket.create_server((agent_amphora.VIP, 8088))):
        status, answer = amphora.put(amphora.wanted(2, good.replace(":80\n", ":8088\n")))
    assert status == rest.CONFIG_REFUSED, answer
    assert "cannot bind socket" in json.loads(answer)["details"]
    eventually(lambda: amphora.fetch() == "9001")
    assert amphora.apply(3, config(f"m1 {one} weight 2")) in ("runtime", "reload")


def test_a_stale_generation_is_refused_and_a_missing_certificate_is_asked_for(amphora: Amphora) -> None:
    one = amphora.web(9001)
    amphora.apply(5, config(f"m1 {one} weight 1"))
    assert amphora.put(amphora.wanted(4, config(f"m1 {one} weight 2")))[0] == rest.STALE_GENERATION
    pem = agent_amphora.Authority("tenants").issue("www.example.com")
    name = f"{hashlib.sha256(pem).hexdigest()}.pem"
    tls = config(f"m1 {one} weight 1").replace(":80\n    maxconn", f":443 ssl crt {name}\n    maxconn")
    status, answer = amphora.put(amphora.wanted(6, tls, certificates=(name,)))
    assert (status, json.loads(answer)["missing"]) == (rest.MISSING_CERTIFICATES, [name])
    assert amphora.send_certificate(pem) == name
    assert amphora.apply(6, tls, certificates=(name,)) == "reload"
    assert amphora.call("PUT", rest.certificate_path(amphora.load_balancer_id, name), b"other")[0] == 400


def test_a_listener_less_state_stops_haproxy_and_delete_takes_everything_away(amphora: Amphora) -> None:
    one = amphora.web(9001)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    amphora.apply(2, None)
    assert amphora.pids("haproxy") == []
    amphora.apply(3, config(f"m1 {one} weight 1"))
    path = rest.load_balancer_path(amphora.load_balancer_id)
    assert amphora.call("DELETE", path)[0] == 204
    assert amphora.call("DELETE", path)[0] == 204
    assert amphora.call("GET", path)[0] == 404
    assert amphora.pids("haproxy") == []
    assert "198.19.251.100" not in amphora.tenant("ip", "address")


def table(amphora: Amphora) -> dict[str, list[str]]:
    """Server name -> columns of `show stat`."""
    talk = "s.connect('/run/figlina/haproxy.sock');s.sendall(b'show stat -1 4 -1\\n');print(s.makefile().read())"
    script = f"import socket;s=socket.socket(1);{talk}"
    rows = [line.split(",") for line in amphora.exec("python3", "-c", script).splitlines() if line and not line.startswith("#")]
    return {row[1]: row for row in rows}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mtu": 1000, "addresses": (f"{VRRP}/24", "2001:db8::1/64")}, "address replace 2001:db8::1/64 dev eth1 nodad"),
        ({"routes": (rest.Route("203.0.113.0/24", "224.0.0.1"),)}, "route replace 203.0.113.0/24 via 224.0.0.1 dev eth1 onlink"),
        ({"routes": (rest.Route("203.0.113.0/24", "2001:db8::1"),)}, "route replace 203.0.113.0/24 via 2001:db8::1 dev eth1 onlink"),
    ],
    ids=["MTU too small for IPv6", "multicast gateway", "gateway of the other version"],
)
def test_a_setting_that_the_kernel_refuses_is_named(amphora: Amphora, change: dict[str, Any], named: str) -> None:
    one = amphora.web(9001)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    (nic,) = amphora.wanted(2, None).interfaces
    status, answer = amphora.put(amphora.wanted(2, config(f"m1 {one} weight 2"), interfaces=(dataclasses.replace(nic, **change),)))
    said = json.loads(answer)
    assert (status, said.get("code")) == (400, "setting-refused"), said
    assert f"`{named}`" in said["message"], said
    assert "Command failed" not in said["message"]
    assert amphora.fetch_all() == {"9001"}


def test_nobody_is_shown_the_certificate_of_another_name_while_certificates_change_places(amphora: Amphora) -> None:
    """The default one becomes one of those that are chosen by name, and the other way round."""
    web, authority = amphora.web(9001), agent_amphora.Authority("any")
    files = {name: amphora.send_certificate(authority.issue(name)) for name in ("a.example", "b.example")}
    text = config(f"m1 {web}").replace(f"bind {VIP}:80", f'bind {VIP}:443 ssl crt-list "${{FIGLINA_CERTIFICATES}}/l1.list"')

    def apply(generation: int) -> str:
        default, other = list(files) if generation % 2 else list(files)[::-1]
        names = {"l1.pem": files[default], f"{other[0]}.pem": files[other]}
        return amphora.apply(generation, text, certificates=tuple(files.values()), names=names, lists={"l1.list": tuple(names)})

    apply(1)
    over = threading.Event()
    with futures.ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(_handshakes, amphora, authority, name, over) for name in files]
        try:
            assert {apply(generation) for generation in range(2, 18)} == {"runtime"}
        finally:
            over.set()
        assert all(one.result() > 10 for one in asked)


def _handshakes(amphora: Amphora, authority: agent_amphora.Authority, name: str, over: threading.Event) -> int:
    """How many were made.

    :raises ssl.SSLError: one met a certificate that is not for this name.
    """
    context, count = ssl.create_default_context(cadata=authority.root.decode()), 0
    while not over.is_set():
        with amphora.connect(port=443) as sock, context.wrap_socket(sock, server_hostname=name):
            count += 1
    return count
