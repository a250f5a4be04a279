"""HAProxy's statistics under the names that dashboards know."""

from __future__ import annotations

import contextlib
import pathlib
import re
import socket
import threading
import time

import pytest

from amphora_agent import datagram_reports, datagram_rules, exporter, haproxy_runtime, metrics
from amphora_agent.protocol import datagrams
from tests import recorded

KNOWN = set((pathlib.Path(recorded.__file__).parent / "octavia-metrics.txt").read_text().split())
LOAD = {"cpu": 12.5, "memory": 50.0}
SAMPLE = re.compile(r'([a-z0-9_]+)(?:\{([a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*)\})? (-?[0-9.e+]+)').fullmatch


def samples(text: str) -> dict[str, float]:
    """By name and labels; each line is one of the format, and none is said twice."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            continue
        read = SAMPLE(line)
        assert read is not None, line
        key = f"{read[1]}{{{read[2] or ''}}}"
        assert key not in found, line
        found[key] = float(read[3])
    return found


def of_recorded(is_own: str = "") -> str:
    families = metrics.families(recorded.haproxy("show-stat"), recorded.haproxy("show-info"), is_own.__eq__)
    return metrics.text(families, LOAD)


def test_each_name_that_dashboards_ask_for_is_there_and_no_other() -> None:
    names = {key.partition("{")[0] for key in samples(of_recorded())}
    assert names - KNOWN == set()
    without = {"limit_sessions", "queue_limit", "idle_connections_limit", "current_throttle"}  # members have no limits and start at once
    assert KNOWN - names == {f"octavia_member_{one}" for one in without}


def test_what_is_not_the_tenants_is_not_told() -> None:
    assert "states" in of_recorded()
    assert "states" not in of_recorded("states")


def test_a_pool_that_two_listeners_share_is_one() -> None:
    head = recorded.haproxy("show-stat").splitlines()[0]
    fields = head.removeprefix("# ").split(",")

    def row(proxy: str, name: str, **values: str) -> str:
        said = {"pxname": proxy, "svname": name, **values}
        return ",".join(said.get(field, "") for field in fields)

    table = [
        head,
        *(row(f"p:{one}", "m", status="UP 1/2", stot=number, weight="5", rtime="250") for one, number in (("a", "3"), ("b", "4"))),
        *(row(f"p:{one}", "BACKEND", status="UP", scur="2", smax=number) for one, number in (("a", "3"), ("b", "4"))),
    ]
    found = samples(metrics.text(metrics.families("\n".join(table), "", lambda _: False), {}))
    assert found['octavia_member_sessions_total{pool="p",member="m"}'] == 7
    assert found['octavia_member_weight{pool="p",member="m"}'] == 5
    assert found['octavia_member_response_time_average_seconds{pool="p",member="m"}'] == 0.25
    assert found['octavia_pool_current_sessions{pool="p"}'] == 4
    assert found['octavia_pool_max_sessions{pool="p"}'] == 4
    assert found['octavia_pool_status{pool="p",state="UP"}'] == 1


def test_a_shared_member_that_one_listener_finds_down_is_down_and_up() -> None:
    """Each state says whether any backend is in it."""
    head = recorded.haproxy("show-stat").splitlines()[0]
    place = head.removeprefix("# ").split(",").index("status")
    rows = [f"p:{one},m{',' * (place - 1)}{status}" for one, status in (("a", "UP"), ("b", "DOWN"))]
    found = samples(metrics.text(metrics.families("\n".join([head, *rows]), "", lambda _: False), {}))
    assert [found[f'octavia_member_status{{pool="p",member="m",state="{one}"}}'] for one in ("UP", "DOWN", "MAINT")] == [1, 1, 0]


def _service(name: str, *members: datagrams.Member) -> datagrams.Service:
    check = datagrams.Check(type="UDP-CONNECT", delay=3, timeout=1, rise=1, fall=1)
    return datagrams.Service(
        id=name, transport="udp", addresses=("192.0.2.1",), port=53, most_flows=9, pool_id="p", check=check, members=members
    )


def test_services_of_datagrams_are_told_by_the_same_names() -> None:
    """Two listeners have the pool; one of its members is fit, one is a backup, one is away."""
    some = [
        datagrams.Member(id=name, address="192.0.2.2", port=1, weight=weight, check_address="192.0.2.2", check_port=1, backup=name == "b")
        for name, weight in (("m", 5), ("b", 1), ("x", 1))
    ]
    services = [_service("l", *some), _service("k", *some)]
    mark = datagram_rules.numbers(services[0])["m"]
    known = datagram_reports.Known(
        services,
        {"l": [1000, 2000, 7, 0], "k": [1, 2, 3, 0]},
        {"l": {mark: 4}, "k": {mark: 2}},
        {(one, name): up for one in "lk" for name, up in (("m", True), ("b", True), ("x", False))},
        {"p": [1001, 2002, 10, 0], "m": [1000, 2001, 9, 0]},
    )
    found: metrics.Families = {}
    metrics.add_rows(found, known.rows())
    said = samples(metrics.text(found, {}))
    assert {key.partition("{")[0] for key in said} - KNOWN == set()
    expected = {
        'listener_bytes_in_total{listener="l"}': 1000,
        'listener_bytes_out_total{listener="l"}': 2000,
        'listener_sessions_total{listener="l"}': 7,
        'listener_connections_total{listener="k"}': 3,
        'listener_current_sessions{listener="l"}': 4,
        'listener_limit_sessions{listener="l"}': 9,
        'listener_status{listener="l",state="UP"}': 1,
        'pool_bytes_in_total{pool="p"}': 1001,
        'pool_sessions_total{pool="p"}': 10,
        'pool_current_sessions{pool="p"}': 6,
        'pool_active_members{pool="p"}': 1,
        'pool_backup_members{pool="p"}': 1,
        'pool_status{pool="p",state="UP"}': 1,
        'member_bytes_in_total{pool="p",member="m"}': 1000,
        'member_bytes_out_total{pool="p",member="m"}': 2001,
        'member_sessions_total{pool="p",member="m"}': 9,
        'member_loadbalanced_total{pool="p",member="m"}': 9,
        'member_bytes_in_total{pool="p",member="x"}': 0,
        'member_current_sessions{pool="p",member="m"}': 6,
        'member_current_sessions{pool="p",member="x"}': 0,
        'member_weight{pool="p",member="m"}': 5,
        'member_status{pool="p",member="m",state="UP"}': 1,
        'member_status{pool="p",member="x",state="DOWN"}': 1,
        'member_status{pool="p",member="x",state="UP"}': 0,
    }
    assert {key: said[f"octavia_{key}"] for key in expected} == expected


def test_load_is_that_since_the_last_look() -> None:
    memory = {"MemAvailable": 25, "MemTotal": 100}
    assert metrics.load([150, 0, 0, 200, 50, 0, 0, 0], [100, 0, 0, 100, 0, 0, 0, 0], memory) == {"cpu": 25.0, "memory": 75.0}
    assert metrics.load([1] * 8, [1] * 8, memory)["cpu"] == 0.0


class Counting(haproxy_runtime.RuntimeApi):
    """A HAProxy that counts the questions."""

    def __init__(self) -> None:
        super().__init__(pathlib.Path("/nonexistent"))
        self.asked, self.is_away, self.hangs = 0, False, 0.0

    def ask(self, command: str, timeout: float | None = None) -> str:
        self.asked += 1
        time.sleep(self.hangs)
        if self.is_away:
            raise haproxy_runtime.RuntimeFailed("away")
        return "\n".join(recorded.haproxy(one.replace(" ", "-")) for one in command.split(";"))


@pytest.fixture
def served(tmp_path: pathlib.Path) -> tuple[Counting, pathlib.Path]:
    asked, path = Counting(), tmp_path / "metrics.sock"
    made = exporter.Exporter(path, asked, tmp_path / "metrics.json")
    made.ensure_serving()
    made.ensure_serving()
    return asked, path


def fetch(path: pathlib.Path, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: vip\r\n\r\n") -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def at_once(path: pathlib.Path, scrapers: int) -> list[bytes]:
    answers: list[bytes] = []
    asking = [threading.Thread(target=lambda: answers.append(fetch(path))) for _ in range(scrapers)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    return answers


def test_many_scrapers_cost_one_look(served: tuple[Counting, pathlib.Path]) -> None:
    asked, path = served
    began = time.monotonic()
    answers = at_once(path, 30)
    seconds = 1 + int((time.monotonic() - began) / exporter.FRESH)  # of which a busy machine takes several
    assert len(answers) == 30
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"octavia_loadbalancer_cpu " in body
    assert asked.asked <= seconds, "one question a second"


def test_a_haproxy_that_does_not_answer_is_503_and_is_asked_again(served: tuple[Counting, pathlib.Path]) -> None:
    asked, path = served
    asked.is_away = True
    assert fetch(path).startswith(b"HTTP/1.0 503 ")
    asked.is_away = False
    assert fetch(path).startswith(b"HTTP/1.0 200 ")


@pytest.mark.lengthy
def test_a_haproxy_that_hangs_holds_up_one_scraper_and_not_each_after_the_other(served: tuple[Counting, pathlib.Path]) -> None:
    asked, path = served
    asked.is_away, asked.hangs = True, 1.0
    answers = at_once(path, 8)  # all are let in side by side
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.0 503 Service Unavailable"}
    assert asked.asked == 1


LARGE = "x" * 1_000_000
"""More than the socket of whoever asks takes in without being read."""


def asking(path: pathlib.Path) -> socket.socket:
    """Of somebody who has not read anything yet but the first bytes."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(path))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: vip\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.0 200"
    return connection


def test_connections_that_former_workers_have_open_are_told(tmp_path: pathlib.Path) -> None:
    made = exporter.Exporter(tmp_path / "metrics.sock", Counting(), tmp_path / "metrics.json")
    made.ensure_serving()
    before = samples(fetch(tmp_path / "metrics.sock").partition(b"\r\n\r\n")[2].decode())
    made.former = lambda: {"open": 3, "plain:open": 2, "plain:open/m1": 2, "gone": 7, "gone:gone/gone": 7}
    time.sleep(exporter.FRESH + 0.2)
    now = samples(fetch(tmp_path / "metrics.sock").partition(b"\r\n\r\n")[2].decode())
    grown = {key: value - before[key] for key, value in now.items() if "_current_" in key and value != before[key]}
    assert now.keys() == before.keys()
    assert grown == {
        'octavia_listener_current_sessions{listener="open"}': 3,
        'octavia_pool_current_sessions{pool="plain"}': 2,
        'octavia_member_current_sessions{pool="plain",member="m1"}': 2,
        "octavia_loadbalancer_current_connections{}": 10,
    }


@pytest.mark.lengthy
def test_who_reads_slowly_gets_all_and_who_reads_nothing_is_left_alone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.Exporter, "_make", lambda _: LARGE)
    path = tmp_path / "metrics.sock"
    exporter.Exporter(path, Counting(), tmp_path / "metrics.json").ensure_serving()
    with asking(path) as slow, asking(path) as silent:
        received, until = 0, time.monotonic() + 1.3 * exporter.ANSWER_TIMEOUT
        while time.monotonic() < until:
            time.sleep(0.1)
            received += len(slow.recv(13_000))
        assert received < len(LARGE)
        received += sum(map(len, iter(lambda: slow.recv(65_536), b"")))
        assert received > len(LARGE)
        assert sum(map(len, iter(lambda: silent.recv(65_536), b""))) < len(LARGE)


def test_while_several_answers_are_being_taken_who_comes_gets_the_newest(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow scrapers are, they hold up nobody, and there are no more answers than that, each of which may be large."""
    made: list[str] = []

    def make(_: exporter.Exporter) -> str:
        made.append(f"{len(made)}" + LARGE)
        return made[-1]

    monkeypatch.setattr(exporter, "FRESH", 0.0)
    monkeypatch.setattr(exporter, "_SHARE", 0)
    monkeypatch.setattr(exporter.Exporter, "_make", make)
    path = tmp_path / "metrics.sock"
    exporter.Exporter(path, Counting(), tmp_path / "metrics.json").ensure_serving()
    with contextlib.ExitStack() as slow:
        for _ in range(exporter.AT_ONCE - 1):
            slow.enter_context(asking(path))
        for _ in range(3):
            assert fetch(path).partition(b"\r\n\r\n")[2] == made[-1].encode()
        assert len(made) == exporter.DIFFERENT
    deadline = time.monotonic() + 60
    while len(made) == exporter.DIFFERENT and time.monotonic() < deadline:  # once they have gone
        assert fetch(path).startswith(b"HTTP/1.0 200 ")
    assert len(made) > exporter.DIFFERENT


def test_scrapers_are_answered_again_after_there_was_no_thread_for_some(
    served: tuple[Counting, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = served

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2 * exporter.AT_ONCE + 1):  # more than may talk at once
            with contextlib.suppress(ConnectionError):
                assert fetch(path) == b""
    assert fetch(path).startswith(b"HTTP/1.0 200 ")


def test_metrics_are_told_where_the_ends_of_certificates_can_not_be(tmp_path: pathlib.Path) -> None:
    made = exporter.Exporter(tmp_path / "metrics.sock", Counting(), tmp_path / "metrics.json")
    made.ensure_serving()

    def failing() -> dict[str, float]:
        raise haproxy_runtime.RuntimeFailed("no answer")

    made.expiries = failing
    answer = fetch(tmp_path / "metrics.sock")
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert b"octavia_" in answer
    assert metrics.EXPIRY.encode() not in answer


def test_a_socket_that_could_not_be_opened_is_opened_the_next_time(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exporter.Exporter(tmp_path / "metrics.sock", Counting(), tmp_path / "metrics.json")
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "chmod", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            made.ensure_serving()
    made.ensure_serving()
    assert fetch(tmp_path / "metrics.sock").startswith(b"HTTP/1.0 200 ")
