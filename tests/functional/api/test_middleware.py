"""The health check, what proxies tell, pages of other origins and the size of bodies, by the options of oslo.middleware."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from controller.db import database

ON = (("api_settings", "healthcheck_enabled"), True)


def test_a_file_takes_the_api_out_of_service(api_with: Any, tmp_path: pathlib.Path) -> None:
    off = tmp_path / "off"
    api = api_with(*ON, ("healthcheck", "backends"), ["disable_by_file"], ("healthcheck", "disable_by_file_path"), str(off))
    assert api.send("GET", "//healthcheck").data == b"OK"
    off.touch()
    answer = api.send("GET", "//healthcheck")
    assert (answer.status_code, answer.data) == (503, b"DISABLED BY FILE")
    off.unlink()
    assert api.send("GET", "//healthcheck").status_code == 200


@pytest.mark.parametrize("backend", ["figlina_db_check", "octavia_db_check"])
def test_a_database_that_is_away_is_told_without_its_words(api_with: Any, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    api = api_with(*ON, ("healthcheck", "backends"), [backend], ("healthcheck", "detailed"), True)
    headers = {"Accept": "application/json"}
    healthy = api.send("GET", "//healthcheck", headers=headers)
    assert (healthy.status_code, [one["reason"] for one in healthy.get_json()["reasons"]]) == (200, ["OK"])

    def away(self: database.Database) -> Any:
        raise OSError("/srv/secret/figlina.db")

    monkeypatch.setattr(database.Database, "read", away)
    sick = api.send("GET", "//healthcheck", headers=headers)
    assert (sick.status_code, [one["reason"] for one in sick.get_json()["reasons"]]) == (503, ["The database does not answer"])
    assert b"/srv/secret" not in sick.data


def test_who_is_not_to_be_told_finds_nothing(api_with: Any) -> None:
    api = api_with(*ON, ("healthcheck", "allowed_source_ranges"), ["192.0.2.0/24"])
    assert api.send("GET", "//healthcheck").status_code == 404


@pytest.mark.parametrize(
    ("is_on", "headers", "link"),
    [
        (True, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lb.example"}, "https://lb.example/v2"),
        (True, {"Forwarded": "for=192.0.2.1;proto=https;host=lb.example"}, "https://lb.example/v2"),
        (False, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}, "http://localhost/v2"),
        (False, {"Forwarded": "proto=https;host=evil.example"}, "http://localhost/v2"),
    ],
)
def test_a_proxy_is_believed_where_the_operator_says_so(api_with: Any, is_on: bool, headers: dict[str, str], link: str) -> None:
    api = api_with(("oslo_middleware", "enable_proxy_headers_parsing"), is_on)
    assert api.send("GET", "///", headers=headers).get_json()["versions"][0]["links"][0]["href"] == link


PAGE = "https://dashboard.example"
ASKS = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type, x-auth-token"}
ALLOWED = [(("cors", "allowed_origin"), [PAGE]), (("cors", "allowed_origin"), ["*"])]


@pytest.mark.parametrize("allowed", ALLOWED)
def test_pages_of_allowed_origins_may_ask_before_they_send_and_read_the_answer(api_with: Any, allowed: Any) -> None:
    api = api_with(*allowed)
    told = api.send("OPTIONS", "/pools", headers=ASKS)
    assert told.status_code == 200
    assert told.headers["Access-Control-Allow-Origin"] in (PAGE, "*")
    assert (told.headers["Access-Control-Allow-Methods"], told.headers["Vary"]) == ("PUT", "Origin")
    assert told.headers["Access-Control-Allow-Headers"] == "content-type,x-auth-token"
    for answer in (api.send("GET", "/pools", headers={"Origin": PAGE}), api.send("GET", "/no-such", headers={"Origin": PAGE})):
        assert answer.headers["Access-Control-Allow-Origin"] in (PAGE, "*")
        assert "X-Openstack-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, ASKS | {"Origin": "https://evil.example"}, {}])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_pages_of_other_origins_are_told_nothing(api_with: Any, method: str, headers: dict[str, str]) -> None:
    answer = api_with(("cors", "allowed_origin"), [PAGE]).send(method, "/pools", headers=headers)
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


def test_the_operator_says_how_large_a_body_may_be(api_with: Any) -> None:
    api = api_with(("oslo_middleware", "max_request_body_size"), 2000)
    body = b'{"pool": {"name": "' + b"x" * 2000 + b'"}}'
    assert api.send("POST", "/pools", data=body[:1999]).status_code == 400
    assert api.send("POST", "/pools", data=body).get_json() == {"code": 413, "title": "Request Entity Too Large", "description": ""}
