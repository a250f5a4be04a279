"""Each type of health monitor with each kind of pool: who is fit is ONLINE, who is not is ERROR, and each is asked in the words it speaks.

The cells follow from the tables of protocols and from what the provider supports. One load balancer has them all, each on a listener of
its own; its members' statuses and what came to each of their ports are read once, when all first checks have ended. Members are there from
the beginning, or come at run time.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from controller.drivers.secrets import bundles, local
from controller.model.protocols import OF_LISTENERS, OF_POOLS, PROTOCOLS, fits
from controller.resources.health_monitor import TYPES
from tests import tls_material
from tests.integration import checked
from tests.integration.site import Site, haproxy_workers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]
TOPOLOGY = "SINGLE"

_PROXY_VERSIONS = {"PROXY": 1, "PROXYV2": 2}
_REQUESTS, _TLS = ("HTTP", "HTTPS"), ("HTTPS", "TLS-HELLO")
_SECONDS = {"delay": 15, "timeout": 10, "max_retries": 1, "max_retries_down": 1}
ROOT = tls_material.issue("root.example", is_ca=True)
GOOD = tls_material.issue("member.example", ROOT, names=["member.example"])
FOREIGN = tls_material.issue("member.example", names=["member.example"])


@dataclasses.dataclass(frozen=True)
class Cell:
    """A monitor of a pool. `tls`: whether its traffic to members is encrypted, and whether they must prove who they are."""

    listener: str
    pool: str
    tls: str  # plain, encrypted, verified
    type: str
    fields: tuple[tuple[str, Any], ...] = ()  # of the monitor's request
    code: int = 200  # that members answer who are fit

    def __str__(self) -> str:
        named = "-".join(f"{name}={value}" for name, value in self.fields)
        return "-".join(filter(None, (self.listener, self.pool, self.tls, self.type, named)))

    @property
    def request(self) -> dict[str, Any]:
        return dict(self.fields)

    def came(self, at_own_target: bool, vip: str) -> checked.Came:
        """What a check of this cell is to say. One that goes elsewhere than requests do speaks TLS only if its type says so."""
        asked = self.request
        tls = self.type in _TLS or (self.tls != "plain" and not at_own_target)
        found = checked.Came(proxy=_PROXY_VERSIONS.get(self.pool, 0), tls=tls)
        if self.type not in _REQUESTS:
            return found
        version = asked.get("http_version", 1.0)
        line = f"{asked.get('http_method', 'GET')} {asked.get('url_path', '/')} HTTP/{version}"
        name = asked.get("domain_name")
        return dataclasses.replace(
            found,
            request=line,
            host=name or (vip if version == 1.1 else None),
            server_name=name if self.type == "HTTPS" else None,
        )


def _cells() -> list[Cell]:
    """Listeners that differ in nothing that a backend knows are one."""
    seen: dict[tuple[Any, ...], tuple[str, str]] = {}
    for listener, pool in itertools.product(OF_LISTENERS, OF_POOLS):
        if fits(pool, listener) and PROTOCOLS[pool].transport == "tcp":
            seen.setdefault((PROTOCOLS[listener].mode, PROTOCOLS[listener].ends_tls, pool), (listener, pool))
    types = {pool: [kind for kind in TYPES if kind in (PROTOCOLS[pool].monitors or ())] for pool in OF_POOLS}
    cells = [
        Cell(*pair, tls, kind)
        for pair in seen.values()
        for kind in types[pair[1]]
        for tls in (("plain",) if kind == "PING" else ("plain", "encrypted", "verified"))
    ]
    asked: list[tuple[dict[str, Any], int]] = [({"expected_codes": "200-204"}, 204), ({"expected_codes": "200,418"}, 418)]
    asked += [({"http_version": 1.0}, 200), ({"http_version": 1.1}, 200), ({"http_version": 1.1, "domain_name": "member.example"}, 200)]
    asked += [({"http_method": "HEAD", "url_path": "/a?b=c%20d"}, 200), ({"http_method": "OPTIONS", "http_version": 1.1}, 200)]
    for kind, (fields, code) in itertools.product(_REQUESTS, asked):
        cells.append(Cell("HTTP", "HTTP", "plain" if kind == "HTTP" else "verified", kind, tuple(fields.items()), code))
    return cells


CELLS = _cells()


@dataclasses.dataclass(frozen=True)
class Member:
    """One way of being a member. With `own` it is looked at elsewhere than requests go."""

    fit: bool
    at: checked.Port | None = None  # what listens where the check looks; None: nobody
    own: str | None = None  # monitor_port, monitor_address


def _members(cell: Cell, number: int, pems: Mapping[str, str]) -> dict[str, Member]:
    """By name. Each has ten ports from `number` on."""
    proxy, tls = _PROXY_VERSIONS.get(cell.pool, 0), cell.came(False, "").tls
    at_own_tls = cell.came(True, "").tls

    def port(step: int, **changes: Any) -> checked.Port:
        values = {"number": number + step, "proxy": proxy, "pem": pems["good"] if tls else None, "code": cell.code}
        return checked.Port(**{**values, **changes})

    own_pem = {"pem": pems["good"] if at_own_tls else None}
    found = {
        "fit": Member(True, port(0)),
        "away": Member(False),
        "port-fit": Member(True, port(2, **own_pem), "monitor_port"),
        "port-away": Member(False, None, "monitor_port"),
        "address-fit": Member(True, port(4, **own_pem), "monitor_address"),
        "address-away": Member(False, None, "monitor_address"),  # where requests go, somebody is fit
    }
    if cell.type == "PING":
        return {name: member for name, member in found.items() if not name.startswith("port")}
    if cell.type in _REQUESTS:
        found |= {"code": Member(False, port(6, code=503)), "port-code": Member(False, port(7, code=503, **own_pem), "monitor_port")}
    if tls:
        found["no-tls"] = Member(False, port(8, pem=None))
    if tls and cell.tls == "verified":
        found["foreign"] = Member(False, port(9, pem=pems["foreign"]))
    return found


def _beside(cell: Cell, at: int, pems: Mapping[str, str]) -> checked.Port:
    """Where requests to a member go that is looked at elsewhere."""
    came = cell.came(False, "")
    return checked.Port(11003 + 10 * at, came.proxy, pems["good"] if came.tls else None, cell.code)


@dataclasses.dataclass(frozen=True)
class Seen:
    vip: str
    statuses: Mapping[str, Mapping[str, str]]  # by cell and name of the member
    came: Mapping[str, Mapping[str, set[checked.Came]]]


@pytest.fixture(scope="module", params=["at once", "at run time"])
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("checked")
    pems = {name: str(folder / f"{name}.pem") for name in ("good", "foreign")}
    for name, issued in (("good", GOOD), ("foreign", FOREIGN)):
        pathlib.Path(pems[name]).write_bytes(bundles.pem(issued.bundle))
    numbered = {cell: (at, _members(cell, 11000 + 10 * at, pems)) for at, cell in enumerate(CELLS)}
    here = [_beside(cell, at, pems) for cell, (at, _) in numbered.items()]
    here += [one.at for _, members in numbered.values() for one in members.values() if one.at and one.own != "monitor_address"]
    there = [one.at for _, members in numbered.values() for one in members.values() if one.at and one.own == "monitor_address"]
    places = {"web-1": here, "web-2": there}
    with _Listening(site, folder, places):
        store, project = local.LocalSecrets(site.folder / "secrets", create=True), "demo"
        references = {"bundle": store.store_bundle(project, "t", GOOD.bundle), "ca": store.store_secret(project, "ca", ROOT.pem)}
        listeners = [_listener(site, cell, at, members, references) for cell, (at, members) in numbered.items()]
        later = _taken_out(listeners) if request.param == "at run time" else {}
        body = {"name": "monitors", "vip_subnet_id": site.subnet_id, "listeners": listeners}
        made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        site.api.wait_active(made["id"], 120)
        if later:
            _come(site, made["id"], later)
        statuses = _settled(site, made["id"], numbered)
        yield Seen(
            made["vip_address"],
            statuses,
            {
                str(cell): {
                    name: checked.heard(folder / ("web-2" if one.own == "monitor_address" else "web-1"), one.at.number)
                    for name, one in members.items()
                    if one.at
                }
                for cell, (_, members) in numbered.items()
            },
        )
        site.api.delete(f"/loadbalancers/{made['id']}?cascade=true")
        site.api.wait_gone(f"/loadbalancers/{made['id']}")


def _taken_out(listeners: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """All members but those that are away, by the pool's name, of pools that take them at run time.

    The authority of a pool can't come at run time, so somebody is there who brings it along.
    """
    pools = [pool for one in listeners if (pool := one["default_pool"])["healthmonitor"]["type"] != "PING"]
    found = {pool["name"]: [one for one in pool["members"] if one["name"] != "away"] for pool in pools}
    for pool in pools:
        pool["members"] = [one for one in pool["members"] if one["name"] == "away"]
    return found


def _come(site: Site, balancer: str, later: Mapping[str, list[dict[str, Any]]]) -> None:
    """Have members come, without a reload."""

    def workers() -> set[int]:
        (amphora,) = [one for one in site.machine.status()["amphorae"] if one["load_balancer_id"] == balancer]
        return haproxy_workers(amphora)

    before = workers()
    for pool in site.api.get(f"/pools?loadbalancer_id={balancer}")["pools"]:
        if pool["name"] in later:
            site.api.put(f"/pools/{pool['id']}/members?additive_only=true", {"members": later[pool["name"]]})
    site.api.wait_active(balancer, 120)
    assert workers() == before, "they came by a reload"


class _Listening:
    """The members' programs, in the namespaces of two web servers."""

    def __init__(self, site: Site, folder: pathlib.Path, places: Mapping[str, list[checked.Port]]) -> None:
        self._site, self._folder, self._places = site, folder, places
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        for name, ports in self._places.items():
            (self._folder / name).mkdir()
            program = [sys.executable, "-m", "tests.integration.checked", self._site.web[name], str(self._folder / name)]
            command = [*self._site.machine.entrance(name), "prlimit", "--nofile=8192", *program]
            running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._running.append(running)
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(json.dumps([dataclasses.asdict(port) for port in ports]).encode())
            running.stdin.close()
            assert running.stdout.readline() == b"ready\n"

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            running.kill()
            running.wait()


def _listener(site: Site, cell: Cell, at: int, members: Mapping[str, Member], references: Mapping[str, str]) -> dict[str, Any]:
    first = 11000 + 10 * at
    nobody = site.web["web-1"].rpartition(".")[0] + ".250"
    own = []
    for step, (name, one) in enumerate(members.items()):
        number = one.at.number if one.at else first + 1
        body: dict[str, Any] = {"name": name, "address": site.web["web-1"], "protocol_port": number}
        match one.own:
            case "monitor_port":
                body |= {"protocol_port": 10000 + step, "monitor_port": number}
            case "monitor_address":
                there = nobody if cell.type == "PING" and not one.fit else site.web["web-2"]
                body |= {"address": nobody if one.fit else site.web["web-1"], "monitor_address": there}
                body["protocol_port"] = number if one.fit else first + 3  # where requests go, nobody or somebody is
            case _ if cell.type == "PING" and not one.fit:
                body["address"] = nobody
        own.append(body)
    pool = {"name": str(cell), "protocol": cell.pool, "lb_algorithm": "ROUND_ROBIN", "members": own, "tls_enabled": cell.tls != "plain"}
    pool |= {"ca_tls_container_ref": references["ca"]} if cell.tls == "verified" else {}
    pool["healthmonitor"] = {"type": cell.type, **_SECONDS, **cell.request}
    listener = {"name": str(cell), "protocol": cell.listener, "protocol_port": 1000 + at, "default_pool": pool}
    return listener | ({"default_tls_container_ref": references["bundle"]} if PROTOCOLS[cell.listener].ends_tls else {})


def _settled(site: Site, balancer: str, numbered: Mapping[Cell, tuple[int, Mapping[str, Member]]]) -> dict[str, dict[str, str]]:
    """The statuses once all are as they should be, or half a minute after the last one moved."""
    wanted = {
        str(cell): {name: "ONLINE" if one.fit else "ERROR" for name, one in members.items()} for cell, (_, members) in numbered.items()
    }
    found: dict[str, dict[str, str]] = {}
    moved = time.monotonic()
    while found != wanted and time.monotonic() < moved + 40:
        tree = site.api.get(f"/loadbalancers/{balancer}/status")["statuses"]["loadbalancer"]
        pools = [pool for listener in tree["listeners"] for pool in listener["pools"]]
        now = {pool["name"]: {member["name"]: member["operating_status"] for member in pool["members"]} for pool in pools}
        if now != found:
            found, moved = now, time.monotonic()
        time.sleep(0.5)
    return found


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_fit_members_are_online_and_others_in_error(seen: Seen, cell: Cell) -> None:
    members = _members(cell, 0, {"good": "", "foreign": ""})
    assert seen.statuses[str(cell)] == {name: "ONLINE" if one.fit else "ERROR" for name, one in members.items()}


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.type != "PING"], ids=str)
def test_a_check_speaks_as_its_type_and_its_pool_say(seen: Seen, cell: Cell) -> None:
    members = {name: one for name, one in _members(cell, 0, {"good": "", "foreign": ""}).items() if one.fit}
    for name, one in members.items():
        expected = cell.came(one.own is not None, seen.vip)
        whole = {came for came in seen.came[str(cell)][name] if not _is_part(came, expected)}
        assert whole - {checked.Came()} == {expected} - {checked.Came()}, name


def _is_part(came: checked.Came, expected: checked.Came) -> bool:
    """Whether a check ended before it had said all. HAProxy ends one that is to say nothing before the member's program learns of it."""
    pairs = zip(dataclasses.astuple(came), dataclasses.astuple(expected), strict=True)
    return came != expected and all(not said or said == wanted for said, wanted in pairs)
