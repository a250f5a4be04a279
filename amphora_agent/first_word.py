"""The first heartbeat of a fresh machine, said before the rest of the agent is loaded.

An emulator translates each piece of code when it runs for the first time, so what a machine loads is most of what its boot costs. That it
is there and serves nothing is all that a fresh amphora has to say. This says it, with what the interpreter has in itself: `_json`, `_sha2`
and `_socket` are what the library's modules stand upon, which load many others. Wherever anything is not as usual, nothing is said here:
`machine.start` comes next, does all of this again by its own means, and tells what is wrong.

The messages to the kernel are those of rtnetlink(7).
"""

from __future__ import annotations

import _socket
import os
import struct
import time

from amphora_agent import drive_label

TYPE_CHECKING = False
if TYPE_CHECKING:  # what these are needs no loading
    from typing import Any

CONFIG_PATH = "/etc/figlina/agent.json"  # `boot.CONFIG_PATH`
IDLE = b'{"generation":0,"hash":"","listeners":{},"pools":{},"programs":{"agent":{"died":0,"hung":0,"state":"runs"}},"vrrp":null}'
"""The report of an agent that serves nothing and has seen nothing, with its keys in order."""

_STATE, _MOUNTED_AT = "/var/lib/figlina", "/run/first-word"
_CLOUD_CONFIG = "#cloud-config\n"
_HEADER = struct.Struct("!2sBB16s8sQd16sHH")  # of `protocol/heartbeat.py`, where it is explained
_REPORT = (b"FB", 1, 2)
_BLOCK = 64  # of SHA-256
_NETLINK, _NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 16, 20, 24
_REQUEST, _REPLACE = 0x5, 0x500  # to be acknowledged; what is there already is no error
_UP, _NO_DETECTION, _MAIN, _BY_BOOT, _UNICAST, _ONLINK, _LOOPBACK = 1, 2, 254, 3, 1, 4, 1


def say() -> None:
    """Set the management card up and send one report, if this machine is fresh and nothing is unusual."""
    try:
        if os.path.exists(CONFIG_PATH) or not set(os.listdir(_STATE)) <= {"lost+found"}:
            return
        device, kind = _drive()
        os.makedirs(_MOUNTED_AT, exist_ok=True)
        _run("mount", "-t", kind, "-o", "ro,nosuid,nodev,noexec", device, _MOUNTED_AT)
        try:
            config = boot_configuration(_MOUNTED_AT)
            _set_up(config)
            _send(config, datagram(config))
        finally:
            _run("umount", _MOUNTED_AT)
        os.write(2, b"figlina: the first heartbeat is on its way\n")
    except Exception as exc:
        os.write(2, f"figlina: the first heartbeat waits for the agent: {exc!r}\n".encode())


def boot_configuration(root: str) -> dict[str, Any]:
    """What a drive that is mounted there says to the agent (`protocol/boot.py`), as `config_drive` finds it.

    :raises LookupError, TypeError, ValueError, OSError, StopIteration: it is not to be found in the usual way.
    """
    latest = f"{root}/openstack/latest"
    if os.path.exists(f"{latest}/user_data"):
        text = _read(f"{latest}/user_data")
        if text.startswith(_CLOUD_CONFIG):
            for one in _parse(text[len(_CLOUD_CONFIG) :]).get("write_files", ()):
                if one["path"] == CONFIG_PATH and "encoding" not in one:
                    return _parse(one["content"])
    for one in _parse(_read(f"{latest}/meta_data.json")).get("files") or ():
        if one["path"] == CONFIG_PATH and ".." not in one["content_path"]:
            return _parse(_read(f"{root}/openstack/{one['content_path'].lstrip('/')}"))
    raise LookupError(f"no {CONFIG_PATH}")


def datagram(config: dict[str, Any]) -> bytes:
    """The report, signed, by the layout of `protocol/heartbeat.py`; a boot id of its own tells it from those of the agent."""
    import zlib

    try:
        from _sha2 import sha256  # type: ignore[import-not-found]
    except ImportError:  # Python 3.11
        from _sha256 import sha256  # type: ignore[import-not-found]

    name = bytes.fromhex(config["amphora_id"].replace("-", ""))
    key = bytes.fromhex(config["heartbeat_key"])
    if not 16 <= len(key) <= _BLOCK:
        raise ValueError("heartbeat_key")
    digest = sha256(IDLE).digest()[:16]
    message = _HEADER.pack(*_REPORT, name, os.urandom(8), 1, time.time(), digest, 0, 1) + zlib.compress(IDLE)
    inner, outer = (bytes(one ^ pad for one in key.ljust(_BLOCK, b"\0")) for pad in (0x36, 0x5C))  # HMAC: RFC 2104
    signature: bytes = sha256(outer + sha256(inner + message).digest()).digest()
    return message + signature


def _send(config: dict[str, Any], message: bytes) -> None:
    for address, port in config["health_managers"]:
        sock = _socket.socket(_family(address), _socket.SOCK_DGRAM)
        try:
            sock.sendto(message, (address, port))
        finally:
            sock.close()


def _set_up(config: dict[str, Any]) -> None:
    """As `interfaces.configure_management` has it."""
    card = _card(config["management_mac"].lower())
    address, _, length = config["management_address"].partition("/")
    family, gateway = _family(address), config.get("management_gateway")
    packed = _socket.inet_pton(family, address)
    flags = _NO_DETECTION if family == _socket.AF_INET6 else 0
    kernel = _socket.socket(_NETLINK, _socket.SOCK_RAW, 0)
    try:
        up = struct.pack("=BxHiII", 0, 0, _LOOPBACK, _UP, _UP)
        _tell(kernel, _NEW_LINK, 0, up)
        up = struct.pack("=BxHiII", 0, 0, card, _UP, _UP)
        _tell(kernel, _NEW_LINK, 0, up + _attribute(4, struct.pack("=I", config["management_mtu"])))
        of_card = struct.pack("=BBBBi", family, int(length), flags, 0, card)
        _tell(kernel, _NEW_ADDRESS, _REPLACE, of_card + _attribute(2, packed) + _attribute(1, packed))
        if gateway:
            route = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _MAIN, _BY_BOOT, 0, _UNICAST, _ONLINK)
            via = _attribute(5, _socket.inet_pton(family, gateway)) + _attribute(4, struct.pack("=i", card))
            _tell(kernel, _NEW_ROUTE, _REPLACE, route + via)
    finally:
        kernel.close()


def _tell(kernel: _socket.socket, kind: int, flags: int, content: bytes) -> None:
    """:raises OSError: the kernel does not take it."""
    kernel.sendto(struct.pack("=IHHII", 16 + len(content), kind, _REQUEST | flags, 1, 0) + content, (0, 0))
    (code,) = struct.unpack_from("=i", kernel.recv(4096), 16)
    if code:
        raise OSError(-code, os.strerror(-code))


def _attribute(kind: int, content: bytes) -> bytes:
    """All that are used here have lengths that need no filling."""
    return struct.pack("=HH", 4 + len(content), kind) + content


def _card(mac: str) -> int:
    """The kernel's number of the card with this MAC address."""
    for name in os.listdir("/sys/class/net"):
        if _read(f"/sys/class/net/{name}/address").strip() == mac:
            return int(_read(f"/sys/class/net/{name}/ifindex"))
    raise LookupError(f"no card {mac}")


def _drive() -> tuple[str, str]:
    """The configuration drive, and its file system; CD-ROMs are looked at first."""
    for name in sorted(os.listdir("/sys/class/block"), key=lambda name: (not name.startswith("sr"), name)):
        if not name.startswith(("loop", "ram")):
            try:
                with open(f"/dev/{name}", "rb", buffering=0) as file:
                    kind = drive_label.kind_of(file.read(drive_label.HEAD))
            except OSError:  # no disk in it
                continue
            if kind is not None:
                return f"/dev/{name}", kind
    raise LookupError("no configuration drive yet")


def _run(*words: str) -> None:
    """:raises OSError: busybox does not do it."""
    if code := os.waitpid(os.posix_spawn("/bin/busybox", ["busybox", *words], {}), 0)[1]:
        raise OSError(code, f"busybox {words[0]}")


def _family(address: str) -> int:
    return _socket.AF_INET6 if ":" in address else _socket.AF_INET


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode()


class _Json:
    """What the scanner of JSON asks for: the library's own choices (`json.JSONDecoder`)."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int, parse_constant = float, int, float


def _parse(text: str) -> dict[str, Any]:
    import _json

    scan: Any = _json.make_scanner
    found: dict[str, Any] = scan(_Json)(text, len(text) - len(text.lstrip()))[0]
    return found
