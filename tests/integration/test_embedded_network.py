"""The embedded network's packet filter, with real packets between namespaces of this test."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest

from controller.embedded import bridge, linux, networking
from controller.model import load_balancer as model
from controller.model.network import AccessRule, Network, Port, VipRequest

pytestmark = [pytest.mark.integration, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")]

PATIENCE, DROPPED = 10.0, 0.5  # seconds to wait for what must come, and for what must not

ANSWER_TCP = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    connection.close()
"""
ANSWER_UDP = """
import socket, sys
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, sender = server.recvfrom(9000)
    server.sendto(data, sender)
"""
ASK_TCP = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[4]), source_address=(sys.argv[3], 0)) as connection:
    assert connection.recv(100) == b"hello"
"""
ASK_UDP = """
import socket, sys
client = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
client.bind((sys.argv[3], 0))
client.settimeout(float(sys.argv[4]))
client.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
assert client.recv(100) == b"hello"
"""

PING = """
import socket, struct, sys
six = ":" in sys.argv[1]
protocol, ask, answered, place = (socket.IPPROTO_ICMPV6, 128, 129, 0) if six else (socket.IPPROTO_ICMP, 8, 0, 20)
client = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, protocol)
client.settimeout(float(sys.argv[3]))
if sys.argv[2]:
    client.bind((sys.argv[2], 0))
client.connect((sys.argv[1], 0))
client.send(struct.pack("!BBHHH", ask, 0, 0 if six else 0xF7FE, 0, 1))
while client.recv(100)[place] != answered:
    pass
"""
LIE = """
import socket, struct, sys
mine, theirs, mac = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3].replace(":", ""))
if ":" in theirs:
    packed = socket.inet_pton(socket.AF_INET6, theirs)
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    index = socket.if_nametoindex("eth0")
    raw.bind((mine, 0, 0, index))
    raw.sendto(struct.pack("!BBHI", 136, 0, 0, 0x20000000) + packed + struct.pack("!BB", 2, 1) + mac, ("ff02::1", 0, 0, index))
else:
    packed = socket.inet_pton(socket.AF_INET, theirs)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    link.bind(("eth0", 0x0806))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + packed + bytes.fromhex("ff" * 6) + packed
    link.send(bytes.fromhex("ff" * 6) + mac + struct.pack("!H", 0x0806) + body)
"""
HEAR_VRRP = """
import socket, sys
receiver = socket.socket(socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET, socket.SOCK_RAW, 112)
receiver.settimeout(float(sys.argv[1]))
print("ready", flush=True)
receiver.recv(100)
"""
SAY_VRRP = """
import socket, sys
socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_RAW, 112).sendto(bytes(20), (sys.argv[1], 0))
"""


class Playground:
    """A network with machines that are nothing but network namespaces."""

    def __init__(self, network: bridge.BridgeNetwork, prefix: str, version: int = 4) -> None:
        self.network = network
        self.version = version
        self.private = network.network_named("private") if version == 4 else _ipv6_network(network)
        self.prefix = prefix
        self._host = linux.Host()
        self._processes: list[subprocess.Popen[bytes]] = []

    def machine(self, name: str, port: Port, *more: str) -> str:
        """A namespace that holds a port, with the port's addresses and `more`."""
        namespace = f"{self.prefix}-{name}"
        linux.ensure_namespace(self._host, namespace)
        self._host.ip_batch(self.network.namespace, linux.cable_lines(port, namespace, "eth0"))
        addresses = [self.network.address_with_prefix(port), *more]
        lines = [f"address add {address} dev eth0" + (" nodad" if ":" in address else "") for address in addresses]
        self._host.ip_batch(namespace, ["link set eth0 up", *lines])
        return namespace

    def alone(self, address: str) -> str:
        """The range that holds one address only."""
        return f"{address}/{32 if self.version == 4 else 128}"

    @property
    def elsewhere(self) -> str:
        """A range in which no machine of a playground is."""
        return "192.0.2.0/24" if self.version == 4 else "2001:db8:2::/48"

    def tenant(self, name: str) -> tuple[str, str]:
        """A tenant's machine without a filter, and its address."""
        port = self.network.create_port(name, self.private.id, self.private.subnet_ids[0])
        return self.machine(name, port), port.fixed_ips[0].ip_address

    def serve(self, namespace: str, program: str, address: str, port: int) -> None:
        command = [*linux.enter(namespace), sys.executable, "-c", program, address, str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def asks(self, namespace: str, program: str, address: str, port: int, source: str, patience: float = PATIENCE) -> bool:
        """Does a machine get an answer?"""
        return self._succeeds(namespace, program, address, str(port), source, str(patience))

    def is_dropped(self, namespace: str, program: str, address: str, port: int, source: str) -> bool:
        """Does a machine get no answer, for as long as an answer would take many times over?"""
        return not self.asks(namespace, program, address, port, source, DROPPED)

    def pings(self, namespace: str, address: str, source: str = "", patience: float = PATIENCE) -> bool:
        """Does an echo come back?"""
        return self._succeeds(namespace, PING, address, source, str(patience))

    def ping_is_dropped(self, namespace: str, address: str, source: str = "") -> bool:
        """Does no echo come back?"""
        return not self.pings(namespace, address, source, DROPPED)

    def _succeeds(self, namespace: str, program: str, *arguments: str) -> bool:
        command = [*linux.enter(namespace), sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        for namespace in linux.namespaces(self.prefix + "-"):
            linux.delete_namespace(self._host, namespace)


def _ipv6_network(network: bridge.BridgeNetwork) -> Network:
    """A network of IPv6 alone, as a tenant makes one."""
    values = {"name": "six", "project_id": "project-1", "shared": False, "router:external": False, "mtu": 1500}
    made = network.tenants.create(networking.NETWORK, values)["id"]
    network.tenants.create(networking.SUBNET, {"name": "six", "network_id": made, "cidr": "fd00:f161::/64", "project_id": "project-1"})
    return network.get_network(made)


Open = Callable[[Sequence[AccessRule]], None]


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def playground(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[Playground]:
    yield from playground_of(tmp_path, port_security=True, version=request.param)


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def open_playground(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[Playground]:
    yield from playground_of(tmp_path, port_security=False, version=request.param)


def playground_of(tmp_path: pathlib.Path, port_security: bool, public_cidr: str | None = None, version: int = 4) -> Iterator[Playground]:
    """A network of its own for a test, and nothing of it afterwards."""
    prefix = f"figlina-t{os.getpid()}-{uuid.uuid4().hex[:6]}"
    network = bridge.BridgeNetwork(
        state_path=tmp_path,
        namespace_prefix=prefix,
        management_cidr="198.19.0.0/20",
        private_cidr="198.19.64.0/20",
        public_cidr=public_cidr,
        port_security=port_security,
    )
    network.install()
    made = Playground(network, prefix, version)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def vip(playground: Playground) -> model.Vip:
    return playground.network.allocate_vip("lb-1", "project-1", VipRequest(network_id=playground.private.id))


@pytest.fixture
def amphora(playground: Playground, vip: model.Vip) -> tuple[str, Port]:
    """A namespace with the VRRP port, which also holds the VIP."""
    port = playground.network.ensure_vrrp_port("amphora-1", "lb-1", vip)
    return playground.machine("amphora", port, playground.alone(vip.address)), port


@pytest.fixture
def access(playground: Playground, vip: model.Vip) -> Open:
    return lambda rules: playground.network.set_vip_access("lb-1", vip, rules)


def test_only_open_ports_of_the_vip_are_reached(playground: Playground, vip: model.Vip, amphora: tuple[str, Port], access: Open) -> None:
    namespace, port = amphora
    client, address = playground.tenant("client")
    own = port.fixed_ips[0].ip_address
    for number in (80, 81):
        playground.serve(namespace, ANSWER_TCP, vip.address, number)
    playground.serve(namespace, ANSWER_TCP, own, 9443)
    access([AccessRule("tcp", 80)])
    assert playground.asks(client, ASK_TCP, vip.address, 80, address)
    assert playground.is_dropped(client, ASK_TCP, vip.address, 81, address)
    assert playground.is_dropped(client, ASK_TCP, own, 9443, address)
    assert playground.ping_is_dropped(client, vip.address)
    access([AccessRule("tcp", 81)])
    assert playground.asks(client, ASK_TCP, vip.address, 81, address)
    assert playground.is_dropped(client, ASK_TCP, vip.address, 80, address)
    playground.network.delete_vip_access("lb-1")
    assert playground.is_dropped(client, ASK_TCP, vip.address, 81, address)


def test_a_rule_with_a_range_admits_that_range_only(
    playground: Playground, vip: model.Vip, amphora: tuple[str, Port], access: Open
) -> None:
    playground.serve(amphora[0], ANSWER_TCP, vip.address, 80)
    friend, friends_address = playground.tenant("friend")
    stranger, strangers_address = playground.tenant("stranger")
    access([AccessRule("tcp", 80, playground.alone(friends_address)), AccessRule("tcp", 80, playground.elsewhere)])
    assert playground.asks(friend, ASK_TCP, vip.address, 80, friends_address)
    assert playground.is_dropped(stranger, ASK_TCP, vip.address, 80, strangers_address)


def test_an_amphora_gets_answers_to_what_it_asks_though_nothing_is_open(
    playground: Playground, vip: model.Vip, amphora: tuple[str, Port]
) -> None:
    namespace, port = amphora
    web, address = playground.tenant("web")
    playground.serve(web, ANSWER_TCP, address, 80)
    playground.serve(web, ANSWER_UDP, address, 53)
    for source in (port.fixed_ips[0].ip_address, vip.address):
        assert playground.asks(namespace, ASK_TCP, address, 80, source)
        assert playground.asks(namespace, ASK_UDP, address, 53, source)
        assert playground.pings(namespace, address, source)


def test_udp_reaches_open_ports_only(playground: Playground, vip: model.Vip, amphora: tuple[str, Port], access: Open) -> None:
    client, address = playground.tenant("client")
    for number in (53, 54):
        playground.serve(amphora[0], ANSWER_UDP, vip.address, number)
    access([AccessRule("udp", 53)])
    assert playground.asks(client, ASK_UDP, vip.address, 53, address)
    assert playground.is_dropped(client, ASK_UDP, vip.address, 54, address)


def test_an_amphora_can_not_send_from_an_address_or_mac_that_is_not_its_own(
    playground: Playground, vip: model.Vip, amphora: tuple[str, Port]
) -> None:
    namespace, _ = amphora
    _, address = playground.tenant("web")
    host = linux.Host()
    assert playground.pings(namespace, address)
    other = "198.19.65.200/20" if playground.version == 4 else "fd00:f161::4:2/64 nodad"
    host.ip_batch(namespace, [f"address add {other} dev eth0"])
    assert playground.ping_is_dropped(namespace, address, other.partition("/")[0])
    host.ip_batch(namespace, ["link set eth0 address 02:00:00:00:00:99"])
    assert playground.ping_is_dropped(namespace, address)


def test_neighbours_believe_nobody_who_speaks_for_an_address_that_is_not_his(
    playground: Playground, vip: model.Vip, amphora: tuple[str, Port]
) -> None:
    namespace, port = amphora
    _, web = playground.tenant("web")
    client, _ = playground.tenant("client")
    own = port.fixed_ips[0].ip_address

    def believed(address: str) -> str:
        shown = linux.Host().run(["ip", "-n", client, "neighbour", "show", "to", address])
        return shown.split(" lladdr ")[1].split()[0]

    assert playground.pings(client, web)
    before = believed(web)
    for target in (web, vip.address):
        subprocess.run([*linux.enter(namespace), sys.executable, "-c", LIE, own, target, port.mac_address], check=True, timeout=20)
    time.sleep(DROPPED)
    assert believed(web) == before != port.mac_address
    linux.Host().ip_batch(client, [f"neighbour replace {vip.address} lladdr 02:00:00:00:00:01 dev eth0 nud stale"])
    time.sleep(1.2)  # the kernel does not change its mind on ARP within a second (`locktime`)
    subprocess.run([*linux.enter(namespace), sys.executable, "-c", LIE, own, vip.address, port.mac_address], check=True, timeout=20)
    time.sleep(DROPPED)
    assert believed(vip.address) == port.mac_address, "for the VIP an amphora may speak"


def test_a_datagram_in_pieces_gets_its_answer(playground: Playground, vip: model.Vip, amphora: tuple[str, Port]) -> None:
    namespace, port = amphora
    web, address = playground.tenant("web")
    playground.serve(web, ANSWER_UDP, address, 53)
    big = ASK_UDP.replace('b"hello", (', "bytes(4000), (").replace('client.recv(100) == b"hello"', "len(client.recv(9000)) == 4000")
    assert playground.asks(namespace, big, address, 53, port.fixed_ips[0].ip_address)


def test_amphorae_do_not_reach_one_another_on_the_management_network(playground: Playground) -> None:
    network = playground.network
    first, second = (network.ensure_management_port(f"amphora-{number}") for number in (1, 2))
    subnet = first.fixed_ips[0].subnet_id
    controller = network.create_port("controller", first.network_id, subnet)
    one = playground.machine("amphora-1", first)
    playground.machine("amphora-2", second)
    above = playground.machine("controller", controller)
    assert playground.pings(above, first.fixed_ips[0].ip_address)
    assert playground.pings(one, controller.fixed_ips[0].ip_address)
    assert playground.ping_is_dropped(one, second.fixed_ips[0].ip_address)


def test_vrrp_passes_between_the_halves_of_a_pair_only(playground: Playground, vip: model.Vip, access: Open) -> None:
    network = playground.network
    ports = [network.ensure_vrrp_port(f"amphora-{number}", "lb-1", vip) for number in (1, 2)]
    halves = [playground.machine(f"half-{index}", port) for index, port in enumerate(ports)]
    stranger, _ = playground.tenant("stranger")
    addresses = [port.fixed_ips[0].ip_address for port in ports]
    access([AccessRule("vrrp", None, playground.alone(address), between_amphorae=True) for address in addresses])
    network.tenants.update(networking.PORT, vip.port_id, {"security_groups": []})  # whatever the tenant does
    for sender, passes in ((halves[1], True), (stranger, False)):
        receiver = subprocess.Popen(
            [*linux.enter(halves[0]), sys.executable, "-c", HEAR_VRRP, str(PATIENCE if passes else DROPPED), str(playground.version)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == b"ready\n"
        subprocess.run([*linux.enter(sender), sys.executable, "-c", SAY_VRRP, addresses[0]], check=True, timeout=20)
        assert (receiver.wait(timeout=20) == 0) is passes
        receiver.stdout.close()


def test_without_port_security_everything_passes(open_playground: Playground) -> None:
    network = open_playground.network
    vip = network.allocate_vip("lb-1", "project-1", VipRequest(network_id=open_playground.private.id))
    amphora = open_playground.machine("amphora", network.ensure_vrrp_port("amphora-1", "lb-1", vip), open_playground.alone(vip.address))
    client, address = open_playground.tenant("client")
    open_playground.serve(amphora, ANSWER_TCP, vip.address, 81)
    assert open_playground.asks(client, ASK_TCP, vip.address, 81, address)


def test_a_filter_that_somebody_removed_is_built_anew(
    playground: Playground, vip: model.Vip, amphora: tuple[str, Port], access: Open
) -> None:
    linux.Host().inside(playground.network.namespace, ["nft", "flush", "ruleset"])
    access([AccessRule("tcp", 80)])
    playground.serve(amphora[0], ANSWER_TCP, vip.address, 80)
    playground.serve(amphora[0], ANSWER_TCP, vip.address, 81)
    client, address = playground.tenant("client")
    assert playground.asks(client, ASK_TCP, vip.address, 80, address)
    assert playground.is_dropped(client, ASK_TCP, vip.address, 81, address)


def test_processes_that_take_addresses_at_once_never_get_the_same(playground: Playground, tmp_path: pathlib.Path) -> None:
    settings = f"namespace_prefix={playground.prefix!r}, management_cidr='198.19.0.0/20', private_cidr='198.19.64.0/20'"
    program = f"""
import pathlib, sys, threading
from controller.model.network import VipRequest
from controller.embedded import bridge
network = bridge.BridgeNetwork(state_path=pathlib.Path({str(tmp_path)!r}), {settings})
request = VipRequest(network_id=network.network_named("private").id)

def take(thread):
    for number in range(10):
        vip = network.allocate_vip(f"lb-{{sys.argv[1]}}-{{thread}}-{{number}}", "p", request)
        sys.stdout.write(vip.address + " ")  # in one piece: print writes the end of its line apart, and threads get between
        network.ensure_management_port(f"amphora-{{sys.argv[1]}}-{{thread}}-{{number}}")

threads = [threading.Thread(target=take, args=[thread]) for thread in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(number)], stdout=subprocess.PIPE, text=True) for number in range(3)]
    addresses = [address for process in processes for address in process.communicate(timeout=100)[0].split()]
    assert len(addresses) == len(set(addresses)) == 3 * 3 * 10
    listed = linux.Host().inside(playground.network.namespace, ["nft", "list", "set", "bridge", "figlina", "isolated"])
    assert listed.count("tap") == 3 * 3 * 10


def test_deleted_ports_leave_nothing_in_the_kernel(playground: Playground, vip: model.Vip, access: Open) -> None:
    network = playground.network
    for number in range(3):
        network.ensure_management_port(f"amphora-{number}")
        network.ensure_vrrp_port(f"amphora-{number}", "lb-1", vip)
    access([AccessRule("tcp", 80), AccessRule("tcp", 443, playground.elsewhere), AccessRule("vrrp", None)])
    for number in range(3):
        network.delete_amphora_ports(f"amphora-{number}")
    host = linux.Host()
    assert "tap" not in host.inside(network.namespace, ["nft", "list", "ruleset"])
    assert "tap" not in host.run(["ip", "-n", network.namespace, "-brief", "link", "show"])
