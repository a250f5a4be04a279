"""The health check and what proxies tell, by the options of oslo.middleware."""

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
