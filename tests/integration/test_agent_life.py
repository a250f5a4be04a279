"""The agent in a machine-like namespace: reloads under load, deaths, heartbeats, strangers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from amphora_agent import load_balancer, system
from amphora_agent import report as agent_report
from amphora_agent.protocol import heartbeat, rest
from tests.integration import agent_amphora
from tests.integration.agent_amphora import AGENT, MANAGER, VIP, VRRP, Amphora, config, eventually

pytestmark = pytest.mark.integration

PAIR = """\
vrrp_instance one {
    state BACKUP
    interface eth1
    virtual_router_id 1
    priority 100
    version 3
    advert_int 0.3
    unicast_src_ip 198.19.251.2
    unicast_peer {
        198.19.251.3
    }
    virtual_ipaddress {
        198.19.251.100 dev eth1
    }
    track_script {
        haproxy_alive
    }
}
"""


@pytest.fixture
def amphora(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    with agent_amphora.running(tmp_path / "amphora") as amphora:
        yield amphora


def test_a_card_that_is_plugged_again_is_configured_as_the_former_one_was(amphora: Amphora) -> None:
    """A compute service that takes its time unplugs it after the agent has configured it, and nobody says so."""
    amphora.web(9001)
    amphora.apply(1, config(f"m1 {agent_amphora.WEB}:9001 weight 1"))
    assert amphora.fetch() == "9001"
    for _ in range(2):
        system.run(["ip", "-n", amphora.outside, "link", "delete", "ten"])
        eventually(lambda: "eth1" not in amphora.tenant("ip", "link"))
        amphora.plug("ten", agent_amphora.TENANT_MAC, f"{agent_amphora.WEB}/24")
        eventually(lambda: amphora.fetch() == "9001")
        assert f"{VRRP}/24" in amphora.tenant("ip", "address", "show", "dev", "eth1")


@dataclasses.dataclass
class Load:
    """Requests at a steady pace, half of them on connections that are kept open."""

    amphora: Amphora
    seconds: float
    rate: int = 200
    done: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)

    def run(self) -> None:
        """From inside the outside namespace."""
        kept = http.client.HTTPConnection(VIP, 80, timeout=20)
        started = time.monotonic()
        for number in range(int(self.seconds * self.rate)):
            time.sleep(max(0.0, started + number / self.rate - time.monotonic()))
            connection = kept if number % 2 else http.client.HTTPConnection(VIP, 80, timeout=20)
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                if response.status != 200 or not response.read():
                    self.failures.append(f"{number}: status {response.status}")
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(f"{number}: {'kept' if number % 2 else 'new'} connection: {exc!r}")
                connection.close()
            if connection is not kept:
                connection.close()
            self.done += 1
        kept.close()


def test_no_request_fails_during_reloads_and_member_changes(amphora: Amphora) -> None:
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    load = Load(amphora, seconds=5)
    thread = threading.Thread(target=lambda: amphora.outdoors(load.run))
    thread.start()
    taken = []
    generation = 2
    while thread.is_alive():
        time.sleep(0.3)
        for text in (
            config(f"m1 {one} weight 1", f"m2 {two} weight 1", extra=f"    http-response set-header X-Generation {generation // 4}"),
            config(f"m2 {two} weight 3", extra=f"    http-response set-header X-Generation {generation // 4}"),
            config(f"m1 {one} weight 1", f"m2 {two} weight 0", extra=f"    http-response set-header X-Generation {generation // 4}"),
        ):
            taken.append(amphora.apply(generation, text))
            generation += 1
    thread.join()
    assert load.failures == []
    assert load.done == 1000
    assert taken.count("reload") >= 2
    assert taken.count("runtime") >= 2


def test_death_of_the_agent_leaves_traffic_and_counters_alone(amphora: Amphora) -> None:
    one = amphora.web(9001)
    beats = amphora.beats()
    amphora.apply(1, config(f"m1 {one} weight 1"))
    amphora.fetch_all(5)
    time.sleep(1.1)
    heartbeat_request(amphora)(beats)
    before = beats.report(lambda report: bool(report["listeners"]) and report["listeners"]["l1"]["stats"]["total_connections"] >= 5)
    haproxy = set(amphora.pids("haproxy"))
    agent_amphora.kill(amphora.agent_pid())
    assert amphora.fetch() == "9001"
    beats.drain()
    after = beats.report()
    assert after["listeners"]["l1"]["stats"]["total_connections"] >= max(5, before["listeners"]["l1"]["stats"]["total_connections"])
    assert (after["generation"], after["hash"]) == (1, before["hash"])
    eventually(lambda: amphora.call("GET", "/")[0] == 200)
    assert set(amphora.pids("haproxy")) == haproxy
    assert amphora.apply(2, config(f"m1 {one} weight 1")) == "none"
    assert amphora.apply(3, config(f"m1 {one} weight 2")) == "runtime"


def test_what_was_counted_until_nothing_is_served_any_more_is_told(amphora: Amphora) -> None:
    """A predecessor lets go so, a moment before it is deleted: nobody else knows what clients did since its last beat."""
    beats, served = amphora.beats(), config(f"m1 {amphora.web(9001)} weight 1")
    amphora.apply(1, served)
    amphora.fetch_all(5)
    path = f"/1/load-balancers/{amphora.load_balancer_id}"
    for _ in range(2):  # told once more, it has nothing new to say
        assert amphora.call("DELETE", path)[0] == 204
    told = beats.report(lambda report: report["generation"] == 0 and bool(report["listeners"]))
    stats = told["listeners"]["l1"]["stats"]
    assert (stats["total_connections"], stats["active_connections"]) == (5, 0)
    assert stats["bytes_in"] > 0 < stats["bytes_out"]
    assert told["pools"] == {}
    amphora.apply(1, served)
    amphora.fetch()
    heartbeat_request(amphora)(beats)
    again = beats.report(lambda report: report["generation"] == 1 and bool(report["listeners"]))
    assert again["listeners"]["l1"]["stats"]["total_connections"] <= 1


def test_haproxy_is_started_again_and_its_counters_go_on(amphora: Amphora) -> None:
    one = amphora.web(9001)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    amphora.fetch_all(5)
    ask = heartbeat_request(amphora)
    beats = amphora.beats()
    ask(beats)
    counted = beats.report(lambda report: report["listeners"]["l1"]["stats"]["total_connections"] >= 5)["listeners"]["l1"]["stats"]
    for pid in amphora.pids("haproxy"):
        agent_amphora.kill(pid)
    eventually(lambda: amphora.fetch() == "9001")
    time.sleep(1.1)
    ask(beats)
    stats = beats.report(lambda report: report["listeners"]["l1"]["stats"]["total_connections"] >= 6)["listeners"]["l1"]["stats"]
    assert stats["bytes_out"] > counted["bytes_out"]
    assert amphora.apply(2, config(f"m1 {one} weight 1", extra="    option forwardfor")) == "reload"
    amphora.fetch()
    time.sleep(1.1)
    ask(beats)
    beats.report(lambda report: report["listeners"]["l1"]["stats"]["total_connections"] >= 7)


def test_an_agent_and_a_haproxy_that_die_together_come_back_with_the_last_good_configuration(amphora: Amphora) -> None:
    one = amphora.web(9001)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    for pid in [*amphora.pids("haproxy"), amphora.agent_pid()]:
        agent_amphora.kill(pid)
    eventually(lambda: amphora.fetch() == "9001")
    status, answer = eventually(lambda: amphora.call("GET", rest.load_balancer_path(amphora.load_balancer_id)))
    assert (status, rest.Receipt.parse(answer).generation) == (200, 1)


def test_what_was_tried_when_both_died_gives_way_to_what_served(amphora: Amphora) -> None:
    good = config(f"m1 {amphora.web(9001)} weight 1")
    amphora.apply(1, good)
    kept, agent = amphora.folder / "state" / "haproxy.cfg", amphora.agent_pid()
    os.kill(agent, signal.SIGSTOP)
    kept.write_text(good.replace("default_backend p1:l1", "default_backend nowhere"))
    for pid in [*amphora.pids("haproxy"), agent]:
        agent_amphora.kill(pid)
    eventually(lambda: kept.read_text() == good and amphora.fetch() == "9001")
    eventually(lambda: amphora.call("GET", rest.INFO_PATH)[0] == 200)
    assert amphora.apply(2, good.replace("weight 1", "weight 2")) in ("runtime", "reload")


def test_a_full_disk_is_told_and_harms_neither_traffic_nor_heartbeats(amphora: Amphora) -> None:
    one, state = amphora.web(9001), amphora.folder / "state"
    # Before HAProxy starts, because that gets a mount namespace of its own and would go on to read the large disk.
    amphora.exec("sh", "-c", f"mkdir /run/small && mount -t tmpfs -o size=256k tmpfs /run/small && cp -a {state}/. /run/small/")
    amphora.exec("mount", "--bind", "/run/small", str(state))
    amphora.apply(1, config(f"m1 {one} weight 1"))
    amphora.exec("sh", "-c", f"dd if=/dev/zero of={state}/filler bs=1k 2> /dev/null || true")
    beats = amphora.beats()
    for text in (config(f"m1 {one} weight 2"), config(f"m1 {one} weight 1", extra="    option forwardfor")):
        status, answer = amphora.put(amphora.wanted(2, text))
        assert (status, "No space left on device" in json.loads(answer)["message"]) == (500, True)
        assert amphora.fetch() == "9001"
    time.sleep(1.1)
    heartbeat_request(amphora)(beats)
    assert beats.report()["generation"] == 1
    assert "haproxy.cfg" not in amphora.exec("sh", "-c", f"cd {state}; ls -A | grep -v ^haproxy.cfg$ || true")
    amphora.exec("rm", str(state / "filler"))
    assert amphora.apply(2, config(f"m1 {one} weight 1", extra="    option forwardfor")) == "reload"
    assert amphora.fetch() == "9001"


def test_an_agent_that_is_killed_while_it_writes_leaves_no_keys_lying_about(amphora: Amphora) -> None:
    state = amphora.folder / "state"
    (state / "certificates").mkdir(exist_ok=True)
    rests = [state / ".haproxy.cfg.1234", state / "certificates" / f".{'0' * 64}.pem.1234"]
    for rest_of_file in rests:
        rest_of_file.write_text("half a key")
    agent_amphora.kill(amphora.agent_pid())
    eventually(lambda: not any(path.exists() for path in rests))
    assert state.stat().st_mode & 0o077 == 0


def test_a_haproxy_that_hangs_is_started_again(amphora: Amphora) -> None:
    one = amphora.web(9001)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    hung = amphora.pids("haproxy")
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: amphora.fetch() == "9001")
    assert not set(hung) & set(amphora.pids("haproxy"))


def test_a_haproxy_that_can_not_be_started_silences_the_heartbeat_and_the_agent_says_so(amphora: Amphora) -> None:
    one = amphora.web(9001)
    amphora.apply(1, config(f"m1 {one} weight 1"))
    (amphora.folder / "state" / "haproxy.cfg").write_text("broken\n")
    beats = amphora.beats()
    for pid in amphora.pids("haproxy"):
        agent_amphora.kill(pid)
    beats.report(lambda report: not agent_report.claims_life(report))
    time.sleep(3)
    assert beats.lively() == []
    assert json.loads(amphora.call("GET", rest.INFO_PATH)[1])["load_balancers"] == {}
    assert amphora.apply(2, config(f"m1 {one} weight 1")) == "reload"
    assert json.loads(amphora.call("GET", rest.INFO_PATH)[1])["load_balancers"] == {amphora.load_balancer_id: 2}
    assert beats.report()["generation"] == 2


def test_heartbeats_carry_the_derived_key_and_tell_of_changes_at_once(amphora: Amphora) -> None:
    first, second = amphora.beats(5555), amphora.beats(5556)
    for beats in (first, second):
        header, _ = beats.next()
        assert heartbeat.id_text(header.amphora_id) == amphora.id
    with pytest.raises(heartbeat.Rejected):
        agent_amphora.Beats(second.sock, heartbeat.derive_key(b"x" * 32, amphora.id)).next()
    one, two = amphora.web(9001), amphora.web(9002)
    amphora.apply(7, config(f"m1 {one} weight 1", f"m2 {two} weight 0 check inter 300", f"m3 {two} weight 1 disabled"))
    report = first.report(lambda report: report["generation"] == 7 and report["pools"]["p1:l1"]["members"]["m2"] == "DRAIN")
    assert report["pools"] == {"p1:l1": {"status": "UP", "members": {"m1": "no check", "m2": "DRAIN", "m3": "MAINT"}}}
    assert report["listeners"]["l1"]["status"] == "OPEN"
    sequences = []
    for _ in range(3):
        header, report_or_none = first.next()
        sequences.append(header.sequence)
    assert sequences == sorted(set(sequences))
    assert (header.kind, report_or_none) == (heartbeat.BEAT, None)


def test_a_fresh_amphora_tells_once_that_it_is_there_and_beats_from_then_on(tmp_path: pathlib.Path) -> None:
    """What it says before it has loaded all of the agent is what it says afterwards."""
    amphora = Amphora(tmp_path / "amphora", heartbeat_interval=0.2)
    try:
        amphora.make()
        beats = amphora.beats()
        amphora.start()
        first, report = beats.next()
        assert report is not None
        assert report["generation"] == 0
        eventually(lambda: amphora.call("GET", "/")[0] == 200)
        later = [beats.next()[0] for _ in range(5)]
        assert {one.kind for one in later} == {heartbeat.BEAT}
        assert {(one.boot_id, one.digest) for one in later} == {(first.boot_id, first.digest)}
    finally:
        amphora.destroy()


def test_a_report_comes_on_request_of_a_manager_and_of_nobody_else(amphora: Amphora) -> None:
    beats = amphora.beats()
    beats.next()
    time.sleep(1.1)
    beats.drain()
    heartbeat_request(amphora, key=b"wrong")(beats)
    assert [beats.next()[0].kind for _ in range(2)] == [heartbeat.BEAT, heartbeat.BEAT]
    heartbeat_request(amphora)(beats)
    assert beats.report(within=15)["generation"] == 0  # without a request the next one comes after half a minute


def test_a_mute_client_holds_up_nobody_and_a_stranger_is_turned_away(amphora: Amphora) -> None:
    mute = [amphora.connect(AGENT, 9443) for _ in range(10)]
    started = time.monotonic()
    assert amphora.call("GET", "/") == (200, b'{"api_version":"1"}\n')
    assert time.monotonic() - started < 5
    for sock in mute:
        sock.close()
    stranger = amphora.folder / "stranger.pem"
    stranger.write_bytes(agent_amphora.Authority("strangers").issue("controller"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        amphora.call("GET", "/", client_pem=stranger)
    context = amphora.tls(None)

    def ask_without_certificate() -> None:
        connection = http.client.HTTPConnection(AGENT, 9443)
        connection.sock = context.wrap_socket(amphora.connect(AGENT, 9443), server_hostname=amphora.id)
        connection.request("GET", "/")
        connection.getresponse()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask_without_certificate()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(amphora.folder / "client.pem")
    with context.wrap_socket(amphora.connect(AGENT, 9443), server_hostname=amphora.id) as secured:
        assert secured.version() == "TLSv1.2"


def test_info_tells_versions_and_generations(amphora: Amphora) -> None:
    amphora.apply(4, None)
    info = json.loads(amphora.call("GET", rest.INFO_PATH)[1])
    assert info["haproxy_version"].startswith(("2.", "3."))
    assert info["keepalived_version"].startswith("2.")
    assert info["load_balancers"] == {amphora.load_balancer_id: 4}
    assert info["memory"]["total"] > 0


def test_a_bad_body_is_answered_with_a_sentence(amphora: Amphora) -> None:
    path = rest.load_balancer_path(amphora.load_balancer_id)
    for body in (b"", b"[]", b"{", b'{"load_balancer_id": 1}', b'{"interfaces": 1}', b"\xff"):
        status, answer = amphora.call("PUT", path, body)
        assert (status, json.loads(answer)["code"]) == (400, "malformed"), body
    assert amphora.call("PUT", "/1/load-balancers/x", b"{}")[0] == 404
    assert amphora.call("POST", path, b"{}")[0] == 405


def test_interfaces_follow_the_wanted_state(amphora: Amphora) -> None:
    amphora.plug("more", "02:f1:00:00:00:03", "198.19.252.1/24")
    nic = amphora.wanted(1, None).interfaces[0]
    second = rest.Interface(
        mac="02:f1:00:00:00:03",
        name="eth2",
        mtu=1300,
        addresses=("198.19.252.2/24", "fd00:f1::2/64"),
        routes=(rest.Route("10.7.0.0/16", "198.19.252.1"),),
    )
    within = dataclasses.replace(
        nic, vips=(f"{VIP}/24", "fd00:f1:1::100/128"), routes=(rest.Route("default", MANAGER.replace("250.1", "251.1")),)
    )
    amphora.apply(1, None, interfaces=(within, second))
    links = {link["ifname"]: link for link in json.loads(amphora.tenant("ip", "-j", "address", "show"))}
    assert {f"{item['local']}/{item['prefixlen']}" for item in links["eth1"]["addr_info"] if item["scope"] == "global"} == {
        f"{VRRP}/24",
        f"{VIP}/24",
        "fd00:f1:1::100/128",
    }
    assert links["eth2"]["mtu"] == 1300
    assert "10.7.0.0/16 via 198.19.252.1" in amphora.tenant("ip", "route", "show", "dev", "eth2")
    assert "default via 198.19.251.1" in amphora.tenant("ip", "route")
    amphora.apply(2, None, interfaces=(nic,))
    links = {link["ifname"]: link for link in json.loads(amphora.tenant("ip", "-j", "address", "show"))}
    assert "UP" not in links["eth2"]["flags"]
    assert {f"{item['local']}/{item['prefixlen']}" for item in links["eth1"]["addr_info"] if item["scope"] == "global"} == {
        f"{VRRP}/24",
        f"{VIP}/32",
    }
    assert "default" not in amphora.tenant("ip", "route")


def test_what_is_sent_from_an_address_goes_by_routes_of_its_own(amphora: Amphora) -> None:
    four, six, other = VIP, "fd00:f1:1::100", "198.19.251.101"

    def ways() -> list[str]:
        """By which gateway something far away is reached from each address, and from our own."""
        asked = [("198.18.9.9", four), ("198.18.9.9", other), ("198.18.9.9", VRRP), ("fd00:99::9", six)]
        shown = [amphora.tenant("ip", "route", "get", target, "from", source) for target, source in asked]
        return [line.split(" via ")[1].split()[0] for line in shown]

    def rules() -> int:
        return sum(line.startswith("1000:") for family in ("-4", "-6") for line in amphora.tenant("ip", family, "rule").splitlines())

    def by(first: str, second: str) -> tuple[rest.Interface]:
        routes = [rest.Route("default", "198.19.251.1"), rest.Route("default", "fd00:f1:1::1")]
        routes += [rest.Route("default", gateway, source) for gateway, source in ((first, four), (second, other), ("fd00:f1:1::7", six))]
        routes += [rest.Route("198.19.251.0/24", None, four), rest.Route("198.19.251.0/24", None, other)]
        nic = amphora.wanted(1, None).interfaces[0]
        vips = (f"{four}/24", f"{other}/24", f"{six}/128")
        return (dataclasses.replace(nic, addresses=(*nic.addresses, "fd00:f1:1::2/64"), vips=vips, routes=tuple(routes)),)

    amphora.apply(1, None, interfaces=by("198.19.251.7", "198.19.251.8"))
    assert ways() == ["198.19.251.7", "198.19.251.8", "198.19.251.1", "fd00:f1:1::7"]
    assert "via" not in amphora.tenant("ip", "route", "get", "198.19.251.9", "from", four), "its own subnet is on the link"
    amphora.apply(2, None, interfaces=by("198.19.251.8", "198.19.251.7"))
    assert (ways(), rules()) == (["198.19.251.8", "198.19.251.7", "198.19.251.1", "fd00:f1:1::7"], 6)
    agent_amphora.kill(amphora.agent_pid())
    eventually(lambda: amphora.call("GET", "/1/info")[0] == 200)
    assert (ways(), rules()) == (["198.19.251.8", "198.19.251.7", "198.19.251.1", "fd00:f1:1::7"], 6)
    amphora.apply(3, None)
    assert rules() == 0
    amphora.apply(4, None, interfaces=by("198.19.251.7", "198.19.251.8"))
    assert amphora.call("DELETE", rest.load_balancer_path(amphora.load_balancer_id))[0] == 204
    assert rules() == 0


def test_an_interface_that_does_not_appear_is_an_error_with_its_mac(amphora: Amphora) -> None:
    nic = dataclasses.replace(amphora.wanted(1, None).interfaces[0], mac="02:f1:00:00:00:77")
    status, answer = amphora.put(amphora.wanted(1, None, interfaces=(nic,)))
    assert status == 404
    assert "02:f1:00:00:00:77" in json.loads(answer)["message"]


def test_the_vip_is_announced_when_it_is_set(amphora: Amphora) -> None:
    sniffer = amphora.outdoors(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))
    sniffer.settimeout(5)
    amphora.apply(1, None)
    wanted = socket.inet_aton(VIP)
    eventually(lambda: (frame := sniffer.recv(100))[28:32] == wanted == frame[38:42])
    sniffer.close()


def test_a_vip_is_announced_again_and_no_more_once_it_is_given_away(amphora: Amphora) -> None:
    sniffer = amphora.outdoors(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))
    sniffer.settimeout(1.0)
    wanted = socket.inet_aton(VIP)

    def announcements(seconds: float, most: int = 1000) -> int:
        """How many come within so many seconds, or until there are `most`."""
        count, until = 0, time.monotonic() + seconds
        while count < most and time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                count += (frame := sniffer.recv(100))[28:32] == wanted == frame[38:42]
        return count

    amphora.apply(1, None)
    expected = 2 * load_balancer.ANNOUNCEMENTS  # both forms of each
    assert announcements(60, expected) == expected
    assert announcements(2.5) == 0
    amphora.apply(2, None)
    amphora.call("DELETE", rest.load_balancer_path(amphora.load_balancer_id))
    assert announcements(2.5) == 0
    sniffer.close()


def test_nobody_who_asks_for_the_vip_is_refused_while_an_amphora_begins_and_ends_to_serve(amphora: Amphora) -> None:
    one = amphora.web(9001)
    refused, served, over = [], [], threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                socket.create_connection((VIP, 80), 0.05).close()
                served.append(time.monotonic())
            except ConnectionRefusedError:
                refused.append(time.monotonic())
            except OSError:  # nobody has the address
                time.sleep(0.002)

    asking = threading.Thread(target=lambda: amphora.outdoors(ask))
    asking.start()
    try:
        for _ in range(3):
            amphora.apply(1, config(f"m1 {one} weight 1"))
            served.clear()
            eventually(lambda: served)
            amphora.call("DELETE", rest.load_balancer_path(amphora.load_balancer_id))
    finally:
        over.set()
        asking.join()
    assert refused == []


def test_keepalived_holds_the_vip_while_haproxy_runs_and_survives_the_agent(amphora: Amphora) -> None:
    one = amphora.web(9001)
    nic = dataclasses.replace(amphora.wanted(1, None).interfaces[0], vips=())
    amphora.apply(1, config(f"m1 {one} weight 1"), keepalived_config=PAIR, interfaces=(nic,))
    eventually(lambda: amphora.fetch() == "9001")
    keepalived = amphora.keepalived()
    assert len(keepalived) == 2
    assert amphora.apply(2, config(f"m1 {one} weight 2"), keepalived_config=PAIR, interfaces=(nic,)) == "runtime"
    status, answer = amphora.put(
        amphora.wanted(3, config(f"m1 {one} weight 3"), keepalived_config=PAIR.replace("priority 100", "priority 1000"), interfaces=(nic,))
    )
    assert (status, "'1000' outside range" in json.loads(answer)["details"]) == (rest.CONFIG_REFUSED, True)
    agent_amphora.kill(amphora.agent_pid())
    eventually(lambda: amphora.call("GET", "/")[0] == 200)
    assert amphora.keepalived() == keepalived
    assert amphora.fetch() == "9001"
    changed = PAIR.replace("priority 100", "priority 90")
    amphora.apply(4, config(f"m1 {one} weight 3"), keepalived_config=changed, interfaces=(nic,))
    assert amphora.keepalived()[0] == keepalived[0]
    for pid in (before := amphora.pids("keepalived")):
        agent_amphora.kill(pid)
    eventually(lambda: set(amphora.keepalived()) - {*before, *keepalived})
    eventually(lambda: amphora.fetch() == "9001")
    amphora.apply(5, config(f"m1 {one} weight 3"), interfaces=(nic,))
    assert amphora.pids("keepalived") == []


def test_a_stopped_haproxy_makes_keepalived_give_the_vip_away(amphora: Amphora) -> None:
    one = amphora.web(9001)
    nic = dataclasses.replace(amphora.wanted(1, None).interfaces[0], vips=())
    amphora.apply(1, config(f"m1 {one} weight 1"), keepalived_config=PAIR, interfaces=(nic,))
    eventually(lambda: f"{VIP}/32" in amphora.tenant("ip", "address", "show", "dev", "eth1"))
    (amphora.folder / "state" / "haproxy.cfg").write_text("broken\n")
    for pid in amphora.pids("haproxy"):
        agent_amphora.kill(pid)
    eventually(lambda: f"{VIP}/32" not in amphora.tenant("ip", "address", "show", "dev", "eth1"))


def test_an_amphora_with_too_much_to_do_keeps_the_vip(amphora: Amphora) -> None:
    """What tells keepalived that HAProxy runs is a script, and takes seconds where no processor is free for it."""
    nic = dataclasses.replace(amphora.wanted(1, None).interfaces[0], vips=())
    amphora.apply(1, config(f"m1 {amphora.web(9001)} weight 1"), keepalived_config=PAIR, interfaces=(nic,))
    eventually(lambda: f"{VIP}/32" in amphora.tenant("ip", "address", "show", "dev", "eth1"))
    run = pathlib.Path(f"/proc/{amphora.agent_pid()}/root/run/figlina")
    script, log = run / "haproxy-alive", run / "keepalived.log"
    (run / "fast").write_text(script.read_text())
    slow = run / "slow"
    slow.write_text("#!/bin/sh\nsleep 2\n/bin/sh /run/figlina/fast && echo >> /run/figlina/ran\n")
    slow.chmod(0o700)
    written = len(log.read_text())
    slow.replace(script)
    ran = run / "ran"
    eventually(lambda: (ran.exists() and len(ran.read_text()) > 1) or "FAULT" in log.read_text()[written:])
    assert "FAULT" not in log.read_text()[written:]
    assert f"{VIP}/32" in amphora.tenant("ip", "address", "show", "dev", "eth1")


def heartbeat_request(amphora: Amphora, key: bytes | None = None):  # type: ignore[no-untyped-def]
    """A function that asks for a full report, by the way that the last datagram came."""

    def ask(beats: agent_amphora.Beats) -> None:
        header, _ = beats.next()
        request = heartbeat.Header(heartbeat.REPORT_WANTED, header.amphora_id, header.boot_id, 1, time.time(), header.digest)
        beats.sock.sendto(heartbeat.pack(request, b"", key or amphora.key), beats.sender)

    return ask


def test_the_machine_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    with agent_amphora.running(tmp_path / "amphora") as amphora:
        names = (amphora.inside, amphora.outside)
        amphora.apply(1, config())
    assert not set(names) & set(system.run(["ip", "netns", "list"]).split())
