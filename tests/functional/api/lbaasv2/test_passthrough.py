"""What is not about load balancers goes to the real network service, over real HTTP, and its answers come back; it may also be away."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.api.conftest import an_api
from tests.functional.api.lbaasv2.conftest import Old


class _Service(http.server.ThreadingHTTPServer):
    """A network service that notes what it is asked, and answers what the test wants."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ENDLESS, BROKEN_OFF = "without an end", "shorter than it was told to be"
    SLOW_HEAD, SLOW_BODY = "headers letter by letter", "a body letter by letter"
    server: _Service

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        refusal = {"NeutronError": {"type": "HTTPNotFound", "message": "nothing", "detail": ""}}
        status, answer = self.server.answers.get((self.command, self.path.partition("?")[0]), (404, refusal))
        if answer == "garbage":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            self.close_connection = True
            return
        if answer in (self.ENDLESS, self.BROKEN_OFF):
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream")
            if answer == self.BROKEN_OFF:
                self.send_header("Content-Length", "100000")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1 if answer == self.BROKEN_OFF else 10_000):
                    self.wfile.write(b"x" * 1024)
            self.close_connection = True
            return
        if answer in (self.SLOW_HEAD, self.SLOW_BODY):
            self.send_response(status)
            self.send_header("Content-Length", "30" if answer == self.SLOW_BODY else "0")
            self.end_headers() if answer == self.SLOW_BODY else self.flush_headers()
            begin, end = (b"", b"") if answer == self.SLOW_BODY else (b"X: ", b"\r\n\r\n")
            self.wfile.write(begin)
            with contextlib.suppress(OSError):
                for _ in range(30):
                    self.wfile.write(b"1")
                    time.sleep(0.1)
                self.wfile.write(end)
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(answer, bytes) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Openstack-Request-Id", "req-theirs")
        self.send_header("Keep-Alive", "timeout=5")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _answer

    def log_message(self, *_: Any) -> None:
        """Quietly."""


_SLOW = [(_Handler.SLOW_HEAD, 503, "ServiceUnavailable"), (_Handler.SLOW_BODY, 502, "HTTPBadGateway")]


@pytest.fixture(scope="module")
def service() -> Iterator[_Service]:
    server = _Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def old(service: _Service, api_with: Any) -> Old:
    service.asked.clear()
    service.answers.clear()
    return Old(api_with(("lbaasv2", "passthrough_url"), service.url, ("lbaasv2", "passthrough_max_body_size"), 2048))


def test_a_request_goes_on_as_it_came_and_its_answer_comes_back(service: _Service, old: Old) -> None:
    service.answers["POST", "/v2.0/networks.json"] = 201, {"network": {"id": "n", "name": "ä/b"}}
    headers = {
        "X-Auth-Token": "t",
        "X-Openstack-Request-Id": "req-0",
        "X-Roles": "admin",
        "X-Forwarded-Host": "evil",
        "Connection": "close, X-Private",
        "X-Private": "p",
        "Accept": "application/json",
    }
    answer = old.send("POST", "//v2.0/networks.json?a=1&b=%2Fx&a=2", {"network": {"name": "x"}}, headers)
    assert (answer.status_code, answer.get_json()) == (201, {"network": {"id": "n", "name": "ä/b"}})
    assert answer.headers["X-Openstack-Request-Id"] == "req-theirs"
    assert "Keep-Alive" not in answer.headers
    ((method, path, sent, body),) = service.asked
    assert (method, path, json.loads(body)) == ("POST", "/v2.0/networks.json?a=1&b=%2Fx&a=2", {"network": {"name": "x"}})
    assert (sent["x-auth-token"], sent["x-openstack-request-id"], sent["content-type"]) == ("t", "req-0", "application/json")
    assert not {"x-roles", "x-forwarded-host", "x-private"} & set(sent)
    assert sent["host"] == f"127.0.0.1:{service.server_port}"


def test_links_of_an_answer_lead_back_through_us(service: _Service, old: Old) -> None:
    theirs = [{"rel": "next", "href": f"{service.url}/v2.0/ports?marker={index}"} for index in range(5000)]
    service.answers["GET", "/v2.0/ports"] = 200, {"ports": [{"name": f'"href": "{service.url}/x'}], "ports_links": theirs}
    answer = old.send("GET", "//v2.0/ports")
    found = answer.get_json()
    assert len(answer.data) > 3 * 64 * 1024  # so it came in several pieces
    assert found["ports"] == [{"name": f'"href": "{service.url}/x'}]
    assert {one["href"].partition("/v2.0/")[0] for one in found["ports_links"]} == {"http://localhost/network"}
    assert [one["href"].rpartition("=")[2] for one in found["ports_links"]] == [str(index) for index in range(5000)]


def test_refusals_empty_answers_and_other_bytes_come_back_as_they_are(service: _Service, old: Old) -> None:
    service.answers["DELETE", "/v2.0/ports/1"] = 204, None
    service.answers["GET", "/v2.0/log"] = 200, b"\x00\xff" * 100_000
    answer = old.send("GET", "//v2.0/nothing")
    assert (answer.status_code, answer.get_json()["NeutronError"]["message"]) == (404, "nothing")
    answer = old.send("DELETE", "//v2.0/ports/1")
    assert (answer.status_code, answer.data) == (204, b"")
    assert old.send("GET", "//v2.0/log").data == b"\x00\xff" * 100_000


def test_too_much_and_nonsense_are_refused(service: _Service, old: Old) -> None:
    service.answers["GET", "/v2.0/ports"] = 200, "garbage"
    old.refused(413, "HTTPRequestEntityTooLarge", "POST", "//v2.0/networks", {"network": {"name": "x" * 3000}})
    assert not service.asked
    old.refused(502, "HTTPBadGateway", "GET", "//v2.0/ports")


@pytest.mark.parametrize("told", [True, False], ids=["its length is told", "its length is not told"])
def test_an_answer_has_a_bound(service: _Service, api_with: Any, told: bool) -> None:
    service.answers["GET", "/v2.0/log"] = 200, b"x" * 4096
    service.answers["GET", "/v2.0/endless"] = 200, _Handler.ENDLESS
    service.answers["GET", "/v2.0/fits"] = 200, b"x" * 2048
    old = Old(api_with(("lbaasv2", "passthrough_url"), service.url, ("lbaasv2", "passthrough_max_answer_size"), 2048))
    words = old.refused(502, "HTTPBadGateway", "GET", "//v2.0/log" if told else "//v2.0/endless")
    assert "limit" in words
    assert old.send("GET", "//v2.0/fits").data == b"x" * 2048


def test_an_answer_that_breaks_off_is_a_bad_gateway(service: _Service, old: Old) -> None:
    service.answers["GET", "/v2.0/log"] = 200, _Handler.BROKEN_OFF
    old.refused(502, "HTTPBadGateway", "GET", "//v2.0/log")


@pytest.mark.parametrize(("way", "status", "kind"), _SLOW)
@pytest.mark.parametrize("path", ["log", "quotas"], ids=["which is passed on", "which is read here"])
def test_an_answer_that_comes_letter_by_letter_is_given_up(
    service: _Service, api_with: Any, path: str, way: str, status: int, kind: str
) -> None:
    service.answers["GET", f"/v2.0/{path}"] = 200, way
    old = Old(api_with(("lbaasv2", "passthrough_url"), service.url, ("lbaasv2", "passthrough_timeout"), 1.0))
    old.refused(status, kind, "GET", f"//v2.0/{path}")
    service.answers.clear()


def test_load_balancers_are_served_while_the_network_service_is_away(api_with: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = Old(api_with(("lbaasv2", "passthrough_url"), f"http://127.0.0.1:{taken.getsockname()[1]}"))
        away.refused(503, "ServiceUnavailable", "GET", "//v2.0/networks")
        away.refused(503, "ServiceUnavailable", "GET", "//v2.0/quotas/x")
        assert away.load_balancer()["name"] == "lb-1"
        assert away.ok("GET", "//")["versions"][0]["id"] == "v2.0"


def test_a_silent_network_service_is_given_up(api_with: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        away = Old(api_with(("lbaasv2", "passthrough_url"), url, ("lbaasv2", "passthrough_timeout"), 0.2))
        away.refused(503, "ServiceUnavailable", "GET", "//v2.0/networks")


@pytest.mark.parametrize("path", ["/v2.0/../identity", "/v2.0/%2e%2e/%2e%2e/identity", "/v2.0/./networks", "/..", "/v2.0/networks/.."])
def test_no_path_leads_out_of_the_network_service(service: _Service, old: Old, path: str) -> None:
    old.refused(404, "HTTPNotFound", "GET", f"/{path}")
    assert service.asked == []


def test_quotas_go_back_to_the_defaults_where_there_are_any(service: _Service, old: Old) -> None:
    old.refused(404, "QuotasNotFound", "DELETE", "//v2.0/quotas/p")
    old.ok("PUT", "//v2.0/quotas/p", {"quota": {"loadbalancer": 7}})
    old.ok("DELETE", "//v2.0/quotas/p", status=204)  # the network service has none of this project
    assert old.ok("GET", "//v2.0/quotas/p")["quota"]["loadbalancer"] == -1
    service.answers["DELETE", "/v2.0/quotas/q"] = 204, None
    old.ok("DELETE", "//v2.0/quotas/q", status=204)  # and we have none of that
    service.answers["DELETE", "/v2.0/quotas/p"] = 403, {"NeutronError": {"type": "PolicyNotAuthorized", "message": "no", "detail": ""}}
    old.refused(403, "PolicyNotAuthorized", "DELETE", "//v2.0/quotas/p")


def test_quotas_are_of_both(service: _Service, old: Old) -> None:
    service.answers["GET", "/v2.0/quotas/p"] = 200, {"quota": {"network": 100, "loadbalancer": 1}}
    service.answers["PUT", "/v2.0/quotas/p"] = 200, {"quota": {"network": 5}}
    service.answers["DELETE", "/v2.0/quotas/p"] = 204, None
    service.answers["GET", "/v2.0/quotas"] = 200, {"quotas": [{"project_id": "q", "network": 1}]}
    shown = old.ok("GET", "//v2.0/quotas/p")["quota"]
    assert (shown["network"], shown["loadbalancer"]) == (100, -1)
    changed = old.ok("PUT", "//v2.0/quotas/p.json", {"quota": {"network": 5, "loadbalancer": 7}})["quota"]
    assert (changed["network"], changed["loadbalancer"]) == (5, 7)
    assert json.loads(service.asked[-1][3]) == {"quota": {"network": 5}}
    assert {one["project_id"] for one in old.ok("GET", "//v2.0/quotas")["quotas"]} == {"p", "q"}
    old.ok("DELETE", "//v2.0/quotas/p", status=204)
    assert service.asked[-1][0] == "DELETE"
    service.answers["PUT", "/v2.0/quotas/p"] = 403, {"NeutronError": {"type": "PolicyNotAuthorized", "message": "no", "detail": ""}}
    assert old.refused(403, "PolicyNotAuthorized", "PUT", "//v2.0/quotas/p", {"quota": {"network": 5, "loadbalancer": 9}}) == "no"
    assert old.ok("GET", "//v2.0/quotas/p")["quota"]["loadbalancer"] == -1  # what it refuses, nobody has


def test_extensions_and_providers_are_of_both(service: _Service, old: Old) -> None:
    service.answers["GET", "/v2.0/extensions"] = 200, {"extensions": [{"alias": "router"}, {"alias": "lbaasv2"}]}
    service.answers["GET", "/v2.0/service-providers"] = 200, {"service_providers": [{"service_type": "VPN", "name": "ipsec"}]}
    aliases = [one["alias"] for one in old.ok("GET", "//v2.0/extensions")["extensions"]]
    assert aliases.count("lbaasv2") == 1
    assert "router" in aliases
    assert old.ok("GET", "//v2.0/extensions/router")["extension"]["alias"] == "router"
    old.refused(404, "HTTPNotFound", "GET", "//v2.0/extensions/none")
    assert {one["service_type"] for one in old.ok("GET", "//v2.0/service-providers")["service_providers"]} == {"VPN", "LOADBALANCERV2"}
    asked = [path for _method, path, _headers, _body in service.asked]
    old.ok("GET", "/loadbalancers")
    assert [path for _method, path, _headers, _body in service.asked] == asked  # load balancers are ours alone


def test_without_a_network_service_what_is_not_ours_is_not_found() -> None:
    with an_api({("lbaasv2", "enabled"): True}) as made:
        Old(made).refused(404, "HTTPNotFound", "GET", "//v2.0/networks")
    with an_api({("lbaasv2", "enabled"): False}) as made:
        assert made.send("GET", "//network/v2.0/lbaas/loadbalancers").status_code == 404
