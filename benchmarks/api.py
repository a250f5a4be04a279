"""CPU seconds of API requests, in this process: WSGI in, WSGI out, SQLite in a file, a network service in memory.

    python -m benchmarks.api

The load balancer of `status_tree` and `create_whole` has 10 listeners, each with a pool of 10 members and a health monitor.
"""

from __future__ import annotations

import io
import itertools
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks import harness
from controller import conf as configuration
from controller import services
from controller.api import app as api
from controller.cmd import api as process
from controller.db import database, tables
from tests.fake_network import FakeNetwork

GOALS = {
    "api_get_one": 0.0015,
    "api_list_1000": 0.040,
    "api_status_tree": 0.008,
    "api_create_member": 0.005,
    "api_replace_100_members": 0.020,
    "api_create_whole": 0.060,
}
"""CPU seconds on the reference machine of `SPECIFICATION.md`."""

REPEATS = {"api_get_one": 20, "api_status_tree": 5, "api_create_member": 10}
"""Requests in one measured run, where one alone is too short for the clock."""


class Api:
    """An application over an empty database, called as a WSGI server would."""

    def __init__(self, url: str) -> None:
        self.db = database.Database(url)
        tables.metadata.create_all(self.db.engine)
        self.network = FakeNetwork("benchmark")
        conf = configuration.load([], [])
        conf.set_default("auth_strategy", "noauth", group="api_settings")
        self._app = api.create_app(services.Services(self.db, network=self.network), conf)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; the JSON of its answer.

        :raises RuntimeError: the answer is no success.
        """
        sent = b"" if body is None else orjson.dumps(body)
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "9876",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "127.0.0.1:9876",
            "HTTP_ACCEPT": "application/json",
            "HTTP_X_PROJECT_ID": "b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(sent)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(sent),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        statuses: list[str] = []
        answered = self._app.wsgi_app(environ, lambda status, headers, exc_info=None: statuses.append(status))  # type: ignore[arg-type]
        answer = b"".join(answered)
        if not statuses[0].startswith("2"):
            raise RuntimeError(f"{method} {path}: {statuses[0]}: {answer.decode()}")
        return orjson.loads(answer) if answer else None

    def load_balancer(self, **fields: Any) -> dict[str, Any]:
        """A new load balancer."""
        body = {"loadbalancer": {"name": "bench", "vip_subnet_id": self.network.subnet_id, **fields}}
        created: dict[str, Any] = self("POST", "/v2.0/lbaas/loadbalancers", body)["loadbalancer"]
        return created


def whole() -> dict[str, Any]:
    """The children of a full load balancer."""
    return {
        "listeners": [
            {
                "name": f"listener-{i}",
                "protocol": "HTTP",
                "protocol_port": 80 + i,
                "default_pool": {
                    "name": f"pool-{i}",
                    "protocol": "HTTP",
                    "lb_algorithm": "ROUND_ROBIN",
                    "healthmonitor": {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2},
                    "members": [{"name": f"m-{k}", "address": f"10.1.{i}.{k + 1}", "protocol_port": 8080} for k in range(10)],
                },
            }
            for i in range(10)
        ]
    }


def members(weight: int) -> dict[str, Any]:
    """The body of a batch of 100 members."""
    return {"members": [{"address": f"10.2.0.{k + 1}", "protocol_port": 80, "weight": weight} for k in range(100)]}


def requests(send: Api) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    full = send.load_balancer(**whole())
    pool_id = full["pools"][0]["id"]
    one = send.load_balancer()
    batch_pool = send("POST", "/v2/pools", {"pool": {"loadbalancer_id": one["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}})[
        "pool"
    ]["id"]
    for _ in range(998):
        send.load_balancer()
    count = itertools.count(1)

    def create_member() -> object:
        number = next(count)
        member = {"address": f"10.3.{number // 250}.{number % 250 + 1}", "protocol_port": 80}
        return send("POST", f"/v2.0/lbaas/pools/{pool_id}/members", {"member": member})

    return {
        "api_get_one": lambda: send("GET", f"/v2.0/lbaas/loadbalancers/{full['id']}"),
        "api_list_1000": lambda: send("GET", "/v2.0/lbaas/loadbalancers"),
        "api_status_tree": lambda: send("GET", f"/v2.0/lbaas/loadbalancers/{full['id']}/status"),
        "api_create_member": create_member,
        "api_replace_100_members": lambda: send("PUT", f"/v2.0/lbaas/pools/{batch_pool}/members", members(next(count) % 256)),
        "api_create_whole": lambda: send.load_balancer(**whole()),
    }


def main() -> None:
    """Print one line per kind of request."""
    calibration = harness.calibrate()
    with tempfile.TemporaryDirectory() as folder:
        send = Api(f"sqlite:///{pathlib.Path(folder) / 'bench.db'}")
        process.spare_the_collector()
        for name, work in requests(send).items():
            repeats = REPEATS.get(name, 1)
            seconds = harness.cpu_of(lambda work=work, repeats=repeats: [work() for _ in range(repeats)], runs=15, warm_up=2) / repeats  # type: ignore[misc]
            harness.emit(
                name,
                cpu_seconds=seconds,
                calibration_seconds=calibration,
                ratio=seconds / calibration,
                goal_cpu_seconds=GOALS[name],
            )
        send.db.close()


if __name__ == "__main__":
    main()
