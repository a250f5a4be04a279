"""What a GET takes while 500 clients of each kind begin a request and don't end it, against its quiet value.

    python -m benchmarks.api_slow_clients [--also CHECKOUT]... [--count 500]

Each kind by itself, then all of them at once, against a process with eight threads and the default time limits. The clients live in another
process, so that their own work does not count. Fails if a p99 is more than twice the quiet one plus a millisecond.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import api_http, harness
from tests import siege

REQUESTS = 1500
PATIENCE = 10.0
"""Seconds that a GET may take before it counts as unanswered."""


def main() -> int:
    """1 if this checkout's GETs are more than twice as slow in a siege."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--also", action="append", default=[], type=pathlib.Path, help="another checkout to measure")
    parser.add_argument("--count", type=int, default=500, help="clients of each kind")
    parser.add_argument("--besiege", nargs=2, metavar=("PORT", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.besiege:
        return _besiege(int(options.besiege[0]), options.besiege[1], options.count)
    worst = [_measure(path.resolve(), options.count) for path in (api_http.HERE, *options.also)]
    return 0 if worst[0] <= 1 else 1


def _measure(checkout: pathlib.Path, count: int) -> float:
    """The worst p99 of all kinds, as a share of what is allowed."""
    place = "this checkout" if checkout == api_http.HERE else str(checkout)
    worst = 0.0
    for kind in (*siege.KINDS, "all"):
        with api_http.running(checkout) as server:
            quiet = _get(server.port)
            with _besieged(server.port, kind, count):
                found = _get(server.port)
        allowed = 2 * harness.percentile(quiet, 0.99) + 0.001
        unanswered = sum(1 for seconds in found if seconds >= PATIENCE)
        harness.emit(
            "api_slow_clients",
            checkout=place,
            kind=kind,
            clients=count * (len(siege.KINDS) if kind == "all" else 1),
            quiet_p50_seconds=harness.percentile(quiet, 0.5),
            quiet_p99_seconds=harness.percentile(quiet, 0.99),
            p50_seconds=harness.percentile(found, 0.5),
            p99_seconds=harness.percentile(found, 0.99),
            unanswered=unanswered,
        )
        worst = max(worst, harness.percentile(found, 0.99) / allowed)
    return worst


def _get(port: int) -> list[float]:
    """Seconds of GETs of the versions, each on a connection of its own; it ends with the first that is not answered."""
    found: list[float] = []
    while len(found) < REQUESTS and (not found or found[-1] < PATIENCE):
        started = time.perf_counter()
        try:
            client = api_http.Client(port, timeout=PATIENCE)
            client("GET", "/")
            client.close()
        except OSError:
            found.append(PATIENCE)
        else:
            found.append(time.perf_counter() - started)
    return found


@contextlib.contextmanager
def _besieged(port: int, kind: str, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.api_slow_clients", "--count", str(count), "--besiege", str(port), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=api_http.HERE) as clients:
        assert clients.stdout is not None
        assert clients.stdin is not None
        clients.stdout.readline()
        try:
            yield
        finally:
            clients.stdin.close()


def _besiege(port: int, kind: str, count: int) -> int:
    chosen = siege.KINDS if kind == "all" else {kind: siege.KINDS[kind]}
    with siege.besieged(port, chosen, count):
        print("begun", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
