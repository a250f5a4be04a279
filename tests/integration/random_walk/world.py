"""What is around the load balancer: members that can be stopped, clients that speak every protocol, targets of its log, certificates."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import sqlalchemy as sa
from cryptography import x509

from amphora_agent import system
from controller.db import tables
from controller.dev import processes
from controller.dev.client import eventually
from controller.embedded import linux, networking
from tests import tls_material
from tests.integration import associations, log_target, speaking
from tests.integration.site import Site

CLIENTS = ("client", "web-4")
"""Machines that ask, each from addresses of its own."""
CLOSED = 10009
"""A port where nobody listens."""
CERTIFICATES = {
    **{name: (name,) for name in ("one.example", "two.example", "three.example")},
    "both.example": ("both.example", "one.example", "three.example"),
}
"""Certificates of listeners, and whom they are for."""
IDENTITIES = {"": "", "ann": "first", "bob": "first", "eve": "second"}
"""Who clients can show themselves to be, and by whose authority; `first` has revoked bob."""
REVOKED = "bob"
PROTOCOLS = ("h2", "http/1.1")
"""Over TLS, that a versatile client speaks."""
LOGS = {"UDP": 6514, "TCP": 6515, "TLS": 6516}
"""Ports of the target of access logs. At `DEAF` nobody reads, at `CLOSED` is nobody."""
DEAF = 6517
_LOGGING = "web-3"
_CONTENTS = {speaking.port(content, version): (content, version) for content in ("http", "tls") for version in (0, 1, 2)}
_DATAGRAMS = {"UDP": speaking.port("datagram"), "SCTP": speaking.port("sctp")}
_SERVERS = 8
_FIRST_ADDRESS = 200
_SIX = "fd00:f161:9::"
_PATIENCE = 12.0


def version(address: str) -> int:
    """Of IP."""
    return 6 if ":" in address else 4


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


@dataclasses.dataclass(frozen=True)
class Visit:
    """Who comes where: a client to a listener on one of the VIPs, as somebody (`IDENTITIES`)."""

    client: Client
    vip: str
    listener: Mapping[str, Any]
    identity: str = ""

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self.client.addresses[version(self.vip)]

    @property
    def port(self) -> int:
        return int(self.listener["protocol_port"])

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.listener["protocol"] in ("TERMINATED_HTTPS", "HTTPS")

    def ask(self, ask: Ask) -> Answer:
        """One request, on a connection of its own, or what stands for it."""
        protocol = self.listener["protocol"]
        if protocol in _DATAGRAMS:
            return (self.client.send if protocol == "UDP" else self.client.associate)(self.vip, self.port)
        with self.connection(ask.host) as opened:
            return opened if isinstance(opened, Answer) else _ask(opened, ask, self.vip)

    def connection(self, name: str = "") -> contextlib.AbstractContextManager[socket.socket | Answer]:
        """A connection, or an answer that says why there is none."""
        return self.client.connection(self.vip, self.port, self.identity if self.tls else None, name)

    def greets(self) -> tuple[str | None, str | None] | None:
        """The application protocol and the version of TLS that are agreed upon with somebody who speaks all; None: it came to nothing."""
        with self.client.connection(self.vip, self.port, self.identity, versatile=True) as opened:
            return (opened.selected_alpn_protocol(), opened.version()) if isinstance(opened, ssl.SSLSocket) else None

    def comes_back(self) -> Answer | None:
        """A request on a TLS session from before; None: there is none to resume."""
        with self.client.resumed(self.vip, self.port, self.identity) as opened:
            return opened if opened is None or isinstance(opened, Answer) else _ask(opened, Ask(), self.vip)


class Client:
    """A machine from which is asked. `addresses`: by version of IP; `files`: certificates with keys by identity."""

    def __init__(self, site: Site, name: str, addresses: Mapping[int, str], files: Mapping[str, pathlib.Path]) -> None:
        self.addresses = addresses
        namespace = site.machine.settings.namespace(name)
        self._inside = futures.ThreadPoolExecutor(1, initializer=system.move_to_namespace, initargs=(namespace,))
        self._contexts = {identity: _context(files.get(identity)) for identity in IDENTITIES}
        self._versatile = {identity: _context(files.get(identity), PROTOCOLS) for identity in IDENTITIES}
        self._sessions: dict[tuple[str, int, str], ssl.SSLSession] = {}

    def close(self) -> None:
        self._inside.shutdown()

    @contextlib.contextmanager
    def connection(
        self,
        address: str,
        port: int,
        identity: str | None = None,
        name: str = "",
        session: ssl.SSLSession | None = None,
        versatile: bool = False,
    ) -> Iterator[socket.socket | Answer]:
        """A connection, over TLS with an identity, or an answer that says why there is none."""
        made = self._socket(address, socket.SOCK_STREAM)
        made.settimeout(1.0)
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: made.close())
            found: socket.socket | Answer = made
            try:
                made.connect((address, port))
                made.settimeout(_PATIENCE)
                if identity is not None:
                    context = (self._versatile if versatile else self._contexts)[identity]
                    made = found = context.wrap_socket(made, server_hostname=name or None, session=session)
            except ConnectionRefusedError:
                found = Answer(ending="refused")
            except (ConnectionError, ssl.SSLError):
                found = Answer(ending="closed")
            except OSError:  # a time-out, or no such host
                found = Answer(ending="silent" if made.gettimeout() == 1.0 else "stuck")
            yield found
            if isinstance(made, ssl.SSLSocket) and identity and not versatile and made.session is not None:
                self._sessions[address, port, identity] = made.session

    @contextlib.contextmanager
    def resumed(self, address: str, port: int, identity: str) -> Iterator[socket.socket | Answer | None]:
        """A connection by the session of the last one."""
        session = self._sessions.pop((address, port, identity), None)
        if session is None:
            yield None
            return
        with self.connection(address, port, identity, session=session) as opened:
            yield opened

    def send(self, address: str, port: int) -> Answer:
        """A datagram of a flow of its own."""
        with contextlib.closing(self._socket(address, socket.SOCK_DGRAM)) as made:
            made.settimeout(1.0)
            try:
                made.connect((address, port))
                made.send(b"hello")
                return Answer(status=200, heard=json.loads(made.recv(65536)))
            except ConnectionRefusedError:
                return Answer(ending="refused")
            except OSError:
                return Answer(ending="silent")

    def associate(self, address: str, port: int) -> Answer:
        """A message on an association of SCTP of its own."""
        own = self.addresses[version(address)]
        with self._inside.submit(associations.Endpoint, own).result() as endpoint:
            try:
                one = endpoint.connect(address, port, 1.0)
                one.send(b"hello")
                heard = json.loads(one.receive(2.0))
            except ConnectionError:
                return Answer(ending="refused")
            except OSError:
                return Answer(ending="silent")
            one.close()
            return Answer(status=200, heard=heard)

    def _socket(self, address: str, kind: socket.SocketKind) -> socket.socket:
        family = socket.AF_INET6 if version(address) == 6 else socket.AF_INET
        return self._inside.submit(socket.socket, family, kind).result()


def _context(file: pathlib.Path | None, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if file is not None:
        made.load_cert_chain(file)
    if protocols:
        made.set_alpn_protocols(protocols)
    return made


def until_closed(opened: socket.socket, seconds: float) -> float | None:
    """After how many seconds the other side ends a connection on which nothing is said; None: not within so many."""
    began = time.monotonic()
    try:
        while (left := began + seconds - time.monotonic()) > 0:
            opened.settimeout(left)
            if not opened.recv(65536):
                break
        else:
            return None
    except TimeoutError:
        return None
    except OSError:
        pass
    return time.monotonic() - began


def ask_on(opened: socket.socket, address: str, patience: float) -> Answer:
    """A request on a connection that is there, and stays."""
    opened.settimeout(patience)
    return _ask(opened, Ask(), address, "keep-alive")


def _ask(opened: socket.socket, ask: Ask, address: str, connection: str = "close") -> Answer:
    certificate = _common_name(opened)
    host = ask.host or (f"[{address}]" if version(address) == 6 else address)
    lines = [f"GET {ask.path} HTTP/1.1", f"Host: {host}", f"Connection: {connection}"]
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
    """Members `s1` to `s8` beside the site's web servers, with an address of each version of IP, and those who ask."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._base = site.machine.settings.tenants["client"].rpartition(".")[0]
        numbers = {f"s{number}": _FIRST_ADDRESS + number for number in range(1, _SERVERS + 1)}
        self.servers = {name: {4: f"{self._base}.{number}", 6: f"{_SIX}f000:{number}"} for name, number in numbers.items()}
        self.nobody = {4: f"{self._base}.250", 6: f"{_SIX}f000:250"}
        self.stopped: set[str] = set()
        self.hidden: set[str] = set()
        self.before: dict[str, Mapping[str, Any]] = {}
        """By id, listeners as they were before a change that can't be applied."""
        self.references: dict[str, str] = {}
        self._guests: dict[str, contextlib.ExitStack] = {}
        self._places: dict[str, pathlib.Path] = {}
        self.clients: list[Client] = []
        self.subnets: dict[int, str] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def build(self) -> None:
        """Have everybody there."""
        self._make_subnet()
        for number, name in enumerate(self.servers):
            self._add_addresses(self._machine(number), *self.servers[name].values())
        self._issue()
        for name in self.servers:
            self._start(name)
        for number, name in enumerate(CLIENTS, 1):
            addresses = {4: self.site.machine.settings.tenants[name], 6: f"{_SIX}f000:{number}"}
            self._add_addresses(name, addresses[6])
            self.clients.append(Client(self.site, name, addresses, self._files))
        self._start_logs()
        for name in self.servers:
            self._wait(name)

    def _make_subnet(self) -> None:
        """Of IPv6, on the network of the other one."""
        network = self.site.machine.network
        values = {"name": "walk", "network_id": network.get_subnet(self.site.subnet_id).network_id, "project_id": "demo"}
        made = network.tenants.create(networking.SUBNET, {**values, "cidr": f"{_SIX}/64"})
        self.subnets = {4: self.site.subnet_id, 6: made["id"]}

    def _machine(self, number: int) -> str:
        return f"web-{number % 4 + 1}"

    def _add_addresses(self, machine: str, *addresses: str) -> None:
        lines = [f"address replace {one}/{'64 dev eth0 nodad' if version(one) == 6 else '20 dev eth0'}" for one in addresses]
        linux.Host().ip_batch(self.site.machine.settings.namespace(machine), lines)

    def _issue(self) -> None:
        """Certificates of listeners, clients, members and of the target of logs, and their authorities."""
        roots = {name: tls_material.issue(f"{name}.example", is_ca=True) for name in ("first", "second", "members")}
        issued = {name: tls_material.issue(name, roots[by]) for name, by in IDENTITIES.items() if by}
        member = tls_material.issue("member", roots["members"], names=[*CERTIFICATES, "logs.example"])
        self._files = {name: self._file(name, one) for name, one in issued.items()}
        self._pem = self._file("member", member)
        for name, hosts in CERTIFICATES.items():
            own = tls_material.issue(name, names=hosts)
            self._store(name, "certificate", own.pem + own.key_pem())
        for name, root in roots.items():
            self._store(f"{name}.ca", "ca", root.pem)
        self._store("first.crl", "crl", tls_material.revoke(roots["first"], issued[REVOKED]))
        self._store("members.crl", "crl", tls_material.revoke(roots["members"], member))

    def _file(self, name: str, issued: tls_material.Issued) -> pathlib.Path:
        path = self.site.folder / f"walk-{name}.pem"
        path.write_bytes(issued.pem + issued.key_pem())
        return path

    def _store(self, name: str, kind: str, payload: bytes) -> None:
        body = {"kind": kind, "payload": payload.decode()}
        self.references[name] = self.site.api.post("/secrets", {"secret": body})["secret"]["ref"]

    def close(self) -> None:
        """End everybody."""
        for listener_id in list(self._guests):
            self.leaves(listener_id)
        for name in list(self._running):
            self._end(name)
        for client in self.clients:
            client.close()

    def stays(self, visit: Visit) -> None:
        """Have somebody come, ask, and stay for a while."""
        self.leaves(visit.listener["id"])
        self._guests[visit.listener["id"]] = stack = contextlib.ExitStack()
        opened = stack.enter_context(visit.connection())
        if not isinstance(opened, Answer):
            ask_on(opened, visit.vip, 3.0)

    def leaves(self, listener_id: str) -> None:
        """Have who stayed go."""
        if (guest := self._guests.pop(listener_id, None)) is not None:
            guest.close()

    def name_of(self, address: str) -> str:
        """The server at an address; empty: none."""
        return next((name for name, at in self.servers.items() if address in at.values()), "")

    def there(self, address: str, port: int) -> tuple[str, int] | None:
        """What the server there speaks over TCP: http or tls, and the version of the PROXY protocol; None: nobody listens."""
        name = self.name_of(address)
        return _CONTENTS.get(port) if name and name not in self.stopped else None

    def hears_datagrams(self, protocol: str, address: str, port: int) -> bool:
        """Whether somebody there takes datagrams of UDP or SCTP."""
        name = self.name_of(address)
        return bool(name) and name not in self.stopped and port == _DATAGRAMS[protocol]

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
        machine = self._machine(list(self.servers).index(name))
        program = processes.python("tests.integration.speaking", name, *self.servers[name].values(), "--pem", str(self._pem))
        self._run(name, machine, program)

    def _run(self, name: str, machine: str, program: Sequence[str]) -> None:
        command: Sequence[str] = [*linux.enter(self.site.machine.settings.namespace(machine)), *program]
        self._running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def _wait(self, name: str) -> None:
        client = self.clients[0]
        for address in self.servers[name].values():
            eventually(lambda: client.send(address, _DATAGRAMS["UDP"]).status == 200, 60, f"{name} does not start")  # noqa: B023
            for port in _CONTENTS:
                eventually(lambda: self._listens(client, address, port), 60, f"{name} does not listen on {port}")  # noqa: B023

    @staticmethod
    def _listens(client: Client, address: str, port: int) -> bool:
        with client.connection(address, port) as opened:
            return isinstance(opened, socket.socket)

    def _end(self, name: str) -> None:
        running = self._running.pop(name)
        running.kill()
        running.wait(10)

    # Secrets

    def hide(self, name: str) -> None:
        """Have a secret be unreadable."""
        self._secret(name).rename(self._hidden(name))
        self.hidden.add(name)

    def lose(self, name: str) -> None:
        """The same, and there is no copy of it, as where the API has no key for copies."""
        self.hide(name)
        engine = sa.create_engine(self.site.machine.database_url)
        with engine.begin() as connection:
            copies = tables.tenant_certificates
            connection.execute(sa.delete(copies).where(copies.c.reference == self.references[name]))
        engine.dispose()

    def show(self, name: str) -> None:
        """Have it be readable again."""
        self._hidden(name).rename(self._places[name])
        self.hidden.discard(name)

    def show_all(self) -> None:
        for name in sorted(self.hidden):
            self.show(name)

    def _secret(self, name: str) -> pathlib.Path:
        [path] = (self.site.folder / "secrets").glob(f"*/{self.references[name].removeprefix('local:')}.secret")
        self._places[name] = path
        return path

    def _hidden(self, name: str) -> pathlib.Path:
        return self.site.folder / f"walk-hidden-{name}"

    # Targets of access logs

    def _start_logs(self) -> None:
        self.log_addresses = {4: self.site.machine.settings.tenants[_LOGGING], 6: f"{_SIX}f000:3"}
        self._add_addresses(_LOGGING, self.log_addresses[6])
        for at, address in self.log_addresses.items():
            for protocol, port in (*LOGS.items(), ("DEAF", DEAF)):
                pem = [str(self._pem)] if protocol == "TLS" else []
                file = self._log(protocol, address)
                file.touch()
                self._run(f"{protocol}{at}", _LOGGING, [sys.executable, log_target.__file__, protocol, address, str(port), str(file), *pem])

    def _log(self, protocol: str, address: str) -> pathlib.Path:
        return self.site.folder / f"walk-log-{protocol}-{version(address)}"

    def logs(self, word: str) -> dict[str, int]:
        """How often a word was told to each target, by its protocol and address; who was told nothing is left out."""
        found = {
            f"{protocol} {address}": self._log(protocol, address).read_bytes().count(word.encode())
            for address in self.log_addresses.values()
            for protocol in LOGS
        }
        return {target: count for target, count in found.items() if count}
