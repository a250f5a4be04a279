"""A machine-like amphora for the agent's tests: its own network, mount and process namespaces, web servers and clients around it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import http.client
import http.server
import ipaddress
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

from amphora_agent import report as report_module
from amphora_agent import system
from amphora_agent.protocol import boot, heartbeat, rest
from tests.integration import lineage

MANAGER, AGENT = "198.19.250.1", "198.19.250.2"
WEB, VRRP, VIP = "198.19.251.1", "198.19.251.2", "198.19.251.100"
MANAGEMENT_MAC, TENANT_MAC = "02:f1:00:00:00:01", "02:f1:00:00:00:02"
DEPLOYMENT_KEY = b"k" * 32
_T = TypeVar("_T")
_AGENT = "amphora_agent.main"
# What the namespace compute driver does: process 1 keeps the agent running, and its death ends everything inside.
_INIT = 'mount -t tmpfs tmpfs /run; trap "exit 0" TERM; while :; do "$@" >> "$AGENT_LOG" 2>&1 & wait $!; sleep 0.2; done'


def eventually(condition: Callable[[], _T], within: float = 60.0) -> _T:
    """The first truthy value of a condition."""
    until = time.monotonic() + within
    while True:
        error: Exception | None = None
        try:
            value = condition()
            if value:
                return value
        except (OSError, http.client.HTTPException, AssertionError) as exc:
            error = exc
        if time.monotonic() > until:
            raise AssertionError(f"not within {within} seconds") from error
        time.sleep(0.05)


class Authority:
    """A certificate authority of a test."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self._certificate = builder.add_extension(_may_sign(True), True).sign(self._key, hashes.SHA256())
        self.root = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, address: str | None = None) -> bytes:
        """A certificate with its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if address:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        builder = self._builder(x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)]), key)
        certificate = builder.add_extension(x509.SubjectAlternativeName(names), False).sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            # Python 3.13 and later refuses a chain without these.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )


def _may_sign(certificates: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
    usage = dict.fromkeys(others, False)
    return x509.KeyUsage(digital_signature=not certificates, key_cert_sign=certificates, crl_sign=certificates, **usage)


class _Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _WebServer
    wbufsize = -1  # head and body in one packet: otherwise Nagle's algorithm waits for the receiver's delayed acknowledgement

    def do_GET(self) -> None:
        match self.path:
            case "/socket":
                self._echo()
            case "/download":
                self._send_long()
            case _:
                self._answer()

    def _answer(self) -> None:
        if self.path.startswith("/slow"):
            self.server.release.wait(30)
        if self.path == "/health":
            time.sleep(self.server.thinks)
        body = str(self.server.server_address[1]).encode()
        self.send_response(500 if self.path == "/health" and not self.server.fit else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/login":
            self.send_header("Set-Cookie", f"app={self.server.server_address[1]}/{secrets.token_hex(4)}=; Path=/")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def _echo(self) -> None:
        """What comes after the head of a WebSocket's first answer (RFC 6455, section 4.2.2), whatever it is, comes back."""
        proof = hashlib.sha1(f"{self.headers['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode())
        self.send_response(101)
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(proof.digest()).decode())
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        while content := self.connection.recv(4096):
            self.connection.sendall(content)
        self.close_connection = True

    def _send_long(self) -> None:
        """Something every moment until the server is told that it is enough."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server.release.wait(0.05):
            self.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        pass


class _WebServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Web)
        self.release = threading.Event()
        self.fit = True
        self.thinks = 0.0  # seconds, about its health

    def secure(self, file: pathlib.Path, pem: bytes) -> None:
        """Speak TLS; the hand-shake is made where a connection is read."""
        file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: Any) -> None:
        """Health checks reset their connections."""


@dataclasses.dataclass
class Beats:
    """What a health manager receives."""

    sock: socket.socket
    key: bytes

    def next(self, timeout: float = 60.0) -> tuple[heartbeat.Header, dict[str, Any] | None]:
        """The next verified datagram; its report if it is one."""
        self.sock.settimeout(timeout)
        datagram, self.sender = self.sock.recvfrom(65536)
        header, body = heartbeat.unpack(datagram, self.key)
        return header, json.loads(zlib.decompress(body)) if header.kind == heartbeat.REPORT else None

    def report(self, condition: Callable[[dict[str, Any]], bool] = lambda _: True, within: float = 60.0) -> dict[str, Any]:
        """The next report that fits."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                _, report = self.next(max(0.1, until - time.monotonic()))
                if report is not None and condition(report):
                    return report
        raise AssertionError(f"no such report within {within} seconds")

    def lively(self) -> list[tuple[heartbeat.Header, dict[str, Any] | None]]:
        """What has come until now and claims that all programs run that should: all but a report which says otherwise."""
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                header, report = self.next(0.01)
                if report is None or report_module.claims_life(report):
                    found.append((header, report))
        return found

    def drain(self) -> int:
        """Forget what has come until now, and say how much it was."""
        self.sock.setblocking(False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.recv(65536)
                count += 1
        return count


class Amphora:
    """The agent in a machine of its own. Clients, web servers and the health manager live in the `outside` namespace."""

    def __init__(self, folder: pathlib.Path, **boot_changes: Any) -> None:
        tag = secrets.token_hex(3)
        self.outside, self.inside = f"figlina-t{tag}o", f"figlina-t{tag}a"
        self.folder = folder
        self.id, self.load_balancer_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.key = heartbeat.derive_key(DEPLOYMENT_KEY, self.id)
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self._machine: subprocess.Popen[bytes] | None = None
        self._webs: dict[int, _WebServer] = {}
        self._boot_changes = boot_changes
        self._tag = tag

    # -- life ----------------------------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Namespaces, cables, certificates, boot configuration."""
        for name in (self.outside, self.inside):
            system.run(["ip", "netns", "add", name])
            system.run(["ip", "-n", name, "link", "set", "lo", "up"])
        self.plug("mgmt", MANAGEMENT_MAC, f"{MANAGER}/24")
        self.plug("ten", TENANT_MAC, f"{WEB}/24")
        etc = self.folder / "etc"
        (etc / "certs").mkdir(parents=True)
        (etc / "certs" / "server.pem").write_bytes(self.servers.issue(self.id, AGENT))
        (etc / "certs" / "client_roots.pem").write_bytes(self.clients.root)
        (self.folder / "client.pem").write_bytes(self.clients.issue("controller"))
        config = boot.BootConfig(
            amphora_id=self.id,
            management_address=f"{AGENT}/24",
            management_mac=MANAGEMENT_MAC,
            management_mtu=1400,
            health_managers=((MANAGER, 5555), (MANAGER, 5556)),
            heartbeat_key=self.key.hex(),
            **{"heartbeat_interval": 1.0, "full_report_interval": 30.0, **self._boot_changes},
        )
        (etc / "agent.json").write_bytes(config.dump())

    def plug(self, name: str, mac: str, outside_address: str) -> None:
        """A cable from the outside to a NIC in the machine's main network namespace."""
        system.run(
            [
                "ip",
                "-n",
                self.outside,
                "link",
                "add",
                name,
                "type",
                "veth",
                "peer",
                "name",
                f"{name}-in",
                "netns",
                self.inside,
                "address",
                mac,
            ]
        )
        system.run(["ip", "-n", self.outside, "address", "add", outside_address, "dev", name])
        system.run(["ip", "-n", self.outside, "link", "set", name, "up"])

    def start(self) -> None:
        """Switch the machine on."""
        agent = [
            *(sys.executable, "-m", _AGENT, "--config", str(self.folder / "etc" / "agent.json")),
            *("--state-directory", str(self.folder / "state"), "--run-directory", "/run/figlina"),
        ]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _INIT, "init", *agent]
        self._machine = subprocess.Popen(
            ["ip", "netns", "exec", self.inside, *unshare],
            env={**os.environ, "AGENT_LOG": str(self.folder / "agent.log")},
            stdin=subprocess.DEVNULL,
        )

    def destroy(self) -> None:
        """Take everything away, whatever state it is in."""
        for server in self._webs.values():
            server.shutdown()
            server.server_close()
        if self._machine is not None:
            self._machine.kill()  # unshare: its --kill-child takes process 1, and the kernel all others
            self._machine.wait(10)
        for name in (self.inside, self.outside):
            system.wait_until(lambda name=name: not system.run(["ip", "netns", "pids", name]).split(), 5)  # type: ignore[misc]
            with contextlib.suppress(system.CommandFailed):
                system.run(["ip", "netns", "delete", name])

    # -- inside --------------------------------------------------------------------------------------------------------------

    def pids(self, program: str, *arguments: str) -> list[int]:
        """Processes of the machine that run a program (host's numbering)."""
        return [
            pid
            for pid in self._all_pids()
            if (words := _command_line(pid)) and words[0].rpartition("/")[2] == program and all(argument in words for argument in arguments)
        ]

    def agents(self) -> list[int]:
        """The agent's process (host's numbering), a child of process 1; what it has just begun is none, and may look like it."""
        first, *others = self._all_pids()
        return [
            pid
            for pid in others
            if lineage.parent(pid) == first and (words := _command_line(pid))[:1] == [sys.executable] and _AGENT in words
        ]

    def agent_pid(self) -> int:
        """The same, of one that runs."""
        return self.agents()[0]

    def keepalived(self) -> list[int]:
        """Keepalived, and its child; not a script that the child runs, which for a moment is keepalived, too."""
        return lineage.program_and_child(self.pids("keepalived"))

    def workers(self) -> set[int]:
        """HAProxy's processes but the master, and what a worker has begun, such as the program of a PING check before its exec."""
        found = lineage.program_and_child(self.pids("haproxy"))
        return {pid for pid in found if lineage.parent(pid) in found}

    def exec(self, *command: str) -> str:
        """Run a command inside the machine."""
        return system.run(self._inside(*command))

    def _inside(self, *command: str) -> list[str]:
        pid = self._all_pids()[0]  # process 1 of the machine: unshare's only child
        return ["nsenter", "-t", str(pid), "-m", "-n", "-p", *command]

    def tenant(self, *command: str) -> str:
        """Run a command in the machine's tenant namespace."""
        return system.run(self.in_tenant(*command))

    def in_tenant(self, *command: str) -> list[str]:
        """The command line that runs this there."""
        return self._inside("ip", "netns", "exec", boot.TENANT_NAMESPACE, *command)

    def log(self) -> str:
        """What the agent said."""
        return (self.folder / "agent.log").read_text()

    def _all_pids(self) -> list[int]:
        """Every process of the machine, by its process namespace; process 1 comes first."""
        assert self._machine is not None
        machine = self._machine.pid
        namespace = _link(f"/proc/{machine}/ns/pid_for_children")
        pids = [int(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdecimal()]
        return sorted(
            (pid for pid in pids if _link(f"/proc/{pid}/ns/pid") == namespace), key=lambda pid: (lineage.parent(pid) != machine, pid)
        )

    # -- outside -------------------------------------------------------------------------------------------------------------

    def outdoors(self, action: Callable[[], _T]) -> _T:
        """Do something in the outside namespace; its sockets stay there."""
        return system.inside_namespace(self.outside, action)

    def web(self, port: int, fit: bool = True, pem: bytes = b"") -> str:
        """A web server that answers with its port, and on `/health` whether it is fit; its address. With a `pem` it speaks TLS."""
        server = self.outdoors(lambda: _WebServer((WEB, port)))
        server.fit = fit
        if pem:
            server.secure(self.folder / "web.pem", pem)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._webs[port] = server
        return f"{WEB}:{port}"

    def stop_web(self, port: int) -> None:
        """End a web server."""
        server = self._webs.pop(port)
        server.shutdown()
        server.server_close()

    def set_fit(self, port: int, fit: bool) -> None:
        """What a web server answers on `/health` from now on."""
        self._webs[port].fit = fit

    def set_thinking(self, port: int, seconds: float) -> None:
        """For how long a web server thinks before it answers on `/health` from now on."""
        self._webs[port].thinks = seconds

    def release(self, port: int) -> None:
        """Let a web server answer its `/slow` requests."""
        self._webs[port].release.set()

    def connect(self, address: str = VIP, port: int = 80, timeout: float = 20.0) -> socket.socket:
        """A connection from the outside."""
        return self.outdoors(lambda: socket.create_connection((address, port), timeout))

    def fetch(self, path: str = "/", port: int = 80, address: str = VIP) -> str:
        """A page through the load balancer."""
        connection = http.client.HTTPConnection(address, port)
        connection.sock = self.connect(address, port)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == 200, (response.status, body)
            return body
        finally:
            connection.close()

    def fetch_all(self, count: int = 8, **kwargs: Any) -> set[str]:
        """Who answers."""
        return {self.fetch(**kwargs) for _ in range(count)}

    def beats(self, port: int = 5555) -> Beats:
        """Listen as a health manager."""

        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((MANAGER, port))
            return sock

        return Beats(self.outdoors(listen), self.key)

    def tls(self, client_pem: pathlib.Path | None) -> ssl.SSLContext:
        """How a controller speaks TLS."""
        context = ssl.create_default_context(cadata=self.servers.root.decode())
        if client_pem is not None:
            context.load_cert_chain(client_pem)
        return context

    def call(self, method: str, path: str, body: bytes = b"", client_pem: pathlib.Path | None = None) -> tuple[int, bytes]:
        """Ask the agent, as the controller does."""
        context = self.tls(client_pem or self.folder / "client.pem")
        connection = http.client.HTTPConnection(AGENT, 9443)
        connection.sock = context.wrap_socket(self.connect(AGENT, 9443, timeout=60), server_hostname=self.id)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()

    # -- wanted states -------------------------------------------------------------------------------------------------------

    def wanted(self, generation: int, config: str | None, **changes: Any) -> rest.WantedState:
        """A wanted state with the VIP's NIC; `keepalived_config` and the like are configurations of other programs."""
        texts = {"haproxy": config} | {key.removesuffix("_config"): changes.pop(key) for key in list(changes) if key.endswith("_config")}
        programs = {name: text for name, text in texts.items() if text is not None}
        nic = rest.Interface(mac=TENANT_MAC, name="eth1", mtu=1400, addresses=(f"{VRRP}/24",), vips=(f"{VIP}/32",))
        return rest.WantedState(
            load_balancer_id=self.load_balancer_id, generation=generation, programs=programs, **{"interfaces": (nic,), **changes}
        )

    def put(self, wanted: rest.WantedState) -> tuple[int, bytes]:
        """PUT a wanted state."""
        return self.call("PUT", rest.load_balancer_path(self.load_balancer_id), wanted.dump())

    def apply(self, generation: int, config: str | None, **changes: Any) -> str:
        """PUT a wanted state that is to succeed; how it was applied."""
        status, answer = self.put(self.wanted(generation, config, **changes))
        assert status == 200, answer
        receipt = rest.Receipt.parse(answer)
        assert receipt.generation == generation
        return receipt.applied

    def send_certificate(self, pem: bytes) -> str:
        """PUT a certificate; its name."""
        name = f"{hashlib.sha256(pem).hexdigest()}.pem"
        status, answer = self.call("PUT", rest.certificate_path(self.load_balancer_id, name), pem)
        assert status == 204, answer
        return name


def config(*servers: str, balance: str = "roundrobin", extra: str = "", frontend: str = "l1", pool: str = "p1", port: int = 80) -> str:
    """HAProxy text as the controller renders it; `servers` are `name address words`."""
    lines = "\n".join(f"    server {server}" for server in servers)
    return f"""\
defaults
    retries 3
    option redispatch 1
    timeout connect 2s
    load-server-state-from-file global

frontend {frontend}
    mode http
    bind {VIP}:{port}
    maxconn 2000
    timeout client 20s
    option idle-close-on-response
    default_backend {pool}:{frontend}

backend {pool}:{frontend}
    mode http
    timeout connect 2s
    timeout server 20s
    option allbackups
    http-reuse safe
    balance {balance}
{extra}
{lines}
"""


@contextlib.contextmanager
def running(folder: pathlib.Path, **boot_changes: Any) -> Iterator[Amphora]:
    """An amphora that answers."""
    amphora = Amphora(folder, **boot_changes)
    try:
        amphora.make()
        amphora.start()
        eventually(lambda: amphora.call("GET", "/")[0] == 200)
        yield amphora
    except BaseException:
        with contextlib.suppress(OSError):
            sys.stderr.write(amphora.log()[-8000:])
        raise
    finally:
        amphora.destroy()
        shutil.rmtree(folder, ignore_errors=True)


def kill(pid: int) -> None:
    """kill -9; a worker may have followed its master already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _command_line(pid: int) -> list[str]:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
