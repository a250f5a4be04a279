"""Programs of the host that the build runs, and the environment that makes their results repeatable."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.erofs": "erofs-utils",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "sfdisk": "fdisk",
    "cpio": "cpio",
    "lz4": "lz4",
    "depmod": "kmod",
    "objcopy": "binutils",
    "dpkg-deb": "dpkg",
    "qemu-img": "qemu-utils",
}
"""Debian's package of each program that the build needs on the host."""

FILES = {
    "/usr/lib/syslinux/mbr/gptmbr.bin": "syslinux-common",
    "/usr/lib/systemd/boot/efi/systemd-bootx64.efi": "systemd-boot-efi",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
"""The same for files."""

EPOCH = 1_767_225_600
"""2026-01-01: every time stamp in the image."""


class BuildError(Exception):
    """The image could not be built; the message says why, and what to do."""


def check_host() -> None:
    """:raises BuildError: a program or a file is missing; the message names the packages."""
    missing = {package for program, package in PACKAGES.items() if shutil.which(program) is None}
    missing |= {package for path, package in FILES.items() if not pathlib.Path(path).exists()}
    if missing:
        raise BuildError(f"Packages are missing on this machine. Install them: apt-get install {' '.join(sorted(missing))}")


def run(command: Sequence[str | pathlib.Path], *, stdin: bytes | None = None, environment: Mapping[str, str] | None = None) -> bytes:
    """What a program prints.

    :raises BuildError: it failed; the message ends with its words.
    """
    words = [str(word) for word in command]
    settings = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(EPOCH), "TZ": "UTC", **(environment or {})}
    settings["PATH"] = f"{settings.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(words, input=stdin, capture_output=True, env=settings, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BuildError(f"{words[0]} failed ({done.returncode}): {said[-2000:]}")
    return done.stdout
