"""What is read of an answer is there, and of the kind that it is read as; else it is told whose answer it was and what it lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller import exceptions
from controller.openstack import documents, errors

ORIGIN = documents.Origin("network", "network: GET /ports, request req-7", "[neutron] endpoint_override")


def _read(answer: Any) -> documents.Document:
    return documents.read(json.dumps(answer).encode(), ORIGIN)


@pytest.mark.parametrize("answer", [[], None, 7, "text", True, 1.5])
def test_an_answer_is_an_object(answer: Any) -> None:
    with pytest.raises(errors.Unreadable, match=r"^network: GET /ports, request req-7: the answer is .*, and not an object\. Look whether"):
        _read(answer)


def test_an_empty_answer_is_one_that_says_nothing() -> None:
    assert documents.read(b"", ORIGIN) == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "has no `ports`"),
        ({"ports": None}, "has null as its `ports`, and not a list of objects"),
        ({"ports": {}}, "has an object as its `ports`, and not a list of objects"),
        ({"ports": ["text"]}, "has a list of others as its `ports`, and not a list of objects"),
    ],
)
def test_what_an_answer_consists_of_is_a_list_of_objects(answer: Any, words: str) -> None:
    with pytest.raises(errors.Unreadable) as raised:
        _read(answer)["ports"]
    assert words in str(raised.value)
    assert "[neutron] endpoint_override" in str(raised.value)
    assert isinstance(raised.value, exceptions.Transient), "nobody knows what was done: whoever asked looks, and asks again"


@pytest.mark.parametrize(
    ("row", "key", "words"),
    [
        ({}, "id", "has no `id` in one of its objects"),
        ({"id": 7}, "id", "has a number as its `id` in one of its objects, and not text"),
        ({"mtu": "1500"}, "mtu", "has text as its `mtu` in one of its objects, and not a number"),
        ({"security_groups": [{}]}, "security_groups", "has a list of others as its `security_groups` in one of its objects"),
    ],
)
def test_what_is_within_has_its_kind(row: Any, key: str, words: str) -> None:
    (within,) = _read({"ports": [row]})["ports"]
    with pytest.raises(errors.Unreadable) as raised:
        within[key]
    assert words in str(raised.value)


def test_what_need_not_be_there_may_be_null_or_empty_text() -> None:
    found = documents.read(b'{"server": {"image": "", "metadata": null, "fault": 7}}', documents.Origin("compute", "compute: GET /", "x"))
    server = found["server"]
    assert [server.get("image"), server.get("metadata", {}), server.get("key_name")] == [None, {}, None]
    with pytest.raises(errors.Unreadable, match="has a number as its `fault`"):
        server.get("fault")
