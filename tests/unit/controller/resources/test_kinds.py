"""Kinds of values: what is accepted, what it becomes, and what is refused."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from controller.render import safe
from controller.resources import kinds


@pytest.mark.parametrize(
    ("kind", "given", "stored"),
    [
        (kinds.boolean, True, True),
        (kinds.boolean, "off", False),
        (kinds.boolean, 1, True),
        (kinds.port, 80, 80),
        (kinds.port, "443", 443),
        (kinds.uuid, "ADE43F53B9915E19BD802DA82518C7A9", "ade43f53-b991-5e19-bd80-2da82518c7a9"),
        (kinds.ip_address, "2001:DB8::1", "2001:DB8::1"),
        (kinds.cidr, "10.1.2.3/8", "10.0.0.0/8"),
        (kinds.cidr, "2001:db8::5/32", "2001:db8::/32"),
        (kinds.name, "Ω amphora 🏺", "Ω amphora 🏺"),
        (kinds.status_codes, "200, 201", "200, 201"),
        (kinds.status_codes, "200\t,\v201", "200 , 201"),
        (kinds.status_codes, "200-299", "200-299"),
        (kinds.http_version, "1.1", 1.1),
        (kinds.http_version, 1, 1.0),
        (kinds.url_path, "/a?b=c&d=%20", "/a?b=c&d=%20"),
        (kinds.host_name, "www.example.org", "www.example.org"),
        (kinds.tags, ["b", "a", "b"], ["b", "a"]),
    ],
)
def test_a_good_value_is_brought_into_form(kind: kinds.Parser, given: Any, stored: Any) -> None:
    assert kind(given) == stored


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (kinds.boolean, 2),
        (kinds.boolean, []),
        (kinds.boolean, None),
        (kinds.port, "80 "),
        (kinds.port, "٨٠"),
        (kinds.port, 1e3),
        (kinds.uuid, "ade43f53-b991-5e19-bd80-2da82518c7a"),
        (kinds.uuid, "{ade43f53-b991-5e19-bd80-2da82518c7a9}"),
        (kinds.ip_address, "10.0.0.1\n"),
        (kinds.ip_address, 167772161),
        (kinds.cidr, 10),
        (kinds.name, None),
        (kinds.status_codes, "200\n"),
        (kinds.status_codes, "600"),
        (kinds.http_version, True),
        (kinds.http_version, {}),
        (kinds.url_path, "/a#b"),
        (kinds.url_path, "/\n"),
        (kinds.host_name, "a..b"),
        (kinds.host_name, "%[env(HOME)]"),
        (kinds.token, "a=b"),
        (kinds.timestamp, "yesterday"),
    ],
)
def test_a_bad_value_is_rejected(kind: kinds.Parser, given: Any) -> None:
    with pytest.raises(kinds.Reject):
        kind(given)


_GUARDS = {
    "url_path": (kinds.url_path, safe.url_path),
    "host_name": (kinds.host_name, safe.host_name),
    "cookie name": (kinds.token, safe.cookie_name),
    "status codes": (kinds.status_codes, safe.status_codes),
    "address": (kinds.ip_address, safe.address),
}
_text = st.text(st.characters(max_codepoint=0x17F), max_size=12) | st.from_regex(r"/?[0-9A-Za-z.:%#'&-]{0,12}", fullmatch=True)


@pytest.mark.lengthy
@pytest.mark.parametrize("name", _GUARDS)
@hypothesis.settings(max_examples=300, derandomize=True, database=None, deadline=None)
@hypothesis.given(value=_text)
def test_what_the_api_accepts_the_renderer_accepts_too(name: str, value: str) -> None:
    accept, guard = _GUARDS[name]
    try:
        stored = accept(value)
    except kinds.Reject:
        return
    guard("field", stored)
