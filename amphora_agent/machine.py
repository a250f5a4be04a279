"""The agent as a virtual machine starts it: the configuration drive is read first, once per boot."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import socket
import sys
import time

from amphora_agent import config_drive, errors, main, management, system
from amphora_agent.protocol import boot

LOG = logging.getLogger(__name__)
PATIENCE = 60.0
"""Seconds until a drive that has not appeared is missed."""

_MOUNTED_AT = pathlib.Path("/run/config-drive")
_SSH = pathlib.Path("/root/.ssh")
_DHCP = ["busybox", "udhcpc", "-q", "-n", "-t", "5", "-T", "2", "-O", "staticroutes", "-s", "/usr/lib/figlina/dhcp"]


def start() -> int:
    """Have the boot configuration, and be the agent from then on. Whoever started this starts it again when it ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    if not pathlib.Path(boot.CONFIG_PATH).exists():
        try:
            _take(config_drive.load(*config_drive.wait(PATIENCE), _MOUNTED_AT))
        except (config_drive.NoDrive, errors.AgentError, system.CommandFailed, OSError) as exc:
            LOG.error("The machine can't be configured: %s", exc)
            time.sleep(5.0)
            return 1
    return main.live(pathlib.Path(boot.CONFIG_PATH), "figlina")


def _take(drive: config_drive.Drive) -> None:
    """Write what the drive holds; the boot configuration last, since it says that all is there."""
    socket.sethostname(drive.name)
    last = drive.files.get(boot.CONFIG_PATH)
    if last is None:
        raise config_drive.NoDrive(f"it holds no {boot.CONFIG_PATH}")
    for path, content in drive.files.items():
        if path not in (boot.CONFIG_PATH, boot.SSH_HOST_KEY_PATH):
            system.write_file(pathlib.Path(path), content)
    try:
        config = boot.BootConfig.parse(last)
    except ValueError as exc:
        raise config_drive.NoDrive(str(exc)) from exc
    besides = _besides(drive.files.get(boot.BOOT_NETWORKS_PATH, b"[]"))
    for link in drive.links:
        # The others are tenants' networks: they are configured in a namespace of their own.
        if link.mac == config.management_mac.lower():
            if _says_more(link, config):
                _bring_up_management(link)
        elif not besides.isdisjoint(link.networks):
            _bring_up_besides(link)
    if drive.keys:
        try:
            _let_in(drive.keys, drive.files.get(boot.SSH_HOST_KEY_PATH), config)
        except system.CommandFailed as exc:  # clients do not need it; and where a start was broken off, a server may run already
            LOG.warning("Nobody can log in by SSH, or only as before: %s", exc)
    system.write_file(pathlib.Path(boot.CONFIG_PATH), last)
    LOG.info("Configured as %s, with %d files", drive.name, len(drive.files))


def _let_in(keys: tuple[str, ...], host_key: bytes | None, config: boot.BootConfig) -> None:
    """Have an SSH server on the management network, for owners of keys. There are no passwords, and no forwarding.

    The host key is the controller's: one that was made here would be a stranger's to whoever logs in.
    """
    if host_key is None:
        LOG.warning("Nobody can log in by SSH: the configuration drive has their public keys, but no host key %s", boot.SSH_HOST_KEY_PATH)
        return
    management.configure(config)
    theirs, converted = _SSH / "host_key.openssh", _SSH / "host_key"
    system.write_file(_SSH / "authorized_keys", "".join(f"{key}\n" for key in keys).encode())
    system.write_file(theirs, host_key)
    _SSH.chmod(0o700)
    system.run(["dropbearconvert", "openssh", "dropbear", str(theirs), str(converted)])
    address = config.management_address.partition("/")[0]
    system.run(["dropbear", "-s", "-j", "-k", "-r", str(converted), "-p", f"[{address}]:22" if ":" in address else f"{address}:22"])


def _says_more(link: config_drive.Link, config: boot.BootConfig) -> bool:
    """Whether a drive says of the management network what the boot configuration, which is heeded next, does not."""
    known = {("0.0.0.0/0", config.management_gateway), ("::/0", config.management_gateway)}
    return (
        link.dhcp
        or set(link.addresses) != {config.management_address}
        or link.mtu not in (None, config.management_mtu)
        or not known.issuperset(link.routes)
    )


def _besides(content: bytes) -> frozenset[str]:
    """Ids of networks of the operator's beside the management network.

    :raises NoDrive: it makes no sense.
    """
    try:
        return frozenset(str(one) for one in json.loads(content))
    except (TypeError, ValueError) as exc:
        raise config_drive.NoDrive(f"{boot.BOOT_NETWORKS_PATH} makes no sense: {exc!r}") from exc


def _bring_up_management(link: config_drive.Link) -> None:
    """What it lacks (nobody may answer by DHCP now) is told, and stops nothing: the boot configuration has an address and a gateway."""
    try:
        _bring_up(link)
    except system.CommandFailed as exc:
        LOG.warning("The management network is what the boot configuration says of it, and no more: %s", exc)


def _bring_up_besides(link: config_drive.Link) -> None:
    """Its addresses and routes but for a default route, which is the management network's. What it lacks is told, and stops nothing."""
    own = [(to, gateway) for to, gateway in link.routes if not to.endswith("/0")]
    try:
        _bring_up(dataclasses.replace(link, routes=tuple(own)), default="no")
    except (errors.AgentError, system.CommandFailed) as exc:
        LOG.warning("The card %s on the network %s has no address: %s", link.mac, ", ".join(link.networks), exc)


def _bring_up(link: config_drive.Link, default: str = "yes") -> None:
    """What the drive says of a network of the operator's beyond the boot configuration: more addresses, routes, DHCP, which may give the
    `default` route.

    :raises InterfaceMissing: there is no such network card.
    """
    name = management.wait_for(link.mac).name
    lines = [f"link set {name} {f'mtu {link.mtu} ' if link.mtu else ''}up"]
    lines += [f"address replace {address} dev {name}" + (" nodad" if ":" in address else "") for address in link.addresses]
    lines += [f"route replace {to} via {gateway} dev {name} onlink" for to, gateway in link.routes]
    system.run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    if link.dhcp:  # also beside addresses of IPv6
        system.run(["busybox", "env", f"default={default}", *_DHCP, "-i", name])


if __name__ == "__main__":
    sys.exit(start())
