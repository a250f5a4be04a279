"""`figlina-api` as its own process: it serves, rings for workers, and ends without breaking off a request."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures

import pytest

from benchmarks import api_http
from controller.drivers.network import fake
from controller.embedded import linux
from controller.jobs import wakeup
from tests import databases, ports

pytestmark = pytest.mark.lengthy

SUBNET = fake.subnet_id(fake.TENANT_NETWORK, fake.TENANT_SUBNET)
ANSWER_TIMEOUT = 5
_PROGRAM = pathlib.Path(sys.executable).with_name("figlina-api")


@dataclasses.dataclass
class Server:
    """The process, its port, and where it rings."""

    process: subprocess.Popen[bytes]
    port: int
    bells: pathlib.Path

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[Server]:
    """A running `figlina-api` with a network service in memory."""
    made = _start(tmp_path)
    try:
        _wait_until_it_answers(made, tmp_path / "log")
        yield made
    finally:
        if made.process.poll() is None:
            made.process.terminate()
        made.process.wait(40)


def _start(folder: pathlib.Path, more: str = "") -> Server:
    databases.write_empty(folder / "figlina.db")
    bells, port, configuration = folder / "bells", ports.free_port(), folder / "figlina.conf"
    configuration.write_text(
        f"[database]\nconnection = sqlite:///{folder}/figlina.db\n[controller_worker]\nnetwork_driver = fake\n"
        f"[task_flow]\nwakeup_directory = {bells}\n[api_settings]\nbind_port = {port}\nhealthcheck_enabled = true\n"
        "auth_strategy = noauth\nnoauth_project_id = demo\n"
        f"answer_timeout = {ANSWER_TIMEOUT}\n{more}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(_PROGRAM), "--config-file", str(configuration)], stdout=log, stderr=subprocess.STDOUT)
    return Server(process, port, bells)


def _wait_until_it_answers(server: Server, log: pathlib.Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.process.poll() is None, log.read_text()
        try:
            connection = server.connect()
            connection.request("GET", "/healthcheck")
            assert connection.getresponse().status == 200
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_a_create_over_http_rings_for_the_workers(server: Server) -> None:
    bell = wakeup.Bell(str(server.bells))
    try:
        connection = server.connect()
        body = json.dumps({"loadbalancer": {"vip_subnet_id": SUBNET}})
        connection.request("POST", "/v2.0/lbaas/loadbalancers", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["loadbalancer"]["project_id"]) == (201, "demo")
        assert bell.wait(10)
    finally:
        bell.close()


def test_a_connection_lives_on_after_a_body_that_nobody_read(server: Server) -> None:
    connection = server.connect()
    for path, size, status in (("/v2/loadbalancers", 2_000_000, 413), ("/v2/no-such-path", 900_000, 404)) * 10:
        connection.request("POST", path, b"x" * size)
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (status, b"{")
        assert connection.sock is not None, "it was closed"
        connection.request("GET", "/v2/flavors?limit=1")
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")


def test_a_request_in_flight_is_finished_before_the_process_ends(server: Server) -> None:
    body = json.dumps({"loadbalancer": {"vip_subnet_id": SUBNET}}).encode()
    connection = server.connect()
    connection.putrequest("POST", "/v2/loadbalancers")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:10])
    time.sleep(1.0)  # the process has begun to read the body
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    connection.send(body[10:])
    assert connection.getresponse().status == 201
    assert server.process.wait(40) == 0


def test_writers_of_a_locked_database_are_told_together_to_come_back_later(server: Server, tmp_path: pathlib.Path) -> None:
    body = json.dumps({"loadbalancer": {"vip_subnet_id": SUBNET}})

    def create(_: int) -> tuple[int, str | None]:
        connection = server.connect()
        connection.request("POST", "/v2.0/lbaas/loadbalancers", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert b"figlina.db" not in answer.read()
        return answer.status, answer.headers["Retry-After"]

    other = sqlite3.connect(tmp_path / "figlina.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(create, range(16)))
    assert answers == [(503, "5")] * 16
    assert time.monotonic() - started < 3 * ANSWER_TIMEOUT
    other.execute("ROLLBACK")
    assert create(0)[0] == 201


def _answers(server: Server) -> bool:
    connection = server.connect()
    connection.request("GET", "/healthcheck")
    return connection.getresponse().status == 200


def _children(pid: int) -> list[int]:
    return [child for child in linux.descendants(pid) if child != pid]


def test_sigusr1_tells_what_the_threads_do_and_disturbs_nobody(server: Server, tmp_path: pathlib.Path) -> None:
    assert _answers(server)
    server.process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while "most recent call first" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert _answers(server)


def test_a_worker_that_is_killed_is_replaced_and_none_outlives_its_parent(server: Server) -> None:
    (worker,) = _children(server.process.pid)
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _children(server.process.pid) in ([], [worker]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert _answers(server)
    orphan = linux.ProcessMark.of(_children(server.process.pid)[0])
    server.process.kill()
    assert orphan is not None
    assert orphan.wait_gone(10)


def test_an_idle_connection_is_kept_and_closed_at_the_end(server: Server) -> None:
    connection = server.connect()
    for _ in range(2):
        connection.request("GET", "/healthcheck")
        assert connection.getresponse().read() == b"OK"
        kept = connection.sock
        assert kept is not None
        time.sleep(1)
    server.process.terminate()
    assert kept.recv(1) == b""
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("after", [0.0, *(pytest.param(after, marks=pytest.mark.slow) for after in (0.05, 0.1, 0.2, 0.5)), 0.3])
def test_processes_that_are_told_to_end_while_they_start_do_so(tmp_path: pathlib.Path, after: float) -> None:
    """Seconds after the first of three processes was begun; nobody is killed for not having listened, which would take graceful_timeout."""
    server = _start(tmp_path, more="workers = 3\ngraceful_timeout = 60\n")
    deadline = time.monotonic() + 30
    while len(linux.descendants(server.process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(after)
    server.process.terminate()
    assert server.process.wait(30) == 0


def test_a_process_obeys_the_options_that_operators_know() -> None:
    more = "[oslo_middleware]\nmax_request_body_size = 2000\n[cors]\nallowed_origin = https://dashboard.example\n"
    with api_http.running(more=more) as made:
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=10)
        for size, status in ((2001, 413), (1999, 400)):
            connection.request("POST", "/v2/pools", b"x" * size, {"Origin": "https://dashboard.example"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()[:1]) == (status, b"{")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://dashboard.example"
