"""What nobody should send: values for any field, and changes of a good body."""

from __future__ import annotations

import copy
import random
from typing import Any

STRINGS = (
    "", " ", "\n", "\r\n", "\x00", "\x7f", "\u0085", "\u2028", "\u202e", "é", "🏺", "x" * 256, "x" * 70000, "\ud800",
    "a\r\nbind *:1", "x\n    server evil 203.0.113.1:80", "x\tserver evil", "\\", "\\\\", 'a"b', "a'b", '"', "'", '" if TRUE #', "' #", "#",
    "a b", "a\\ b", "a # b", "%[env(HOME)]", "%[src]", "%{+Q}o", "${HOME}", "$HOME", "$(id)", "`id`", "; id", "| id", "&& id",
    "{{ 7*7 }}", "{% for x in y %}", "{{ config }}", "<%= 7 %>", "<script>alert(1)</script>", "' OR 1=1 --", "'); DROP TABLE pools; --",
    "../../etc/passwd", "/a b", "/a\nHost: x", "/%0d%0aSet-Cookie:x", "/%", "/%[src]", "/$HOME", '/"x"', "/'x'", "/\\", "/#x",
    "/?a=b&c=d;e",
    "http://x/%[src]", "http://x/\r\nX: y", "http://x y/", "http://x/'", 'http://x/"', "http://x/${HOME}", "javascript:alert(1)", "//x",
    "http://", "http://x:99999/", "http://[::1]/", "x.example", "-x.example", "x..example", "x.example\n", "*.example", "%[rand].example",
    "fe80::1%eth0", "::ffff:10.0.0.1", "010.0.0.1", "10.0.0.1/33", "0.0.0.0", "255.255.255.255", "127.0.0.1", "169.254.169.254", "1",
    "1.2.3",
    "200-199", "200,\n201", "٢٠٠", "200 if TRUE", "1e400", "-1", "9" * 30, "NaN", "Infinity", "null", "true", "None", "(.*)*",
    "(a+)+$", "[", "(?R)",
    "a" * 255, "-m reg -i", "-- x", "unless TRUE", "or TRUE", "{ src 0.0.0.0/0 }", "!", "use_backend evil", "lua.evil", "unix@/run/x",
    "fd@1",
)  # fmt: skip
SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 80, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40,
    0.5, -0.0, 1e300,
    [], {}, [[]], [None], {"id": None}, [[[[[[[[]]]]]]]], {"a": {"a": {"a": {}}}},
)  # fmt: skip
KEYS = (
    "",
    "id",
    "provisioning_status",
    "operating_status",
    "generation",
    "__class__",
    "$ref",
    "name\n",
    "x" * 300,
    "🏺",
    "project_id",
    "fault",
)
HEADERS: tuple[dict[str, str], ...] = (
    {"X-Project-Id": "x" * 5000}, {"X-Project-Id": "é"}, {"X-Project-Id": "a b\x7f"}, {"X-Openstack-Request-Id": "req-" + "é" * 99},
    {"Accept": "text/html"}, {"Accept": ";;;,,,q="}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Encoding": "gzip"}, {"Transfer-Encoding": "chunked"}, {"Content-Length": "0"}, {"Origin": "http://evil\x01"},
    {"X-HTTP-Method-Override": "DELETE"}, {"Host": "evil.example:99999"}, {"X-Forwarded-Host": "evil"}, {"X-Auth-Token": "' OR 1=1"},
    {"Expect": "100-continue"}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}, {"X-Roles": "admin"}, {"X-Is-Admin": "True"},
)  # fmt: skip


def value(rng: random.Random) -> Any:
    """Anything."""
    return rng.choice(STRINGS) if rng.random() < 0.6 else copy.deepcopy(rng.choice(SCALARS))


def _places(body: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything inside."""
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    found = [above] if above else []
    for key, item in inner:
        found += _places(item, (*above, key))
    return found


def mutated(rng: random.Random, body: Any) -> Any:
    """The body with one to three things wrong with it."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(body)
        if not places:
            return value(rng)
        # One value deep inside is worth more than a broken envelope: what is refused at once tests little.
        place = max(rng.choices(places, k=2), key=len)
        holder = body
        for key in place[:-1]:
            holder = holder[key]
        _spoil(rng, holder, place[-1])
    return body


def _spoil(rng: random.Random, holder: Any, key: Any) -> None:
    action = rng.random()
    if isinstance(holder[key], str) and action < 0.45:
        hostile = rng.choice(STRINGS)
        holder[key] = rng.choice((hostile, holder[key] + hostile, hostile + holder[key]))
    elif action < 0.75:
        holder[key] = value(rng)
    elif action < 0.85 and isinstance(holder, dict):
        del holder[key]
    elif action < 0.92:
        holder[key] = [holder[key]] * rng.randint(1, 3)
    elif isinstance(holder, dict):
        holder[rng.choice(KEYS)] = value(rng)
