"""Each pair of protocols that the API accepts, over each pair of versions of IP, in both topologies: a real client's bytes reach a member.

The cells follow from the table of protocols: one that comes to it has its cells at once, and they fail until `_CLIENTS`
and `_FIELDS` here know how to speak to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from controller.dev import certificates, processes
from controller.dev.client import eventually
from controller.embedded import linux
from controller.model.protocols import OF_LISTENERS, OF_POOLS, PROTOCOLS, fits
from tests import tls_material
from tests.integration import speaking
from tests.integration.dual import Dual

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

TOPOLOGIES = ("SINGLE", "ACTIVE_STANDBY")
_VERSIONS = (4, 6)
_PROXY_VERSIONS = {"PROXY": 1, "PROXYV2": 2}

_CLIENTS: Mapping[str, Callable[[str], tuple[str, str]]] = {
    "HTTP": lambda _: ("http", "http"),
    "HTTPS": lambda pool: ("s_client" if pool in ("HTTPS", "TCP") else "https", "tls"),
    "TCP": lambda pool: {"HTTP": ("http", "http"), "HTTPS": ("https", "tls")}.get(pool, ("stream", "stream")),
    "TERMINATED_HTTPS": lambda _: ("https", "http"),
    "UDP": lambda _: ("datagram", "datagram"),
    "SCTP": lambda _: ("sctp", "sctp"),
}
"""By protocol of the listener: which client speaks to it, and what the member below a pool of a protocol gets (`speaking.CONTENTS`)."""


def _certificate(dual: Dual) -> str:
    """A reference to a new one."""
    issued = tls_material.issue("matrix.example", names=["matrix.example"])
    body = {"payload": (issued.pem + issued.key_pem()).decode()}
    return str(dual.site.api.post("/secrets", {"secret": body})["secret"]["ref"])


_FIELDS: Mapping[str, Callable[[Dual], dict[str, Any]]] = {
    "TERMINATED_HTTPS": lambda dual: {"default_tls_container_ref": _certificate(dual)},
}
"""By protocol of the listener: what it can't be without (a certificate)."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One combination."""

    listener: str
    pool: str
    vip_version: int
    member_version: int
    topology: str

    def __str__(self) -> str:
        return f"{self.listener}-{self.pool}-vip{self.vip_version}-member{self.member_version}-{self.topology}"

    @property
    def port(self) -> int:
        """Of the listener: one for each cell of a load balancer."""
        return 1000 + [*itertools.product(OF_LISTENERS, OF_POOLS, _VERSIONS)].index((self.listener, self.pool, self.member_version))

    @property
    def member(self) -> str:
        return f"back-{self.member_version}"


def _cells() -> list[Cell]:
    pairs = [(listener, pool) for listener, pool in itertools.product(OF_LISTENERS, OF_POOLS) if fits(pool, listener)]
    every = itertools.product(_VERSIONS, _VERSIONS, TOPOLOGIES, pairs)
    cells = [Cell(*pair, vip, member, topology) for vip, member, topology, pair in every]
    # Datagrams are passed on as they are, so the API refuses (501) members of another version of IP than the VIP has.
    return [one for one in cells if PROTOCOLS[one.listener].transport == "tcp" or one.vip_version == one.member_version]


CELLS = _cells()


@pytest.fixture(scope="module")
def vips(dual: Dual, request: pytest.FixtureRequest) -> Iterator[dict[tuple[int, str], str]]:
    """A load balancer for each version and topology, with all cells of it that are run: their VIPs."""
    found = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    cells = [one.params["cell"] for one in found if one is not None and "cell" in one.params]
    with members(dual):
        made = {}
        for version, topology in {(cell.vip_version, cell.topology): None for cell in cells}:
            own = [cell for cell in cells if (cell.vip_version, cell.topology) == (version, topology)]
            body = {
                "name": f"matrix-{version}-{topology}",
                "vip_subnet_id": dual.subnets["front"][version],
                "flavor_id": dual.flavors[topology],
                "listeners": [_listener(dual, cell) for cell in own],
            }
            made[version, topology] = dual.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        for one in made.values():
            dual.site.api.wait_active(one["id"])
        yield {key: one["vip_address"] for key, one in made.items()}
        for one in made.values():
            dual.delete(one)


@contextlib.contextmanager
def members(dual: Dual) -> Iterator[None]:
    """Members that speak everything, one for each version of IP."""
    pem = certificates.ensure_self_signed(dual.site.folder / "member.pem", "member", dual.addresses["back-web"][4])
    for version, address in dual.addresses["back-web"].items():
        dual.run("back-web", processes.python("tests.integration.speaking", f"back-{version}", address, "--pem", str(pem)))
        eventually(functools.partial(speaking.answers, linux.enter(dual.namespace("back-web")), address), 60)
    yield


def _listener(dual: Dual, cell: Cell) -> dict[str, Any]:
    _client, content = _CLIENTS[cell.listener](cell.pool)
    member = {
        "name": cell.member,
        "address": dual.addresses["back-web"][cell.member_version],
        "protocol_port": speaking.port(content, _PROXY_VERSIONS.get(cell.pool, 0)),
        "subnet_id": dual.subnets["back"][cell.member_version],
    }
    pool = {"name": str(cell), "protocol": cell.pool, "lb_algorithm": "ROUND_ROBIN", "members": [member]}
    fields = _FIELDS[cell.listener](dual) if cell.listener in _FIELDS else {}
    return {"name": str(cell), "protocol": cell.listener, "protocol_port": cell.port, "default_pool": pool, **fields}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_bytes_of_a_client_reach_a_member(dual: Dual, vips: dict[tuple[int, str], str], cell: Cell) -> None:
    passes(dual, vips, cell)


def passes(dual: Dual, vips: dict[tuple[int, str], str], cell: Cell) -> None:
    """What a client sends reaches the member of a cell as it is, with the client's address where the protocol tells it."""
    client, _content = _CLIENTS[cell.listener](cell.pool)
    vip, sent = vips[cell.vip_version, cell.topology], secrets.token_bytes(1000 if client == "datagram" else 100_000)
    heard = _answer(dual, client, vip, cell.port, sent)
    assert (heard.member, heard.length, heard.digest) == (cell.member, len(sent), speaking.digest(sent))
    own = dual.addresses["client"][cell.vip_version]
    version = _PROXY_VERSIONS.get(cell.pool)
    assert heard.proxied == (None if version is None else (version, own, vip, cell.port))


def _answer(dual: Dual, client: str, vip: str, number: int, sent: bytes) -> speaking.Heard:
    """The first answer; the half of a pair that gets the VIP may not have it yet."""
    found: list[speaking.Heard] = []

    def answered() -> bool:
        with contextlib.suppress(AssertionError):
            found.append(speaking.ask(linux.enter(dual.namespace("client")), client, vip, number, sent))
        return bool(found)

    with contextlib.suppress(Exception):
        eventually(answered, 30)
    return found[0] if found else speaking.ask(linux.enter(dual.namespace("client")), client, vip, number, sent)


def test_no_protocol_is_without_cells() -> None:
    elsewhere = {name for name, one in PROTOCOLS.items() if one.tells_metrics}  # they have no pools: `test_metrics.py`
    for kind, names in (("listener", OF_LISTENERS), ("pool", OF_POOLS)):
        assert {getattr(cell, kind) for cell in CELLS} == set(names) - elsewhere
