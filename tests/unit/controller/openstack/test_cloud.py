"""One call to a service of a cloud, which answers as it likes: over real HTTP, with a Keystone beside it."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller import conf as options
from controller import exceptions
from controller.openstack import cloud, errors, sessions

SERVER = {"id": "s-1"}
SILENCE = pytest.param("silence", marks=pytest.mark.lengthy)
_PATIENCE = 1.5
"""Seconds; what is not silent answers sooner, on a busy machine too."""


_DRIPS = {
    "a drip of an interim answer": (b"HTTP/1.1 100 Continue\r\nX: ", b"\r\n\r\n"),
    "a drip of interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + b"HTTP/1.1 100 Continue\r\nX: ", b"\r\n\r\n"),
}


class Provider(http.server.ThreadingHTTPServer):
    """Keystone below /v3, Nova below /v2.1. `script` says what Nova's next answers are; afterwards all is well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.script: list[Any] = []
        self.asked: list[tuple[str, str, str]] = []
        self.tokens = 0
        self.refuse_password = False
        self.silent_versions = 0
        self.slow_passwords = False
        self.given_up = threading.Event()  # somebody left while an answer came letter by letter
        self.odd_token: Any = ...  # what Keystone answers instead of a token
        self.packed_tokens: tuple[str, Callable[[bytes], bytes]] | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "x-openstack-request-id": "req-7", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _keystone(self) -> None:
        version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.server.url}/v3/"}]}
        if self.command == "GET":
            self._answer(200, {"version": version} if "/v3" in self.path else {"versions": {"values": [version]}})
        elif self.server.refuse_password:
            self._answer(401, {"error": {"message": "wrong password", "code": 401, "title": "Unauthorized"}})
        else:
            if self.server.slow_passwords:
                self._drip("a drip of an interim answer")
            self.server.tokens += 1
            endpoint = {"interface": "public", "region": "R", "region_id": "R", "id": "e", "url": f"{self.server.url}/v2.1"}
            unversioned = {**endpoint, "id": "f", "url": f"{self.server.url}/network"}
            neutron = {"type": "network", "name": "neutron", "id": "n", "endpoints": [unversioned]}
            token = {
                "methods": ["password"],
                "expires_at": "2999-01-01T00:00:00.000000Z",
                "issued_at": "2020-01-01T00:00:00.000000Z",
                "project": {"id": "p-1", "name": "p", "domain": {"id": "default", "name": "Default"}},
                "user": {"id": "u-1", "name": "u", "domain": {"id": "default", "name": "Default"}},
                "roles": [],
                "catalog": [
                    {"type": "compute", "name": "nova", "id": "c", "endpoints": [endpoint]},
                    neutron,
                ],
            }
            headers = {"X-Subject-Token": f"token-{self.server.tokens}"}
            if self.server.odd_token is not ...:
                self._answer(201, json.dumps(self.server.odd_token).encode(), headers)
            elif self.server.packed_tokens is None:
                self._answer(201, {"token": token}, headers)
            else:
                packing, pack = self.server.packed_tokens
                self._answer(201, pack(json.dumps({"token": token}).encode()), {**headers, "Content-Encoding": packing})

    def _nova(self) -> None:
        if self.path in ("/v2.1", "/v2.1/"):
            links = [{"rel": "self", "href": f"{self.server.url}/v2.1/"}]
            self._answer(200, {"version": {"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1", "links": links}})
            return
        self.server.asked.append((self.command, self.path, self.headers.get("X-Auth-Token", "")))
        step = self.server.script.pop(0) if self.server.script else (200, {"server": SERVER})
        if step == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif step == "silence":
            time.sleep(_PATIENCE + 0.2)
            self.close_connection = True
        elif step == "endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(600):
                self.wfile.write(b" ")
                time.sleep(0.1)
            self.close_connection = True
        elif isinstance(step, str):
            self._drip(step)
            self._answer(200, {"server": SERVER})
        else:
            self._answer(*step)

    def _drip(self, step: str) -> None:
        """Begin an answer that comes letter by letter, for longer than anybody has patience; the one that follows is good."""
        begin, end = _DRIPS[step]
        try:
            for letter in (*begin, *b"x" * 40):
                self.wfile.write(bytes([letter]))
                time.sleep(0.1)
            self.wfile.write(end)
        except OSError:
            self.server.given_up.set()
            raise
        self.close_connection = True

    def _neutron(self) -> None:
        """Its endpoint in the catalog has no version, as Neutron's."""
        if self.path.startswith("/network/v2.0/"):
            self._answer(200, {"networks": []})
        elif self.path.strip("/") == "network" and self.server.silent_versions:
            self.server.silent_versions -= 1
            self._answer(500, b"")
        elif self.path.strip("/") == "network":
            links = [{"rel": "self", "href": f"{self.server.url}/network/v2.0/"}]
            self._answer(200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})
        else:
            self._answer(404, b"404 Not Found")

    def _any(self) -> None:
        self._body()
        try:
            if self.path.startswith("/network"):
                self._neutron()
            else:
                self._nova() if self.path.startswith("/v2.1") else self._keystone()
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _any


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def compute(request: pytest.FixtureRequest, provider: Provider, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> cloud.Service:
    monkeypatch.setattr(cloud, "_PAUSE", 0.01)
    if "silence" in request.node.name or "does_not_end" in request.node.name:
        monkeypatch.setattr(cloud, "_PATIENCE", _PATIENCE)
    return _cloud(provider, tmp_path).service("compute")


def _cloud(provider: Provider, folder: Any, more: str = "") -> cloud.Cloud:
    file = folder / "figlina.conf"
    file.write_text(
        f"[service_auth]\nauth_type = password\nauth_url = {provider.url}/v3\nusername = u\npassword = secret\nproject_name = p\n"
        f"user_domain_id = default\nproject_domain_id = default\n{more}"
    )
    return cloud.Cloud.from_conf(options.load(["--config-file", str(file)]))


REFUSALS = [
    (400, {"badRequest": {"message": "name is too long", "code": 400}}, errors.ServiceRefused, "name is too long"),
    (403, {"forbidden": {"message": "Quota exceeded for cores: Requested 1", "code": 403}}, errors.QuotaMet, "raise the quota"),
    (403, {"forbidden": {"message": "Policy doesn't allow it", "code": 403}}, errors.NotAllowed, "[service_auth]"),
    (
        403,
        {"forbidden": {"message": "Policy doesn't allow os_compute_api:os-quota-sets:detail to be performed.", "code": 403}},
        errors.NotAllowed,
        "[service_auth]",
    ),
    (404, {"itemNotFound": {"message": "Instance s-1 could not be found.", "code": 404}}, errors.Missing, "could not be found"),
    (
        409,
        {"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}},
        errors.QuotaMet,
        "port",
    ),
    (409, {"NeutronError": {"type": "IpAddressInUse", "message": "Unable to complete", "detail": ""}}, errors.Contradicted, "Unable"),
    (413, {"overLimit": {"message": "Quota exceeded for instances", "code": 413}}, errors.QuotaMet, "instances"),
    (404, b"<html><head><title>t</title></head><body><h1>404</h1> no image</body></html>", errors.Missing, "404 no image"),
    (500, b"", errors.TryAgain, "no reason given"),
    (502, b"<html>Bad Gateway</html>", errors.TryAgain, "Bad Gateway"),
    (400, {"errors": [{"detail": "bad resource class"}]}, errors.ServiceRefused, "bad resource class"),
    (400, b"[1]", errors.ServiceRefused, "[1]"),
    (418, {"title": "Odd", "description": "a teapot", "code": 418}, errors.ServiceRefused, "teapot"),
]


def test_a_404_of_a_gateway_says_nothing_of_what_there_is(provider: Provider, compute: cloud.Service) -> None:
    """It has no request id: whoever answered was not the service."""
    provider.script = [(404, b"default backend - 404", {"x-openstack-request-id": ""})] * 3
    with pytest.raises(errors.TryAgain):
        compute.delete("/servers/s-1")


@pytest.mark.parametrize(("status", "body", "kind", "words"), REFUSALS)
def test_a_refusal_has_the_services_words_and_its_request_id(
    provider: Provider, compute: cloud.Service, status: int, body: Any, kind: type[errors.ServiceRefused], words: str
) -> None:
    provider.script = [(status, body)] * 3
    with pytest.raises(kind) as caught:
        compute.post("/servers", {})
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "compute: POST /servers" in str(caught.value)
    assert "req-7" in str(caught.value)
    assert len(provider.asked) == 1, "what may have been carried out is not sent again"


@pytest.mark.parametrize("fault", [(500, b""), (503, b""), (429, b"", {"Retry-After": "0"}), (504, b""), "reset", SILENCE, (200, b"{")])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_may_be_repeated_is_tried_again(provider: Provider, compute: cloud.Service, method: str, fault: Any) -> None:
    provider.script = [fault]
    assert compute.call(method, "/servers/s-1") == {"server": SERVER}
    assert [asked[0] for asked in provider.asked] == [method] * 2


@pytest.mark.parametrize("fault", [(500, b""), "reset", SILENCE, (429, b"", {"Retry-After": "600"})])
def test_a_service_that_stays_broken_is_given_up_as_transient(provider: Provider, compute: cloud.Service, fault: Any) -> None:
    provider.script = [fault] * 9
    with pytest.raises(exceptions.Transient):
        compute.get("/servers/s-1")
    assert len(provider.asked) == (1 if "429" in str(fault) else 3)


def test_only_a_post_that_was_not_carried_out_is_sent_again(provider: Provider, compute: cloud.Service) -> None:
    provider.script = [(429, b"", {"Retry-After": "0"}), (503, b"")]
    assert compute.post("/servers", {}) == {"server": SERVER}
    provider.script = ["reset"]
    with pytest.raises(errors.NoAnswer, match="compute: POST /servers"):
        compute.post("/servers", {})
    assert len(provider.asked) == 4


@pytest.mark.lengthy
def test_an_answer_that_does_not_end_is_given_up(provider: Provider, compute: cloud.Service) -> None:
    provider.script = ["endless"]  # for a minute
    with pytest.raises(errors.NoAnswer, match="does not end"):
        compute.post("/servers", {})


@pytest.mark.parametrize("step", _DRIPS)
def test_an_answer_whose_beginning_does_not_end_is_given_up(provider: Provider, compute: cloud.Service, step: str) -> None:
    provider.script = [step]
    with pytest.raises(errors.NoAnswer, match="no answer"):
        compute.post("/servers", {})


def test_a_keystone_whose_answer_does_not_end_is_given_up(provider: Provider, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_PAUSE", 0.01)
    provider.slow_passwords = True
    with pytest.raises(exceptions.Transient):
        _cloud(provider, tmp_path, "timeout = 1\n").service("compute").post("/servers", {})
    assert provider.given_up.wait(60), "it was waited for until its end"
    provider.slow_passwords = False
    assert _cloud(provider, tmp_path).service("compute").get("/servers/s-1") == {"server": SERVER}


_PACKED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "long": ("gzip", lambda text: gzip.compress(text + b" " * (2 * sessions.LARGEST)), "has more than"),
    "twice": ("gzip, gzip", lambda text: gzip.compress(gzip.compress(text)), "was not asked for"),
    "otherwise": ("br", lambda text: text, "was not asked for"),
}


@pytest.mark.parametrize("how", _PACKED)
def test_what_a_keystone_has_packed_is_unpacked_as_far_as_an_answer_may_go(
    provider: Provider, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(sessions, "LARGEST", 1 << 20)
    packing, pack, words = _PACKED[how]
    provider.packed_tokens = packing, pack
    with pytest.raises(errors.NoAnswer, match=words):
        _cloud(provider, tmp_path).service("compute").get("/servers/s-1")
    provider.packed_tokens = "gzip", gzip.compress
    assert _cloud(provider, tmp_path).service("compute").get("/servers/s-1") == {"server": SERVER}


def test_an_answer_that_is_nested_without_an_end_is_no_json(provider: Provider, compute: cloud.Service) -> None:
    provider.script = [(200, b"[" * 200_000)] * 3
    with pytest.raises(errors.NoAnswer, match="no JSON"):
        compute.get("/servers/s-1")


def test_what_is_gone_needs_no_deletion(provider: Provider, compute: cloud.Service) -> None:
    provider.script = [(404, b"")]
    compute.delete("/servers/s-1")
    assert len(provider.asked) == 1


def test_a_token_that_ran_out_is_replaced_within_the_call(provider: Provider, compute: cloud.Service) -> None:
    compute.get("/servers/s-1")
    provider.script = [(401, b"")]
    assert compute.get("/servers/s-1") == {"server": SERVER}
    assert [token for _, _, token in provider.asked] == ["token-1", "token-1", "token-2"]


def test_neither_bodies_nor_tokens_are_logged(provider: Provider, compute: cloud.Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        compute.post("/servers", {"server": {"user_data": "PRIVATE KEY"}})
    assert "compute: POST /servers: 200" in caplog.text
    assert "req-7" in caplog.text
    for secret in ("PRIVATE KEY", "token-1", "'secret'", '"secret"'):
        assert secret not in caplog.text


def test_a_wrong_password_is_a_matter_of_the_configuration(provider: Provider, compute: cloud.Service) -> None:
    provider.refuse_password = True
    with pytest.raises(exceptions.Misconfigured, match=r"Keystone does not accept \[service_auth\]"):
        compute.get("/servers")


@pytest.mark.parametrize("odd", [{}, [], None, 7, "text", {"token": None}, {"token": {"catalog": 7}}, {"token": []}], ids=str)
def test_a_keystone_that_answers_anything_is_told_as_that(provider: Provider, compute: cloud.Service, odd: Any) -> None:
    provider.odd_token = odd
    with pytest.raises(exceptions.ControllerError) as raised:
        compute.get("/servers")
    assert str(raised.value).startswith("compute: ")


def test_a_keystone_that_is_away_may_come_back(provider: Provider, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_PAUSE", 0.01)
    made = _cloud(provider, tmp_path)
    provider.url = "http://127.0.0.1:9"
    away = _cloud(provider, tmp_path)
    with pytest.raises(exceptions.Transient):
        away.service("compute").get("/servers")
    assert made.project_id == "p-1"


def test_a_service_that_is_not_in_the_catalog_is_a_matter_of_the_configuration(provider: Provider, tmp_path: Any) -> None:
    with pytest.raises(exceptions.Misconfigured, match=r"\[glance\] endpoint_override"):
        _cloud(provider, tmp_path).service("image").get("/images")


@pytest.mark.parametrize("times", [1, 3])
def test_a_service_that_did_not_tell_its_versions_once_is_asked_again(provider: Provider, tmp_path: Any, times: int) -> None:
    """Not all that is asked later is taken for missing."""
    network = _cloud(provider, tmp_path).service("network")
    provider.silent_versions = times
    with contextlib.suppress(exceptions.Transient):
        network.get("/networks")
    provider.silent_versions = 0
    assert network.get("/networks") == {"networks": []}


def test_the_microversions_of_a_service(compute: cloud.Service) -> None:
    assert compute.microversions() == ("2.1", "2.93")


def test_the_microversions_of_a_service_whose_endpoint_the_configuration_names(provider: Provider, tmp_path: Any) -> None:
    named = _cloud(provider, tmp_path, f"[nova]\nendpoint_override = {provider.url}/v2.1\n")
    assert named.service("compute").microversions() == ("2.1", "2.93")


def test_nobody_is_asked_as_nobody(tmp_path: Any) -> None:
    (tmp_path / "figlina.conf").write_text("")
    with pytest.raises(exceptions.Misconfigured, match="neither `auth_type` nor `cloud`"):
        cloud.Cloud.from_conf(options.load(["--config-file", str(tmp_path / "figlina.conf")]))
