"""A small OpenStack in this process, over real HTTP, that behaves as a real one (Zed) was seen to behave; one module for each service.

Every request is recorded, and the next ones can be made to fail as clouds fail. What services of a real cloud tell each other (Nova gives
a port to a server, and takes it back), they tell each other here by calling each other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import re
import socket
import struct
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flask
import requests.utils
from keystoneauth1 import discover
from werkzeug import exceptions, routing, serving

from tests.simulated import compute, documents, identity, images, key_manager, network


def _remember_what_stays() -> None:
    """Clients look through all kinds of services and through the whole environment twice at each request: a fifth of the time of a test."""
    discover._SERVICE_TYPES.get_all_types = functools.cache(discover._SERVICE_TYPES.get_all_types)  # type: ignore[method-assign]
    remembered = functools.cache(urllib.request.getproxies_environment)
    urllib.request.getproxies_environment = requests.utils.getproxies = remembered  # type: ignore[attr-defined]


_remember_what_stays()


@dataclasses.dataclass
class Fault:
    """What happens to the next `times` requests that match, before the service sees them; `after`: it has carried them out by then.

    An empty `method` is every one. `skip` requests that match pass before.
    """

    method: str
    path: str
    answer: Callable[[], flask.Response]
    times: int = 1
    after: bool = False
    skip: int = 0


class SimulatedCloud:
    """`asked` are the requests so far as (method, path below the service's endpoint), those of Keystone left out."""

    def __init__(self, *, furnished: bool = True) -> None:
        self.lock = threading.RLock()
        self.asked: list[tuple[str, str]] = []
        self.requests: list[tuple[str, str]] = []  # all of them, Keystone's too, with their whole path
        self.refused: list[tuple[str, str, int, Any]] = []  # method or *, pattern of the whole path, status and body that come first
        self.fails_at: int | None = None  # after so many more writes one is not carried out
        self.cut: int | None = None  # after so many more writes the answer is lost
        self.away_after: int | None = None  # after so many more requests of any kind nobody answers
        self.reads: list[str] = []  # what was read, with its query
        self.volume_types = ["__DEFAULT__", "fast"]
        self.volume_quotas: dict[str, tuple[int, int]] = {}  # limit and what is used, by Cinder's names
        self.discoveries: list[str] = []  # services of which a document of versions was read
        self.faults: list[Fault] = []
        self.identity = identity.Identity(self)
        self.compute = compute.Compute(self)
        self.images = images.Images(self)
        self.network = network.Network(self)
        self.key_manager = key_manager.KeyManager(self)
        self._server = serving.make_server("127.0.0.1", 0, self._app(), threaded=True, request_handler=_Handler)
        assert isinstance(self._server, serving.ThreadedWSGIServer)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.identity.furnish()
        for host in ("one", "two"):
            self.add("os-services", binary="nova-compute", state="up", status="enabled", host=host)
        if furnished:
            self.compute.furnish()
            self.images.add("amphora")
            self.network.furnish()

    # Documents, of whichever service

    @property
    def store(self) -> dict[str, documents.Rows]:
        """By collection, the documents by their ids."""
        return {**self.identity.rows, **self.compute.rows, **self.network.rows, "images": self.images.rows}

    def add(self, collection: str, **values: Any) -> documents.Row:
        """Put a document there."""
        if collection == "images":
            return self.images.new(values)
        if collection in network.WORDS:
            with self._server.app.app_context():  # type: ignore[attr-defined]
                return self.network.add(collection, **values)
        row = {"id": uuid.uuid4().hex, **({} if collection not in self.compute.rows else self.compute.made(collection, {})), **values}
        self.store[collection][row["id"]] = row
        return row

    def drop(self, collection: str, **like: Any) -> None:
        """Take documents away that look so."""
        rows = self.store[collection]
        for one in [one for one in rows.values() if all(one.get(name) == value for name, value in like.items())]:
            del rows[one["id"]]

    def named(self, collection: str, name: str) -> documents.Row:
        """The document of that name."""
        return next(one for one in self.store[collection].values() if one["name"] == name)

    def inventory(self) -> dict[str, set[str]]:
        """The ids of all that is there."""
        return {name: set(found) for name, found in self.store.items()}

    def writes(self) -> list[tuple[str, str]]:
        """What was asked for that changes something; tokens are not counted."""
        return [one for one in self.requests if one[0] not in ("GET", "HEAD") and not one[1].endswith("/auth/tokens")]

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def fail(self, method: str, path: str, answer: Callable[[], flask.Response], *, times: int = 1, after: bool = False) -> None:
        """Let the next requests of this method whose path matches end otherwise. See `refusal`, `reset`, `silence`."""
        self.faults.append(Fault(method, path, answer, times, after))

    def calls(self, method: str = "", path: str = "") -> list[tuple[str, str]]:
        """What was asked so far, of this method and of paths that match."""
        return [one for one in self.asked if method in ("", one[0]) and re.search(path, one[1])]

    def _app(self) -> flask.Flask:
        app = flask.Flask("simulated-cloud")
        app.url_rule_class = _Matched
        app.url_map.strict_slashes = False
        services: dict[str, Any] = {"identity": self.identity, "compute": self.compute, "image": self.images, "network": self.network}
        for name, service in {**services, "key_manager": self.key_manager}.items():
            app.register_blueprint(service.blueprint, url_prefix=f"/{name}")
        app.get("/volume/v3")(self._volumes)
        app.get("/volume/v3/volumes", endpoint="volumes")(lambda: {"volumes": []})
        app.get("/volume/v3/types")(self._volume_types)
        app.get("/volume/v3/os-quota-sets/<project>")(self._volume_quotas)
        app.get("/load-balancer")(lambda: {"versions": [{"id": "v2.0", "status": "CURRENT"}]})
        app.before_request(self._before)
        app.after_request(self._after)
        app.register_error_handler(exceptions.HTTPException, lambda error: refusal(error.code or 500, str(error.description))())
        return app

    def _volumes(self) -> dict[str, Any]:
        """Cinder, as far as Nova's clients ask it anything: whether it is there."""
        links = [{"rel": "self", "href": f"{self.url}/volume/v3/"}]
        return {"versions": [{"id": "v3.0", "status": "CURRENT", "version": "3.70", "min_version": "3.0", "links": links}]}

    def _volume_types(self) -> dict[str, Any]:
        return {"volume_types": [{"id": f"type-{one}", "name": one} for one in self.volume_types]}

    def _volume_quotas(self, project: str) -> dict[str, Any]:
        shown = {"volumes": (10, 0), "gigabytes": (1000, 0), "per_volume_gigabytes": (-1, 0), **self.volume_quotas}
        limits = {name: {"limit": limit, "in_use": used, "reserved": 0} for name, (limit, used) in shown.items()}
        return {"quota_set": {"id": project, **limits}}

    def _before(self) -> flask.Response | None:
        service, _, path = flask.request.path.lstrip("/").partition("/")
        with self.lock:
            self.requests.append((flask.request.method, flask.request.path))
            if self.away_after is not None:
                self.away_after -= 1
                if self.away_after < 0:
                    documents.abort(503, {"message": "away"})
        for method, pattern, status, body in self.refused:
            if method in (flask.request.method, "*") and re.search(pattern, flask.request.path):
                documents.abort(status, body)
        if self._counts("fails_at"):
            documents.abort(500, {"message": "out of order"})
        flask.g.cut = self._counts("cut")
        if service == "load-balancer" or path == "v3/auth/tokens" or re.fullmatch(r"v[\d.]+/?|", path):  # documents of versions
            self.discoveries += [service] * (service != "identity")
            return None
        if service == "identity":
            return None if self.identity.knows(flask.request.headers.get("X-Auth-Token", "")) else refusal(401, "Who are you?")()
        path = "/" + path.partition("/")[2]
        with self.lock:
            self.asked.append((flask.request.method, path))
            self.reads += [flask.request.full_path] * (flask.request.method == "GET")
            fault = self._fault(path)
        if fault is not None and fault.after:
            flask.g.fault = fault
            fault = None
        if fault is None and not self.identity.knows(flask.request.headers.get("X-Auth-Token", "")):
            return refusal(401, "The request you have made requires authentication.")()
        return fault.answer() if fault is not None else None

    def _counts(self, what: str) -> bool:
        """Whether this is the write that is counted down to."""
        left = getattr(self, what)
        if left is None or flask.request.method in ("GET", "HEAD") or flask.request.path.endswith("/auth/tokens"):
            return False
        setattr(self, what, left - 1)
        return bool(left == 1)

    def _fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method in ("", flask.request.method) and re.search(fault.path, path):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _after(self, response: flask.Response) -> flask.Response:
        if (fault := flask.g.pop("fault", None)) is not None:
            response = fault.answer()
        if flask.g.pop("cut", False):
            response = refusal(504, "the gateway has waited long enough")()
        response.headers.setdefault("x-openstack-request-id", f"req-{uuid.uuid4()}")  # an empty one: a gateway's answer
        return response


class _Matched(routing.Rule):
    """A path that is only matched: nobody asks for URLs, and to compile what builds them took most of the time of a new cloud."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _no_url


def _no_url(*_: Any, **__: Any) -> tuple[str, str]:
    raise NotImplementedError("the simulated cloud builds no URLs")


class _Handler(serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, *_: Any) -> None:
        """Quietly."""


def refusal(status: int, words: str, kind: str = "error", headers: Mapping[str, str] | None = None) -> Callable[[], flask.Response]:
    """An error as a service says it: `{kind: {"message": words, "code": status}}`."""

    def answer() -> flask.Response:
        response = flask.jsonify({kind: {"message": words, "code": status}})
        response.status_code = status
        response.headers.update(headers or {})
        return response

    return answer


def reset() -> flask.Response:
    """The connection breaks (RST)."""
    connection: socket.socket = flask.request.environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionResetError


def silence(seconds: float) -> Callable[[], flask.Response]:
    """Nothing comes for so long, and then a gateway's page."""

    def answer() -> flask.Response:
        time.sleep(seconds)
        return flask.Response("<html><body><h1>504 Gateway Time-out</h1></body></html>", 504)

    return answer


@contextlib.contextmanager
def running(*, furnished: bool = True) -> Iterator[SimulatedCloud]:
    """One that answers meanwhile; `furnished`: it has what drivers need, as `figlina cloud prepare` makes it."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    cloud = SimulatedCloud(furnished=furnished)
    try:
        yield cloud
    finally:
        cloud.close()


def access(cloud: SimulatedCloud, project: str = "service") -> str:
    """`[service_auth]` for it, as in a configuration file; the other project is `tenants`."""
    user = f"username = {'figlina' if project == 'service' else 'tenant'}\npassword = {identity.PASSWORD}\nproject_name = {project}\n"
    domains = "user_domain_name = Default\nproject_domain_name = Default\n"
    return f"[service_auth]\nauth_type = password\nauth_url = {cloud.url}/identity/v3\n{user}{domains}"
