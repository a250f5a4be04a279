"""A client that asks a URL at a steady rate and keeps count: what the demo and the integration tests watch while things change or die.

Open loop: a request starts when its time has come, whether or not earlier ones were answered; so a stall shows as failures and a gap, not
as fewer requests. It stops after `--seconds`, or when its standard input is closed, and prints one JSON object (`Summary`).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import itertools
import json
import statistics
import sys
import time
import urllib.parse

MAX_SECONDS = 600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it began and ended (seconds, monotonic clock), who answered, or why nobody did."""

    began: float
    ended: float
    server: str | None
    error: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of one run; times in seconds.

    `longest_gap` is the longest time in which no request that began was answered, `longest_silence` the longest between two good answers: a
    request that waited for the network to come back is no failure, and yet its user waited.
    """

    requests: int
    ok: int
    failed: int
    errors: dict[str, int]
    servers: dict[str, int]
    longest_gap: float
    longest_silence: float
    p50: float
    p99: float
    sequence: list[str]  # the servers of the last answers, in the order of asking

    @classmethod
    def of(cls, answers: list[Answer]) -> Summary:
        """Count the answers of one run."""
        ordered = sorted(answers, key=lambda answer: answer.began)
        good = [answer for answer in ordered if answer.error is None]
        times = sorted(answer.ended - answer.began for answer in good) or [0.0]
        return cls(
            requests=len(ordered),
            ok=len(good),
            failed=len(ordered) - len(good),
            errors=dict(collections.Counter(answer.error for answer in ordered if answer.error)),
            servers=dict(collections.Counter(answer.server for answer in good if answer.server)),
            longest_gap=_longest_gap(ordered),
            longest_silence=_longest_silence(good),
            p50=statistics.median(times),
            p99=times[min(len(times) - 1, int(len(times) * 0.99))],
            sequence=[answer.server or "" for answer in good[-20:]],
        )


def _longest_gap(ordered: list[Answer]) -> float:
    """The longest run of failures: from the start of its first request to the start of the next that was answered."""
    longest, began = 0.0, None
    for answer in ordered:
        if answer.error is not None:
            began = answer.began if began is None else began
        elif began is not None:
            longest, began = max(longest, answer.began - began), None
    if began is not None:
        longest = max(longest, ordered[-1].ended - began)
    return longest


def _longest_silence(good: list[Answer]) -> float:
    ends = sorted(answer.ended for answer in good)
    return max((later - earlier for earlier, later in itertools.pairwise(ends)), default=0.0)


async def _ask(host: str, port: int, path: str, timeout: float) -> Answer:
    """One request on a connection of its own."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                content = await reader.read(-1)
            finally:
                writer.close()
        head, _, body = content.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if status != [b"200"]:
            return Answer(began, time.monotonic(), None, f"status {status[0].decode()}" if status else "empty answer")
        return Answer(began, time.monotonic(), body.decode(errors="replace").strip().splitlines()[0], None)
    except TimeoutError:
        return Answer(began, time.monotonic(), None, "timeout")
    except (OSError, IndexError) as exc:
        return Answer(began, time.monotonic(), None, type(exc).__name__)


async def _until_closed() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read(-1)


async def run(url: str, rate: float, seconds: float, timeout: float) -> Summary:
    """Ask `url` `rate` times a second for at most `seconds`; `timeout` in seconds is what a whole request may take."""
    parts = urllib.parse.urlsplit(url)
    host, port, path = parts.hostname or "", parts.port or 80, parts.path or "/"
    closed = asyncio.create_task(_until_closed())
    started, asked, pending = time.monotonic(), 0, set[asyncio.Task[Answer]]()
    answers: list[Answer] = []

    def finished(task: asyncio.Task[Answer]) -> None:
        pending.discard(task)
        answers.append(task.result())

    while not closed.done() and time.monotonic() - started < seconds:
        task = asyncio.create_task(_ask(host, port, path, timeout))
        pending.add(task)
        task.add_done_callback(finished)
        asked += 1
        await asyncio.sleep(max(0.0, started + asked / rate - time.monotonic()))
    closed.cancel()
    while pending:
        await asyncio.wait(pending)
    return Summary.of(answers)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (at most 1000)")
    parser.add_argument("--seconds", type=float, default=60.0, help=f"how long at most (never over {MAX_SECONDS:.0f})")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds that a whole request may take")
    options = parser.parse_args(arguments)
    summary = asyncio.run(run(options.url, min(options.rate, 1000.0), min(options.seconds, MAX_SECONDS), options.timeout))
    print(json.dumps(dataclasses.asdict(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
