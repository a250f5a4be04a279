"""A NIC that no security group guards (SR-IOV): the amphora itself admits what it was told, from whom it was told, and answers."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent import futures

import pytest

from amphora_agent import system
from amphora_agent.protocol import datagrams, rest
from tests.integration import agent_amphora
from tests.integration.agent_amphora import TENANT_MAC, VIP, VRRP, WEB, Amphora, config, eventually

pytestmark = pytest.mark.integration
FRIEND, STRANGER = "198.19.251.31", "198.19.251.32"
ANY, FRIENDS = rest.Admission("tcp", 80), rest.Admission("tcp", 80, f"{FRIEND}/32")
OTHER_PORT = rest.Admission("tcp", 8080)
VIP6, FRIEND6, STRANGER6 = "fd00:f1::64", "fd00:f1::31", "fd00:f1::32"
_PROBE = 2.0  # seconds; a dropped packet is never answered, and one that passes is within milliseconds, if nothing keeps the processors


@pytest.fixture
def amphora(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    with agent_amphora.running(tmp_path / "amphora") as made:
        for address in (f"{FRIEND}/24", f"{STRANGER}/24", f"{FRIEND6}/64", f"{STRANGER6}/64"):
            system.run(["ip", "-n", made.outside, "address", "add", address, "dev", "ten", *(["nodad"] if ":" in address else [])])
        yield made


def nic(admits: tuple[rest.Admission, ...] | None) -> rest.Interface:
    vips = (f"{VIP}/32", f"{VIP6}/128")
    return rest.Interface(mac=TENANT_MAC, name="eth1", mtu=1400, addresses=(f"{VRRP}/24", "fd00:f1::2/64"), vips=vips, admits=admits)


def text(amphora: Amphora) -> str:
    """HAProxy on both ports of both VIPs; its member is outside, so its answers come back by the guarded NIC."""
    made = config(f"m1 {WEB}:9001 weight 1")
    return made.replace(f"    bind {VIP}:80\n", "".join(f"    bind {vip}:{port}\n" for vip in (VIP, f"[{VIP6}]") for port in (80, 8080)))


def reaches(amphora: Amphora, source: str, port: int = 80) -> bool:
    """Whether a request from this address is answered."""
    vip = VIP6 if ":" in source else VIP

    def ask() -> bool:
        with socket.create_connection((vip, port), _PROBE, source_address=(source, 0)) as connection:
            connection.settimeout(30)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")

    try:
        return amphora.outdoors(ask)
    except TimeoutError:
        return False


@pytest.mark.parametrize("source", [STRANGER, STRANGER6])
def test_a_connection_that_says_nothing_ends_at_once_when_its_client_is_admitted_no_more(amphora: Amphora, source: str) -> None:
    """On both sides, and no other one: neither one that may stay, nor those to members."""
    amphora.web(9001)
    patient = text(amphora).replace("timeout client 20s", "timeout client 5m").replace("timeout server 20s", "timeout server 5m")
    amphora.apply(1, patient, interfaces=(nic((ANY, OTHER_PORT)),))
    vip, friend = (VIP6, FRIEND6) if ":" in source else (VIP, FRIEND)
    with contextlib.ExitStack() as stack:
        idle, asked, staying, elsewhere = (
            stack.enter_context(amphora.outdoors(functools.partial(_connected, vip, who, port)))
            for who, port in ((source, 80), (source, 80), (friend, 80), (source, 8080))
        )
        for one in (asked, staying, elsewhere):
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        amphora.apply(2, patient, interfaces=(nic((rest.Admission("tcp", 80, f"{friend}/{128 if ':' in friend else 32}"), OTHER_PORT)),))
        for one in (idle, asked):
            one.settimeout(30)
            with pytest.raises(ConnectionResetError):
                _read_all(one)
            port = one.getsockname()[1]
            eventually(functools.partial(_no_connection, amphora, port), within=60)
        for one in (staying, elsewhere):
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200")


def _connected(vip: str, source: str, port: int = 80) -> socket.socket:
    return socket.create_connection((vip, port), 30, source_address=(source, 0))


def _no_connection(amphora: Amphora, port: int) -> bool:
    """Whether nothing of the amphora is connected with this port."""
    return amphora.tenant("ss", "-Htan", f"dport = :{port}") == ""


def _read_all(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


def who(amphora: Amphora, port: int = 80) -> set[str]:
    """Who is answered, asked side by side."""
    everybody = (FRIEND, STRANGER, FRIEND6, STRANGER6)
    with futures.ThreadPoolExecutor(len(everybody)) as threads:
        answered = list(threads.map(lambda source: reaches(amphora, source, port), everybody))
    return {source for source, is_answered in zip(everybody, answered, strict=True) if is_answered}


def test_a_guarded_nic_admits_what_it_was_told_and_follows_every_change(amphora: Amphora) -> None:
    amphora.web(9001)
    everybody, configuration = {FRIEND, STRANGER, FRIEND6, STRANGER6}, text(amphora)
    for generation, (admits, on_80, on_8080) in enumerate(
        [
            ((FRIENDS,), {FRIEND}, set()),
            ((FRIENDS, rest.Admission("tcp", 80, f"{FRIEND6}/128")), {FRIEND, FRIEND6}, set()),
            ((ANY,), everybody, set()),
            ((FRIENDS, OTHER_PORT), {FRIEND}, everybody),
            ((), set(), set()),
            (None, everybody, everybody),
            ((FRIENDS,), {FRIEND}, set()),
        ],
        start=1,
    ):
        amphora.apply(generation, configuration, interfaces=(nic(admits),))
        eventually(lambda: "eth1" in amphora.tenant("ip", "-br", "link"))
        assert (who(amphora), who(amphora, 8080)) == (on_80, on_8080), admits


@pytest.mark.parametrize("friend", [FRIEND, FRIEND6])
def test_an_answer_that_is_under_way_comes_though_the_nic_is_guarded_meanwhile(amphora: Amphora, friend: str) -> None:
    """Nobody tracked the connection to the member before, and it is the member's turn to speak."""
    amphora.web(9001)
    patient = text(amphora).replace("timeout client 20s", "timeout client 5m").replace("timeout server 20s", "timeout server 5m")
    amphora.apply(1, patient, interfaces=(nic(None),))
    vip, admits = (VIP6, f"{FRIEND6}/128") if ":" in friend else (VIP, f"{FRIEND}/32")
    with amphora.outdoors(lambda: _connected(vip, friend)) as asking:
        asking.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: amphora.tenant("ss", "-Htn", "state", "established", f"dport = :{9001}") != "")
        for generation, more in enumerate(((), (OTHER_PORT,)), start=2):
            amphora.apply(generation, patient, interfaces=(nic((rest.Admission("tcp", 80, admits), *more)),))
        amphora.release(9001)
        for _ in range(2):
            assert asking.recv(4096).startswith(b"HTTP/1.1 200")
            asking.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert who(amphora) == {friend}


def test_it_outlives_the_agent_and_what_is_gone_admits_all_again(amphora: Amphora) -> None:
    amphora.web(9001)
    amphora.apply(1, text(amphora), interfaces=(nic((FRIENDS,)),))
    agent_amphora.kill(amphora.agent_pid())
    eventually(lambda: amphora.call("GET", "/")[0] == 200)
    assert who(amphora) == {FRIEND}
    amphora.apply(2, text(amphora), interfaces=(nic((FRIENDS, OTHER_PORT)),))
    assert (who(amphora), STRANGER in who(amphora, 8080)) == ({FRIEND}, True)
    agent_amphora.kill(amphora.agent_pid())
    eventually(lambda: amphora.call("GET", "/")[0] == 200)
    amphora.apply(3, text(amphora), interfaces=(nic(None),))
    assert who(amphora) == {FRIEND, STRANGER, FRIEND6, STRANGER6}
    assert amphora.call("DELETE", rest.load_balancer_path(amphora.load_balancer_id))[0] == 204
    assert "figlina_admission" not in amphora.tenant("nft", "list", "tables")


@pytest.mark.parametrize("source", [STRANGER, STRANGER6])
def test_a_connection_that_stands_ends_with_its_client_s_admission_and_not_before(amphora: Amphora, source: str) -> None:
    amphora.web(9001)
    patient = text(amphora).replace("timeout client 20s", "timeout client 5m")
    amphora.apply(1, patient, interfaces=(nic((ANY,)),))
    vip = VIP6 if ":" in source else VIP
    with contextlib.ExitStack() as stack:
        held, idle, waiting = (stack.enter_context(amphora.outdoors(lambda: _connected(vip, source))) for _ in range(3))
        waiting.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        broken = patient.replace("balance roundrobin", "balance nonsense")
        status, _ = amphora.put(amphora.wanted(2, broken, interfaces=(nic((FRIENDS,)),)))
        assert status == rest.CONFIG_REFUSED
        held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 200")
        assert who(amphora) == {FRIEND, STRANGER, FRIEND6, STRANGER6}, "what served before goes on serving"
        amphora.apply(3, patient, interfaces=(nic((FRIENDS,)),))
        assert who(amphora) == {FRIEND}
        for one in (held, idle, waiting):
            with pytest.raises(ConnectionResetError):
                _read_all(one)


def test_a_flow_of_datagrams_ends_when_its_client_is_admitted_no_more(amphora: Amphora) -> None:
    server = amphora.outdoors(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind((WEB, 5001))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                _, sender = server.recvfrom(100)
                server.sendto(b"hello", sender)

    threading.Thread(target=serve, daemon=True).start()
    member = datagrams.Member(id="m", address=WEB, port=5001, weight=1, check_address=WEB, check_port=5001)
    service = datagrams.Service(id="l", transport="udp", addresses=(VIP,), port=80, pool_id="p", members=(member,))
    for generation, (admits, expected) in enumerate(
        [
            ((rest.Admission("udp", 80),), {FRIEND, STRANGER}),
            ((rest.Admission("udp", 80, f"{FRIEND}/32"),), {FRIEND}),
            ((rest.Admission("udp", 80),), {FRIEND, STRANGER}),
        ],
        start=1,
    ):
        amphora.apply(generation, None, datagrams_config=datagrams.dump((service,)), interfaces=(nic(admits),))
        if generation == 1:
            flows = {source: amphora.outdoors(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for source in (FRIEND, STRANGER)}
            for source, sock in flows.items():
                sock.bind((source, 0))
                sock.connect((VIP, 80))
                sock.settimeout(_PROBE)
        assert {source for source, sock in flows.items() if _answered(sock)} == expected, admits
    for sock in (server, *flows.values()):
        sock.close()


def _answered(sock: socket.socket) -> bool:
    with contextlib.suppress(TimeoutError):
        for _ in range(3):
            sock.send(b"who?")
            assert sock.recv(100) == b"hello"
        return True
    return False


def test_vrrp_comes_in_from_the_other_half_alone(amphora: Amphora) -> None:
    """Two raw packets of protocol 112; who listens in the amphora sees those that passed."""
    amphora.web(9001)
    amphora.apply(1, text(amphora), interfaces=(nic((ANY, rest.Admission("vrrp", None, f"{FRIEND}/32"))),))
    listener = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_RAW, 112); s.settimeout(60); print(s.recvfrom(99)[1][0])"

    def send() -> None:
        for source in (STRANGER, FRIEND):
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, 112) as sender:
                sender.bind((source, 0))
                sender.sendto(b"hello", (VRRP, 0))

    with subprocess.Popen(amphora.in_tenant("python3", "-c", listener), stdout=subprocess.PIPE, text=True) as hearing:
        eventually(lambda: ":0070" in amphora.tenant("cat", "/proc/net/raw"))
        amphora.outdoors(send)
        assert hearing.communicate(timeout=90)[0].strip() == FRIEND


def test_a_kernel_that_does_not_take_the_rules_is_told_and_nothing_is_served_unguarded(amphora: Amphora) -> None:
    amphora.web(9001)
    strange = dataclasses.replace(nic((rest.Admission("tcp", 80, "198.19.251.31/33"),)))
    status, answer = amphora.put(amphora.wanted(1, text(amphora), interfaces=(strange,)))
    assert status >= 400, answer
    assert who(amphora) == set()
