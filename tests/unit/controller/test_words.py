"""No path of a server, and no traceback, in what tenants read; what they wrote themselves stays."""

from __future__ import annotations

import pytest

from controller.model import words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[Errno 20] Not a directory: '/var/lib/figlina/amphorae/x/machine.json'", "[Errno 20] Not a directory: 'machine.json'"),
        ("[ALERT] parsing [/run/figlina/haproxy.cfg:12]: unknown keyword", "[ALERT] parsing [haproxy.cfg:12]: unknown keyword"),
        ("database is locked: /srv/figlina.db", "database is locked: figlina.db"),
        ("can't write /etc/figlina/", "can't write (a folder)"),
        ("no room in /tmp", "no room in (a folder)"),
        ("it failed\nTraceback (most recent call last):\n  File x", "it failed"),
        ("subnet 10.0.0.0/24 is full", "subnet 10.0.0.0/24 is full"),
        ("2001:db8::/32 has no address left", "2001:db8::/32 has no address left"),
        ("see https://example.org/a/b/c", "see https://example.org/a/b/c"),
        ("the cipher ECDHE/RSA and either/or", "the cipher ECDHE/RSA and either/or"),
    ],
)
def test_what_tenants_read(text: str, shown: str) -> None:
    assert words.for_tenants(text) == shown
