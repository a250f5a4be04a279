"""The agent without root's rights: a user of its own, in the tenant's network namespace, with few capabilities, and no way back.

In a virtual machine the agent starts as root. It opens the sockets of the management network, which stay there, moves to the tenant's
namespace, and becomes `--user`. Of capabilities(7) it keeps those of `KEPT`; the programs that it starts get fewer. One thing is left that
needs the machine's own namespace: a network card that is plugged later. The agent asks for it by its MAC, and a script of the image's
brings it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import pwd
import resource
import socket
import struct

from amphora_agent import haproxy as haproxy_program
from amphora_agent import system
from amphora_agent.protocol import boot

KEPT = {"kill": 5, "setgid": 6, "setuid": 7, "net_bind_service": 10, "net_admin": 12, "net_raw": 13}
"""Numbers in linux/capability.h. The first three: HAProxy is another user, who is started and ended."""
CARDS = pathlib.Path("/run/figlina-cards")
"""`management` holds the MAC address of the card that stays, `wanted` is the pipe for those that are to come."""

_HAPROXY = "haproxy"
_FILES = 1_048_576  # that HAProxy may have open
_NO_NEW_PRIVS, _KEEPCAPS, _CAPBSET_DROP, _CAP_AMBIENT, _RAISE = 38, 8, 24, 47, 2  # linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522


@dataclasses.dataclass(frozen=True, slots=True)
class Rights:
    """What comes before the commands of programs that have fewer rights than the agent, where HAProxy writes then, and root's script."""

    own: pathlib.Path | None = None
    as_haproxy: tuple[str, ...] = ()
    as_keepalived: tuple[str, ...] = ()
    alive_script: pathlib.Path | None = None


class Sockets:
    """Sockets of the management network: one bound to (address, port), and one of each family to send from."""

    def __init__(self, address: tuple[str, int]) -> None:
        """:raises OSError: the address is not this machine's, or somebody else's already."""
        self.bound = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.bound.bind(address)
        self._senders: dict[int, socket.socket] = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):  # a kernel without IPv6
                self._senders[family] = socket.socket(family, socket.SOCK_DGRAM)

    def sender(self, family: int) -> socket.socket:
        """A socket to send from, to be closed by whoever asked."""
        return self._senders[family].dup()


def give_up(user: str, management_mac: str, state: pathlib.Path, run: pathlib.Path, config: pathlib.Path) -> Rights:
    """Move to the tenant's namespace, give the agent's folders to `user`, and be that user. No other thread may run yet.

    :raises OSError: the kernel does not let us, or there is no such user.
    """
    us, haproxy = _user(user), _user(_HAPROXY)
    own = run / "haproxy"
    for folder, owner, group, mode in (
        (run, us.pw_uid, haproxy.pw_gid, 0o2750),
        (own, haproxy.pw_uid, us.pw_gid, 0o2770),
        (state, us.pw_uid, haproxy.pw_gid, 0o2750),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner, group)
        folder.chmod(mode)
    for path in (config.parent, *config.parent.rglob("*")):
        os.chown(path, us.pw_uid, us.pw_gid)
    CARDS.mkdir(exist_ok=True)
    system.write_file(CARDS / "management", f"{management_mac.lower()}\n".encode(), durable=False)
    alive = CARDS / "haproxy-alive"
    script = haproxy_program.alive_script(state / haproxy_program.CONFIG, own / "haproxy.pid")
    system.write_file(alive, script.encode(), 0o755, durable=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[0], _FILES))
    system.move_to_namespace(boot.TENANT_NAMESPACE)
    _become(us, [haproxy.pw_gid])
    return Rights(
        own,
        ("setpriv", f"--reuid={_HAPROXY}", f"--regid={_HAPROXY}", "--clear-groups", *_with("net_bind_service"), "--"),
        ("setpriv", *_with("net_admin", "net_raw"), "--"),
        alive,
    )


def fetch(mac: str) -> None:
    """Ask for a network card that may have appeared in the machine's own namespace; whether it comes shows."""
    with contextlib.suppress(OSError):  # nobody hears: the next try may be heard
        pipe = os.open(CARDS / "wanted", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, f"{mac}\n".encode())
        finally:
            os.close(pipe)


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise OSError(f"there is no user {name}") from None


def _with(*capabilities: str) -> tuple[str, str]:
    """Options of setpriv(1)."""
    named = ",".join(f"+{name}" for name in capabilities)
    return f"--inh-caps=-all,{named}", f"--ambient-caps=-all,{named}"


def _become(user: pwd.struct_passwd, groups: list[int]) -> None:
    """Be a user for good, with the capabilities of `KEPT`, which programs that are started inherit (ambient)."""
    import ctypes  # Python has no words of its own for capabilities

    libc = ctypes.CDLL(None, use_errno=True)

    def call(function: str, *arguments: object) -> None:
        if getattr(libc, function)(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{function}: {os.strerror(code)}")

    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in set(range(last + 1)) - set(KEPT.values()):
        call("prctl", _CAPBSET_DROP, number, 0, 0, 0)
    call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", _KEEPCAPS, 1, 0, 0, 0)
    os.setgroups(groups)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    kept = sum(1 << number for number in KEPT.values())
    call("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", kept, kept, kept, 0, 0, 0))
    for number in KEPT.values():
        call("prctl", _CAP_AMBIENT, _RAISE, number, 0, 0)
