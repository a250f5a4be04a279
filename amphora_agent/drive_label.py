"""By what a disk is known for the configuration drive. Without imports: the first heartbeat waits for it."""

from __future__ import annotations

LABEL = b"config-2"
HEAD = 34 * 1024
"""Bytes from the beginning of a disk that tell."""


def kind_of(head: bytes) -> str | None:
    """The file system of a disk that bears the label; None: it does not, or there is nothing in it.

    Where labels stand: ECMA-119, 8.4.7 (volume identifier) for ISO 9660; the boot sector of FAT12, FAT16 and FAT32 for the other.
    """
    if head[32769:32774] == b"CD001" and head[32808:32840].strip().lower() == LABEL:
        return "iso9660"
    if head[510:512] == b"\x55\xaa" and LABEL in (head[43:54].strip().lower(), head[71:82].strip().lower()):
        return "vfat"
    return None
