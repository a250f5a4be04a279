"""L7 policies with the real HAProxy: what matches goes where the policy says, changes are not felt, and redirect pools are watched."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration.site import QUICK_MONITOR, Balancer, Site

pytestmark = [pytest.mark.integration]

SECRET = 'it\'s#a %[src] "secret"'
QUOTED = '"it\'s#a %[src] \\"secret\\""'


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a client got: the status, the server's name if one answered, and where it was sent."""

    status: int
    body: str
    location: str


def ask(balancer: Balancer, path: str, *headers: str, port: int = 80) -> Answer:
    """One request from the client's namespace."""
    url = f"http://{balancer.vip}:{port}{path}"
    said = ["--header", "Accept: */*", *(word for header in headers for word in ("--header", header))]
    shown = ["--silent", "--max-time", "20", "--globoff", "--path-as-is", "--write-out", "\n%{http_code} %{redirect_url}", *said, url]
    run = subprocess.run([*balancer.site.machine.entrance("client"), "curl", *shown], capture_output=True, text=True, check=False)
    body, _, last = run.stdout.rpartition("\n")
    status, _, location = last.partition(" ")
    return Answer(int(status), body.strip(), location)


def _rule(kind: str, compare_type: str, value: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "compare_type": compare_type, "value": value, "key": key, **fields}


def _pool(site: Site, name: str, web: str, **fields: Any) -> dict[str, Any]:
    member = {"name": web, "address": site.web[web], "protocol_port": 80}
    return {"name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]} | fields


def _policies(site: Site) -> list[dict[str, Any]]:
    to_api = {"action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "api"}}
    to_static = {"action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "static"}}
    inner = [_rule("PATH", "STARTS_WITH", "/inner"), _rule("HEADER", "EQUAL_TO", QUOTED, "X-To'ken", invert=True)]
    return [
        to_api | {"name": "path", "rules": [_rule("PATH", "STARTS_WITH", "/api/")]},
        {"name": "never", "action": "REJECT"},  # without rules
        {"name": "off", "action": "REJECT", "admin_state_up": False, "rules": [_rule("PATH", "STARTS_WITH", "/")]},
        {"name": "rule off", "action": "REJECT", "rules": [_rule("PATH", "STARTS_WITH", "/", admin_state_up=False)]},
        to_static | {"name": "file type", "rules": [_rule("FILE_TYPE", "EQUAL_TO", "jpg")]},
        {"name": "host", "action": "REJECT", "rules": [_rule("HOST_NAME", "EQUAL_TO", "admin.example")]},
        to_static | {"name": "cookie", "rules": [_rule("COOKIE", "EQUAL_TO", "beta", "version")]},
        to_api | {"name": "root to api", "rules": [_rule("PATH", "EQUAL_TO", "/")]},
        to_static | {"name": "root to static", "rules": [_rule("PATH", "EQUAL_TO", "/")]},
        {
            "name": "regex",
            "action": "REDIRECT_TO_URL",
            "redirect_url": "https://new.example/%20?a='b'&c=$d#e",
            "redirect_http_code": 301,
            "rules": [_rule("PATH", "REGEX", "^/old/[[:digit:]]{2,3}(?!x)/?$")],
        },
        {
            "name": "prefix",
            "action": "REDIRECT_PREFIX",
            "redirect_prefix": "https://safe.example",
            "rules": [_rule("PATH", "ENDS_WITH", "/login")],
        },
        {"name": "inner", "action": "REJECT", "rules": inner},
        {"name": "agent", "action": "REJECT", "rules": [_rule("HEADER", "CONTAINS", '"evil, really"', "User-Agent")]},
    ]  # fmt: skip


def _balancer(site: Site) -> Balancer:
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "protocol_port": 80,
        "default_pool": _pool(site, "default", "web-1"),
        "l7policies": _policies(site),
    }
    pools = [_pool(site, "api", "web-2", healthmonitor=QUICK_MONITOR), _pool(site, "static", "web-3")]
    body = {"name": "l7", "vip_subnet_id": site.subnet_id, "listeners": [listener], "pools": pools}
    made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    return Balancer(site, site.api.wait_active(made["id"]))


def _named(site: Site, path: str, key: str) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in site.api.get(path)[key]}


def test_requests_go_where_policies_send_them(site: Site) -> None:
    balancer = _balancer(site)
    eventually(lambda: ask(balancer, "/other").body == "web-1", 60, lambda: str(ask(balancer, "/other")))
    eventually(lambda: ask(balancer, "/api/x").body == "web-2", 60, lambda: str(ask(balancer, "/api/x")))  # once its monitor saw it
    host, evil = "Host: Admin.Example", "User-Agent: an evil, really evil bot"
    for path, headers, expected in (
        ("/apix", (), (200, "web-1", "")),
        ("/a/photo.jpg?x=.png", (), (200, "web-3", "")),
        ("/a/jpg", (), (200, "web-1", "")),
        ("/x?.jpg", (), (200, "web-1", "")),
        ("/", (), (200, "web-2", "")),
        ("/x", (host,), (403, None, "")),
        ("/x", (f"{host}:8080",), (403, None, "")),
        ("/x", ("Host: admin.example.org",), (200, "web-1", "")),
        ("/api/x", (host,), (403, None, "")),  # a reject wins over a redirect to a pool, wherever it stands
        ("/x", ("Cookie: a=b; version=beta",), (200, "web-3", "")),
        ("/x", ("Cookie: version=beta2",), (200, "web-1", "")),
        ("/old/42", (), (301, "", "https://new.example/%20?a='b'&c=$d#e")),
        ("/old/4", (), (200, "web-1", "")),
        ("/old/42x", (), (200, "web-1", "")),
        ("/a/login", (), (302, "", "https://safe.example/a/login")),
        ("/inner/x", (), (403, None, "")),
        ("/inner/x", (f"X-To'ken: {SECRET}",), (200, "web-1", "")),
        ("/inner/x", (f"X-To'ken: {SECRET}!",), (403, None, "")),
        ("/x", (evil,), (403, None, "")),
        ("/x", ("User-Agent: a good bot, really",), (200, "web-1", "")),
    ):
        got = ask(balancer, path, *headers)
        wanted = Answer(*(expected[0], got.body if expected[1] is None else expected[1], expected[2]))
        assert got == wanted, (path, headers)
    balancer.delete()


def test_a_moved_policy_takes_effect_without_a_failed_request(site: Site) -> None:
    balancer = _balancer(site)
    eventually(lambda: ask(balancer, "/").body == "web-2", 60, lambda: str(ask(balancer, "/")))
    policies = _named(site, "/l7policies", "l7policies")
    path = f"/l7policies/{policies['root to static']['id']}"
    with site.traffic(balancer.vip, rate=200) as traffic:
        for position, expected in ((1, "web-3"), (99, "web-2"), (8, "web-3")):
            site.api.put(path, {"l7policy": {"position": position}})
            balancer.wait_active()
            assert ask(balancer, "/").body == expected, position
    assert traffic["failed"] == 0, traffic
    assert {"web-2", "web-3"} <= set(traffic["servers"]), traffic
    site.api.put(path, {"l7policy": {"action": "REJECT"}})
    balancer.wait_active()
    assert ask(balancer, "/").status == 403
    site.api.delete(path)
    balancer.wait_active()
    assert ask(balancer, "/").body == "web-2"
    balancer.delete()


def test_a_redirect_pool_is_watched_and_its_members_change_without_a_reload(site: Site) -> None:
    balancer = _balancer(site)
    pool = _named(site, "/pools", "pools")["api"]
    second = {"loadbalancer_id": balancer.id, "protocol": "HTTP", "protocol_port": 81, "default_pool_id": pool["id"]}
    site.api.post("/listeners", {"listener": second})  # so the pool has two backends
    balancer.wait_active()
    eventually(lambda: ask(balancer, "/", port=81).body == "web-2", 60, lambda: str(ask(balancer, "/", port=81)))
    members = f"/pools/{pool['id']}/members"

    def statuses() -> tuple[str, dict[str, str]]:
        shown = site.api.get(f"/pools/{pool['id']}")["pool"]["operating_status"]
        return shown, {name: item["operating_status"] for name, item in _named(site, members, "members").items()}

    eventually(lambda: statuses() == ("ONLINE", {"web-2": "ONLINE"}), 60, lambda: str(statuses()))
    workers = balancer.workers()
    site.api.post(members, {"member": {"name": "web-3", "address": site.web["web-3"], "protocol_port": 80}})
    site.api.post(members, {"member": {"name": "dead", "address": site.web["web-1"], "protocol_port": 9}})
    balancer.wait_active()
    eventually(
        lambda: {ask(balancer, "/api/x").body for _ in range(6)} == {"web-2", "web-3"}, 20, lambda: f"only some members serve: {statuses()}"
    )
    wanted = ("DEGRADED", {"web-2": "ONLINE", "web-3": "ONLINE", "dead": "ERROR"})
    eventually(lambda: statuses() == wanted, 60, lambda: str(statuses()))
    assert balancer.workers() == workers, "HAProxy was reloaded for a member"
    policies = _named(site, "/l7policies", "l7policies")
    assert {policies[name]["operating_status"] for name in ("path", "host")} == {"ONLINE"}
    assert policies["off"]["operating_status"] == "OFFLINE"
    rules = site.api.get(f"/l7policies/{policies['path']['id']}/rules")["rules"]
    assert [rule["operating_status"] for rule in rules] == ["ONLINE"]
    balancer.delete()
