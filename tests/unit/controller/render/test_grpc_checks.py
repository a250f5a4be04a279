"""Which answers of a member to a question of gRPC's health protocol fail it at once: by the expression that HAProxy is given."""

from __future__ import annotations

import re

import pytest

from controller.render import grpc_checks

SETTINGS = bytes.fromhex("000012 04 00 00000000 0003 00000064 0004 00400000 0006 00002000")
HEADERS = bytes.fromhex("000004 01 04 00000001 88 5f 01 05")
SERVING = bytes.fromhex("000007 00 00 00000001 00 00000002 0801")
NOT_SERVING = bytes.fromhex("000007 00 00 00000001 00 00000002 0802")
UNKNOWN = bytes.fromhex("000005 00 00 00000001 00 00000000")
TRAILERS = bytes.fromhex("000003 01 05 00000001 be bf c0")
RESET = bytes.fromhex("000004 03 00 00000001 00000002")
ANOTHER_RESET = bytes.fromhex("000004 03 00 00000003 00000002")


def _fails_at_once(answer: bytes) -> bool:
    (refused,) = (line for line in grpc_checks.directives("", "member.example", False) if " ! " in line)
    words = refused.split()
    assert words[:-1] == ["tcp-check", "expect", "min-recv", "1", "!", "rbinary"]
    return re.search(words[-1], answer.hex().upper()) is not None


@pytest.mark.parametrize("answer", [HEADERS + NOT_SERVING + TRAILERS, HEADERS + UNKNOWN + TRAILERS, TRAILERS, RESET, HEADERS + RESET])
def test_an_answer_that_ends_without_serving_fails_at_once(answer: bytes) -> None:
    assert _fails_at_once(SETTINGS + answer)


@pytest.mark.parametrize("answer", [b"", HEADERS, HEADERS + NOT_SERVING, HEADERS + SERVING, HEADERS + SERVING + TRAILERS, ANOTHER_RESET])
def test_one_that_serves_or_may_yet_does_not(answer: bytes) -> None:
    assert not _fails_at_once(SETTINGS + answer)


def test_digits_of_two_bytes_make_no_end() -> None:
    assert not _fails_at_once(SETTINGS + bytes.fromhex("00 1050000000 10 00"))
