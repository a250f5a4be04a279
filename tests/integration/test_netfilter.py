"""UDP and SCTP by the kernel's packet filter: real clients, and members that live, die and come back; no agent around it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import http.server
import json
import os
import pathlib
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import pytest

from amphora_agent import admission, datagram_rules, errors, flows, interfaces, netfilter, netlink, programs, sctp, system
from amphora_agent.protocol import datagrams, heartbeat, rest
from tests.integration import associations
from tests.integration.agent_amphora import eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

PORT = 53
OUTSIDE = {4: "198.19.252.1", 6: "2001:db8:252::1"}
OWN = {4: "198.19.252.2", 6: "2001:db8:252::2"}
VIP = {4: "198.19.252.100", 6: "2001:db8:252::100"}
BEHIND = {4: "198.19.251.2", 6: "2001:db8:251::2"}
"""A machine on a network of its own, whose gateway is the amphora."""
GATEWAY = {4: "198.19.251.1", 6: "2001:db8:251::1"}
SUBNETS = ("198.19.252.0/24", "198.19.251.0/24", "2001:db8:252::/64", "2001:db8:251::/64")
"""Those that the amphora is on, where there is such a machine."""
NOBODY = {4: "198.19.252.250", 6: "2001:db8:252::250"}
CLIENTS = {4: [f"198.19.252.{number}" for number in range(130, 170)], 6: [f"2001:db8:252::1:{number:x}" for number in range(1, 41)]}
_SHORT = 2.0
"""Seconds within which an association is established, or a datagram answered, that may come to nothing."""
_PATIENCE = 5.0
"""Seconds within which a datagram is answered that will be."""
HEADERS = {4: 28, 6: 48}
"""Bytes of the headers of IP and UDP, which are counted, too."""
CHECK = datagrams.Check(type="UDP-CONNECT", delay=1, timeout=1, rise=2, fall=2)
HTTP_CHECK = dataclasses.replace(CHECK, type="HTTP", path="/health", codes=((200, 200), (202, 204)))
VERSIONS = pytest.mark.parametrize("version", [4, 6])
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "sctp"])


class _Health(http.server.BaseHTTPRequestHandler):
    answers: int = 200

    def do_GET(self) -> None:
        self.send_response(type(self).answers if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Association:
    """A client of SCTP that has what tests ask of a client's socket."""

    def __init__(self, source: str, source_port: int, vip: str, port: int, within: float) -> None:
        self.endpoint = associations.Endpoint(source, source_port)
        try:
            self._made = self.endpoint.connect(vip, port, within)
        except OSError:
            self.endpoint.close()
            raise

    def __enter__(self) -> Association:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, content: bytes) -> None:
        self._made.send(content)

    def say(self, kind: associations.Kind) -> None:
        self._made.say(sctp.Chunk(kind, bytes(8)))

    def recv(self, _: int) -> bytes:
        return self._made.receive()

    def end(self) -> None:
        """As `close`, but it hears what still comes, and says nothing twice."""
        self._made.close(again=30)

    def close(self) -> None:
        self._made.close()
        self.endpoint.close()


class Site:
    """An amphora's namespace with the rules, and one with clients and members, who answer with their port and with who asked."""

    def __init__(self, folder: pathlib.Path, transport: str = "udp") -> None:
        tag = secrets.token_hex(3)
        self.transport = transport
        self.outside, self.inside, self.behind = (f"figlina-n{tag}{letter}" for letter in "oib")
        self.folder = folder
        self.members: dict[int, socket.socket | associations.Endpoint] = {}
        self.heard: collections.Counter[int] = collections.Counter()
        self.generation = 0
        self._source_ports = iter(range(41_000, 65_000))

    def make(self) -> None:
        """Namespaces, a cable between them, addresses."""
        for name in (self.outside, self.inside):
            interfaces.Interfaces(name).ensure_namespace()
        system.run(["ip", "-n", self.outside, "link", "add", "out", "type", "veth", "peer", "name", "eth1", "netns", self.inside])
        for name, nic, some in ((self.outside, "out", (OUTSIDE, *self._clients())), (self.inside, "eth1", (OWN, VIP))):
            lines = [f"link set {nic} up"]
            lines += [f"address add {one[4]}/24 dev {nic}" for one in some] + [f"address add {one[6]}/64 dev {nic} nodad" for one in some]
            if VIP in some:  # held as agent and keepalived do
                lines.append(f"address change {VIP[6]}/64 dev {nic} valid_lft forever preferred_lft 0")
            system.run(["ip", "-n", name, "-batch", "-"], stdin="\n".join(lines) + "\n")
        self.begin()

    def make_behind(self) -> None:
        """A machine that is reached by another NIC, and sends all that it sends elsewhere by the amphora, which believes no sender that it
        would answer by another NIC (RFC 3704)."""
        interfaces.Interfaces(self.behind).ensure_namespace()
        system.run(["ip", "-n", self.behind, "link", "add", "far", "type", "veth", "peer", "name", "eth2", "netns", self.inside])
        for name, nic, address in ((self.inside, "eth2", GATEWAY), (self.behind, "far", BEHIND)):
            lines = [f"link set {nic} up", f"address add {address[4]}/24 dev {nic}", f"address add {address[6]}/64 dev {nic} nodad"]
            lines += [f"route add default via {one} dev {nic}" for one in GATEWAY.values() if nic == "far"]
            system.run(["ip", "-n", name, "-batch", "-"], stdin="\n".join(lines) + "\n")
        self.indoors("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")

    def begin(self) -> None:
        """An agent begins."""
        self.program = netfilter.Netfilter(self.folder, self.inside, programs.Record(self.folder / "programs.json"))
        self.program.resume()

    def destroy(self) -> None:
        self.program.stop()
        for sock in self.members.values():
            sock.close()
        for name in (self.inside, self.outside, self.behind):
            if (system.NAMESPACES / name).exists():
                system.run(["ip", "netns", "delete", name])

    def start(self, *ports: int, version: int = 4, behind: bool = False) -> None:
        """Members answer on these ports."""
        place, address = (self.behind, BEHIND[version]) if behind else (self.outside, OUTSIDE[version])
        for port in ports:
            if self.transport == "sctp":
                where = (address, port, functools.partial(self._answer, port))
                self.members[port] = system.inside_namespace(place, lambda: associations.Endpoint(*where))  # noqa: B023
                continue
            self.members[port] = sock = system.inside_namespace(place, lambda: _udp(version))
            sock.bind((address, port))
            threading.Thread(target=self._serve, args=(sock, port), daemon=True).start()

    def stop(self, port: int) -> None:
        """A port is closed: who sends there is refused by ICMP; by nothing, over SCTP."""
        sock = self.members.pop(port)
        if isinstance(sock, associations.Endpoint):
            sock.close()
            return
        with contextlib.suppress(OSError):  # wakes the thread that waits for a datagram; without it the port stays open
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def apply(self, *services: datagrams.Service, checked_alike: bool = True) -> str:
        """Have them served, as a push does; over SCTP where this site is of it, and `checked_alike` instead of by datagrams."""
        self.generation += 1
        if self.transport == "sctp":
            kinds = {"UDP-CONNECT": "SCTP"} if checked_alike else {}
            checks = [one.check and dataclasses.replace(one.check, type=kinds.get(one.check.type, one.check.type)) for one in services]
            services = tuple(dataclasses.replace(one, transport="sctp", check=check) for one, check in zip(services, checks, strict=True))
        text = datagrams.dump(services)
        wanted = rest.WantedState(load_balancer_id="l", generation=self.generation, programs={datagrams.NAME: text})
        self.program.refuse(text)
        self.program.check(text, wanted)
        return self.program.apply(text, wanted)

    def look(self) -> Any:
        """What an agent does once a second; the report."""
        state = self.program.ensure_running()
        self.program.tend()
        return self.program.report(state)

    def nft(self, *words: str) -> str:
        return self.indoors("nft", *words)

    def indoors(self, *command: str) -> str:
        return system.run(["ip", "netns", "exec", self.inside, *command])

    def outdoors(self, action: Callable[[], Any]) -> Any:
        return system.inside_namespace(self.outside, action)

    def client(self, version: int = 4, source: str | None = None, port: int = PORT, source_port: int = 0, within: float = 30.0) -> Any:
        """A new flow from an address, from a port that no flow had before: one that had would still be known, and go where that one went.

        An association is to be established `within` so many seconds.

        :raises OSError: of an association that is not established.
        """
        own = source_port or next(self._source_ports)
        if self.transport == "sctp":
            return self.outdoors(lambda: Association(source or OUTSIDE[version], own, VIP[version], port, within))
        sock: socket.socket = self.outdoors(lambda: _udp(version))
        sock.bind((source or OUTSIDE[version], own))
        sock.connect((VIP[version], port))
        sock.settimeout(min(within, _PATIENCE))
        return sock

    def flow(self, version: int = 4, source: str | None = None, **where: Any) -> int:
        """The port of the member that a new flow meets.

        :raises OSError: none.
        """
        with self.client(version, source, **where) as sock:
            return int(ask(sock)["port"])

    def _serve(self, sock: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                content, sender = sock.recvfrom(65536)
                if len(content) > 1:  # a check is one byte
                    self.heard[port] += 1
                    sock.sendto(json.dumps({"port": port, "peer": sender[0], "length": len(content)}).encode(), sender)

    def _answer(self, port: int, content: bytes, peer: associations.Peer) -> bytes:
        self.heard[port] += 1
        return json.dumps({"port": port, "peer": peer[0], "length": len(content)}).encode()

    def _clients(self) -> list[dict[int, str]]:
        return [{4: four, 6: six} for four, six in zip(CLIENTS[4], CLIENTS[6], strict=True)]


def _udp(version: int) -> socket.socket:
    return socket.socket(_family(version), socket.SOCK_DGRAM)


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def ask(sock: Any, size: int = 5) -> dict[str, Any]:
    """:raises OSError: no answer, or a refusal."""
    sock.send(b"x" * size)
    found: dict[str, Any] = json.loads(sock.recv(65536))
    return found


def member(port: int, weight: int = 1, version: int = 4, **fields: Any) -> datagrams.Member:
    where = {"address": OUTSIDE[version], "check_address": OUTSIDE[version], "check_port": port}
    return datagrams.Member(id=f"m-{port}", port=port, weight=weight, **{**where, **fields})


def service(*members: datagrams.Member, **fields: Any) -> datagrams.Service:
    fields = {"id": "l-1", "transport": "udp", "addresses": tuple(VIP.values()), "port": PORT, "pool_id": "p", **fields}
    return datagrams.Service(members=members, **fields)


@pytest.fixture
def transport() -> str:
    return "udp"


@pytest.fixture
def site(tmp_path: pathlib.Path, transport: str) -> Iterator[Site]:
    made = Site(tmp_path, transport)
    made.make()
    try:
        yield made
    finally:
        made.destroy()


@TRANSPORTS
@VERSIONS
def test_flows_are_shared_out_by_weight(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    assert site.apply(service(member(5001, version=version), member(5002, 3, version=version))) == "runtime"
    assert collections.Counter(site.flow(version) for _ in range(16)) == {5001: 4, 5002: 12}


@VERSIONS
def test_a_flow_stays_on_its_member_and_fragments_are_put_together(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    site.apply(service(member(5001, version=version), member(5002, version=version)))
    with site.client(version) as sock:
        assert len({ask(sock)["port"] for _ in range(10)}) == 1
        answer = ask(sock, size=4000)
    assert answer["length"] == 4000
    assert answer["peer"] == OWN[version], "so an answer finds its way back whatever the member's routes"


@TRANSPORTS
@pytest.mark.parametrize("algorithm", ["SOURCE_IP", "SOURCE_IP_PORT"])
@VERSIONS
def test_hashes_keep_clients_and_a_dead_member_moves_its_own_only(site: Site, version: int, algorithm: str) -> None:
    ports = (5001, 5002, 5003)
    site.start(*ports, version=version)
    some = [member(port, version=version) for port in ports]
    site.apply(service(*some, algorithm=algorithm))
    number = iter(range(20000, 30000))

    def everybody(begin: int = 20000) -> dict[tuple[str, int], int]:
        keys = [(source, begin + at) for at, source in enumerate(CLIENTS[version])]
        return {key: site.flow(version, key[0], source_port=key[1]) for key in keys}

    before = everybody()
    assert set(before.values()) == set(ports)
    if algorithm == "SOURCE_IP":
        assert set(everybody(31000).values()) == set(ports)
        assert [*everybody(32000).values()] == [*before.values()], "whatever port a client has"
    else:
        source = CLIENTS[version][0]
        assert {site.flow(version, source, source_port=next(number)) for _ in range(40)} == set(ports)
    site.apply(service(dataclasses.replace(some[0], enabled=False), *some[1:], algorithm=algorithm))
    after = everybody()
    assert 5001 not in after.values()
    assert {key for key in before if before[key] != after[key]} == {key for key in before if before[key] == 5001}
    site.apply(service(*some, algorithm=algorithm))
    system.run(["ip", "netns", "exec", site.inside, "conntrack", "-F"])
    assert everybody() == before


@VERSIONS
def test_a_member_that_dies_leaves_with_its_flows_and_comes_back(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    site.apply(service(member(5001, version=version), member(5002, version=version), check=CHECK))
    assert {site.flow(version) for _ in range(4)} == {5001, 5002}
    flows = [site.client(version) for _ in range(6)]
    victims = [sock for sock in flows if ask(sock)["port"] == 5001]
    assert victims
    site.stop(5001)

    def moved() -> bool:
        site.look()
        with contextlib.suppress(OSError):
            return all(ask(sock)["port"] == 5002 for sock in victims)
        return False

    eventually(moved, within=60)
    part = site.look()
    assert part.pools["p:l-1"] == {"status": "UP", "members": {"m-5001": "DOWN", "m-5002": "UP"}}
    site.start(5001, version=version)
    eventually(lambda: {site.flow(version) for _ in range(4)} == {5001, 5002}, within=60)
    for sock in flows:
        sock.close()


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_associations_with_a_member_that_dies_are_ended_and_begin_anew_elsewhere(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    site.apply(service(member(5001, version=version), member(5002, version=version), check=CHECK))
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "UP"}, within=60)
    flows = [site.client(version) for _ in range(4)]
    before = [ask(sock)["port"] for sock in flows]
    assert sorted(before) == [5001, 5001, 5002, 5002]
    site.stop(5001)
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "DOWN", "m-5002": "UP"}, within=60)
    eventually(
        lambda: {site.flow(version, within=_SHORT) for _ in range(4)} == {5002}, within=30
    )  # rules follow what is known within milliseconds
    for sock, port in zip(flows, before, strict=True):
        if port == 5002:
            assert ask(sock)["port"] == 5002
        else:
            with pytest.raises(ConnectionAbortedError, match="was aborted"):
                ask(sock)
        sock.close()
    site.start(5001, version=version)
    eventually(lambda: {site.flow(version, within=_SHORT) for _ in range(4)} == {5001, 5002}, within=60)


_BEGIN_NOTHING = (associations.Kind.HEARTBEAT, associations.Kind.HEARTBEAT_ACK, associations.Kind.SHUTDOWN_ACK)
"""What conntrack takes for the beginning of a flow all the same."""


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_what_begins_no_association_begins_no_flow(site: Site, version: int) -> None:
    site.start(5001, version=version)
    site.apply(service(member(5001, version=version)))
    site.indoors("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
    for port, kind in enumerate(_BEGIN_NOTHING, 50000):
        packet = sctp.Packet(port, PORT, 7, (sctp.Chunk(kind, bytes(8)),)).pack()
        with site.outdoors(lambda: socket.socket(_family(version), socket.SOCK_RAW, sctp.PROTOCOL)) as sock:
            sock.connect((VIP[version], 0))
            sock.settimeout(30)
            sock.send(packet)
            if version == 4:
                with pytest.raises(OSError, match="Protocol not available"):
                    sock.recv(100)
        assert f"sport={port} dport=53" not in site.indoors("conntrack", "-L", "-p", "sctp")
        assert site.flow(version, source_port=port) == 5001
    assert site.look().listeners["l-1"]["stats"]["total_connections"] == len(_BEGIN_NOTHING)


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_an_association_whose_flow_was_ended_is_aborted_whatever_comes_first(site: Site, version: int) -> None:
    site.start(5001, version=version)
    site.apply(service(member(5001, version=version)))
    for kind in _BEGIN_NOTHING:
        with site.client(version) as sock:
            assert ask(sock)["port"] == 5001
            site.indoors("conntrack", "-F")
            sock.say(kind)
            with pytest.raises(ConnectionAbortedError, match="was aborted"):
                ask(sock)


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_a_message_of_many_packets_arrives_over_sctp(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    site.apply(service(member(5001, version=version), member(5002, version=version)))
    with site.client(version) as sock:
        answers = [ask(sock, size=50_000) for _ in range(3)]
    assert {one["length"] for one in answers} == {50_000}
    assert len({one["port"] for one in answers}) == 1
    assert answers[0]["peer"] == OWN[version]


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_statistics_of_sctp_are_what_clients_sent_and_got(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    site.apply(service(member(5001, version=version), member(5002, version=version)))
    sources = CLIENTS[version][:3]
    flows = [site.client(version, source) for source in sources]
    for size, sock in enumerate(flows, 1):
        ask(sock, size * 3000)
    site.program._flows._next_at = 0.0
    assert site.look().listeners["l-1"]["stats"]["active_connections"] == 3
    for sock in flows:
        sock.end()

    def told() -> bool:
        found = site.look().listeners["l-1"]["stats"]
        sent, received = (sum(getattr(sock.endpoint, name) for sock in flows) for name in ("bytes_out", "bytes_in"))
        return (found["bytes_in"], found["bytes_out"], found["total_connections"]) == (sent, received, 3)

    eventually(told, within=60)
    for sock in flows:
        sock.close()


class _Liar:
    """What answers an INIT is made of a right answer by `lie`: None, and nothing comes."""

    def __init__(self, address: str, lie: Callable[[sctp.Packet], bytes | None]) -> None:
        self._address, self._lie = address, lie
        self.aborted = threading.Event()
        self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_RAW, sctp.PROTOCOL)
        self.sock.bind((address, 0))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                content, sender = self.sock.recvfrom(2048)
                heard = sctp.parse(content if ":" in self._address else content[20:])
                if heard.chunks[0].type == sctp.ABORT and heard.tag == 77:
                    self.aborted.set()
                if heard.chunks[0].type != sctp.INIT:
                    continue
                right = sctp.beginning(sctp.INIT_ACK, 77)
                answer = self._lie(sctp.Packet(heard.destination_port, heard.source_port, sctp.tag_of(heard.chunks[0]), (right,)))
                if answer is not None:
                    self.sock.sendto(answer, (sender[0], 0))


_LIES: dict[str, tuple[bool, Callable[[sctp.Packet], bytes | None]]] = {
    "INIT ACK": (True, lambda right: right.pack()),
    "ABORT": (False, lambda right: dataclasses.replace(right, chunks=(sctp.Chunk(sctp.ABORT),)).pack()),
    "nothing": (False, lambda _: None),
    "another's tag": (False, lambda right: dataclasses.replace(right, tag=right.tag ^ 1).pack()),
    "another port": (False, lambda right: dataclasses.replace(right, source_port=right.source_port + 1).pack()),
    "a wrong checksum": (False, lambda right: right.pack()[:8] + b"nope" + right.pack()[12:]),
    "a chunk that does not fit": (False, lambda right: right.pack()[:-8]),
    "no tag of its own": (False, lambda right: dataclasses.replace(right, chunks=(sctp.Chunk(sctp.INIT_ACK),)).pack()),
    "a header alone": (False, lambda right: dataclasses.replace(right, chunks=()).pack()),
    "DATA": (False, lambda right: dataclasses.replace(right, chunks=(sctp.Chunk(0, bytes(12)),)).pack()),
}


@pytest.mark.parametrize("transport", ["sctp"])
@pytest.mark.parametrize("lie", _LIES)
@VERSIONS
def test_only_an_init_ack_tells_that_a_member_of_sctp_is_there(site: Site, version: int, lie: str) -> None:
    good, answer = _LIES[lie]
    liar = site.outdoors(lambda: _Liar(OUTSIDE[version], answer))
    try:
        site.apply(service(member(5001, version=version), check=dataclasses.replace(CHECK, fall=1)))
        word = "UP" if good else "DOWN"
        eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": word}, within=60)
        assert not good or liar.aborted.wait(30), "a member keeps nothing of a check"
    finally:
        liar.sock.close()


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_a_machine_without_sctp_is_known_at_once(site: Site, version: int) -> None:
    """By ICMP: its kernel has no such protocol. The time-out of the check has no part in it."""
    slow = dataclasses.replace(CHECK, delay=60, timeout=50, fall=1)
    site.apply(service(member(5001, version=version), check=slow))
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "DOWN"}, within=30)


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_a_check_of_sctp_ends_in_time_whatever_comes_meanwhile(site: Site, version: int) -> None:
    """Another's tag, again and again."""
    lies: collections.deque[bytes] = collections.deque(maxlen=10)
    done = threading.Event()

    def chatter() -> None:
        while not done.wait(0.0005):
            for one in tuple(lies):
                liar.sock.sendto(one, (OWN[version], 0))

    liar = site.outdoors(lambda: _Liar(OUTSIDE[version], lambda right: lies.append(_LIES["another's tag"][1](right) or b"")))
    chatting = threading.Thread(target=chatter)
    chatting.start()
    try:
        some = [member(port, version=version) for port in range(5001, 5011)]
        site.apply(service(*some, check=dataclasses.replace(CHECK, fall=1)))
        eventually(lambda: set(site.look().pools["p:l-1"]["members"].values()) == {"DOWN"}, within=60)
        assert lies
        site.apply(service(*some))
        eventually(lambda: ":0084" not in site.indoors("cat", f"/proc/net/raw{'6' * (version == 6)}"), within=60)
    finally:
        done.set()
        chatting.join()
        liar.sock.close()


@pytest.mark.parametrize("transport", ["sctp"])
@VERSIONS
def test_refusals_of_some_ports_say_nothing_of_another_of_that_machine(site: Site, version: int) -> None:
    limit = {4: "net.ipv4.icmp_ratelimit", 6: "net.ipv6.icmp.ratelimit"}[version]
    refusing = "table inet t { chain c { type filter hook input priority 0; sctp dport 5002-5009 reject; }; }"
    for command in (["sysctl", "-qw", f"{limit}=0"], ["nft", "-f", "-"]):
        system.run(["ip", "netns", "exec", site.outside, *command], stdin=refusing)
    asked = threading.Semaphore(0)

    def answer_late(right: sctp.Packet) -> bytes:
        asked.release()
        time.sleep(0.9)  # others are asked, and refuse, within each second
        return right.pack()

    liar = site.outdoors(lambda: _Liar(OUTSIDE[version], answer_late))
    try:
        ports = range(5001, 5010)
        site.apply(service(*[member(port, version=version) for port in ports], check=dataclasses.replace(CHECK, timeout=20, fall=1)))
        expected = {f"m-{port}": "UP" if port == 5001 else "DOWN" for port in ports}
        eventually(lambda: site.look().pools["p:l-1"]["members"] == expected, within=60)
        for _ in range(5):
            assert asked.acquire(timeout=30)
            assert site.look().pools["p:l-1"]["members"] == expected
    finally:
        liar.sock.close()


def test_a_service_without_members_refuses_and_takes_its_clients_later(site: Site) -> None:
    site.start(5001)
    site.apply(service(member(5001, enabled=False)))
    with site.client() as sock:
        with pytest.raises(ConnectionRefusedError):
            ask(sock)
        site.apply(service(member(5001)))
        assert ask(sock)["port"] == 5001, "its flow to nobody has an end"
    assert site.look().pools["p:l-1"] == {"status": "UP", "members": {"m-5001": "no check"}}


def test_when_all_members_go_their_flows_are_ended_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = range(5001, 5011)
    site.start(*ports)
    site.apply(service(*[member(port) for port in ports]))
    flows = [site.client() for _ in ports]
    assert {ask(sock)["port"] for sock in flows} == set(ports)
    find, found = netlink.flows, []

    def watch(version: int) -> Iterator[netlink.Flow]:
        found.append(version)
        return find(version)

    monkeypatch.setattr(netlink, "flows", watch)
    site.apply(service(*[member(port, enabled=False) for port in ports]))
    assert found == [4, 6], "once for each version of IP, however many members went"
    assert "dport=53" not in system.run(["ip", "netns", "exec", site.inside, "conntrack", "-L", "-p", "udp"])
    with pytest.raises(ConnectionRefusedError):
        ask(flows[0])
    for sock in flows:
        sock.close()


def test_a_machine_that_is_away_is_found_out(site: Site) -> None:
    site.start(5001)
    away = member(5002, address=NOBODY[4], check_address=NOBODY[4])
    site.apply(service(member(5001), away, check=dataclasses.replace(CHECK, delay=3)))
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "DOWN"}, within=60)
    eventually(lambda: {site.flow() for _ in range(6)} == {5001}, within=60)  # rules follow what is known within milliseconds


@VERSIONS
def test_a_dead_member_is_found_out_below_many_listeners(site: Site, version: int) -> None:
    """Its machine refuses one sender once a second: ten listeners' checks, of two kinds, share what one of them hears."""
    site.start(5001, version=version)
    checks = [dataclasses.replace(CHECK, fall=3), dataclasses.replace(CHECK, fall=3, timeout=2)]
    listeners = [
        service(member(5001, version=version), id=f"l-{at}", port=60 + at, pool_id=f"p-{at}", check=checks[at % 2]) for at in range(10)
    ]
    site.apply(*listeners)
    eventually(lambda: {pool["status"] for pool in site.look().pools.values()} == {"UP"}, within=60)
    site.stop(5001)
    eventually(lambda: {pool["status"] for pool in site.look().pools.values()} == {"DOWN"}, within=60)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        assert {pool["status"] for pool in site.look().pools.values()} == {"DOWN"}, "and for good"
        time.sleep(0.2)


def test_dead_ports_of_one_machine_are_all_found_out_and_come_back(site: Site) -> None:
    ports = range(5001, 5009)
    site.start(*ports)
    site.apply(service(*[member(port) for port in ports], check=dataclasses.replace(CHECK, fall=3)))

    def up() -> set[str]:
        return {name for name, word in site.look().pools["p:l-1"]["members"].items() if word == "UP"}

    eventually(lambda: up() == {f"m-{port}" for port in ports}, within=60)
    for port in ports[:-1]:
        site.stop(port)
    eventually(lambda: up() == {"m-5008"}, within=60)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        assert up() == {"m-5008"}
        time.sleep(0.2)
    site.start(*ports[:-1])
    eventually(lambda: len(up()) == len(ports), within=60)


def test_what_a_client_of_one_listener_hears_counts_for_all_of_its_pool(site: Site) -> None:
    site.start(5001)
    slow = dataclasses.replace(CHECK, delay=3, timeout=2, fall=1)
    site.apply(*[service(member(5001), id=f"l-{at}", port=60 + at, pool_id=f"p-{at}", check=slow) for at in range(3)])
    with site.client(port=60) as sock:
        ask(sock)
        site.stop(5001)
        until = time.monotonic() + 3
        while time.monotonic() < until:  # so much that no refusal is left for a check
            with contextlib.suppress(OSError):
                sock.send(b"x" * 5)
            time.sleep(0.002)
        accused = site.program._refusing()
    assert accused == {(OUTSIDE[4], 5001)}
    site.program._checks.accuse(accused)
    eventually(lambda: {pool["status"] for pool in site.look().pools.values()} == {"DOWN"}, within=60)


def test_a_member_is_checked_by_the_way_that_there_is_now(site: Site) -> None:
    """No route at first; then the amphora's first network leads there; then it gets a NIC in the member's own."""
    far, near = "203.0.113.2", "203.0.113.1"
    seen: list[str] = []
    site.start(5001)
    system.run(["ip", "-n", site.outside, "address", "add", f"{far}/32", "dev", "lo"])

    def hear(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while sender := sock.recvfrom(2048)[1]:
                seen.append(sender[0])

    sock = site.outdoors(lambda: _udp(4))
    sock.bind((far, 5002))
    threading.Thread(target=hear, args=(sock,), daemon=True).start()
    site.members[5002] = sock
    away = member(5002, address=far, check_address=far)
    site.apply(service(away, check=CHECK))
    eventually(lambda: site.look().pools["p:l-1"]["status"] == "DOWN", within=60)
    assert not seen
    system.run(["ip", "-n", site.inside, "route", "add", "203.0.113.0/24", "via", OUTSIDE[4]])
    eventually(lambda: site.look().pools["p:l-1"]["status"] == "UP", within=60)
    assert set(seen) == {OWN[4]}
    system.run(["ip", "-n", site.outside, "link", "add", "own", "type", "veth", "peer", "name", "eth2", "netns", site.inside])
    system.run(["ip", "-n", site.inside, "route", "delete", "203.0.113.0/24"])
    for name, lines in (
        (site.outside, f"address delete {far}/32 dev lo\naddress add {far}/24 dev own\nlink set own up\n"),
        (site.inside, f"address add {near}/24 dev eth2\nlink set eth2 up\n"),
    ):
        system.run(["ip", "-n", name, "-batch", "-"], stdin=lines)
    eventually(lambda: seen[-1:] == [near], within=60)
    eventually(lambda: site.look().pools["p:l-1"]["status"] == "UP", within=60)
    site.stop(5002)
    eventually(lambda: site.look().pools["p:l-1"]["status"] == "DOWN", within=60)


@TRANSPORTS
@pytest.mark.parametrize("kind", [datagrams.HTTP, datagrams.TCP])
def test_members_are_checked_by_other_protocols_where_somebody_says_so(site: Site, kind: str) -> None:
    site.start(5001, 5002)
    _Health.answers = 200
    server = site.outdoors(lambda: http.server.ThreadingHTTPServer((OUTSIDE[4], 8080), _Health))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        check = HTTP_CHECK if kind == "HTTP" else dataclasses.replace(CHECK, type="TCP")
        site.apply(service(member(5001, check_port=8080), member(5002, check_port=8081), check=check))
        eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "DOWN"}, within=60)
        eventually(lambda: {site.flow(within=_SHORT) for _ in range(4)} == {5001}, within=60)
        if kind == "HTTP":
            _Health.answers = 503
            eventually(lambda: site.look().pools["p:l-1"]["status"] == "DOWN", within=60)
            _Health.answers = 203
            eventually(lambda: site.look().pools["p:l-1"]["status"] == "UP", within=60)
    finally:
        server.shutdown()
        server.server_close()


@TRANSPORTS
def test_nobody_goes_before_it_is_known_who_of_those_that_come_is_fit(site: Site) -> None:
    """One that comes is found dead at once; another one thinks about its health for a while."""
    site.start(5001, 5002)
    thinking = threading.Event()

    class Slow(_Health):
        def do_GET(self) -> None:
            thinking.wait(0.5)
            self.send_response(200)
            self.end_headers()

    with site.outdoors(lambda: http.server.ThreadingHTTPServer((OUTSIDE[4], 8080), Slow)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.apply(service(member(5001)))
        comes = service(member(5002, check_port=8080), member(5003, check_port=8081), check=HTTP_CHECK)
        with futures.ThreadPoolExecutor(1) as pushes:
            push = pushes.submit(site.apply, comes)
            met = [site.flow(within=_SHORT) for _ in iter(push.done, True)]
            assert push.result() == "runtime"
        assert set(met) <= {5001, 5002}
        assert met.count(5001) > 1
        assert site.flow() == 5002
        thinking.set()
        server.shutdown()


@TRANSPORTS
@pytest.mark.parametrize("kind", [datagrams.UDP_CONNECT, datagrams.SCTP])
def test_members_are_checked_by_datagrams_and_by_sctp_whatever_they_serve(site: Site, kind: str) -> None:
    site.start(5001, 5002)
    check = dataclasses.replace(CHECK, type=kind)
    with contextlib.ExitStack() as stack:
        if kind == datagrams.SCTP:
            stack.enter_context(site.outdoors(lambda: associations.Endpoint(OUTSIDE[4], 8080, lambda content, _: content)))
        else:
            stack.enter_context(site.outdoors(lambda: _udp(4))).bind((OUTSIDE[4], 8080))
        site.apply(service(member(5001, check_port=8080), member(5002, check_port=8081), check=check), checked_alike=False)
        eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "DOWN"}, within=60)
        eventually(lambda: {site.flow(within=_SHORT) for _ in range(4)} == {5001}, within=60)
    eventually(lambda: site.look().pools["p:l-1"]["status"] == "DOWN", within=60)


@TRANSPORTS
def test_a_drained_member_keeps_its_flows_and_gets_no_new_ones(site: Site) -> None:
    site.start(5001, 5002)
    site.apply(service(member(5001), member(5002)))
    flows = [site.client() for _ in range(4)]
    before = [ask(sock)["port"] for sock in flows]
    assert set(before) == {5001, 5002}
    site.apply(service(member(5001, 0), member(5002)))
    assert [ask(sock)["port"] for sock in flows] == before
    assert {site.flow() for _ in range(6)} == {5002}
    site.apply(service(member(5002)))
    for sock, port in zip(flows, before, strict=True):
        if site.transport == "udp" or port == 5002:
            assert ask(sock)["port"] == 5002, "of a member that is removed nothing is left"
        else:
            with pytest.raises(ConnectionAbortedError, match="was aborted"):
                ask(sock)
        sock.close()


@TRANSPORTS
def test_backups_serve_while_nobody_else_does(site: Site) -> None:
    site.start(5001, 5002, 5003)
    first, second, backup = member(5001), member(5002), member(5003, backup=True)
    site.apply(service(first, second, backup))
    assert {site.flow() for _ in range(6)} == {5001, 5002}
    off = [dataclasses.replace(one, enabled=False) for one in (first, second)]
    site.apply(service(*off, backup))
    assert {site.flow() for _ in range(4)} == {5003}
    site.apply(service(first, off[1], backup))
    assert {site.flow() for _ in range(4)} == {5001}


@TRANSPORTS
@VERSIONS
def test_clients_are_held_by_their_network_until_they_are_silent(site: Site, version: int) -> None:
    ports = tuple(range(5001, 5007))
    site.start(*ports, version=version)
    held = datagrams.Persistence(timeout=3, prefix4=25, prefix6=120)
    some = [member(port, version=version) for port in ports]
    site.apply(service(*some, persistence=held))
    alike = CLIENTS[version][:20]
    assert len({site.flow(version, source) for source in alike}) == 1, "addresses of one network are one client"
    home = site.flow(version, alike[0])
    others = [one for one in some if one.port != home]
    site.apply(service(*others, persistence=held))
    refuge = site.flow(version, alike[0])
    assert refuge != home
    site.apply(service(*some, persistence=held))
    for _ in range(6):  # longer than it would be held without a packet
        assert site.flow(version, alike[1]) == refuge, "who is held stays, though another member would be its by hash"
        time.sleep(0.7)
    time.sleep(3)
    assert site.flow(version, alike[0]) == home, "who was silent is forgotten"


@TRANSPORTS
def test_datagrams_of_one_flow_keep_its_client_held(site: Site) -> None:
    site.start(5001, 5002, 5003)
    held = datagrams.Persistence(timeout=3)
    some = [member(port) for port in (5001, 5002, 5003)]
    site.apply(service(*some, persistence=held))
    home = site.flow()
    site.apply(service(*[one for one in some if one.port != home], persistence=held))
    with site.client() as sock:
        refuge = ask(sock)["port"]
        site.apply(service(*some, persistence=held))
        for _ in range(6):
            ask(sock)
            time.sleep(0.7)
    assert site.flow() == refuge


@TRANSPORTS
def test_a_held_client_may_stay_on_a_drained_member_but_not_on_a_dead_one(site: Site) -> None:
    site.start(5001, 5002)
    held = datagrams.Persistence(timeout=60)
    site.apply(service(member(5001), member(5002), persistence=held))
    home = site.flow()
    site.apply(service(*[member(port, 0 if port == home else 1) for port in (5001, 5002)], persistence=held))
    assert site.flow() == home
    assert {site.flow(source=source) for source in CLIENTS[4][:8]} == {5001, 5002} - {home}
    site.apply(service(*[member(port, enabled=port != home) for port in (5001, 5002)], persistence=held))
    assert site.flow() != home


@VERSIONS
def test_statistics_are_exact(site: Site, version: int) -> None:
    site.start(5001, 5002, version=version)
    some = (member(5001, version=version), member(5002, version=version))
    site.apply(service(*some))
    sent = received = 0
    flows = [site.client(version) for _ in range(5)]
    for turn, sock in enumerate(flows * 4):
        size = 10 + turn
        sock.send(b"x" * size)
        sent += size + HEADERS[version]
        received += len(sock.recv(65536)) + HEADERS[version]
    expected = {
        "bytes_in": sent,
        "bytes_out": received,
        "active_connections": 5,
        "total_connections": 5,
        "request_errors": 0,
    }
    site.program._flows._next_at = 0.0
    assert site.look().listeners["l-1"] == {"status": "OPEN", "stats": expected}
    site.apply(service(*some, algorithm="SOURCE_IP"))
    site.apply(service(*some, most_flows=1000))
    site.begin()
    site.program._flows._next_at = 0.0
    assert site.look().listeners["l-1"]["stats"] == expected, "over changes and another agent"
    site.nft("delete", "table", "inet", "figlina")
    state = site.program.ensure_running()
    assert state == programs.RUNS
    again = site.look().listeners["l-1"]["stats"]
    assert (again["bytes_in"], again["bytes_out"], again["total_connections"]) == (sent, received, 5), "and if somebody took the rules away"
    assert {site.flow(version) for _ in range(6)} >= {5001, 5002}
    for sock in flows:
        sock.close()


def test_of_members_that_came_and_went_little_is_kept_and_nothing_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What autoscaling does to a listener; in the middle the agent is another one, which knows nothing of who went before."""
    monkeypatch.setattr(netfilter, "GONE", 4)
    site.start(5001)
    stays, sent, nft = dataclasses.replace(member(5001), id="stays"), 0, netfilter.Netfilter._nft

    def forgets_nothing(program: netfilter.Netfilter, lines: Sequence[str], *options: str) -> str:
        if any(line.startswith("delete element") for line in lines):
            raise system.CommandFailed([], 1, "out of memory")
        return nft(program, lines, *options)

    def told(name: str) -> Sequence[int]:
        site.program._members_at = 0.0
        return site.look().counts.get(name, [0] * 5)  # type: ignore[no-any-return]

    for number in range(20):
        goes = dataclasses.replace(stays, id=f"m-{number}", weight=int(number > 0))
        site.apply(service(dataclasses.replace(stays, weight=1 - goes.weight), goes))
        size = 10 + number
        with site.client() as sock:
            ask(sock, size)
        sent += size + HEADERS[4]
        assert (told("p")[0], told("stays")[0]) == (sent, 10 + HEADERS[4])
        if number == 8:
            monkeypatch.setattr(netfilter.Netfilter, "_nft", forgets_nothing)
        if number == 12:
            monkeypatch.undo()
            monkeypatch.setattr(netfilter, "GONE", 4)
            site.program.save()
            site.begin()
    for name in datagram_rules.member_sets("l-1"):
        assert site.nft("list", "set", *datagram_rules.TABLE.split(), name).count(" counter packets ") <= 2 + 4 + 1, name
    assert sum(len({*names.values()}) for _, names in site.program._marked.values()) <= 2 + 4 + 1
    assert len(site.program._members._last[netfilter._kernel()]) <= 2 + 4 + 1


@TRANSPORTS
def test_a_listener_takes_no_more_flows_than_its_limit(site: Site) -> None:
    site.start(5001)
    site.apply(service(member(5001), most_flows=3))
    flows = [site.client() for _ in range(3)]
    assert [ask(sock)["port"] for sock in flows] == [5001] * 3
    with pytest.raises(OSError):  # a time-out
        site.flow(within=_SHORT)
    assert [ask(sock)["port"] for sock in flows] == [5001] * 3
    site.program._flows._next_at = 0.0
    assert site.look().listeners["l-1"]["status"] == "FULL"
    site.apply(service(member(5001)))
    assert site.flow() == 5001
    for sock in flows:
        sock.close()


@TRANSPORTS
def test_new_flows_go_to_whoever_has_fewest(site: Site) -> None:
    site.start(5001, 5002)
    site.apply(service(member(5001), algorithm="LEAST_CONNECTIONS"))
    flows = [site.client() for _ in range(8)]
    assert {ask(sock)["port"] for sock in flows} == {5001}
    site.apply(service(member(5001), member(5002), algorithm="LEAST_CONNECTIONS"))
    site.program._flows._next_at = 0.0
    site.look()
    assert [site.flow() for _ in range(6)] == [5002] * 6
    for sock in flows:
        sock.close()


def test_listeners_come_change_and_go_without_a_trace(site: Site) -> None:
    site.start(5001, 5002)
    one = service(member(5001))
    two = service(member(5002), id="l-2", port=54, pool_id="q", persistence=datagrams.Persistence(timeout=5), most_flows=10, check=CHECK)
    site.apply(one, two)
    assert (site.flow(), site.flow(port=54)) == (5001, 5002)
    assert site.apply(one, two) == "none"
    site.apply(dataclasses.replace(two, port=55))
    assert site.flow(port=55) == 5002
    for port in (53, 54):
        with pytest.raises(ConnectionRefusedError):
            site.flow(port=port)
    assert "l_1" not in site.nft("list", "ruleset")
    site.program.stop()
    assert site.nft("list", "ruleset") == ""
    assert not site.program.configured
    assert not _forwards(site)


@TRANSPORTS
@pytest.mark.parametrize("algorithm", ["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP_PORT"])
@pytest.mark.parametrize("held", [None, datagrams.Persistence(timeout=60)])
def test_listeners_of_one_pool_serve_and_go_each_for_itself(site: Site, algorithm: str, held: datagrams.Persistence | None) -> None:
    ports = iter(range(30000, 40000))  # known ones, so that hashes are the same each time

    def some(*members: int) -> list[datagrams.Service]:
        of_pool = {"algorithm": algorithm, "persistence": held, "check": CHECK}
        return [service(*map(member, members), id=f"l-{at}", port=PORT + at, **of_pool) for at in (1, 2, 3)]

    def met(at: int, begin: int = 0) -> set[int]:
        return {site.flow(port=PORT + at, source=source, source_port=next(ports)) for source in CLIENTS[4][begin : begin + 20]}

    site.start(5001, 5002, 5003)
    assert site.apply(*some(5001, 5002)) == "runtime"
    assert [met(at) for at in (1, 2, 3)] == [{5001, 5002}] * 3
    with site.client(port=PORT + 3) as stays:
        first = ask(stays)["port"]
        site.apply(*some(5001, 5002)[1:])  # the first one goes, by whose members the others went
        assert [met(at) for at in (2, 3)] == [{5001, 5002}] * 2
        with pytest.raises(OSError):
            site.flow(port=PORT + 1, within=_SHORT)
        site.apply(*some(5001, 5002, 5003))
        assert all(5003 in met(at, begin=20) for at in (1, 2, 3))
        assert ask(stays)["port"] == first
    site.members.pop(5003).close()
    eventually(lambda: not any(5003 in met(at, begin=20) for at in (1, 2, 3)), within=60)
    site.apply(some(5002)[2])
    assert met(3) == {5002}
    assert "l_1" not in site.nft("list", "ruleset")


def test_what_the_kernel_refuses_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.start(5001)
    site.apply(service(member(5001)))
    monkeypatch.setattr(datagram_rules, "rules", lambda *_: ["add rule inet figlina nowhere accept"])
    with pytest.raises(errors.ConfigRefused, match="nft refused"):
        site.apply(service(member(5001), algorithm="SOURCE_IP"))
    monkeypatch.undo()
    assert site.flow() == 5001
    assert site.apply(service(member(5001))) == "none"


@pytest.mark.parametrize("failing", ["nft", "flows"])
def test_what_could_not_be_followed_at_once_is_followed_within_a_second(site: Site, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    site.start(5001, 5002)
    site.apply(service(member(5001), member(5002), check=dataclasses.replace(CHECK, fall=1)))
    flows = [site.client() for _ in range(4)]
    assert {ask(sock)["port"] for sock in flows} == {5001, 5002}
    run, failed = system.run, threading.Event()

    def fail_once(command: Sequence[str], *args: Any, **options: Any) -> str:
        dead = not site.program._checks.states()["l-1", "m-5001"]
        if dead and not failed.is_set() and failing in command and threading.current_thread().name == "members-changed":
            failed.set()
            raise system.NotRun(command, 124, "gave no answer")
        return run(command, *args, **options)

    find = netlink.flows

    def fail_to_find_once(version: int) -> Iterator[netlink.Flow]:
        if not site.program._checks.states()["l-1", "m-5001"] and not failed.is_set():
            failed.set()
            raise OSError(105, "No buffer space available")
        return find(version)

    if failing == "nft":
        monkeypatch.setattr(system, "run", fail_once)
    else:
        monkeypatch.setattr(netlink, "flows", fail_to_find_once)
    site.stop(5001)
    assert failed.wait(20)
    site.look()
    assert {site.flow() for _ in range(4)} == {5002}
    assert {ask(sock)["port"] for sock in flows} == {5002}
    for sock in flows:
        sock.close()


@pytest.mark.parametrize(
    "event", ["stop", "stop, and nft fails", "stop, and no flow can be ended", "the table is gone", "the table is gone, and nft fails"]
)
def test_nothing_is_forwarded_while_no_table_says_what_may_pass(site: Site, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    site.start(5001)
    site.apply(service(member(5001)))
    what, _, failing = event.partition(", and ")
    run, seen = system.run, []

    def watch(command: Sequence[str], *args: Any, **options: Any) -> str:
        if failing and failing.split()[0] in command:
            raise system.NotRun(command, 124, "gave no answer")
        answer = run(command, *args, **options)
        seen.append((_forwards(site), "inet figlina" in run(["ip", "netns", "exec", site.inside, "nft", "list", "tables"])))
        return answer

    def refuse(_: int) -> Iterator[netlink.Flow]:
        raise OSError(105, "No buffer space available")

    assert _forwards(site)
    if what != "stop":
        site.nft("delete", "table", "inet", "figlina")
    with monkeypatch.context() as patch:
        patch.setattr(system, "run", watch)
        if failing == "no flow can be ended":
            patch.setattr(netlink, "flows", refuse)
        if what != "stop":
            assert site.program.ensure_running() == (programs.DOWN if failing else programs.RUNS)
        elif failing == "nft fails":
            with pytest.raises(system.CommandFailed):
                site.program.stop()
        else:
            site.program.stop()
    assert (True, False) not in seen
    assert _forwards(site) is (event == "the table is gone")
    if failing == "no flow can be ended":
        assert not site.program.configured
    elif what != "stop" or failing:
        site.look()
        assert site.flow() == 5001
        assert _forwards(site)


def test_who_forwards_no_more_heeds_no_redirects(site: Site) -> None:
    """Neighbours would say where members are."""
    site.apply(service(member(5001)))
    site.program.stop()
    assert not _forwards(site)
    assert site.indoors("cat", "/proc/sys/net/ipv4/conf/all/accept_redirects") == "0\n"


def test_rules_serve_on_where_nobody_knows_what_members_have_had(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(table: str, name: str) -> None:
        raise OSError(105, "No buffer space available")

    site.start(5001)
    site.apply(service(member(5001)))
    with monkeypatch.context() as patch:
        patch.setattr(netlink, "counted_elements", refuse)
        site.program._members_at = 0.0
        assert site.look().listeners["l-1"]["status"] == "OPEN"
    assert site.program._record.show({datagrams.NAME: programs.RUNS})[datagrams.NAME]["died"] == 0
    assert site.flow() == 5001


def _forwards(site: Site) -> bool:
    return system.inside_namespace(site.inside, lambda: pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text()) == "1\n"


def test_what_is_not_installed_is_named_and_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    there = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nft" else there(name))
    with pytest.raises(errors.ProgramFailed, match=r"^nft can't be run: it is not installed"):
        site.apply(service(member(5001)))
    assert not site.program.configured


@pytest.mark.parametrize("transport", ["sctp"])
@pytest.mark.parametrize("option", [True, False])
def test_whether_the_kernel_tracks_sctp_is_asked_when_tracking_is_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, option: bool
) -> None:
    """Where it is a module, rules that go by it load it: there is no such setting before."""
    run = system.run

    def load(command: Sequence[str], *args: Any, **options: Any) -> str:
        answer = run(command, *args, **options)
        if option and "nft" in command:
            (tmp_path / "setting").touch()
        return answer

    monkeypatch.setattr(netfilter, "_SCTP", tmp_path / "setting")
    monkeypatch.setattr(system, "run", load)
    if option:
        assert site.apply(service(member(5001))) == "runtime"
    else:
        with pytest.raises(errors.ConfigRefused) as caught:
            site.apply(service(member(5001)))
        assert "CONFIG_NF_CT_PROTO_SCTP" in caught.value.details
        assert not site.program.configured


def test_an_agent_that_begins_goes_by_what_the_former_one_knew(site: Site) -> None:
    site.start(5001)
    site.apply(service(member(5001), member(5002), check=dataclasses.replace(CHECK, delay=30)))
    eventually(lambda: len(json.loads((site.folder / "datagrams-members.json").read_text())) == 2, within=60)
    assert {site.flow() for _ in range(4)} == {5001}
    site.begin()
    assert site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "DOWN"}
    assert {site.flow() for _ in range(4)} == {5001}


@pytest.mark.parametrize("written_down", [True, False])
def test_an_agent_that_begins_takes_out_nobody_whose_checks_changed_nothing(site: Site, written_down: bool) -> None:
    site.start(5001, 5002)
    both = (member(5001), member(5002))
    site.apply(service(*both))
    flows = [site.client() for _ in range(4)]
    before = [ask(sock)["port"] for sock in flows]
    site.apply(service(*both, check=dataclasses.replace(CHECK, delay=30)))
    if not written_down:
        (site.folder / "datagrams-members.json").unlink()
    site.begin()
    for _ in range(3):
        site.look()
        assert {site.flow() for _ in range(4)} == {5001, 5002}
    assert [ask(sock)["port"] for sock in flows] == before
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "UP"}, within=60)
    assert [ask(sock)["port"] for sock in flows] == before
    eventually(lambda: len(json.loads((site.folder / "datagrams-members.json").read_text())) == 2, within=60)
    for sock in flows:
        sock.close()


def test_what_another_version_of_the_agent_was_told_serves_on_until_something_is_said(site: Site) -> None:
    site.start(5001, 5002)
    checked = service(member(5001), member(5002), check=CHECK)
    site.apply(checked)
    with site.client() as sock:
        before = ask(sock)["port"]
        config = site.folder / "datagrams.json"
        config.write_text(config.read_text().replace('"port"', '"gate"'))
        with pytest.raises(rest.Malformed):
            datagrams.parse(config.read_text())
        site.begin()
        for _ in range(3):
            site.look()
            assert site.program.ensure_running() == programs.RUNS
            assert ask(sock)["port"] == before
            assert {site.flow() for _ in range(4)} == {5001, 5002}
        assert site.apply(checked) == "runtime"
        assert ask(sock)["port"] == before
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP", "m-5002": "UP"}, within=60)


@pytest.mark.parametrize("understood", [True, False])
def test_what_the_kernel_refuses_puts_back_what_was_there(site: Site, monkeypatch: pytest.MonkeyPatch, understood: bool) -> None:
    site.start(5001)
    site.apply(service(member(5001)))
    if not understood:
        (site.folder / "datagrams.json").write_text("nonsense")
        site.begin()
    kept = (site.folder / "datagrams.json").read_text()
    other = service(member(5001), algorithm="SOURCE_IP")
    wanted = rest.WantedState(load_balancer_id="l", generation=9, programs={datagrams.NAME: datagrams.dump((other,))})
    with monkeypatch.context() as patch:
        patch.setattr(datagram_rules, "rules", lambda *_: ["add rule inet figlina nowhere accept"])
        with pytest.raises(errors.ConfigRefused, match="nft refused"):
            site.program.apply(wanted.programs[datagrams.NAME], wanted)
    assert (site.folder / "datagrams.json").read_text() == kept
    site.look()
    assert site.flow() == 5001
    assert site.program.apply(wanted.programs[datagrams.NAME], wanted) == "runtime"
    assert site.flow() == 5001


def test_the_amphora_forwards_nothing_else(site: Site) -> None:
    site.start(5001)
    site.apply(service(member(5001)))
    other = f"{site.outside}x"
    system.run(["ip", "netns", "add", other])
    try:
        system.run(["ip", "-n", other, "link", "add", "far", "type", "veth", "peer", "name", "eth2", "netns", site.inside])
        for name, lines in (
            (other, "link set far up\naddress add 203.0.113.2/24 dev far\nroute add default via 203.0.113.1\n"),
            (site.inside, "link set eth2 up\naddress add 203.0.113.1/24 dev eth2\n"),
            (site.outside, f"route add 203.0.113.0/24 via {OWN[4]}\n"),
        ):
            system.run(["ip", "-n", name, "-batch", "-"], stdin=lines)
        with pytest.raises(system.CommandFailed):
            system.run(["ip", "netns", "exec", site.outside, "ping", "-c", "1", "-W", "1", "203.0.113.2"])
        assert "1 received" in system.run(["ip", "netns", "exec", site.outside, "ping", "-c", "1", "-W", "20", "203.0.113.1"])
        assert site.flow() == 5001
    finally:
        system.run(["ip", "netns", "delete", other])


def _seen(version: int, *ports: int, **fields: Any) -> datagrams.Service:
    """A service with members behind the amphora, who see their clients' addresses."""
    where: dict[str, Any] = {"address": BEHIND[version], "check_address": BEHIND[version]}
    some = [member(port, version=version, **where) for port in ports]
    return service(*some, **{"preserve_client_ip": True, "subnets": SUBNETS, "check": CHECK, **fields})


@TRANSPORTS
@VERSIONS
def test_a_member_sees_its_clients_as_long_as_that_is_asked_for(site: Site, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows that were translated otherwise end at once, and what members have had is counted on, also by another agent, and where those
    are forgotten that are gone.
    """
    site.make_behind()
    site.start(5001, version=version, behind=True)
    seen, source = _seen(version, 5001, check=dataclasses.replace(CHECK, delay=30)), CLIENTS[version][0]
    masked = dataclasses.replace(seen, preserve_client_ip=False, subnets=())
    site.apply(masked)
    eventually(lambda: site.look().pools["p:l-1"]["members"] == {"m-5001": "UP"}, within=60)
    sock = site.client(version, source)
    assert ask(sock)["peer"] == GATEWAY[version]
    for one, peer in ((seen, source), (masked, GATEWAY[version]), (seen, source)):
        site.apply(one)
        if site.transport == "sctp":
            with pytest.raises(ConnectionAbortedError, match="was aborted"):
                ask(sock)
            sock.close()
            sock = site.client(version, source)
        assert [ask(sock)["peer"] for _ in range(2)] == [peer, peer]
    assert site.look().pools["p:l-1"]["members"] == {"m-5001": "UP"}
    for event in ("nothing", "another agent", "forgetting"):
        if event == "another agent":
            site.begin()
        if event == "forgetting":
            monkeypatch.setattr(netfilter, "GONE", -5)
        site.program._members_at = 0.0
        site.look()
        site.program._members_at = 0.0
        site.program.ensure_running()
        counts = site.look().counts
        flows = heartbeat.COUNTERS.index("total_connections")
        assert (counts["m-5001"], counts["p"][flows]) == (counts["p"], 4)
        assert site.look().listeners["l-1"]["stats"]["total_connections"] == 4
    sock.close()


def test_flows_of_before_end_though_the_agent_died_before_it_had_ended_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.make_behind()
    site.start(5001, behind=True)
    seen = _seen(4, 5001, check=None)
    site.apply(dataclasses.replace(seen, preserve_client_ip=False, subnets=()))
    with site.client() as sock:
        assert ask(sock)["peer"] == GATEWAY[4]
        with monkeypatch.context() as patch:
            patch.setattr(flows.Flows, "look", lambda *_, **__: None)
            site.apply(seen)
            assert ask(sock)["peer"] == GATEWAY[4]
        site.begin()
        site.look()
        assert ask(sock)["peer"] == OUTSIDE[4]


@TRANSPORTS
@VERSIONS
def test_a_client_beside_its_member_is_answered_by_way_of_the_amphora(site: Site, version: int) -> None:
    site.make_behind()
    site.start(5001, version=version, behind=True)
    site.apply(_seen(version, 5001, check=None))
    with system.inside_namespace(site.behind, lambda: _client_beside(site, version)) as sock:
        assert ask(sock)["peer"] == GATEWAY[version]
    with site.client(version) as sock:
        assert ask(sock)["peer"] == OUTSIDE[version]


def _client_beside(site: Site, version: int) -> Any:
    if site.transport == "sctp":
        return Association(BEHIND[version], 40_999, VIP[version], PORT, 30.0)
    sock = _udp(version)
    sock.bind((BEHIND[version], 40_999))
    sock.connect((VIP[version], PORT))
    sock.settimeout(_PATIENCE)
    return sock


@VERSIONS
def test_where_nics_guard_themselves_answers_of_members_pass_in_whosever_name_they_were_asked(site: Site, version: int) -> None:
    site.make_behind()
    site.start(5001, version=version, behind=True)
    site.apply(_seen(version, 5001, check=None))
    admitted = {"eth1": (rest.Admission("udp", PORT),), "eth2": ()}
    nics = [rest.Interface(mac="02:00:00:00:00:01", name=name, mtu=1500, addresses=(), admits=some) for name, some in admitted.items()]
    system.run(["ip", "netns", "exec", site.inside, "nft", "-f", "-"], stdin=admission.script(nics))
    with site.client(version) as sock:
        assert ask(sock)["peer"] == OUTSIDE[version]


@VERSIONS
def test_a_member_sends_nothing_to_clients_that_did_not_ask_it(site: Site, version: int) -> None:
    """Nor does anybody else, in whatever name; the amphora is no router, though it forwards."""
    site.make_behind()
    site.start(5001, version=version, behind=True)
    site.apply(_seen(version, 5001, check=None))
    with site.client(version) as asked, site.outdoors(lambda: _udp(version)) as hears:
        assert ask(asked)["peer"] == OUTSIDE[version]
        hears.bind((OUTSIDE[version], 40_000))
        hears.settimeout(0.5)
        system.run(["ip", "-n", site.outside, "route", "add", BEHIND[version], "via", OWN[version]])
        with system.inside_namespace(site.behind, lambda: _udp(version)) as other, site.outdoors(lambda: _udp(version)) as intruder:
            other.bind((BEHIND[version], 5002))
            other.settimeout(0.5)
            for sender in (site.members[5001], other):
                for port in (40_000, asked.getsockname()[1]):
                    if (sender, port) != (site.members[5001], asked.getsockname()[1]):
                        sender.sendto(b"unasked", (OUTSIDE[version], port))  # type: ignore[union-attr]
            for port in (5001, 5002):
                intruder.sendto(b"intruding", (BEHIND[version], port))
            with pytest.raises(TimeoutError):
                hears.recv(100)
            with pytest.raises(TimeoutError):
                other.recv(100)
        assert site.heard[5001] == 1
        asked.settimeout(0.1)
        with pytest.raises(TimeoutError):
            asked.recv(100)


@pytest.mark.parametrize("guarded", [False, True])
def test_connections_are_tracked_only_where_what_may_come_in_goes_by_it(site: Site, guarded: bool) -> None:
    site.start(5001)
    if guarded:
        site.nft("add", "table", "inet", admission.TABLE)
    site.apply(service(member(5001)))
    assert site.flow() == 5001
    server = system.inside_namespace(site.inside, lambda: socket.create_server((OWN[4], 7000)))
    with server, site.outdoors(lambda: socket.create_connection((OWN[4], 7000), 2)):
        assert ("dport=7000" in system.run(["ip", "netns", "exec", site.inside, "conntrack", "-L"])) is guarded
    if guarded:
        site.nft("delete", "table", "inet", admission.TABLE)


@pytest.mark.parametrize("how", ["a look", "the same push again"])
def test_a_nic_that_is_guarded_later_lets_answers_to_connections_in(site: Site, how: str) -> None:
    site.start(5001)
    site.apply(service(member(5001)))
    server = site.outdoors(lambda: socket.create_server((OUTSIDE[4], 7000)))

    def connects() -> bool:
        with contextlib.suppress(OSError):
            system.inside_namespace(site.inside, lambda: socket.create_connection((OUTSIDE[4], 7000), 1)).close()
            return True
        return False

    guarding = admission.script([rest.Interface(mac="02:f1:00:00:00:02", name="eth1", mtu=1500, addresses=(), vips=(), admits=())])
    text = datagrams.dump((service(member(5001)),))
    wanted = rest.WantedState(load_balancer_id="l", generation=1, programs={datagrams.NAME: text})
    with server:
        for script, tracks in ((guarding, True), (admission.script(()), False)):
            system.run(["ip", "netns", "exec", site.inside, "nft", "-f", "-"], stdin=script)
            if how == "a look":
                site.look()
            else:
                assert not site.program.runs(text, wanted)
                assert site.apply(service(member(5001))) == "runtime"
            assert site.program.runs(text, wanted)
            assert connects()
            assert ("notrack" in site.nft("list", "chain", "inet", "figlina", "untracked_in")) is not tracks


def test_two_hundred_members_are_served_and_replaced(site: Site) -> None:
    ports = range(6000, 6200)
    site.start(*ports)
    site.apply(service(*[member(port) for port in ports]))
    flows = [site.client() for _ in ports]
    assert {ask(sock)["port"] for sock in flows} == set(ports)
    for sock in flows:
        sock.close()
    site.apply(service(*[member(port, 1 + port % 256) for port in ports[100:]], algorithm="SOURCE_IP"))
    assert {site.flow(source=source) for source in CLIENTS[4]} <= set(ports[100:])


def test_flows_of_many_dead_members_are_ended_in_one_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = range(6000, 6150)  # more than one call to the kernel ends
    site.start(*ports)
    site.apply(service(*[member(port) for port in ports]))
    flows = [site.client() for _ in ports]
    assert {ask(sock)["port"] for sock in flows} == set(ports)
    find = netlink.flows
    looks: list[int] = []

    def flows_of(version: int) -> Any:
        looks.append(version)
        return find(version)

    monkeypatch.setattr(netlink, "flows", flows_of)
    site.apply(service(member(6000), *[member(port, enabled=False) for port in ports[1:]]))
    assert looks == [4, 6]
    assert {ask(sock)["port"] for sock in flows} == {6000}
    for sock in flows:
        sock.close()
