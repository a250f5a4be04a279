"""Clients stay where they are over reloads, and those that need not stay are spread over all members: real clients, real HAProxy."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import pytest

from amphora_agent import haproxy_config, haproxy_runtime, system
from tests.integration import agent_amphora
from tests.integration.agent_amphora import Amphora, config

pytestmark = pytest.mark.integration
PORTS = (9001, 9002, 9003)
CLIENTS = 12
BUILT = pathlib.Path(__file__).resolve().parents[2] / "build"
PEERS = "\npeers lb_peers\n    peer me 127.0.0.1:1025\n\nfrontend"
APP_COOKIE = (
    "    stick-table type string len 64 size 10k peers lb_peers\n    stick store-response res.cook(app),sha2(256),hex\n"
    "    stick match req.cook(app),sha2(256),hex"
)
PLAIN_COOKIE = APP_COOKIE.replace(",sha2(256),hex", "")  # as controllers of before have it, whose keys hold whatever is in a cookie
SOURCE_IP = "    stick-table type ipv6 size 10k peers lb_peers\n    stick on src"


@contextlib.contextmanager
def furnished(folder: pathlib.Path) -> Iterator[Amphora]:
    """An amphora with members, and with clients at addresses of their own."""
    with agent_amphora.running(folder / "amphora") as amphora:
        for port in PORTS:
            amphora.web(port)
        for number in range(CLIENTS):
            system.run(["ip", "-n", amphora.outside, "address", "add", f"198.19.251.{200 + number}/32", "dev", "ten"])
        yield amphora


def emptied(amphora: Amphora) -> Iterator[Amphora]:
    """The amphora for one test, and afterwards without what that gave it."""
    yield amphora
    amphora.call("DELETE", f"/1/load-balancers/{amphora.load_balancer_id}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amphora]:
    with furnished(tmp_path_factory.mktemp("sticky")) as amphora:
        yield amphora


@pytest.fixture
def amphora(machine: Amphora) -> Iterator[Amphora]:
    yield from emptied(machine)


@dataclasses.dataclass
class Client:
    """A browser at an address of its own; it keeps its cookie."""

    amphora: Amphora
    number: int
    cookie: str | None = None

    def ask(self, path: str = "/") -> str:
        """Who answers."""
        source = (f"198.19.251.{200 + self.number}", 0)
        connection = http.client.HTTPConnection(agent_amphora.VIP, 80)
        connection.sock = self.amphora.outdoors(lambda: socket.create_connection((agent_amphora.VIP, 80), 20, source))
        try:
            headers = {"Connection": "close"} | ({"Cookie": self.cookie} if self.cookie else {})
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == 200, body
            cookie = response.getheader("Set-Cookie")
            self.cookie = cookie.partition(";")[0] if cookie else self.cookie
            return body
        finally:
            connection.close()


def asked_again(clients: list[Client]) -> list[str]:
    """Who answers each; they ask in an order by chance, so that going round all members does not look like staying."""
    answers = {client.number: client.ask() for client in random.sample(clients, len(clients))}
    return [answers[client.number] for client in clients]


def sticky(ports: tuple[int, ...], lines: str, more: int = 0) -> str:
    servers = [f"m{port} {agent_amphora.WEB}:{port} weight 1" for port in ports]
    changed = "\n    http-request set-header X-Change " + str(more)
    return config(*servers, extra=lines + changed).replace("\nfrontend", PEERS, 1)


@pytest.mark.parametrize("lines", [APP_COOKIE, SOURCE_IP], ids=["APP_COOKIE", "SOURCE_IP"])
def test_clients_stay_over_reloads_soon_after_persistence_was_set(amphora: Amphora, lines: str) -> None:
    amphora.apply(1, config(*(f"m{port} {agent_amphora.WEB}:{port} weight 1" for port in PORTS)))
    assert amphora.apply(2, sticky(PORTS, lines), peer_name="me") == "reload"
    clients = [Client(amphora, number) for number in range(CLIENTS)]
    homes = [client.ask("/login") for client in clients]
    assert set(homes) == {str(port) for port in PORTS}
    for generation in (3, 4, 5):  # none of them has taught, or was taught
        assert amphora.apply(generation, sticky(PORTS, lines, generation), peer_name="me") == "reload"
        assert asked_again(clients) == homes
    # Members come and go: whoever was with one that stays stays with it, though HAProxy counts the servers anew.
    assert amphora.apply(6, sticky(PORTS[1:], lines, 6), peer_name="me") == "reload"
    stayed = [(now, home) for now, home in zip(asked_again(clients), homes, strict=True) if home != str(PORTS[0])]
    assert all(now == home for now, home in stayed)


@pytest.mark.slow
def test_clients_stay_over_a_reload_that_the_old_worker_teaches(amphora: Amphora) -> None:
    amphora.apply(1, sticky(PORTS, APP_COOKIE), peer_name="me")
    clients = [Client(amphora, number) for number in range(CLIENTS)]
    homes = [client.ask("/login") for client in clients]
    for generation in (2, 3):
        amphora.apply(generation, sticky(PORTS, APP_COOKIE, generation), peer_name="me")
        assert asked_again(clients) == homes
        agent_amphora.eventually(lambda: "resync_timeout=<PAST>" in peers(amphora), within=60)


@pytest.fixture(scope="module")
def newer_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amphora]:
    """An amphora with HAProxy 3: one of 2.6 lets no request wait that is whole, and forgets its clients a moment before it stops."""
    programs = [shutil.which("haproxy") or "", *sorted(str(one) for one in BUILT.glob("haproxy-*/haproxy"))]
    found = [one for one in filter(None, programs) if re.match(r"HAProxy version (?![12]\.)", system.run([one, "-v"]))]
    if not found:
        pytest.skip("needs HAProxy 3: scripts/other-haproxies brings it")
    with pytest.MonkeyPatch.context() as patch:  # a master that executes itself anew looks for its program in PATH
        patch.setenv("PATH", os.path.dirname(found[0]), prepend=os.pathsep)
        with furnished(tmp_path_factory.mktemp("newer")) as amphora:
            yield amphora


@pytest.fixture
def newer(newer_machine: Amphora) -> Iterator[Amphora]:
    yield from emptied(newer_machine)


def _by_tcp(ports: tuple[int, ...], lines: str, more: int = 0) -> str:
    text = sticky(ports, lines, more).replace("mode http", "mode tcp")
    http = ("option idle-close-on-response", "http-reuse safe", "http-request set-header X-Change")
    return "".join(
        f"    timeout queue {more + 1}s\n" if line.strip().startswith(http[-1]) else line
        for line in text.splitlines(keepends=True)
        if not line.strip().startswith(http[:2])
    )


@pytest.mark.parametrize(
    ("made", "lines"), [(_by_tcp, SOURCE_IP), (sticky, SOURCE_IP), (sticky, APP_COOKIE)], ids=["TCP", "HTTP", "APP_COOKIE"]
)
def test_nobody_is_sent_elsewhere_while_one_worker_follows_another(newer: Amphora, made: Callable[..., str], lines: str) -> None:
    """Clients ask all the time, so some meet a worker that has not yet the tables of the one before."""
    amphora = newer
    amphora.apply(1, made(PORTS, lines), peer_name="me")
    clients = [Client(amphora, number) for number in range(6)]
    homes = [client.ask("/login") for client in clients]
    assert set(homes) == {str(port) for port in PORTS}
    is_over, elsewhere, answered = threading.Event(), [], collections.Counter[int]()

    def ask(client: Client) -> None:
        while not is_over.is_set():
            answered[client.number] += 1
            if (now := client.ask()) != homes[client.number]:
                elsewhere.append((client.number, now))

    with futures.ThreadPoolExecutor(len(clients)) as pool:
        asking = [pool.submit(ask, client) for client in clients]
        try:
            for generation in range(2, 10):
                assert amphora.apply(generation, made(PORTS, lines, generation), peer_name="me") == "reload"
        finally:
            is_over.set()
    for one in asking:
        one.result()
    assert not elsewhere, f"{len(elsewhere)} of {answered.total()} requests, such as {elsewhere[:3]}; they belong to {homes}"


OTHER = """
global
    stats socket {path} level admin
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
peers lb_peers
    peer me 127.0.0.1:1025
    peer other-{number} 127.0.0.1:{port}
backend p1:l1
{lines}
    server somebody 127.0.0.1:9
"""


@contextlib.contextmanager
def another_half(amphora: Amphora, folder: pathlib.Path, number: int) -> Iterator[Callable[[], str]]:
    """A HAProxy that knows the amphora's as a peer, which does not know it yet; and what is in its table."""
    path, file, pid = (folder / f"{number}.{kind}" for kind in ("sock", "cfg", "pid"))
    file.write_text(OTHER.format(path=path, number=number, port=2000 + number, lines=APP_COOKIE))
    start = f"echo $$ > {pid}; exec haproxy -db -L other-{number} -f {file}"
    with subprocess.Popen(amphora.in_tenant("sh", "-c", start), stderr=subprocess.DEVNULL):
        try:
            agent_amphora.eventually(path.exists)
            yield lambda: haproxy_runtime.RuntimeApi(path).ask("show table p1:l1")
        finally:
            amphora.exec("kill", pid.read_text().strip())


@pytest.mark.slow
@pytest.mark.parametrize("clients", [40, 4000])
def test_a_new_peer_knows_all_clients_when_it_is_named(amphora: Amphora, tmp_path: pathlib.Path, clients: int) -> None:
    amphora.apply(1, sticky(PORTS, APP_COOKIE), peer_name="me")
    home = haproxy_config.number(f"m{PORTS[1]}")
    names = [f"{index:05d}" for index in range(clients)]
    starts = range(0, len(names), 100)
    talk(
        amphora, *(";".join(f"set table p1:l1 key {name} data.server_id {home}" for name in names[start : start + 100]) for start in starts)
    )
    agent_amphora.eventually(lambda: "resync_timeout=<PAST>" in peers(amphora), within=60)  # from now on each worker teaches the next
    for number in range(2, 8):
        with another_half(amphora, tmp_path, number) as table:
            peer = f"\n    peer other-{number} 127.0.0.1:{2000 + number}\n\nfrontend"
            named = sticky(PORTS, APP_COOKIE, number).replace("\n\nfrontend", peer, 1)
            assert amphora.apply(number, named, peer_name="me") == "reload"
            assert f"used:{clients}" in table().splitlines()[0]


def test_a_table_with_thousands_of_clients_goes_over(amphora: Amphora) -> None:
    amphora.apply(1, sticky(PORTS, PLAIN_COOKIE), peer_name="me")
    names = [f"{index:05d}\\=+/x" for index in range(3000)]
    home = haproxy_config.number(f"m{PORTS[1]}")
    starts = range(0, len(names), 100)
    lines = [";".join(f"set table p1:l1 key {name} data.server_id {home}" for name in names[start : start + 100]) for start in starts]
    talk(amphora, *lines)
    assert "resync_timeout=<PAST>" not in peers(amphora)  # nobody teaches yet
    assert "used:3000" in talk(amphora, "show table p1:l1").splitlines()[0]
    assert amphora.apply(2, sticky(PORTS, PLAIN_COOKIE, 2), peer_name="me") == "reload"
    assert "used:3000" in talk(amphora, "show table p1:l1").splitlines()[0]
    clients = [Client(amphora, 0, f"app={name.replace(chr(92), '')}") for name in names[::250]]
    assert {client.ask() for client in clients} == {str(PORTS[1])}


def test_a_table_of_another_kind_is_begun_anew(amphora: Amphora) -> None:
    amphora.apply(1, sticky(PORTS, APP_COOKIE), peer_name="me")
    Client(amphora, 0).ask("/login")
    assert amphora.apply(2, sticky(PORTS, SOURCE_IP), peer_name="me") == "reload"
    assert "used:0" in talk(amphora, "show table p1:l1")


def test_with_a_reload_between_any_two_requests_all_members_serve(amphora: Amphora) -> None:
    servers = [f"m{port} {agent_amphora.WEB}:{port} weight 1" for port in PORTS]
    seen: collections.Counter[str] = collections.Counter()
    for generation in range(1, 61):
        header = f"    http-request set-header X-Change {generation}"
        amphora.apply(generation, config(*servers, extra=header))
        seen[amphora.fetch()] += 1
        if len(seen) == len(PORTS) and min(seen.values()) >= 2:
            break
    # Where a worker begins is chance: that one of three servers has less than two of 60 requests happens once in a hundred million runs.
    assert set(seen) == {str(port) for port in PORTS}
    assert min(seen.values()) >= 2, seen


def talk(amphora: Amphora, *commands: str) -> str:
    """Commands on HAProxy's socket, and their answers."""
    ask = "s=socket.socket(1);s.connect('/run/figlina/haproxy.sock');s.sendall(line.encode()+b'\\n');print(s.makefile().read())"
    return amphora.exec("python3", "-c", f"import socket,sys\nfor line in sys.argv[1:]: {ask}", *commands)


def test_connections_to_members_leave_the_port_alone_on_which_peers_meet(amphora: Amphora) -> None:
    """A half of a pair asks members from the address at which its peer finds it. Who can't have that port refuses the configuration."""
    server = f"m1 {amphora.web(9010)} weight 1"
    amphora.apply(1, config(server))
    amphora.tenant("sh", "-c", 'echo "1025 1032" > /proc/sys/net/ipv4/ip_local_port_range')  # the kernel begins with the odd ones
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(contextlib.closing(amphora.connect()))
            client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        pair = config(server, extra=SOURCE_IP).replace("\nfrontend", PEERS.replace("127.0.0.1", agent_amphora.VRRP), 1)
        assert amphora.apply(2, pair, peer_name="me") == "reload"
        assert amphora.apply(3, pair.replace(":1025", ":2025"), peer_name="me") == "reload"  # as an operator may choose
        assert amphora.tenant("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").strip() == "2025"
    amphora.tenant("sh", "-c", 'echo "1025 65534" > /proc/sys/net/ipv4/ip_local_port_range')
    amphora.stop_web(9010)


def peers(amphora: Amphora) -> str:
    return talk(amphora, "show peers")
