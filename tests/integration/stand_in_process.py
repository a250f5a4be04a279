"""Stands in for a process of ours in the tests of `figlina dev`: it reads the configuration, and answers HTTP if it is the API."""

from __future__ import annotations

import argparse
import configparser
import http.server
import signal
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every GET with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", required=True)
    file = configparser.ConfigParser(interpolation=None)
    file.read(parser.parse_args().config_file)
    if "stand_in_api" in sys.argv[0]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", file.getint("api_settings", "bind_port")), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    main()
