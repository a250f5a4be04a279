"""What the agent costs: CPU until its first heartbeat and until it answers HTTPS, memory (PSS), and CPU per second at rest; and what 1,500
connections without a certificate (500 silent ones, 500 with half of TLS's first message, 500 with all of it) do to its memory and answers.

Starts the real agent in namespaces of its own (needs root) and prints one JSON line. Run: `python -m benchmarks.agent_start`.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import ssl
import statistics
import tempfile
import time

from tests import siege
from tests.integration import agent_amphora

RUNS = 3
REST_SECONDS = 10


def main() -> None:
    """Medians of a few runs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    runs = [_measure() for _ in range(RUNS)]
    result = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    print(json.dumps({"benchmark": "agent_start", "calibration_seconds": round(_calibrate(), 3), **result}))


def _measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        amphora = agent_amphora.Amphora(pathlib.Path(folder) / "amphora")
        try:
            amphora.make()
            beats = amphora.beats()
            started = time.monotonic()
            amphora.start()
            beats.next()
            first_beat_cpu, first_beat = _cpu_seconds(amphora.agent_pid()), time.monotonic() - started
            agent_amphora.eventually(lambda: amphora.call("GET", "/")[0] == 200)
            answers_cpu = _cpu_seconds(amphora.agent_pid())
            address = amphora.web(9001)
            amphora.apply(1, agent_amphora.config(*(f"m{number} {address} weight 1" for number in range(100))))
            time.sleep(1)
            before = _cpu_seconds(amphora.agent_pid())
            time.sleep(REST_SECONDS)
            return {
                "first_heartbeat_cpu_seconds": first_beat_cpu,
                "first_heartbeat_seconds": first_beat,
                "answers_cpu_seconds": answers_cpu,
                "rest_cpu_ms_per_second": (_cpu_seconds(amphora.agent_pid()) - before) / REST_SECONDS * 1000,
                **_memory(amphora.agent_pid()),
                **_besieged(amphora),
            }
        finally:
            amphora.destroy()


def _besieged(amphora: agent_amphora.Amphora) -> dict[str, float]:
    read, written = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        amphora.tls(None).wrap_bio(read, written, server_hostname=amphora.id).do_handshake()
    hello = written.read()
    quiet = [_asked(amphora) for _ in range(30)]
    sieges = [
        amphora.outdoors(lambda first=first: siege.Siege(9443, siege.Kind(first), 500, agent_amphora.AGENT))  # type: ignore[misc]
        for first in (b"", hello[:100], hello)
    ]
    asked = [_asked(amphora) for _ in range(30)]
    pss = _memory(amphora.agent_pid())["pss_mb"]
    for one in sieges:
        one.start()
        one.close()
    return {
        "get_median_seconds": statistics.median(quiet),
        "get_worst_seconds": max(quiet),
        "besieged_get_median_seconds": statistics.median(asked),
        "besieged_get_worst_seconds": max(asked),
        "besieged_pss_mb": pss,
    }


def _asked(amphora: agent_amphora.Amphora) -> float:
    started = time.perf_counter()
    if amphora.call("GET", "/")[0] != 200:
        raise RuntimeError("the agent did not answer")
    return time.perf_counter() - started


def _cpu_seconds(pid: int) -> float:
    """User and system time of the agent and of the programs that it ran, by the kernel's clock ticks (10 ms)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / 100


def _memory(pid: int) -> dict[str, float]:
    """PSS shares pages with other Pythons of the machine; private is what the agent alone holds. A VM has one Python: its cost is RSS."""
    values = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) / 1024
    return {"pss_mb": values["Pss"], "private_mb": values["Private_Clean"] + values["Private_Dirty"], "rss_mb": values["Rss"]}


def _calibrate() -> float:
    """A fixed piece of Python, to compare machines and runs by."""
    started = time.process_time()
    sum(number * number for number in range(3_000_000))
    return time.process_time() - started


if __name__ == "__main__":
    main()
