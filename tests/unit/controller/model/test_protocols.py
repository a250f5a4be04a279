"""The table of protocols says what clients of the Octavia API know of them, and no other module has one of its own."""

from __future__ import annotations

import ast
import pathlib

import pytest

from controller.model import protocols
from controller.model.protocols import PROTOCOLS

CONTROLLER = pathlib.Path(protocols.__file__).parent.parent
FITS = """
                  TCP  HTTP  HTTPS  PROXY  PROXYV2  UDP  SCTP
TCP                x    x     x      x      x       -    -
HTTP               -    x     -      x      x       -    -
HTTPS              x    -     x      x      x       -    -
TERMINATED_HTTPS   -    x     -      x      x       -    -
UDP                -    -     -      -      -       x    -
SCTP               -    -     -      -      -       -    x
PROMETHEUS         -    -     -      -      -       -    -
"""


def test_pools_go_below_the_listeners_of_the_specification() -> None:
    pools, *rows = (line.split() for line in FITS.strip().splitlines())
    assert {row[0] for row in rows} == set(protocols.OF_LISTENERS)
    assert set(pools) == set(protocols.OF_POOLS)
    for listener, *marks in rows:
        assert [protocols.fits(pool, listener) for pool in pools] == [mark == "x" for mark in marks], listener


def test_only_listeners_that_speak_http_insert_headers_and_know_what_tls_told() -> None:
    inserting = {name: len(one.headers) for name, one in PROTOCOLS.items() if one.headers}
    assert inserting == {"HTTP": 6, "TERMINATED_HTTPS": 14}
    assert [name for name, one in PROTOCOLS.items() if one.has_requests] == ["HTTP", "TERMINATED_HTTPS"]
    assert [name for name, one in PROTOCOLS.items() if one.ends_tls] == ["TERMINATED_HTTPS"]


def test_ports_are_told_apart_by_their_transport() -> None:
    assert {name: one.transport for name, one in PROTOCOLS.items() if one.transport != "tcp"} == {"UDP": "udp", "SCTP": "sctp"}


@pytest.mark.parametrize("name", protocols.OF_POOLS)
def test_datagrams_are_probed_otherwise_than_streams(name: str) -> None:
    of_datagrams = ("HTTP", "SCTP", "TCP", "UDP-CONNECT")
    expected = of_datagrams if PROTOCOLS[name].transport != "tcp" else ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")
    assert PROTOCOLS[name].monitors == expected


def test_lbaasv2_has_the_pairs_that_neutron_has() -> None:
    pairs = {(pool, one.name) for one in PROTOCOLS.values() for pool in one.lbaasv2_pools}
    assert pairs == {("TCP", "TCP"), ("HTTP", "HTTP"), ("HTTPS", "HTTPS"), ("HTTP", "TERMINATED_HTTPS")}
    assert all(protocols.fits(*pair) for pair in pairs)
    assert protocols.OF_POOLS_IN_LBAASV2 == ("HTTP", "HTTPS", "TCP")


@pytest.mark.lengthy
def test_there_is_no_second_table_of_protocols() -> None:
    """A tuple, a set or a dict of three or more names of protocols would be one."""
    found = []
    for path in CONTROLLER.rglob("*.py"):
        if path.name == "protocols.py" or "versions" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            items = node.keys if isinstance(node, ast.Dict) else node.elts if isinstance(node, ast.Tuple | ast.Set | ast.List) else []
            names = {item.value for item in items if isinstance(item, ast.Constant) and item.value in PROTOCOLS}
            if len(names) >= 3 and isinstance(node, ast.expr):
                found.append(f"{path.relative_to(CONTROLLER)}:{node.lineno}")
    # Health monitors have types of the same names.
    assert [place for place in found if not place.startswith("resources/health_monitor.py")] == []
