"""Session persistence in a real HAProxy, with browsers that keep cookies as browsers do: by host, whatever the port (RFC 6265, 8.5)."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import http.cookiejar
import http.server
import pathlib
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

import pytest

from controller.model import load_balancer as model
from tests import builders
from tests.integration.rendered import RunningHaproxy, eventually

pytestmark = pytest.mark.integration

VIP = "198.19.10.10"
COOKIE = model.SessionPersistence(type="HTTP_COOKIE")
KINDS = {
    "SOURCE_IP": model.SessionPersistence(type="SOURCE_IP"),
    "APP_COOKIE": model.SessionPersistence(type="APP_COOKIE", cookie_name="sid"),
    "HTTP_COOKIE": COOKIE,
}


LONG_SESSIONS = [f"{'e' * 100}{number}" for number in range(6)]


class _Web(http.server.BaseHTTPRequestHandler):
    """Answers with its name and the Cookie header that reached it; gives a session to who has none."""

    sessions = iter(range(1_000_000))

    def do_GET(self) -> None:
        cookies = self.headers.get("Cookie", "")
        body = f"{cast(http.server.HTTPServer, self.server).server_address[0]!s} {cookies}".encode()
        self.send_response(200)
        if "sid=" not in cookies:
            session = self.headers.get("X-Session") or f"s{next(self.sessions)}"
            self.send_header("Set-Cookie", f"sid={session}; path=/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Site:
    """HAProxy with a rendered text, and a web server on each address of the loopback that is asked for."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.haproxy = RunningHaproxy(folder)
        self._servers: list[http.server.ThreadingHTTPServer] = []

    def start(self, snapshot: model.Snapshot, **settings: Any) -> None:
        """Serve a snapshot, whose members are all there."""
        self.haproxy.start(snapshot, **settings)
        for member in snapshot.members:
            at = (member.address, member.protocol_port)
            server = self.haproxy.inside(functools.partial(http.server.ThreadingHTTPServer, at, _Web))
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self._servers.append(server)

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self.haproxy.stop()

    def switch(self, snapshot: model.Snapshot, on: bool, *, backup: bool = False) -> None:
        """Take all members of a role out, or let them serve."""
        for backend, member in ((b, m) for b in self.backends(snapshot) for m in snapshot.members if m.backup == backup):
            if member.pool_id in backend:
                assert self.haproxy.ask(f"set server {backend}/{member.id} state {'ready' if on else 'maint'}") == ""

    def backends(self, snapshot: model.Snapshot) -> set[str]:
        rows = self.haproxy.ask("show stat").splitlines()
        return {line.split(",")[0] for line in rows if line.split(",")[1:2] == ["BACKEND"]}


class Browser:
    """One user's: keeps cookies by host and path, and shows them to every port of the host."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str = "/", port: int = 80, headers: dict[str, str] | None = None) -> tuple[str, str]:
        """Who answered, and which cookies reached it."""
        request = urllib.request.Request(f"http://{VIP}:{port}{path}", headers=headers or {})

        def ask() -> str:
            with self._opener.open(request, timeout=10) as answer:
                return str(answer.read().decode())

        member, _, cookies = self._site.haproxy.inside(ask).partition(" ")
        return member, cookies

    def names(self) -> set[str]:
        return {cookie.name for cookie in self.cookies}


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def _members(pool_id: str, network: int, count: int = 4, **fields: Any) -> list[model.Member]:
    return [
        builders.a_member(pool_id=pool_id, address=f"127.0.{network}.{number}", protocol_port=8000, **fields)
        for number in range(1, count + 1)
    ]


def _two_pools(by_port: bool) -> model.Snapshot:
    """Two pools of one listener, by the path of a request, or of two listeners."""
    owner = builders.a_load_balancer(vip=builders.a_vip(address=VIP))
    pools = [builders.a_pool(session_persistence=COOKIE) for _ in range(2)]
    listeners = [builders.a_listener(default_pool_id=pools[0].id)]
    policies, rules = [], []
    if by_port:
        listeners.append(builders.a_listener(default_pool_id=pools[1].id, protocol_port=8080))
    else:
        policies = [builders.an_l7policy(listener_id=listeners[0].id, action="REDIRECT_TO_POOL", redirect_pool_id=pools[1].id)]
        rules = [builders.an_l7rule(l7policy_id=policies[0].id, type="PATH", compare_type="STARTS_WITH", value="/second")]
    members = [member for network, pool in enumerate(pools, 1) for member in _members(pool.id, network)]
    return builders.a_snapshot(owner, listeners=listeners, pools=pools, members=members, l7policies=policies, l7rules=rules)


def _with_backups(persistence: model.SessionPersistence) -> model.Snapshot:
    owner = builders.a_load_balancer(vip=builders.a_vip(address=VIP))
    pool = builders.a_pool(session_persistence=persistence)
    members = [*_members(pool.id, 1, 2), *_members(pool.id, 2, 2, backup=True)]
    return builders.a_snapshot(owner, listeners=[builders.a_listener(default_pool_id=pool.id)], pools=[pool], members=members)


@pytest.mark.parametrize("by_port", [False, True], ids=["by L7", "by port"])
def test_cookies_of_two_pools_leave_each_other_alone(site: Site, by_port: bool) -> None:
    site.start(_two_pools(by_port))
    for _ in range(6):
        browser = Browser(site)
        visited: dict[str, set[str]] = {"first": set(), "second": set()}
        for _ in range(4):
            visited["first"].add(browser.get("/first")[0])
            member, cookies = browser.get("/second", port=8080 if by_port else 80)
            visited["second"].add(member)
            assert cookies.count("SRV") <= 1, "members see no cookie of their own pool"
        assert {name: len(members) for name, members in visited.items()} == {"first": 1, "second": 1}
        assert len(browser.names() - {"sid"}) == 2


def test_one_pool_behind_two_ports_has_one_cookie(site: Site) -> None:
    snapshot = _two_pools(by_port=True)
    first, second = snapshot.listeners
    snapshot = dataclasses.replace(snapshot, listeners=(first, dataclasses.replace(second, default_pool_id=first.default_pool_id)))
    site.start(snapshot)
    for _ in range(4):
        browser = Browser(site)
        assert len({browser.get(port=port)[0] for port in (80, 8080) * 3}) == 1


def test_a_cookie_of_an_earlier_version_still_binds_its_client(site: Site) -> None:
    snapshot = _two_pools(by_port=False)
    site.start(snapshot)
    cookies = {name: row["cookie"] for name, row in site.haproxy.servers().items() if row["cookie"]}
    for member in snapshot.members[:4]:
        for _ in range(3):
            browser = Browser(site)
            former = {"Cookie": f"sid=mine; SRV={cookies[member.id]}"}
            assert browser.get("/first", headers=former)[0] == member.address
            assert browser.get("/first")[0] == member.address, "from now on by the new name"
    [other] = {Browser(site).get("/second", headers={"Cookie": f"SRV={cookies[snapshot.members[0].id]}"})[0]}
    assert other.startswith("127.0.2."), "a value of another pool means nothing here"


@pytest.mark.parametrize("kind", KINDS)
def test_clients_come_back_from_backup_members(site: Site, kind: str) -> None:
    snapshot = _with_backups(KINDS[kind])
    site.start(snapshot)
    browsers = [Browser(site) for _ in range(4)]
    before = [browser.get()[0] for browser in browsers]
    assert [browser.get()[0] for browser in browsers] == before
    site.switch(snapshot, on=False)
    for _ in range(3):
        assert all(browser.get()[0].startswith("127.0.2.") for browser in [*browsers, Browser(site)])
    site.switch(snapshot, on=True)
    after = [browser.get()[0] for browser in browsers]
    assert all(member.startswith("127.0.1.") for member in after), after
    assert [browser.get()[0] for browser in browsers] == after, "and are bound again"


def test_sessions_that_begin_alike_are_bound_each_for_itself(site: Site) -> None:
    """As signed tokens do: their first hundred characters say what they are."""
    snapshot = _with_backups(KINDS["APP_COOKIE"])
    site.start(snapshot)
    browsers = [Browser(site) for _ in LONG_SESSIONS]
    bound = [browser.get(headers={"X-Session": session})[0] for browser, session in zip(browsers, LONG_SESSIONS, strict=True)]
    assert len(set(bound)) == 2, "both members have some of them"
    for _ in range(2):
        assert [browser.get()[0] for browser in browsers] == bound
    [table] = [backend for backend in site.backends(snapshot) if snapshot.pools[0].id in backend]
    shown = site.haproxy.ask(f"show table {table}")
    assert f"used:{len(LONG_SESSIONS)}" in shown
    assert "e" * 60 not in shown, "whoever sees the table learns no session"


@pytest.mark.parametrize("kind", ["SOURCE_IP", "APP_COOKIE"])
def test_a_binding_ends_when_its_client_stays_away(site: Site, kind: str) -> None:
    snapshot = _with_backups(KINDS[kind])
    site.start(snapshot, stick_expire=5)
    table = next(iter(site.backends(snapshot)))
    Browser(site).get()
    assert "used:1" in site.haproxy.ask(f"show table {table}")
    assert eventually(lambda: "used:0" in site.haproxy.ask(f"show table {table}"), within=60)


def test_an_inserted_cookie_ends_when_its_client_stays_away(site: Site) -> None:
    snapshot = _with_backups(COOKIE)
    site.start(snapshot, stick_expire=1)
    browser = Browser(site)
    before = browser.get()[0]
    [value] = [cookie.value for cookie in browser.cookies if cookie.name.startswith("SRV")]
    assert browser.get()[0] == before
    time.sleep(6)  # HAProxy counts the age of a cookie in steps of four seconds
    browser.get()
    assert [cookie.value for cookie in browser.cookies if cookie.name.startswith("SRV")] != [value], "another member, or another date"
