"""Spellings of one path."""

from __future__ import annotations

import pytest

from controller.api import gate


@pytest.mark.parametrize(
    ("spelling", "short"),
    [
        ("/", "/"),
        ("/v2", "/v2"),
        ("/v2.0/", "/v2"),
        ("/v2/lbaas", "/v2"),
        ("/v2.0/lbaas/pools/x/members/", "/v2/pools/x/members"),
        ("/v2/octavia/amphorae", "/v2/octavia/amphorae"),
        ("/v2/lbaas/octavia/amphorae", "/v2/lbaas/octavia/amphorae"),
        ("/v2.00/pools", "/v2.00/pools"),
        ("/v20/pools", "/v20/pools"),
        ("/v2/lbaasx", "/v2/lbaasx"),
        ("//v2", "//v2"),
        ("", "/"),
    ],
)
def test_the_short_spelling(spelling: str, short: str) -> None:
    assert gate.normalised(spelling) == short
