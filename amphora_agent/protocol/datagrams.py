"""What an amphora is told of listeners of UDP and SCTP: the text of the program `datagrams` in a wanted state, JSON.

It says what is wanted, not how: the agent makes rules of it for what its kernel has. Times are seconds. A `Service` is a listener with its
default pool; members that are switched off are in it, for they are reported. A pool of several listeners is written with the first of them,
and the others say whose it is (`like`): thousands of members below dozens of listeners fit into one push.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from amphora_agent.protocol import rest

NAME = "datagrams"
"""Of the program, in wanted states and reports."""
NFTABLES = "nftables"
"""What serves them, as reports call it: the packet filter of the kernel, whatever else that has."""
TRANSPORTS = ("udp", "sctp")
ROUND_ROBIN, LEAST_CONNECTIONS, SOURCE_IP, SOURCE_IP_PORT = "ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT"
ALGORITHMS = (ROUND_ROBIN, LEAST_CONNECTIONS, SOURCE_IP, SOURCE_IP_PORT)
HTTP, TCP, UDP_CONNECT, SCTP = "HTTP", "TCP", "UDP-CONNECT", "SCTP"
CHECKS = (HTTP, TCP, UDP_CONNECT, SCTP)
MOST_WEIGHT = 256
_LONGEST = 2**31
_OF_POOL = ("pool_id", "algorithm", "persistence", "check", "members", "preserve_client_ip", "subnets")
"""The fields of a service that its pool decides."""
_WHERE_PRESERVED = ("preserve_client_ip", "subnets")
"""Those that are written down only where they say something: agents of before don't know them, and go on masquerading."""
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}").fullmatch
_METHOD = re.compile(r"[A-Z]{3,10}").fullmatch
_PATH = re.compile(r"/[\x21-\x7e]*").fullmatch
_HOST = re.compile(r"[0-9A-Za-z_.:\[\]-]{1,255}").fullmatch
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One that gets a share of the flows by its `weight`; with 0 it gets no new ones. It is checked at `check_address` and `check_port`."""

    id: str
    address: str
    port: int
    weight: int
    check_address: str
    check_port: int
    backup: bool = False
    enabled: bool = True

    @property
    def version(self) -> int:
        """4 or 6: members get what comes to an address of their version of IP."""
        return 6 if ":" in self.address else 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How members are checked. `type` is a health monitor's; `codes` are (first, last) of the statuses of HTTP that are fine."""

    type: str
    delay: int
    timeout: int
    rise: int
    fall: int
    method: str = "GET"
    path: str = "/"
    version: str = "1.0"
    host: str | None = None
    codes: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """A client stays on its member until it has sent nothing for `timeout` seconds; clients with equal prefixes are one."""

    timeout: int
    prefix4: int = 32
    prefix6: int = 128


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A listener. `most_flows` may there be at once (0: any number).

    With `preserve_client_ip`, members see their clients' addresses. `subnets` are then those that the amphora is on: a client that is on
    one of them together with its member is masqueraded all the same, for the member would answer it past the amphora.
    """

    id: str
    transport: str
    addresses: tuple[str, ...]
    port: int
    most_flows: int = 0
    pool_id: str | None = None
    algorithm: str = ROUND_ROBIN
    persistence: Persistence | None = None
    check: Check | None = None
    members: tuple[Member, ...] = ()
    preserve_client_ip: bool = False
    subnets: tuple[str, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of IP in which the service is spoken to."""
        return tuple(version for version in (4, 6) if self.addresses_of(version))

    def addresses_of(self, version: int) -> tuple[str, ...]:
        """Its addresses of a version of IP."""
        return tuple(one for one in self.addresses if (":" in one) == (version == 6))

    def shares_pool(self, other: Service) -> bool:
        """Whether all that a pool decides is the same."""
        return all(getattr(self, name) == getattr(other, name) for name in _OF_POOL)


def dump(services: tuple[Service, ...]) -> str:
    """The text, of one line for each service; equal services give equal texts."""
    first: dict[tuple[object, ...], str] = {}
    lines = []
    for one in services:
        like = first.setdefault(tuple(getattr(one, name) for name in _OF_POOL), one.id)
        if like != one.id and one.members:
            own = [field.name for field in dataclasses.fields(one) if field.name not in _OF_POOL]
            fields = {name: getattr(one, name) for name in own} | {"like": like}
        else:
            fields = dataclasses.asdict(one)
            if not one.preserve_client_ip:
                fields = {name: value for name, value in fields.items() if name not in _WHERE_PRESERVED}
        lines.append(json.dumps(fields, sort_keys=True, separators=(",", ":")))
    return "[" + ",\n".join(lines) + "]\n"


@functools.lru_cache(maxsize=4)
def parse(text: str) -> tuple[Service, ...]:
    """Read the text.

    :raises Malformed: it is not JSON, a field is missing or is not what it should be, or two services have the same place.
    """
    try:
        known: dict[str, Service] = {}
        services = tuple(_service(item, known) for item in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise rest.Malformed(f"not services of datagrams: {exc}") from exc
    places = [(one.transport, address, one.port) for one in services for address in one.addresses]
    if len(set(places)) < len(places) or len({one.id for one in services}) < len(services):
        raise rest.Malformed("two services of datagrams have the same id or place")
    return services


def _service(data: Mapping[str, Any], known: dict[str, Service]) -> Service:
    """`known` are those before it, by id; it comes to them."""
    addresses = tuple(_address(item) for item in data["addresses"])
    if not addresses:
        raise rest.Malformed("a service has no address")
    made = Service(
        id=_word(data["id"], _ID),
        transport=_one_of(data["transport"], TRANSPORTS),
        addresses=addresses,
        port=_number(data["port"], 1, 65535),
        most_flows=_number(data["most_flows"], 0),
        **(_pool(data) if "like" not in data else {name: getattr(known[data["like"]], name) for name in _OF_POOL}),
    )
    known[made.id] = made
    return made


def _pool(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `_OF_POOL`."""
    members = tuple(_member(item) for item in data["members"])
    if len({one.id for one in members}) < len(members):
        raise rest.Malformed("two members of a service have the same id")
    return {
        "pool_id": _or_none(data["pool_id"], lambda value: _word(value, _ID)),
        "algorithm": _one_of(data["algorithm"], ALGORITHMS),
        "persistence": _or_none(data["persistence"], _persistence),
        "check": _or_none(data["check"], _check),
        "members": members,
        "preserve_client_ip": _truth(data.get("preserve_client_ip", False)),
        "subnets": tuple(_subnet(item) for item in data.get("subnets", ())),
    }


def _member(data: Mapping[str, Any]) -> Member:
    return Member(
        id=_word(data["id"], _ID),
        address=_address(data["address"]),
        port=_number(data["port"], 1, 65535),
        weight=_number(data["weight"], 0, MOST_WEIGHT),
        check_address=_address(data["check_address"]),
        check_port=_number(data["check_port"], 1, 65535),
        backup=_truth(data["backup"]),
        enabled=_truth(data["enabled"]),
    )


def _persistence(data: Mapping[str, Any]) -> Persistence:
    return Persistence(
        timeout=_number(data["timeout"], 1), prefix4=_number(data["prefix4"], 0, 32), prefix6=_number(data["prefix6"], 0, 128)
    )


def _check(data: Mapping[str, Any]) -> Check:
    return Check(
        type=_one_of(data["type"], CHECKS),
        delay=_number(data["delay"], 1),
        timeout=_number(data["timeout"], 1),
        rise=_number(data["rise"], 1),
        fall=_number(data["fall"], 1),
        method=_word(data["method"], _METHOD),
        path=_word(data["path"], _PATH),
        version=_one_of(data["version"], ("1.0", "1.1")),
        host=_or_none(data["host"], lambda value: _word(value, _HOST)),
        codes=tuple((_number(first, 100, 599), _number(last, 100, 599)) for first, last in data["codes"]),
    )


def _word(value: Any, fits: Callable[[str], object]) -> str:
    if not isinstance(value, str) or not fits(value):
        raise rest.Malformed(f"{str(value)[:80]!r} can't stand here")
    return value


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    return _word(value, known.__contains__)


def _address(value: Any) -> str:
    """In its canonical form, so that it can be compared with what the kernel says."""
    return str(ipaddress.ip_address(_word(value, re.compile(r"[0-9A-Fa-f.:]{2,45}").fullmatch)))


def _subnet(value: Any) -> str:
    return str(ipaddress.ip_network(_word(value, re.compile(r"[0-9A-Fa-f.:]{2,45}/[0-9]{1,3}").fullmatch)))


def _number(value: Any, least: int, most: int = _LONGEST) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise rest.Malformed(f"{str(value)[:80]!r} is no number from {least} to {most}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise rest.Malformed(f"{str(value)[:80]!r} is neither true nor false")
    return value


def _or_none(value: Any, read: Callable[[Any], _T]) -> _T | None:
    return None if value is None else read(value)
