"""What is around the load balancer: members that can be stopped, clients that speak every protocol, certificates."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

from cryptography import x509

from amphora_agent import system
from controller.dev import certificates, processes
from controller.dev.client import eventually
from controller.embedded import linux
from tests import tls_material
from tests.integration import speaking
from tests.integration.site import Site

CLIENTS = ("client", "web-4")
"""Machines that ask, each from an address of its own."""
CLOSED = 10009
"""A port where nobody listens."""
CERTIFICATES = ("one.example", "two.example", "three.example")
_CONTENTS = {speaking.port(content, version): (content, version) for content in ("http", "tls") for version in (0, 1, 2)}
_SERVERS = 8
_FIRST_ADDRESS = 200
_PATIENCE = 12.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """A request."""

    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    cookies: tuple[tuple[str, str], ...] = ()

    def with_cookie(self, name: str, value: str) -> Ask:
        """The same with another cookie."""
        return dataclasses.replace(self, cookies=(*self.cookies, (name, value)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client got. `ending`: why it got no answer: `refused`, `silent` (before), `closed`, `stuck` (after it was connected)."""

    status: int = 0
    ending: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    heard: Mapping[str, Any] | None = None
    certificate: str = ""

    @property
    def member(self) -> str:
        """Who answered; empty: no member."""
        return str(self.heard["member"]) if self.heard else ""

    @property
    def word(self) -> str:
        """It, in a word."""
        return self.member or self.ending or str(self.status)

    def header(self, name: str) -> str | None:
        """The first of this name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def cookie(self, name: str) -> str | None:
        """A cookie that is set, if it has a value."""
        for key, value in self.headers:
            if key.lower() == "set-cookie" and value.startswith(f"{name}="):
                return value.partition("=")[2].partition(";")[0] or None
        return None


class Client:
    """A machine from which is asked."""

    def __init__(self, site: Site, name: str) -> None:
        self.address = site.machine.settings.tenants[name]
        namespace = site.machine.settings.namespace(name)
        self._inside = futures.ThreadPoolExecutor(1, initializer=system.move_to_namespace, initargs=(namespace,))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def close(self) -> None:
        self._inside.shutdown()

    def ask(self, address: str, port: int, ask: Ask, *, tls: bool) -> Answer:
        """One request on a connection of its own."""
        with self.connection(address, port, tls=tls, name=ask.host) as opened:
            return opened if isinstance(opened, Answer) else _ask(opened, ask, address)

    @contextlib.contextmanager
    def connection(self, address: str, port: int, *, tls: bool, name: str = "") -> Iterator[socket.socket | Answer]:
        """A connection, or an answer that says why there is none."""
        made = self._inside.submit(socket.socket).result()
        made.settimeout(1.0)
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: made.close())
            found: socket.socket | Answer = made
            try:
                made.connect((address, port))
                made.settimeout(_PATIENCE)
                if tls:
                    made = found = self._context.wrap_socket(made, server_hostname=name or None)
            except ConnectionRefusedError:
                found = Answer(ending="refused")
            except (ConnectionError, ssl.SSLError):
                found = Answer(ending="closed")
            except OSError:  # a time-out, or no such host
                found = Answer(ending="silent" if made.gettimeout() == 1.0 else "stuck")
            yield found

    def ask_on(self, opened: socket.socket, address: str, patience: float) -> Answer:
        """A request on a connection that is there, and stays."""
        opened.settimeout(patience)
        return _ask(opened, Ask(), address, "keep-alive")

    def send(self, address: str, port: int) -> Answer:
        """A datagram of a flow of its own."""
        with contextlib.closing(self._inside.submit(socket.socket, socket.AF_INET, socket.SOCK_DGRAM).result()) as made:
            made.settimeout(1.0)
            try:
                made.connect((address, port))
                made.send(b"hello")
                return Answer(status=200, heard=json.loads(made.recv(65536)))
            except ConnectionRefusedError:
                return Answer(ending="refused")
            except OSError:
                return Answer(ending="silent")


def _ask(opened: socket.socket, ask: Ask, address: str, connection: str = "close") -> Answer:
    certificate = _common_name(opened)
    lines = [f"GET {ask.path} HTTP/1.1", f"Host: {ask.host or address}", f"Connection: {connection}"]
    lines += [f"{name}: {value}" for name, value in ask.headers]
    if ask.cookies:
        lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in ask.cookies))
    response = http.client.HTTPResponse(opened)
    try:
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        response.begin()
        body = response.read()
    except TimeoutError:
        return Answer(ending="stuck", certificate=certificate)
    except (OSError, http.client.HTTPException):
        return Answer(ending="closed", certificate=certificate)
    headers = tuple(response.getheaders())
    heard = json.loads(body) if response.getheader("Content-Type") == "application/json" else None
    return Answer(status=response.status, headers=headers, body=body.decode("latin-1"), heard=heard, certificate=certificate)


def _common_name(opened: socket.socket) -> str:
    if not isinstance(opened, ssl.SSLSocket):
        return ""
    shown = opened.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).subject.rfc4514_string().removeprefix("CN=") if shown else ""


class World:
    """Members `s1` to `s8` beside the site's web servers, and those who ask."""

    def __init__(self, site: Site) -> None:
        self.site = site
        base = site.machine.settings.tenants["client"].rpartition(".")[0]
        self.servers = {f"s{number}": f"{base}.{_FIRST_ADDRESS + number}" for number in range(1, _SERVERS + 1)}
        self.nobody = f"{base}.250"
        self.stopped: set[str] = set()
        self.references: dict[str, str] = {}
        self.clients: list[Client] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def build(self) -> None:
        """Have everybody there."""
        self._pem = certificates.ensure_self_signed(self.site.folder / "walk.pem", "member", next(iter(self.servers.values())))
        host = linux.Host()
        for number, (name, address) in enumerate(self.servers.items()):
            machine = f"web-{number % 4 + 1}"
            host.ip_batch(self.site.machine.settings.namespace(machine), [f"address replace {address}/20 dev eth0"])
            self._start(name)
        for name in CERTIFICATES:
            issued = tls_material.issue(name, names=[name])
            body = {"payload": (issued.pem + issued.key_pem()).decode()}
            self.references[name] = self.site.api.post("/secrets", {"secret": body})["secret"]["ref"]
        self.clients = [Client(self.site, name) for name in CLIENTS]
        for name in self.servers:
            self._wait(name)

    def close(self) -> None:
        """End everybody."""
        for name in list(self._running):
            self._end(name)
        for client in self.clients:
            client.close()

    def name_of(self, address: str) -> str:
        """The server at an address; empty: none."""
        return next((name for name, at in self.servers.items() if at == address), "")

    def there(self, address: str, port: int) -> tuple[str, int] | None:
        """What the server there speaks over TCP: http or tls, and the version of the PROXY protocol; None: nobody listens."""
        name = self.name_of(address)
        return _CONTENTS.get(port) if name and name not in self.stopped else None

    def hears_datagrams(self, address: str, port: int) -> bool:
        name = self.name_of(address)
        return bool(name) and name not in self.stopped and port == speaking.port("datagram")

    def stop(self, name: str) -> None:
        """Have a server go."""
        if name not in self.stopped:
            self._end(name)
            self.stopped.add(name)

    def start(self, name: str) -> None:
        """Have a server come back."""
        if name in self.stopped:
            self._start(name)
            self._wait(name)
            self.stopped.discard(name)

    def start_all(self) -> None:
        for name in sorted(self.stopped):
            self.start(name)

    def _start(self, name: str) -> None:
        machine = f"web-{list(self.servers).index(name) % 4 + 1}"
        program = processes.python("tests.integration.speaking", name, self.servers[name], "--pem", str(self._pem))
        command: Sequence[str] = [*linux.enter(self.site.machine.settings.namespace(machine)), *program]
        self._running[name] = subprocess.Popen(command)

    def _wait(self, name: str) -> None:
        address = self.servers[name]
        client = self.clients[0]
        eventually(lambda: client.send(address, speaking.port("datagram")).status == 200, 60, f"{name} does not start")
        for port in _CONTENTS:
            eventually(lambda: self._listens(client, address, port), 60, f"{name} does not listen on {port}")  # noqa: B023

    @staticmethod
    def _listens(client: Client, address: str, port: int) -> bool:
        with client.connection(address, port, tls=False) as opened:
            return isinstance(opened, socket.socket)

    def _end(self, name: str) -> None:
        running = self._running.pop(name)
        running.kill()
        running.wait(10)
