"""The agent's REST interface: paths, bodies, and their checks.

========  ==========================================================  =========================================================
method    path                                                        body -> answer
========  ==========================================================  =========================================================
GET       /                                                           -> 200 {"api_version": "1"}
GET       /1/info                                                     -> 200 `info` (see `api/info.py`)
PUT       /1/config                                                   `boot.AgentConfig` -> 204, applied at once and kept
PUT       /1/identity                                                 `boot.Identity` -> 204: from the next connection on; 400
PUT       /1/load-balancers/<id>                                      WantedState -> 200 Receipt; 422 ConfigRefused; 409 stale
                                                                      generation or order; 428 {"missing": [certificate names]}
GET       /1/load-balancers/<id>                                      -> 200 Receipt of what runs; 404
DELETE    /1/load-balancers/<id>                                      -> 204, also when unknown
PUT       /1/load-balancers/<id>/certificates                         {"<sha256>.pem": PEM, ...} -> 204; 400 if a name is not its
                                                                      content's hash; agents of before: 404
PUT       /1/load-balancers/<id>/certificates/<sha256>.pem            PEM -> 204; 400 likewise
========  ==========================================================  =========================================================

A request that changes something carries the header `Figlina-Lease-Token`: the token of the lease by which a worker acts. An agent that has
followed a higher one answers 409 with the code `stale-order`; a request without the header is one of an older release. The 409 answers
name what was seen: `"generation"` and `"lease_token"`, each 0 where it is not the reason.

Errors are `{"code": word, "message": sentence, "details": the tool's own words or null}`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

VERSION = "1"
_CONFIG, _FIRST_PROGRAMS = "_config", ("haproxy", "keepalived")
PORT = 9443
PREFIX = f"/{VERSION}"
_LARGEST = 2**63 - 1
MISSING_CERTIFICATES = 428
CONFIG_REFUSED = 422
STALE_GENERATION = STALE_ORDER = 409
STALE_CODES = ("stale-generation", "stale-order")
LEASE_HEADER = "Figlina-Lease-Token"
PROGRAM_FAILED = "program-failed"
"""The code of an error (500): HAProxy or keepalived could not be asked, because it is missing, hangs, or died."""
INTERFACE_MISSING = "interface-missing"
"""The code of an error (404): a network card that it is to have did not appear."""


class Malformed(ValueError):
    """A body that is not what the protocol says; the message names the field."""


def lease_token(header: str | None) -> int | None:
    """Read the header `LEASE_HEADER`; None: there is none.

    :raises Malformed: it is not a whole number.
    """
    if header is None:
        return None
    if not header.isascii() or not header.isdigit() or len(header) > _LONGEST_TOKEN:
        raise Malformed(f"the header {LEASE_HEADER} is not a whole number: {header[:40]!r}")
    return int(header)


_LONGEST_TOKEN = 18  # digits: it has to fit a BIGINT column


def load_balancer_path(load_balancer_id: str) -> str:
    """Where the wanted state of a load balancer goes."""
    return f"{PREFIX}/load-balancers/{load_balancer_id}"


def certificates_path(load_balancer_id: str) -> str:
    """Where several certificates of a load balancer go."""
    return f"{load_balancer_path(load_balancer_id)}/certificates"


def certificate_path(load_balancer_id: str, name: str) -> str:
    """Where one goes."""
    return f"{certificates_path(load_balancer_id)}/{name}"


def parse_certificates(body: bytes) -> dict[str, bytes]:
    """Certificates by their names.

    :raises Malformed: it is no object of texts.
    """
    try:
        return {name: pem.encode() for name, pem in json.loads(body).items()}
    except (ValueError, AttributeError, RecursionError) as exc:
        raise Malformed(f"not certificates by their names: {type(exc).__name__}") from exc


INFO_PATH = f"{PREFIX}/info"
CONFIG_PATH = f"{PREFIX}/config"
IDENTITY_PATH = f"{PREFIX}/identity"


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A route in an amphora's tenant namespace. `destination` is a CIDR or `default`; `gateway` None means on link.

    With a `source` it holds for what is sent from this address alone, and goes before those without one. Older agents do not know it, and
    refuse a state that has one.
    """

    destination: str
    gateway: str | None = None
    source: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """Traffic that may come in: of `tcp`, `udp` or `sctp` to a port, or of `vrrp` (no port), from a `source` (CIDR notation; None: any)."""

    protocol: str
    port: int | None
    source: str | None = None


TRANSPORTS, VRRP = ("tcp", "udp", "sctp"), "vrrp"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A NIC, found by its MAC, to be moved to the tenant namespace and given `addresses` (CIDR notation).

    `vips` are further addresses (CIDR notation) that the agent sets and announces itself (SINGLE); in a pair keepalived does. What a NIC
    `admits` is enforced in the amphora, where no security group guards it (SR-IOV, no port security); None: whatever comes. Older agents,
    which would not enforce it, refuse such a state, as its hash does not fit what they read; where it is None they are sent what they know.
    """

    mac: str
    name: str  # what it is called in the tenant namespace: eth1 for the VIP's, eth2 and on for members'
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    vips: tuple[str, ...] = ()
    admits: tuple[Admission, ...] | None = None

    def fields(self) -> dict[str, Any]:
        """The interface as it stands in the JSON of a request."""
        body = dataclasses.asdict(self)
        body["routes"] = [{name: value for name, value in route.items() if value or name != "source"} for route in body["routes"]]
        return {name: value for name, value in body.items() if value is not None or name != "admits"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WantedState:
    """All that an amphora has to do for a load balancer.

    `programs` are the configurations of those that are to run, by name: `haproxy` while there is a listener of its protocols,
    `keepalived` in a pair. In JSON each is a field, `<name>_config`; the two that there were first are null where they are not to run, as
    older controllers and agents have it. An agent that does not know a program refuses the state: the hash does not fit what it reads.
    `peer_name` is HAProxy's own name in its peers section (`-L`). `certificates` are names of PEM files, `<sha256 of content>.pem`.
    `names` say which of these stands behind each name that HAProxy's configuration uses (`<word>.pem`), and `lists` which of the names are
    in each `crt-list` (`<word>.list`), the default first: another certificate by the same name is no other configuration. Where nothing
    speaks TLS, older agents are sent what they know: `names` and `lists` are left out.

    The configurations of those two hold no absolute path and nothing local to a machine: the agent puts its own `global` section before
    HAProxy's (stats socket, `server-state-file`, user, `crt-base` and `ca-base` set to the directory of this load balancer's
    certificates, so that names suffice), and its own `global_defs` and the `vrrp_script haproxy_alive` before keepalived's, whose
    instances may track it. A server that is added at run time to a backend with `dynamic-cookie-key <key>` has no cookie until the
    agent repeats the key: `set dynamic-cookie-key backend <backend> <key>`.
    """

    load_balancer_id: str
    generation: int
    programs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    peer_name: str | None = None
    interfaces: tuple[Interface, ...] = ()
    certificates: tuple[str, ...] = ()
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of everything but the generation: two generations may want the same."""
        return hashlib.sha256(self._content()).hexdigest()

    def dump(self) -> bytes:
        """As the body of a request."""
        content = self._content()  # written once, for a large configuration takes a while
        self.__dict__.setdefault("hash", hashlib.sha256(content).hexdigest())
        return content[:-1] + f',"generation":{self.generation},"hash":"{self.hash}"}}'.encode()

    def _content(self) -> bytes:
        """What the hash is of."""
        return json.dumps(self.fields(), sort_keys=True, separators=(",", ":")).encode()

    def fields(self) -> dict[str, Any]:
        """In JSON, but for the generation."""
        optional = {name: value for name, value in (("names", self.names), ("lists", self.lists)) if value}
        return {
            "load_balancer_id": self.load_balancer_id,
            "peer_name": self.peer_name,
            "interfaces": [one.fields() for one in self.interfaces],
            "certificates": self.certificates,
            **optional,
            **{f"{name}{_CONFIG}": text for name, text in {**dict.fromkeys(_FIRST_PROGRAMS), **self.programs}.items()},
        }

    @classmethod
    def parse(cls, body: bytes) -> WantedState:
        """Read a request's body.

        :raises Malformed: it is not JSON, a field is missing or of the wrong type, or the hash does not fit.
        """
        try:
            data = json.loads(body)
            wanted = cls(
                load_balancer_id=_text(data, "load_balancer_id"),
                generation=_number(data, "generation"),
                programs={key.removesuffix(_CONFIG): _text(data, key) for key in data if key.endswith(_CONFIG) and data[key] is not None},
                peer_name=_text_or_none(data, "peer_name"),
                interfaces=tuple(interface(item) for item in data.get("interfaces", ())),
                certificates=tuple(str(name) for name in data.get("certificates", ())),
                names={str(name): str(of) for name, of in data.get("names", {}).items()},
                lists={str(name): tuple(map(str, of)) for name, of in data.get("lists", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise Malformed(f"not a wanted state: {exc}") from exc
        if data.get("hash") != wanted.hash:
            raise Malformed("the hash does not fit the content: send the state again")
        return wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """What the agent answers: what runs now, and what it took (`none`, `runtime` or `reload`)."""

    load_balancer_id: str
    generation: int
    hash: str
    applied: str

    def dump(self) -> bytes:
        """As the body of an answer."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def parse(cls, body: bytes) -> Receipt:
        """:raises Malformed: it is not a receipt."""
        try:
            data = json.loads(body)
            return cls(_text(data, "load_balancer_id"), _number(data, "generation"), _text(data, "hash"), _text(data, "applied"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise Malformed(f"not a receipt: {exc}") from exc


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise Malformed(f"{key} is not a string")
    return value


def _text_or_none(data: Mapping[str, Any], key: str) -> str | None:
    return None if data.get(key) is None else _text(data, key)


def _number(data: Mapping[str, Any], key: str) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
        raise Malformed(f"{key} is not a whole number, or too large")
    return value


def interface(data: Mapping[str, Any]) -> Interface:
    """Read an interface from its JSON form.

    :raises Malformed: a field is of the wrong type.
    """
    return Interface(
        mac=_text(data, "mac"),
        name=_text(data, "name"),
        mtu=_number(data, "mtu"),
        addresses=tuple(str(item) for item in data.get("addresses", ())),
        routes=tuple(
            Route(_text(item, "destination"), _text_or_none(item, "gateway"), _text_or_none(item, "source"))
            for item in data.get("routes", ())
        ),
        vips=tuple(str(item) for item in data.get("vips", ())),
        admits=None if data.get("admits") is None else tuple(map(_admission, data["admits"])),
    )


def _admission(data: Mapping[str, Any]) -> Admission:
    port = None if data.get("port") is None else _number(data, "port")
    return Admission(_text(data, "protocol"), port, _text_or_none(data, "source"))
