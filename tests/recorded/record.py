"""Record what HAProxy says of servers and listeners in every state that it has a word for: `python -m tests.recorded.record`.

Everything listens on the loopback, and ends with this command. It takes half a minute.
"""

from __future__ import annotations

import contextlib
import http.server
import pathlib
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

from tests import recorded

WEB, AGENT, FULL, OPEN = 24801, 24802, 24803, 24804
CONFIG = f"""\
global
    stats socket {{folder}}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend full
    bind 127.0.0.1:{FULL}
    maxconn 2
    default_backend states
frontend open
    bind 127.0.0.1:{OPEN}
    default_backend plain
backend states
    option httpchk
    http-check send meth GET uri /health
    http-check disable-on-404
    http-check expect status 200
    server up 127.0.0.1:{WEB} check inter 200ms
    server weightless 127.0.0.1:{WEB} check inter 200ms weight 0
    server falling 127.0.0.1:{WEB} check inter 200ms fall 1000 port {AGENT + 12}
    server down 127.0.0.1:{WEB} check inter 200ms port {AGENT + 10}
    server rising 127.0.0.1:{WEB} check inter 3s fall 1 rise 1000 port {AGENT + 11}
    server unloved 127.0.0.2:{WEB} check inter 200ms
    server agent-down 127.0.0.1:{WEB} check inter 200ms agent-check agent-port {AGENT} agent-inter 200ms
    server maint 127.0.0.1:{WEB} check disabled
    server drain 127.0.0.1:{WEB} check inter 200ms
    server spare 127.0.0.1:{WEB} check inter 200ms backup
    server unchecked 127.0.0.1:{WEB}
backend tracking
    option httpchk
    http-check disable-on-404
    server via 127.0.0.1:{WEB} track states/maint
    server via-down 127.0.0.1:{WEB} track states/down
backend plain
    server m1 127.0.0.1:{WEB}
backend down
    server m1 127.0.0.1:{AGENT + 10} check inter 200ms
backend empty
"""
REFUSED = CONFIG.replace("    maxconn 2", "    frob").replace("    http-check disable-on-404", "    stick on src table nowhere")


class _Web(http.server.BaseHTTPRequestHandler):
    healthy = True

    def do_GET(self) -> None:
        unloved = cast(http.server.HTTPServer, self.server).server_address[0] == "127.0.0.2" and _Web.gone
        self.send_response(404 if unloved else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    gone = False

    def log_message(self, *_: Any) -> None:
        pass


class _WebServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Health checks reset their connections."""


class _Agent(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"down\n")


def ask(folder: pathlib.Path, command: str) -> str:
    """A command on the runtime socket, and its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "haproxy.sock"))
        connection.sendall(command.encode() + b"\n")
        return connection.makefile("r").read()


@contextlib.contextmanager
def serving(servers: list[socketserver.BaseServer]) -> Iterator[None]:
    """Let servers serve for a while."""
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def main() -> None:
    """Record everything into `recorded.HAPROXY`."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    webs = [_WebServer((host, WEB), _Web) for host in ("127.0.0.1", "127.0.0.2")]
    falling = _WebServer(("127.0.0.1", AGENT + 12), _Web)
    rising = _WebServer(("127.0.0.1", AGENT + 11), _Web)
    servers: list[socketserver.BaseServer] = [*webs, socketserver.ThreadingTCPServer(("127.0.0.1", AGENT), _Agent)]
    with tempfile.TemporaryDirectory() as name, serving(servers):
        folder = pathlib.Path(name)
        (folder / "haproxy.cfg").write_text(REFUSED.format(folder=folder))
        refused = subprocess.run(["haproxy", "-c", "-f", "haproxy.cfg"], cwd=folder, capture_output=True, text=True, check=False)
        (folder / "haproxy.cfg").write_text(CONFIG.format(folder=folder))
        haproxy = subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], stderr=subprocess.DEVNULL)
        try:
            with serving([falling]):
                time.sleep(3)
            for state in ("maint", "ready"):  # whoever comes back from maintenance is checked at once
                ask(folder, f"set server states/rising state {state}")
            ask(folder, "set server states/drain state drain")
            time.sleep(5)
            _Web.gone = True
            with serving([rising]):
                time.sleep(8)
                held = [socket.create_connection(("127.0.0.1", FULL)) for _ in range(3)]  # the third one waits
                other = socket.create_connection(("127.0.0.1", OPEN))
                time.sleep(2)
                said = {word: ask(folder, word.replace("-", " ")) for word in ("show-stat", "show-info", "show-servers-state")}
                for connection in (*held, other):
                    connection.close()
        finally:
            haproxy.terminate()
            haproxy.wait(10)
    recorded.HAPROXY.mkdir(exist_ok=True)
    for word, text in {**said, "refused": refused.stdout + refused.stderr}.items():
        (recorded.HAPROXY / f"{word}.txt").write_text(text.replace(name, "").replace(socket.gethostname(), "amphora"))


if __name__ == "__main__":
    main()
