"""The heartbeat: one UDP datagram, signed with the amphora's own key.

Layout, network byte order, version 1::

    offset size
    0      2    magic b"FB"
    2      1    version
    3      1    kind: 1 beat, 2 report (amphora to manager), 3 report wanted (manager to amphora, an empty body), 4 counts (amphora to
                manager; those of before refuse it, which costs a line in their log)
    4      16   amphora id (the UUID's bytes)
    20     8    boot id (random at the agent's start; a new one restarts the sequence)
    28     8    sequence, rising by one with each datagram of this boot
    36     8    time of sending, seconds since the epoch (IEEE 754 double)
    44     16   digest of the sender's state: equal digests, equal reports but for counters. In a request: a number that nobody
                can know before
    60     2    part of a report, from 0
    62     2    parts of this report
    64     n    body: of a beat, 16 bytes: the number of a request that it answers, or zeros (older agents: nothing), and behind
                zeros the counters, if they are others than in the last report of this digest: five 64-bit numbers (see `COUNTERS`)
                for each listener of that report, in the order of their ids; a slice of the zlib-compressed JSON of a report; of
                counts, for each pool and member that has news its id (16 bytes) and the five numbers, since the amphora was made
    64+n   32   HMAC-SHA256 over everything before it

The key is HMAC-SHA256(deployment's key, amphora id as its 36-character text). A receiver drops what it can't verify, what is
older than its window, and a sequence that does not rise within a boot. A beat that answers a request was sent after it: so a manager
learns how far the amphora's clock differs from its own, and how old a datagram is.
"""

from __future__ import annotations

import hmac
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

VERSION = 1
MAGIC = b"FB"
BEAT, REPORT, REPORT_WANTED, COUNTS = 1, 2, 3, 4
_HEADER = struct.Struct("!2sBB16s8sQd16sHH")
SIGNATURE_SIZE = 32
HEADER_SIZE = _HEADER.size
MAX_DATAGRAM = 60_000
NONCE_SIZE = 16
NO_ANSWER = bytes(NONCE_SIZE)
"""The body of a beat that answers nobody."""
MAX_PART = MAX_DATAGRAM - HEADER_SIZE - SIGNATURE_SIZE
"""Bytes of a report that one datagram carries: all of its parts have so many, and the last one may have fewer."""
MAX_REPORT = 32 * 1024 * 1024  # bytes of JSON; a larger one is refused before it is unpacked
PORT = 5555
UNCHECKED = "unchecked"
"""A report's word for a member whose first check is under way, and for a pool that has no better member than such."""
COUNTERS = ("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors")
"""Of one listener, in the order in which a beat carries them."""
_OF_A_LISTENER = struct.Struct(f"!{len(COUNTERS)}Q")
COUNTERS_SIZE = _OF_A_LISTENER.size
"""Bytes of one listener's counters."""
ID_SIZE = 16
COUNT_SIZE = ID_SIZE + COUNTERS_SIZE
"""Bytes of what is counted on one pool or member, its id before the counters."""
_LARGEST = 2**64 - 1


class Rejected(ValueError):
    """A datagram that is not to be believed; the message says why."""


def derive_key(deployment_key: bytes, amphora_id: str) -> bytes:
    """The key of one amphora (32 bytes)."""
    return hmac.digest(deployment_key, amphora_id.encode(), "sha256")


class Header(NamedTuple):
    """What stands before the body."""

    kind: int
    amphora_id: bytes
    boot_id: bytes
    sequence: int
    sent_at: float
    digest: bytes
    part: int = 0
    parts: int = 1


def pack(header: Header, body: bytes, key: bytes) -> bytes:
    """Make one signed datagram."""
    message = (
        _HEADER.pack(
            MAGIC,
            VERSION,
            header.kind,
            header.amphora_id,
            header.boot_id,
            header.sequence,
            header.sent_at,
            header.digest,
            header.part,
            header.parts,
        )
        + body
    )
    return message + hmac.digest(key, message, "sha256")


def sender(datagram: bytes) -> bytes:
    """The amphora id (16 bytes) that a datagram claims, to look its key up.

    :raises Rejected: too short, or not of this protocol or version.
    """
    if len(datagram) < HEADER_SIZE + SIGNATURE_SIZE or datagram[:2] != MAGIC:
        raise Rejected("not a heartbeat")
    if datagram[2] != VERSION:
        raise Rejected("a heartbeat of a version that is not known here")
    return datagram[4:20]


def unpack(datagram: bytes, key: bytes) -> tuple[Header, bytes]:
    """Verify a datagram and take it apart into header and body.

    :raises Rejected: the signature does not fit, or the datagram is malformed.
    """
    sender(datagram)
    message, signature = datagram[:-SIGNATURE_SIZE], datagram[-SIGNATURE_SIZE:]
    if not hmac.compare_digest(hmac.digest(key, message, "sha256"), signature):
        raise Rejected("the signature does not fit")
    _, _, kind, amphora_id, boot_id, sequence, sent_at, digest, part, parts = _HEADER.unpack_from(message)
    if kind not in (BEAT, REPORT, REPORT_WANTED, COUNTS) or part >= parts:
        raise Rejected("malformed header")
    return Header(kind, amphora_id, boot_id, sequence, sent_at, digest, part, parts), message[HEADER_SIZE:]


def encode_report(report: dict[str, Any]) -> list[bytes]:
    """Bodies of the datagrams that carry a report, each small enough for one.

    The report, of one load balancer, or of none (`generation` 0) on a fresh amphora::

        {"generation": int, "hash": str,
         "listeners": {listener id: {"status": "OPEN" | "FULL", "stats": {"bytes_in": int, "bytes_out": int, "active_connections": int,
                                     "total_connections": int, "request_errors": int}}},
         "pools": {"<pool id>:<listener id>": {"status": "UP" | "DOWN" | "unchecked",
                                               "members": {member id: "UP" | "DOWN" | "DRAIN" | "MAINT" | "no check" | "unchecked"}}},
         "programs": {"agent" | "haproxy" | "datagrams" | "keepalived": {"state": "runs" | "silent" | "down", "died": int, "hung": int}},
         "vrrp": null | {"state": "INIT" | "BACKUP" | "MASTER" | "FAULT" | "UNKNOWN", "holds_vip": bool}}

    `programs` names those that are meant to run. `silent`: it runs and does not answer; `down`: it does not run, or the agent meets errors
    with it that nobody expected. `died` and `hung` count how often it did so and was started again since the amphora was made. Where a
    program is in another state than `runs`, one report says so, and no beat follows until it is. `vrrp`, in a pair, is what keepalived says
    of itself, and whether the kernel has the VIP on an interface. Older agents send neither: then nothing is known of them. Whoever reads a
    report passes over what it does not know.
    """
    packed = zlib.compress(json.dumps(report, separators=(",", ":")).encode(), 6)
    return list(_slices(packed, MAX_PART))


def encode_counters(report: dict[str, Any]) -> bytes:
    """What a beat carries of the counters of a report; nothing if they don't fit into one."""
    listeners = report["listeners"]
    if len(listeners) * COUNTERS_SIZE > MAX_PART - NONCE_SIZE:
        return b""
    stats = (listeners[listener]["stats"] for listener in sorted(listeners))
    return b"".join(pack_counters([one[name] for name in COUNTERS]) for one in stats)


def pack_counters(values: Sequence[int]) -> bytes:
    """`COUNTERS_SIZE` bytes for numbers in the order of `COUNTERS`; one that does not fit is the largest that does."""
    return _OF_A_LISTENER.pack(*(min(max(one, 0), _LARGEST) for one in values))


def encode_counts(counts: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Bodies of as many datagrams as it takes, of which each tells by itself; keys are ids (`ID_SIZE` bytes), values packed counters."""
    yield from _slices(b"".join(key + counters for key, counters in counts.items()), MAX_PART // COUNT_SIZE * COUNT_SIZE)


def decode_counts(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Ids and packed counters.

    :raises Rejected: it is cut.
    """
    if len(body) % COUNT_SIZE:
        raise Rejected("counts that are cut")
    yield from ((body[at : at + ID_SIZE], body[at + ID_SIZE : at + COUNT_SIZE]) for at in range(0, len(body), COUNT_SIZE))


def decode_counters(listener: bytes) -> tuple[int, ...]:
    """The counters of one listener, in the order of `COUNTERS`, from its `COUNTERS_SIZE` bytes."""
    return _OF_A_LISTENER.unpack(listener)


def id_text(amphora_id: bytes) -> str:
    """The text form of an amphora id."""
    text = amphora_id.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def id_bytes(text: str) -> bytes:
    """The 16 bytes of an id in its text form. (`uuid` would be one of the larger modules that a first heartbeat waits for.)

    :raises ValueError: it is none.
    """
    found = bytes.fromhex(text.replace("-", ""))
    if len(found) != 16:
        raise ValueError(f"{text!r} is no id")
    return found


def _slices(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
