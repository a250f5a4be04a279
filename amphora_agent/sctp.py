"""Packets of SCTP (RFC 9260, section 3), as far as a check by a raw socket needs them: not every kernel has sockets of SCTP."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

PROTOCOL = 132
"""Its number in IP."""
INIT, INIT_ACK, ABORT = 1, 2, 6
"""Types of chunks (section 3.2)."""
_HEADER = struct.Struct("!HHI4s")
_CHUNK = struct.Struct("!BBH")
_BEGIN = struct.Struct("!IIHHI")
_WINDOW, _STREAMS = 65536, 1  # octets that we take, and streams each way: any that are allowed, for nothing follows


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """One; `value` is what stands behind its length."""

    type: int
    value: bytes = b""
    flags: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """`tag` is that which its receiver has asked for; 0 with an INIT."""

    source_port: int
    destination_port: int
    tag: int
    chunks: tuple[Chunk, ...]

    def pack(self) -> bytes:
        """With its checksum (section 6.8), least significant octet first."""
        parts = [_HEADER.pack(self.source_port, self.destination_port, self.tag, bytes(4))]
        for one in self.chunks:
            parts += [_CHUNK.pack(one.type, one.flags, _CHUNK.size + len(one.value)), one.value, bytes(-len(one.value) % 4)]
        packet = b"".join(parts)
        return packet[:8] + crc32c(packet).to_bytes(4, "little") + packet[12:]


def parse(packet: bytes) -> Packet:
    """:raises ValueError: it is cut off, it says nothing, or its checksum is wrong."""
    try:
        source_port, destination_port, tag, checksum = _HEADER.unpack_from(packet)
        chunks = tuple(_chunks(packet))
    except struct.error as exc:
        raise ValueError(f"no packet of SCTP: {exc}") from exc
    if not chunks:
        raise ValueError("no packet of SCTP: it says nothing")
    if crc32c(packet[:8] + bytes(4) + packet[12:]).to_bytes(4, "little") != checksum:
        raise ValueError("no packet of SCTP: its checksum is wrong")
    return Packet(source_port, destination_port, tag, chunks)


def _chunks(packet: bytes) -> Iterator[Chunk]:
    at = _HEADER.size
    while at < len(packet):
        kind, flags, length = _CHUNK.unpack_from(packet, at)
        if length < _CHUNK.size or at + length > len(packet):
            raise ValueError("no packet of SCTP: a chunk does not fit into it")
        yield Chunk(kind, packet[at + _CHUNK.size : at + length], flags)
        at += length + -length % 4


def beginning(kind: int, tag: int, parameters: bytes = b"") -> Chunk:
    """An INIT or INIT ACK (sections 3.3.2 and 3.3.3): `tag` is to stand in all that the other side sends; the first TSN is the same."""
    return Chunk(kind, _BEGIN.pack(tag, _WINDOW, _STREAMS, _STREAMS, tag) + parameters)


def tag_of(chunk: Chunk) -> int:
    """What an INIT or INIT ACK asks for.

    :raises ValueError: it is cut off.
    """
    if len(chunk.value) < _BEGIN.size:
        raise ValueError("no packet of SCTP: its INIT or INIT ACK is too short")
    return int.from_bytes(chunk.value[:4], "big")


def crc32c(content: bytes) -> int:
    """Of Castagnoli's polynomial, reflected (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for octet in content:
        value = value >> 8 ^ _TABLE[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = tuple(_entry(value) for value in range(256))
