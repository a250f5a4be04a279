"""Who is let in, and as whom; what is said to who is not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading

from controller import conf as configuration
from controller import exceptions
from controller.api import gate, keystone, middleware, policy

GLOBAL_ID = "req-11111111-2222-4333-8444-555555555555"


class Inside:
    """An application that remembers who called."""

    def __init__(self) -> None:
        self.callers: list[policy.Context] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.callers.append(gate.caller(environ))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]


def a_gate(inside: Inside, strategy: str = "noauth", guard: Any = None, **options: Any) -> Any:
    """A gate under this strategy, or with this guard."""
    conf = configuration.load([], [])
    for name, value in ({"auth_strategy": strategy} | options).items():
        conf.set_override(name, value, group="api_settings")
    if guard is not None:
        middleware.register_options(conf)
        conf.set_override("allowed_origin", ["https://dashboard.example"], group="cors")
        return middleware.around(gate.Gate(inside, lambda environ: gate.noauth(environ, "of-the-guard"), guard), conf)
    return gate.build(inside, conf, policy.Policy(conf))


def ask(asked: Any, method: str = "GET", path: str = "/v2/pools", **headers: str) -> tuple[str, dict[str, str], Any]:
    """Status, headers and body of an answer."""
    answer: list[Any] = []

    def start(status: str, sent: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        answer[:] = [status, dict(sent)]

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, **{f"HTTP_{name.upper()}": value for name, value in headers.items()}}
    body = b"".join(asked(environ, start))
    return answer[0], answer[1], json.loads(body) if body else None


def test_without_authentication_everybody_is_an_administrator_of_the_project_he_names() -> None:
    inside = Inside()
    asked = a_gate(inside, noauth_project_id="of-the-configuration")
    for headers in ({"x_project_id": "mine"}, {}, {"x_project_id": "x" * 37}):
        ask(asked, **headers)
    assert [caller.project_id for caller in inside.callers] == ["mine", "of-the-configuration", None]
    assert all(caller.is_admin for caller in inside.callers)


def test_under_test_everybody_is_who_he_says_he_is() -> None:
    inside = Inside()
    asked = a_gate(inside, "testing")
    ask(asked, x_project_id="mine", x_roles="member, reader", x_user_id="joe")
    ask(asked, x_roles="admin", openstack_system_scope="all")
    ask(asked)
    joe, admin, nobody = inside.callers
    assert (joe.project_id, joe.user_id, joe.roles, joe.is_admin) == ("mine", "joe", frozenset({"member", "reader"}), False)
    assert (admin.is_admin, admin.system_scope, admin.project_id) == (True, "all", None)
    assert (nobody.is_admin, nobody.roles) == (False, frozenset())


@pytest.mark.parametrize(
    ("given", "taken"),
    [(GLOBAL_ID, GLOBAL_ID), ("req-1", None), ("", None), (GLOBAL_ID[4:], None), (GLOBAL_ID + "\n", None), ("req-" + "x" * 36, None)],
)
def test_a_global_request_id_has_the_form_of_one_or_does_not_count(given: str, taken: str | None) -> None:
    inside = Inside()
    ask(a_gate(inside), x_openstack_request_id=given)
    assert inside.callers[0].global_request_id == taken


def test_a_token_is_in_no_description_of_its_bearer() -> None:
    inside = Inside()
    ask(a_gate(inside), x_auth_token="the-secret")
    assert inside.callers[0].token == "the-secret"
    assert "the-secret" not in repr(inside.callers[0])
    assert "the-secret" not in str(inside.callers[0].credentials())


def _sends_away(status: str, headers: list[tuple[str, str]], body: bytes) -> Any:
    def guard(_application: Any) -> Any:
        def middleware(_environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response(status, headers)
            return [body]

        return middleware

    return guard


def _fails(error: Exception) -> Any:
    def guard(_application: Any) -> Any:
        def middleware(_environ: Any, _start_response: Any) -> Iterable[bytes]:
            raise error

        return middleware

    return guard


def test_a_refusal_keeps_its_words_and_gets_what_all_answers_have() -> None:
    inside = Inside()
    asked = a_gate(inside, guard=_sends_away("401 Unauthorized", [("WWW-Authenticate", "Keystone uri=x")], b'{"error": {}}'))
    status, headers, body = ask(asked, origin="https://dashboard.example")
    assert (status, body, inside.callers) == ("401 Unauthorized", {"error": {}}, [])
    assert headers["WWW-Authenticate"] == "Keystone uri=x"
    assert headers["x-openstack-request-id"].startswith("req-")
    assert headers["Access-Control-Allow-Origin"] == "https://dashboard.example"


@pytest.mark.parametrize(
    ("guard", "status", "text"),
    [
        (_sends_away("503 Service Unavailable", [("Content-Type", "text/html")], b"<html>"), "503 Service Unavailable", gate.AWAY),
        (_fails(keystone_exceptions.EndpointNotFound()), "503 Service Unavailable", gate.AWAY),
        (_fails(KeyError("catalog")), "500 Internal Server Error", gate.BROKEN),
    ],
)
def test_whoever_cannot_be_identified_is_told_so_and_not_let_in(guard: Any, status: str, text: str) -> None:
    inside = Inside()
    answered, headers, body = ask(a_gate(inside, guard=guard))
    assert (answered, inside.callers) == (status, [])
    assert body == {"faultcode": "Server", "faultstring": text, "debuginfo": None}
    assert int(headers["content-length"]) == len(json.dumps(body, separators=(",", ":")))


@pytest.mark.parametrize(
    ("method", "path", "public"),
    [
        ("GET", "/", True),
        ("GET", "/v2.0/lbaas/", True),
        ("HEAD", "/healthcheck", True),
        ("GET", "/openapi.json", True),
        ("OPTIONS", "/v2/pools", True),
        ("GET", "/v2/pools", False),
        ("POST", "/v2", False),
        ("GET", "/v2/octavia/amphorae", False),
        ("GET", "//v2", False),
        ("GET", "/v2/lbaas/../", False),
        ("GET", "/network/v2.0/lbaas/pools", False),
    ],
)
def test_only_what_tells_nothing_about_anybody_is_public(method: str, path: str, public: bool) -> None:
    inside = Inside()
    ask(a_gate(inside, guard=_fails(KeyError("the guard was asked"))), method, path)
    assert [caller.is_admin for caller in inside.callers] == ([False] if public else [])


def test_a_caller_cannot_bring_his_own_context() -> None:
    inside = Inside()
    forged = policy.Context(request_id="req-x", project_id="theirs", is_admin=True)

    def start(*_: Any) -> None: ...

    list(a_gate(inside, "testing")({"REQUEST_METHOD": "GET", "PATH_INFO": "/v2/pools", gate.CONTEXT: forged}, start))
    assert not inside.callers[0].is_admin


def test_keystone_without_a_user_to_ask_it_as_is_refused_at_the_start() -> None:
    conf = configuration.load([], [])
    with pytest.raises(exceptions.Misconfigured, match=r"\[keystone_authtoken\] has no auth_type"):
        gate.check(conf)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_an_open_door_to_the_network_is_warned_of(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    conf = configuration.load([], [])
    conf.set_override("auth_strategy", "noauth", group="api_settings")
    conf.set_override("bind_host", host, group="api_settings")
    gate.check(conf)
    assert ("administers every load balancer" in caplog.text) == warned


def test_memcached_without_its_client_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = configuration.load([], [])
    keystone.register_options(conf)
    loading.register_auth_conf_options(conf, keystone.GROUP)
    conf.set_override("auth_type", "password", group=keystone.GROUP)
    conf.set_override("memcached_servers", ["127.0.0.1:11211"], group=keystone.GROUP)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(exceptions.Misconfigured, match="python-memcached"):
        keystone.guard(conf)


def test_nobody_passes_without_a_token_whatever_the_middleware_is_told() -> None:
    conf = configuration.load([], [])
    keystone.register_options(conf)
    conf.register_opts(loading.get_auth_plugin_conf_options("password"), group=keystone.GROUP)
    loading.register_auth_conf_options(conf, keystone.GROUP)
    for name, value in {"auth_type": "password", "auth_url": "http://127.0.0.1:1", "delay_auth_decision": True}.items():
        conf.set_override(name, value, group=keystone.GROUP)
    said: list[str] = []
    guarded = keystone.guard(conf)(lambda _environ, _start: pytest.fail("the caller was let in"))
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v2/pools", "SERVER_NAME": "a", "SERVER_PORT": "1", "wsgi.url_scheme": "http"}
    list(guarded(environ, lambda status, *_: said.append(status)))  # type: ignore[arg-type]
    assert said == ["401 Unauthorized"]


def test_waits_for_keystone_are_bounded_unless_an_operator_says_otherwise() -> None:
    conf = configuration.load([], [])
    keystone.register_options(conf)
    assert conf.keystone_authtoken.http_connect_timeout == 10
    assert conf.keystone_authtoken.http_request_max_retries == 1
    assert conf.keystone_authtoken.service_type == "load-balancer"


def test_tokens_are_remembered_for_their_time_and_the_oldest_forgotten_first() -> None:
    now = [100.0]
    tokens = keystone.Tokens(size=2, clock=lambda: now[0])
    tokens.set("a", b"1", time=10)
    tokens.set("b", b"2", time=20)
    assert (tokens.get("a"), tokens.get("b"), tokens.get("c")) == (b"1", b"2", None)
    now[0] = 110.0
    assert (tokens.get("a"), tokens.get("b")) == (None, b"2")
    tokens.set("c", b"3", time=10)
    tokens.set("d", b"4", time=10)
    assert (tokens.get("b"), tokens.get("c"), tokens.get("d")) == (None, b"3", b"4")
    assert not tokens.set("e", b"5", time=-1)
    assert tokens.get("e") is None
