"""One run: requests one after the other against an application in this process, and a look at what became of them."""

from __future__ import annotations

import collections
import json
import pathlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib import parse as urls

from amphora_agent.protocol import datagrams
from controller.drivers.secrets import bundles
from controller.render import tls
from tests import tls_material
from tests.functional.api.conftest import PROJECT, Api
from tests.fuzz import hostile, rendered, wire
from tests.fuzz.bodies import Bodies
from tests.unit.controller.render import tools

LOOK_EVERY = 200
"""Requests, after which every load balancer is rendered, and old ones make room."""
MOST = {"loadbalancer": 8, "listener": 60, "pool": 60, "member": 400, "healthmonitor": 40, "l7policy": 80, "rule": 200}
COLLECTIONS = {
    "loadbalancer": "/loadbalancers", "listener": "/listeners", "pool": "/pools", "member": "/pools/{pool}/members",
    "healthmonitor": "/healthmonitors", "l7policy": "/l7policies", "rule": "/l7policies/{l7policy}/rules", "quota": "/quotas",
    "flavor": "/flavors", "flavorprofile": "/flavorprofiles", "availability_zone": "/availabilityzones",
    "availability_zone_profile": "/availabilityzoneprofiles",
}  # fmt: skip
IN_LBAAS_V2 = {"loadbalancer", "listener", "pool", "member", "healthmonitor", "l7policy", "rule", "quota"}
MORE = ("/stats", "/status", "/statuses", "/events", "/failover", "/default", "/members", "/rules", "/x", "/../..", "//")
ELSEWHERE = ("/", "/v2", "/v2.0", "/v2.0/lbaas", "/v2/octavia", "/v2/octavia/amphorae", "/healthcheck", "/openapi.json", "/docs", "/v1",
             "/v2/lbaas/providers", "/v2/lbaas/providers/amphora/flavor_capabilities", "/v2/lbaas/quotas/defaults", "/network",
             "/network/v2.0", "/network/v2.0/lbaas/loadbalancers.json", "/network/v2.0/networks", "/network/v2.0/agents")  # fmt: skip
QUERIES = ("limit", "marker", "page_reverse", "sort", "sort_key", "sort_dir", "fields", "tags", "tags-any", "not-tags", "not-tags-any",
           "name", "id", "project_id", "tenant_id", "admin_state_up", "protocol_port", "weight", "provisioning_status", "cascade",
           "additive_only", "usage", "created_at", "vip_address", "x")  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "X" * 100)


_CA = tls_material.issue("x\n    bind *:1", is_ca=True)
_HOSTILE = tls_material.issue("%[src] ${HOME} \"'\r\n bind *:1 #", _CA, names=["a.example"], kind="RSA")
_MATERIAL = {"bundle": bundles.pem(_HOSTILE.bundle), "authorities": _CA.pem, "revocations": tls_material.revoke(_CA, _HOSTILE)}


def _stored(api: Api) -> dict[str, list[str]]:
    """References to what a tenant may name, and to what not."""
    own = [api.secrets.store_bundle(PROJECT, "t", one.bundle) for one in (_HOSTILE, tls_material.issue("b.example", names=["b.example"]))]
    found = {"bundle": own} | {kind: [api.secrets.store_secret(PROJECT, kind, _MATERIAL[kind])] for kind in ("authorities", "revocations")}
    return {kind: [*references, *references, *references, "local:nothing"] for kind, references in found.items()}


class Run:
    """`figures` counts what was answered; `failures` holds what must not have been, each kind once."""

    def __init__(self, api: Api, seed: int, folder: pathlib.Path) -> None:
        self.api = api
        self.rng = random.Random(seed)
        self.bodies = Bodies(self.rng, self._find, api.network.subnet_id, _stored(api))
        self.figures: collections.Counter[str] = collections.Counter()
        self.failures: dict[str, str] = {}
        self._folder = folder
        self._ids: dict[str, list[str]] = collections.defaultdict(list)
        self._above: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def go(self, count: int) -> float:
        """Send so many requests; the seconds that it took."""
        started = time.monotonic()
        for number in range(count):
            self._step()
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                self.look()
        self.look()
        return time.monotonic() - started

    def _step(self) -> None:
        chance = self.rng.random()
        if chance < 0.36:
            self._create()
        elif chance < 0.60:
            self._change()
        elif chance < 0.67:
            self._batch()
        elif chance < 0.71:
            self._send("POST", "/loadbalancers", self._maybe_spoilt(self.bodies.graph()), kind="loadbalancer")
        elif chance < 0.86:
            self._read()
        elif chance < 0.91:
            self._delete()
        else:
            self._garbage()

    def _find(self, kind: str) -> str | None:
        known = self._ids.get(kind)
        return self.rng.choice(known) if known else None

    def _maybe_spoilt(self, body: Any) -> Any:
        return hostile.mutated(self.rng, body) if self.rng.random() < 0.5 else body

    def _path(self, kind: str, object_id: str | None = None) -> str:
        above = self._above.get(object_id or "") or ""
        path = COLLECTIONS[kind].format(pool=above or self._find("pool"), l7policy=above or self._find("l7policy"))
        return path if object_id is None else f"{path}/{urls.quote(object_id, safe='')}"

    def _create(self) -> None:
        kind = self.rng.choices(
            ("loadbalancer", "listener", "pool", "member", "healthmonitor", "l7policy", "rule", "flavor", "flavorprofile",
             "availability_zone", "availability_zone_profile"),
            (6, 16, 14, 16, 10, 14, 16, 2, 2, 2, 2),
        )[0]  # fmt: skip
        self._send("POST", self._path(kind), self._maybe_spoilt(self.bodies.new(kind)), kind=kind)

    def _change(self) -> None:
        kind = self.rng.choice(self.bodies.kinds())
        object_id = PROJECT if kind == "quota" else self._find(kind)
        if object_id is not None:
            self._send("PUT", self._path(kind, object_id), self._maybe_spoilt(self.bodies.change(kind)))

    def _batch(self) -> None:
        pool_id = self._find("pool")
        additive = self.rng.choice(("", "?additive_only=true", "?additive_only=%00", "?additive_only=false"))
        self._send("PUT", f"/pools/{pool_id}/members{additive}", self._maybe_spoilt(self.bodies.batch()))

    def _read(self) -> None:
        kind = self.rng.choice(list(COLLECTIONS))
        object_id = self._find(kind) if self.rng.random() < 0.6 else None
        path = self._path(kind, object_id) + (self.rng.choice(MORE) if self.rng.random() < 0.3 else "")
        query = [(self.rng.choice(QUERIES), str(hostile.value(self.rng))[:3000]) for _ in range(self.rng.choice((0, 0, 1, 1, 2, 4)))]
        encoded = urls.urlencode(query, errors="surrogatepass")
        self._send("GET", f"{path}?{encoded}" if encoded else path)

    def _delete(self) -> None:
        kind = self.rng.choice(list(COLLECTIONS))
        object_id = PROJECT if kind == "quota" else self._find(kind)
        if object_id is not None:
            cascade = self.rng.choice(("", "?cascade=true", "?cascade=maybe"))
            self._remove(kind, object_id, cascade if kind == "loadbalancer" else "")

    def _remove(self, kind: str, object_id: str, query: str) -> None:
        if self._send("DELETE", self._path(kind, object_id) + query) == 204:
            self._ids[kind].remove(object_id)

    def _garbage(self) -> None:
        rng = self.rng
        method = rng.choice(METHODS)
        path = (
            rng.choice(ELSEWHERE) if rng.random() < 0.4 else f"/v2.0/lbaas{self._path(rng.choice(list(COLLECTIONS)), self._find('pool'))}"
        )
        if rng.random() < 0.4:
            path += "/" + urls.quote(rng.choice(hostile.STRINGS)[:2000], safe="/", errors="surrogatepass")
        data = rng.choice((None, b"", b"{", b"\xff\xfe", b"null", b"[]", b'"x"', b"{" * 5000, b"[" * 100000, b'{"pool":' + b"9" * 5000
                           + b"}",
                           b'{"pool":{"name":"\\ud800"}}', b'{"listener":{},"listener":{}}', bytes(rng.randbytes(50))))  # fmt: skip
        headers = {"X-Project-Id": PROJECT} | (rng.choice(hostile.HEADERS) if rng.random() < 0.7 else {})
        self._send(method, f"/{path}", None, headers=headers, data=data)

    def _send(self, method: str, path: str, body: Any = None, *, kind: str | None = None, **more: Any) -> int:
        data = more.get("data") if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
        if path.startswith("//"):
            target = path[1:]
        else:
            root = "/network/v2.0/lbaas" if kind in IN_LBAAS_V2 and self.rng.random() < 0.1 else "/v2.0/lbaas"
            target = f"{root}{path}"
        answer = wire.send(self.api.app, method, target, more.get("headers", {"X-Project-Id": PROJECT}), data)
        self.figures[f"{method if method in METHODS[:8] else 'other'} {answer.status}"] += 1
        self.figures["requests"] += 1
        if answer.status >= 500 and answer.status != 501:
            text = f"{method} {target[:500]} {more.get('headers')} {(data or b'')[:1500]!r}: {answer.body[:500]!r}"
            self._fail(f"{method} {answer.status} {target.split('?')[0][:40]}", text)
        if kind is not None and answer.status == 201:
            self._remember(kind, target, answer.json())
        return answer.status

    def _remember(self, kind: str, path: str, said: Any) -> None:
        made = next(iter(said.values()))
        key = str(made["name"] if kind == "availability_zone" else made["id"])
        self._ids[kind].append(key)
        if kind in ("member", "rule"):
            self._above[key] = path.split("/")[-2]
        for below, name in (("listener", "listeners"), ("pool", "pools")):
            self._ids[below] += [item["id"] for item in made.get(name, ())] if kind == "loadbalancer" else []

    def _fail(self, kind: str, text: str) -> None:
        self.figures["failures"] += 1
        self.failures.setdefault(kind, text)

    def look(self) -> None:
        """Render every load balancer; then settle what is pending, and delete the oldest."""
        with self.api.db.read() as tx:
            found = [self._check(tx.snapshots.get(load_balancer_id)) for load_balancer_id in self._ids["loadbalancer"]]
        self._check_datagrams([services for services in found if services])
        while len(self._ids["loadbalancer"]) > MOST["loadbalancer"] // 2:
            self._remove("loadbalancer", self._ids["loadbalancer"][0], "?cascade=true")
        self.api.settle()
        self._forget()

    def _check_datagrams(self, found: Sequence[Sequence[datagrams.Service]]) -> None:
        """All of them in one go, for many cost little more than one; where that fails, one by one."""
        for services in found:
            self.figures["checked by nft"] += 1
            self.figures["services of datagrams"] += len(services)
        if found and not self._takes([one for services in found for one in services], tell=len(found) == 1) and len(found) > 1:
            for services in found:
                self._takes(services)

    def _takes(self, services: Sequence[datagrams.Service], tell: bool = True) -> bool:
        try:
            tools.ask_nft(rendered.rules(services))
        except AssertionError as error:
            if tell:
                self._fail(f"nft: {str(error)[:60]}", f"{error}\n{services}"[:5000])
            return False
        return True

    def _check(self, snapshot: Any) -> Sequence[datagrams.Service]:
        """Its services of UDP and SCTP, which are still to be asked about."""
        try:
            texts = rendered.checked(snapshot)
        except rendered.Injected as error:
            self._fail(str(error)[:60], f"load balancer {snapshot.load_balancer.id}: {error}")
            return ()
        self.figures["rendered"] += 1
        self.figures["rendered with TLS"] += "ssl" in (texts.haproxy or "")
        if self.figures["rendered"] % 10 == 0:
            if texts.haproxy is not None:
                self._put_certificates(snapshot)
            self._ask("haproxy", texts.haproxy, lambda text: tools.ask_haproxy(text, self._folder, rendered.PEER))
            self._ask("keepalived", texts.keepalived, lambda text: tools.ask_keepalived(text, self._folder))
        return texts.services

    def _ask(self, program: str, text: str | None, ask: Callable[[str], None]) -> None:
        if text is not None:
            self.figures[f"checked by {program}"] += 1
            try:
                ask(text)
            except AssertionError as error:
                self._fail(f"{program}: {str(error)[:60]}", f"{error}\n{text[:5000]}")

    def _put_certificates(self, snapshot: Any) -> None:
        """Files by the names that the text has: what they hold is not of this test, so there is one of each kind."""
        files = tls.files(snapshot, tools.known(snapshot))
        for name in files.names:
            kind = {"ca.pem": "authorities", "crl.pem": "revocations"}.get(name.rpartition("-")[2], "bundle")
            (self._folder / name).write_bytes(_MATERIAL[kind])
        for name, names in files.lists.items():
            (self._folder / name).write_text("".join(f"{one}\n" for one in names))

    def _forget(self) -> None:
        """Ids of what is gone; a cascade takes much away."""
        with self.api.db.read() as tx:
            alive = [tx.snapshots.get(key) for key in self._ids["loadbalancer"]]
        for kind, name in (("listener", "listeners"), ("pool", "pools"), ("member", "members"), ("healthmonitor", "health_monitors"),
                           ("l7policy", "l7policies"), ("rule", "l7rules")):  # fmt: skip
            self._ids[kind] = [item.id for snapshot in alive for item in getattr(snapshot, name)]
        for snapshot in alive:
            self._above |= {item.id: item.pool_id for item in snapshot.members} | {item.id: item.l7policy_id for item in snapshot.l7rules}
