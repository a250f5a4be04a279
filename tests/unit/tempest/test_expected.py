"""The list of tempest's tests that are expected to fail: each has its reason, and a run is held against it in both directions."""

from __future__ import annotations

import pytest

from tests.tempest import expected
from tests.tempest.run import Result

_LIST = '= UDP is refused. "a sentence"\ntest_a.A.test_udp\n\n= SCTP is. "another"\ntest_b.B.test_sctp\n'


def _result(test: str, status: str) -> Result:
    return Result(f"{expected.BELOW}{test}[id-1234,smoke]", status)


def test_every_expected_failure_stands_in_the_page_of_differences() -> None:
    listed = expected.read(expected.LIST.read_text())
    assert expected.undocumented(listed.values()) == []
    assert expected.undocumented([expected.Reason("x", "a sentence that is nowhere")]) == ["a sentence that is nowhere"]


@pytest.mark.parametrize("text", ["test_a.A.test_b\n", "= no quotation\n", _LIST + "test_a.A.test_udp\n", '= x. "y"\ntest a b\n'])
def test_a_list_with_a_line_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(expected.Malformed):
        expected.read(text)


def test_a_run_is_right_if_exactly_what_is_listed_fails() -> None:
    listed = expected.read(_LIST)
    right = [_result("test_a.A.test_udp", "failure"), _result("test_b.B.test_sctp", "skip"), _result("test_c.C.test_http", "success")]
    assert expected.complaints(right, listed, whole=True) == []
    assert expected.complaints(right[2:], listed, whole=False) == []


def test_what_is_wrong_with_a_run_is_said() -> None:
    listed = expected.read(_LIST)
    run = [_result("test_a.A.test_udp", "success"), _result("test_c.C.test_http", "failure"), Result("setUpClass (x.y)", "failure")]
    assert expected.complaints(run, listed, whole=True) == [
        "setUpClass (x.y) failed, and nobody expects that",
        "test_c.C.test_http failed, and nobody expects that",
        "test_a.A.test_udp passed: take it out of expected.txt",
        "test_b.B.test_sctp is in expected.txt, and there is no such test",
    ]
    for whole in (False, True):
        assert expected.complaints([], listed, whole=whole) == ["no test passed at all"]
