"""The configuration drive: what OpenStack's compute service tells a machine at its boot, on a disk of its own.

The drive is labelled `config-2`, and is ISO 9660 or FAT. Its layout stands in Nova's user guide ("Metadata", "Config drives"), that of
`network_data.json` beside it. Files for the machine come in two ways: as personality files (the older one, `files` of `meta_data.json`), or
in the user data, a cloud-config whose body is JSON (which is YAML as well, so that a machine with cloud-init reads the same).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import ipaddress
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from amphora_agent import system

LABEL = b"config-2"
WRITABLE = ("/etc/figlina/",)
"""Below these folders files are written; a drive may name no others."""

_CLOUD_CONFIG = "#cloud-config\n"
_MOST = 4 * 1024 * 1024
"""Bytes of one document or file."""


class NoDrive(Exception):
    """There is no configuration drive, or it can't be read; the message says which."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drive:
    """What a drive says. `files` maps absolute paths to their contents; who has one of `keys` (SSH, public) may log in."""

    name: str
    files: dict[str, bytes] = dataclasses.field(repr=False)
    links: tuple[Link, ...] = ()
    keys: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network card by its MAC address; `addresses` in CIDR notation, `routes` as (destination, gateway), `networks` ids."""

    mac: str
    mtu: int | None
    networks: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    dhcp: bool = False


def find() -> tuple[pathlib.Path, str] | None:
    """The block device that is the drive, with its type of file system; None: there is none (yet)."""
    devices, known = pathlib.Path("/dev"), pathlib.Path("/sys/class/block")
    names = sorted((path.name for path in known.iterdir()), key=lambda name: (not name.startswith("sr"), name))
    for name in names:
        if not name.startswith(("loop", "ram")) and (kind := kind_of(devices / name)) is not None:
            return devices / name, kind
    return None


def kind_of(device: pathlib.Path) -> str | None:
    """The file system of a device that bears the label; None: it does not, or there is nothing in it.

    Where labels stand: ECMA-119, 8.4.7 (volume identifier) for ISO 9660; the boot sector of FAT12, FAT16 and FAT32 for the other.
    """
    try:
        with device.open("rb") as file:
            head = file.read(34 * 1024)
    except OSError:
        return None
    if head[32769:32774] == b"CD001" and head[32808:32840].strip().lower() == LABEL:
        return "iso9660"
    if head[510:512] == b"\x55\xaa" and LABEL in (head[43:54].strip().lower(), head[71:82].strip().lower()):
        return "vfat"
    return None


def wait(seconds: float) -> tuple[pathlib.Path, str]:
    """The drive, as soon as there is one: a disk may appear some time after the first process.

    :raises NoDrive: not within that time.
    """
    ends_at = time.monotonic() + seconds
    if find() is None:
        with contextlib.suppress(system.CommandFailed):  # it takes a while, and few machines have their drive there
            system.run(["modprobe", "ata_piix"])
    while (found := find()) is None:
        if time.monotonic() > ends_at:
            raise NoDrive(
                f"no disk with the label {LABEL.decode()} appeared within {seconds:.0f} s: the machine needs a configuration drive"
            )
        time.sleep(0.05)
    return found


def load(device: pathlib.Path, kind: str, place: pathlib.Path) -> Drive:
    """Mount a drive at `place`, read it, and unmount it.

    :raises NoDrive: it can't be mounted, or what it says makes no sense.
    """
    place.mkdir(parents=True, exist_ok=True)
    try:
        system.run(["mount", "-t", kind, "-o", "ro,nosuid,nodev,noexec", str(device), str(place)])
    except system.CommandFailed as exc:
        raise NoDrive(f"{device} can't be mounted: {exc}") from exc
    try:
        return read(place)
    finally:
        system.run(["umount", str(place)])


def read(place: pathlib.Path) -> Drive:
    """What a drive says that is mounted at `place`.

    :raises NoDrive: it makes no sense; the message names the file.
    """
    latest = place / "openstack" / "latest"
    about = _json(latest / "meta_data.json")
    files = dict(_personality(about, place / "openstack"))
    files.update(_user_data(latest / "user_data"))
    network = _json(latest / "network_data.json") if (latest / "network_data.json").exists() else {}
    try:
        return Drive(str(about.get("name") or about.get("hostname") or "amphora"), files, tuple(_links(network)), _keys(about))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise NoDrive(f"network_data.json makes no sense: {exc!r}") from exc


def _keys(about: dict[str, Any]) -> tuple[str, ...]:
    """The key pair that the server was booted with, in `public_keys` by its name.

    :raises NoDrive: it is no key.
    """
    keys = about.get("public_keys") or {}
    if not isinstance(keys, dict) or not all(isinstance(key, str) and key.strip().isprintable() for key in keys.values()):
        raise NoDrive("meta_data.json: public_keys are not lines by their names")
    return tuple(key.strip() for key in keys.values() if key.strip())


def _personality(about: dict[str, Any], root: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    for one in about.get("files") or ():
        try:
            path, source = str(one["path"]), root / str(one["content_path"]).lstrip("/")
        except (KeyError, TypeError) as exc:
            raise NoDrive(f"meta_data.json: a file without {exc}") from exc
        if root.resolve() not in source.resolve().parents:
            raise NoDrive(f"meta_data.json: {one['content_path']!r} leads out of the drive")
        yield _allowed(path), _content(source)


def _user_data(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    if not path.exists():
        return
    text = _content(path).decode(errors="replace")
    if not text.startswith(_CLOUD_CONFIG):
        return  # a script or whatever else is for machines of another kind
    try:
        for one in json.loads(text[len(_CLOUD_CONFIG) :]).get("write_files", ()):
            content = str(one["content"]).encode()
            encoded = one.get("encoding", "") in ("b64", "base64")
            yield _allowed(str(one["path"])), base64.b64decode(content, validate=True) if encoded else content
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error) as exc:
        raise NoDrive(f"the user data is no cloud-config in JSON: {exc!r}") from exc


def _allowed(path: str) -> str:
    if not path.startswith(WRITABLE) or ".." in pathlib.PurePosixPath(path).parts:
        raise NoDrive(f"the file {path!r} may not be written: only below {', '.join(WRITABLE)}")
    return path


def _links(network: dict[str, Any]) -> Iterator[Link]:
    cards = {str(one["id"]): one for one in network.get("links", ()) if one.get("ethernet_mac_address")}
    for key, card in cards.items():
        own = [one for one in network.get("networks", ()) if one.get("link") == key]
        # of IPv6, in whatever way the subnet would give it: `ipv6_slaac`, for instance
        told = [one for one in own if one["type"] in ("ipv4", "ipv6") or (one["type"].startswith("ipv6_") and one.get("ip_address"))]
        yield Link(
            mac=str(card["ethernet_mac_address"]).lower(),
            mtu=None if card.get("mtu") is None else int(card["mtu"]),
            networks=tuple(str(one["network_id"]) for one in own if one.get("network_id")),
            addresses=tuple(_cidr(str(one["ip_address"]), one.get("netmask")) for one in told),
            routes=tuple(
                (_cidr(str(route["network"]), route.get("netmask")), str(route["gateway"]))
                for one in told
                for route in one.get("routes", ())
            ),
            dhcp=any(one["type"] == "ipv4_dhcp" for one in own),
        )


def _cidr(address: str, netmask: str | None) -> str:
    """CIDR notation. Nova gives a netmask beside addresses of either version, and IPv6 addresses with or without their length."""
    if "/" in address or netmask is None:
        return str(ipaddress.ip_interface(address))
    length = int(ipaddress.ip_address(netmask)).bit_count()
    return str(ipaddress.ip_interface(f"{address}/{length}"))


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(_content(path))
    except (ValueError, RecursionError) as exc:
        raise NoDrive(f"{path.name} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise NoDrive(f"{path.name} is no JSON object")
    return found


def _content(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as exc:
        raise NoDrive(f"{path.name} can't be read: {exc.strerror}") from exc
    if len(content) > _MOST:
        raise NoDrive(f"{path.name} is larger than {_MOST} bytes")
    return content
