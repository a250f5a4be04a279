"""Packets of SCTP: what is written is read back, what was damaged on the way is not."""

from __future__ import annotations

import pytest

from amphora_agent import sctp

PACKET = sctp.Packet(5000, 80, 7, (sctp.beginning(sctp.INIT_ACK, 99, b"abc"), sctp.Chunk(0, b"12345", 3)))


@pytest.mark.parametrize(
    ("content", "checksum"),
    [  # RFC 3720, section B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_is_that_of_castagnoli(content: bytes, checksum: int) -> None:
    assert sctp.crc32c(content) == checksum


def test_what_is_packed_is_parsed() -> None:
    assert sctp.parse(PACKET.pack()) == PACKET
    assert sctp.tag_of(PACKET.chunks[0]) == 99
    assert len(PACKET.pack()) % 4 == 0


def test_what_is_cut_off_or_changed_is_no_packet() -> None:
    packed = PACKET.pack()
    for length in range(len(packed)):
        with pytest.raises(ValueError, match="no packet of SCTP"):
            sctp.parse(packed[:length])
    for at in range(len(packed)):
        with pytest.raises(ValueError, match="no packet of SCTP"):
            sctp.parse(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
