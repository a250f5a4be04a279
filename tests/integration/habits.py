"""Clients as they are found in the wild, written from what is known of their habits: they share the wire, not the manners."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from controller.dev.client import eventually
from tests.integration.site import Site

PREFIX = "/v2.0/lbaas"
SUCCESS = {"GET": {200}, "POST": {201}, "PUT": {200}, "DELETE": {204}}
BATCH = {202}
PENDING = re.compile("PENDING_").match
_ZONELESS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?").fullmatch


class Refused(Exception):
    """An answer that the call does not take for success."""

    def __init__(self, method: str, path: str, answer: requests.Response) -> None:
        super().__init__(f"{method} {path}: {answer.status_code} {answer.text}")
        self.status = answer.status_code
        self.sentence = str(answer.json().get("faultstring")) if answer.content else ""


class Client:
    """Each call knows the one status that is its success; threads may share a client, as goroutines do. Answers are counted."""

    def __init__(self, url: str, project: str = "demo") -> None:
        self.url = url
        self._project = project
        self._own = threading.local()
        self.answers: Counter[tuple[str, int]] = Counter()

    def send(self, method: str, path: str, body: Any = None, success: set[int] | None = None) -> Any:
        """The JSON of the answer, whose times must be readable; None if there is no body.

        :raises Refused: the status is not the call's success.
        """
        answer = self._session().request(method, path if path.startswith("http") else f"{self.url}{PREFIX}{path}", json=body, timeout=60)
        self.answers[method, answer.status_code] += 1
        if answer.status_code not in (success or SUCCESS[method]):
            raise Refused(method, path, answer)
        assert bool(answer.content) == (answer.status_code not in (202, 204)), (method, path, answer.content)
        found = answer.json() if answer.content else None
        _check_times(found)
        return found

    def create(self, key: str, path: str, **fields: Any) -> dict[str, Any]:
        """POST; the object of the answer."""
        made: dict[str, Any] = self.send("POST", path, {key: fields})[key]
        return made

    def update(self, key: str, path: str, **fields: Any) -> dict[str, Any]:
        """PUT; the object of the answer."""
        changed: dict[str, Any] = self.send("PUT", path, {key: fields})[key]
        return changed

    def get(self, key: str, path: str) -> dict[str, Any]:
        """GET one."""
        found: dict[str, Any] = self.send("GET", path)[key]
        return found

    def delete(self, path: str) -> None:
        """DELETE."""
        self.send("DELETE", path)

    def is_gone(self, path: str) -> bool:
        """Whether GET answers 404."""
        try:
            self.send("GET", path)
        except Refused as answer:
            if answer.status != 404:
                raise
            return True
        return False

    def pages(self, key: str, path: str) -> Iterator[list[dict[str, Any]]]:
        """A list, page by page, along its links until a page has none or is empty."""
        href: str | None = path
        while href is not None:
            page = self.send("GET", href)
            if not page[key]:
                return
            yield page[key]
            href = next((link["href"] for link in page[f"{key}_links"] if link["rel"] == "next"), None)

    def every(self, key: str, path: str) -> list[dict[str, Any]]:
        """A whole list."""
        return [item for page in self.pages(key, path) for item in page]

    def refusals(self) -> dict[tuple[str, int], int]:
        """How often which call was answered with 400 or above, apart from looks for what is gone."""
        return {which: count for which, count in self.answers.items() if which[1] >= 400 and which != ("GET", 404)}

    def status(self, load_balancer_id: str) -> str:
        """The provisioning status of a load balancer."""
        return str(self.get("loadbalancer", f"/loadbalancers/{load_balancer_id}")["provisioning_status"])

    def wait_active(self, load_balancer_id: str, within: float = 90) -> dict[str, Any]:
        """Wait until a load balancer is ACTIVE, asking less and less often; ERROR ends the waiting, as most clients have it."""
        deadline, pause = time.monotonic() + within, 0.02
        while (found := self.get("loadbalancer", f"/loadbalancers/{load_balancer_id}"))["provisioning_status"] != "ACTIVE":
            assert found["provisioning_status"] != "ERROR", found
            assert time.monotonic() < deadline, found
            time.sleep(pause)
            pause = min(pause * 1.2, 1)
        return found

    def _session(self) -> requests.Session:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
            self._own.session.trust_env = False
            self._own.session.headers["X-Project-Id"] = self._project
        session: requests.Session = self._own.session
        return session


def _check_times(found: Any) -> None:
    """RFC 3339 without a zone is all that some clients can read; anything else makes them fail on an answer of success."""
    if isinstance(found, list):
        for item in found:
            _check_times(item)
    elif isinstance(found, Mapping):
        for name, value in found.items():
            if name in ("created_at", "updated_at") and value is not None:
                assert _ZONELESS(value), (name, value)
                datetime.datetime.fromisoformat(value)
            _check_times(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """One port of an application: a listener, its pool, two members and a monitor."""

    port: int
    web: tuple[str, str]
    listener: str
    pool: str
    members: tuple[str, str]
    monitor: str

    @property
    def paths(self) -> dict[str, str]:
        """Where each object is found, the inner ones first, by its key and a number."""
        members = {f"member {number}": f"/pools/{self.pool}/members/{one}" for number, one in enumerate(self.members)}
        outer = {"pool": f"/pools/{self.pool}", "listener": f"/listeners/{self.listener}"}
        return {"healthmonitor": f"/healthmonitors/{self.monitor}", **members, **outer}


def a_service(client: Client, site: Site, load_balancer_id: str, number: int) -> Service:
    """Make one with five calls, without a look at any status."""
    names = sorted(site.web)
    web = (names[number % len(names)], names[(number + 1) % len(names)])
    port = 8000 + number
    listener = client.create(
        "listener", "/listeners", loadbalancer_id=load_balancer_id, name=f"l-{number}", protocol="HTTP", protocol_port=port
    )
    pool = client.create(
        "pool", "/pools", listener_id=listener["id"], name=f"p-{number}", protocol="HTTP", lb_algorithm="ROUND_ROBIN"
    )  # fmt: skip
    members = tuple(
        client.create(
            "member", f"/pools/{pool['id']}/members", name=one, address=site.web[one], protocol_port=80, subnet_id=site.subnet_id
        )["id"]
        for one in web
    )
    monitor = client.create(
        "healthmonitor", "/healthmonitors", pool_id=pool["id"], type="HTTP", url_path="/health", delay=5, timeout=3, max_retries=1
    )
    return Service(
        port=port, web=web, listener=listener["id"], pool=pool["id"], members=(members[0], members[1]), monitor=monitor["id"]
    )  # fmt: skip


def remove(client: Client, service: Service) -> None:
    """Delete all of it, inner objects first, without a look at any status."""
    for path in service.paths.values():
        client.delete(path)


def answers_of(site: Site, vip: str, ports: list[int]) -> dict[int, str]:
    """Which web server answers on each port; one process of curl asks them all. Ports where nobody answers are left out."""
    urls = [f"http://{vip}:{port}/" for port in ports]
    shown = ["--silent", "--connect-timeout", "2", "--max-time", "10", "--write-out", "%{url} %{http_code}\n"]
    run = subprocess.run([*site.machine.entrance("client"), "curl", *shown, *urls], capture_output=True, text=True, check=False)
    found = re.findall(r"(?:^(web-\d)\n)?^http://[^:]+:(\d+)/ (\d+)$", run.stdout, re.MULTILINE)
    return {int(port): web for web, port, status in found if status == "200"}


def serve(site: Site, vip: str, services: list[Service], within: float = 60) -> None:
    """Wait until every port is answered by one of the members of its own pool."""
    seen: dict[int, str] = {}

    def all_do() -> bool:
        seen.update(answers_of(site, vip, [one.port for one in services if seen.get(one.port) not in one.web]))
        return all(seen.get(one.port) in one.web for one in services)

    eventually(
        all_do, within, lambda: f"{sorted(one.port for one in services if seen.get(one.port) not in one.web)} are not served: {seen}"
    )


def settled(client: Client, services: list[Service], within: float = 60) -> None:
    """Wait until every object of these is ACTIVE; none may be seen in ERROR."""
    waiting = {path: key.split()[0] for one in services for key, path in one.paths.items()}

    def all_are() -> bool:
        for path, key in list(waiting.items()):
            status = client.get(key, path)["provisioning_status"]
            assert status != "ERROR", path
            if status == "ACTIVE":
                del waiting[path]
        return not waiting

    eventually(all_are, within, lambda: f"not ACTIVE: {sorted(waiting)}", every=0.1)


def applied(site: Site, load_balancer_id: str) -> Counter[str]:
    """How its agents applied what they were told: `none`, `runtime` and `reload`, and how often each."""
    found: Counter[str] = Counter()
    for console in (site.folder / "embedded" / "amphorae").glob("*/console.log"):
        with contextlib.suppress(FileNotFoundError):
            found.update(re.findall(rf"{load_balancer_id}: generation \d+ applied \((\w+)\)", console.read_text(errors="replace")))
    return found
