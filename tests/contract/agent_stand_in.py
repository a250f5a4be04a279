"""A real TLS server that speaks the agent's protocol, with the fake behind it: what the `rest` driver meets where there is no amphora."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import pathlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any

from amphora_agent.protocol import boot, rest
from controller import exceptions
from controller.drivers.amphora import fake
from controller.drivers.ca import interface as ca
from controller.model.amphora import Amphora
from controller.model.order import Order
from tests import builders


class AgentStandIn:
    """Listens on 127.0.0.1. `requests` lists what came in; `connections` counts TCP connections; `answers` are given before all others.

    One that is `older` takes certificates one by one. One in wrong hands sends what `fallen` writes, and no answer.
    """

    older = False

    def __init__(self, authority: ca.CertificateAuthority, amphora: Amphora, behind: fake.FakeAmphora, folder: pathlib.Path) -> None:
        self.requests: list[tuple[str, str]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.connections = 0
        self.behind = behind
        self.amphora = amphora
        self.certificates: dict[str, bytes] = {}
        self.fallen: Callable[[io.BufferedIOBase], None] | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._folder = folder
        self._show(authority.issue_amphora_certificate(amphora.id).pem)
        self._context.load_verify_locations(cadata=authority.client_roots().decode())
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._server: _Server | None = None
        self.port = 0

    def start(self, port: int = 0) -> None:
        """Begin to listen."""
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._server.context = self._context
        self._server.owner = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and cut every connection, as the agent's death does."""
        if self._server is not None:
            self._server.shutdown()
            self._server.cut()
            self._server.server_close()
            self._server = None

    def answer(self, method: str, path: str, body: bytes, token: int | None = None) -> tuple[int, bytes]:
        """By the rules of the protocol."""
        self.requests.append((method, path))
        if self.answers:
            return self.answers.pop(0)
        try:
            return self._route(method, path, body, None if token is None else Order("", token))
        except exceptions.ConfigRefused as exc:
            return _error(rest.CONFIG_REFUSED, "config_refused", "HAProxy refused the configuration.", str(exc))
        except exceptions.AmphoraAhead as exc:
            seen = {"generation": exc.generation, "lease_token": exc.token}
            return rest.STALE_ORDER, json.dumps({"code": rest.STALE_CODES[1], "message": str(exc), "details": None, **seen}).encode()
        except rest.Malformed as exc:
            return _error(400, "malformed", str(exc))

    def take(self, identity: boot.Identity, order: Order | None = None) -> None:
        """Serve with another certificate from the next connection on."""
        self.behind.renew(self.amphora, identity, order)
        self._show(identity.server_pem.encode())

    def _show(self, pem: bytes) -> None:
        path = self._folder / f"{self.amphora.id}.pem"
        path.write_bytes(pem)
        self._context.load_cert_chain(path)

    def _route(self, method: str, path: str, body: bytes, order: Order | None) -> tuple[int, bytes]:
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["1", "info"]:
                return 200, json.dumps(dataclasses.asdict(self.behind.info(self.amphora))).encode()
            case "PUT", ["1", "config"]:
                self.behind.configure(self.amphora, boot.AgentConfig.parse(body), order)
                return 204, b""
            case "PUT", ["1", "identity"]:
                self.take(boot.Identity.parse(body), order)
                return 204, b""
            case "PUT", ["1", "load-balancers", _]:
                return self._put(rest.WantedState.parse(body), order)
            case "DELETE", ["1", "load-balancers", load_balancer_id]:
                self.behind.remove(self.amphora, load_balancer_id, order)
                self.certificates.clear()
                return 204, b""
            case "PUT", ["1", "load-balancers", _, "certificates"] if not self.older:
                return self._keep(rest.parse_certificates(body))
            case "PUT", ["1", "load-balancers", _, "certificates", name]:
                return self._keep({name: body})
        return _error(404, "not_found", f"There is no {path}.")

    def _keep(self, certificates: Mapping[str, bytes]) -> tuple[int, bytes]:
        if any(name != f"{hashlib.sha256(pem).hexdigest()}.pem" for name, pem in certificates.items()):
            return _error(400, "malformed", "The name is not the content's hash.")
        self.certificates.update(certificates)
        return 204, b""

    def _put(self, wanted: rest.WantedState, order: Order | None) -> tuple[int, bytes]:
        missing = [name for name in wanted.certificates if name not in self.certificates]
        if missing:
            return rest.MISSING_CERTIFICATES, json.dumps({"missing": missing}).encode()
        applied = self.behind.apply(self.amphora, wanted, self.certificates, order)
        return 200, rest.Receipt(wanted.load_balancer_id, applied.generation, applied.hash, applied.how.value).dump()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext
    owner: AgentStandIn

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.owner.connections += 1
        request.settimeout(10)
        try:
            with self.context.wrap_socket(request, server_side=True) as connection:
                self._open.add(connection)
                super().finish_request(connection, client_address)
        except (ssl.SSLError, OSError):
            return  # the other side did not like us, or we did not like it

    def cut(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _handler(owner: AgentStandIn) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if owner.fallen is not None:
                owner.requests.append((self.command, self.path))
                self.close_connection = True
                owner.fallen(self.wfile)
                return
            status, content = owner.answer(self.command, self.path, body, rest.lease_token(self.headers.get(rest.LEASE_HEADER)))
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    return Handler


def _error(status: int, code: str, message: str, details: str | None = None) -> tuple[int, bytes]:
    return status, json.dumps({"code": code, "message": message, "details": details}).encode()


def an_amphora_here() -> Amphora:
    """An amphora whose agent is on this machine."""
    return builders.an_amphora(management_address="127.0.0.1")
