"""The management NIC, the tenant's network namespace, and the NICs in it."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import pathlib
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from amphora_agent import addresses, admission, announce, errors, management, system
from amphora_agent.protocol import boot, rest

LOG = logging.getLogger(__name__)
_ADMITTING_ALL = admission.script(())
_PRIORITY = 1000
"""Of the rules that send what comes from an address by routes of its own: before the main table's (32766)."""
_LINE_NUMBER = re.compile(r"Command failed -:(\d+)")
_QUOTED = re.compile(r'"([^"]+)"')
_SYSCTLS = {  # a new namespace has the kernel's own values, not those of the machine
    "net/ipv4/ip_nonlocal_bind": "1",  # a standby of a pair binds VIPs that its partner holds
    "net/ipv6/ip_nonlocal_bind": "1",
    "net/ipv4/conf/all/promote_secondaries": "1",  # removing one address must not take its neighbours with it
    "net/ipv4/conf/default/promote_secondaries": "1",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/arp_notify": "1",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv4/conf/all/accept_redirects": "0",  # neighbours of a tenant's network say nothing about our routes
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv6/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_redirects": "0",
    "net/ipv4/conf/all/accept_source_route": "0",
    "net/ipv4/conf/default/accept_source_route": "0",
    "net/ipv4/conf/all/send_redirects": "0",  # clients go on by way of the amphora, even if a member is beside them
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/ip_local_port_range": "1025 65534",
    "net/ipv4/ip_local_reserved_ports": "1025",  # where a half of a pair is found by the other one, if nobody chose another port
    "net/ipv4/tcp_fin_timeout": "5",
    "net/ipv4/tcp_keepalive_time": "300",
    "net/ipv4/tcp_max_tw_buckets": "5800000",
    "net/ipv4/tcp_mtu_probing": "1",
    "net/ipv4/tcp_synack_retries": "3",
    "net/ipv4/tcp_tw_reuse": "1",
    "net/ipv4/tcp_max_syn_backlog": "65534",
    "net/ipv4/ping_group_range": "0 2147483647",  # health checks by ping need no privilege
    "net/core/somaxconn": "65534",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Nic:
    """A NIC as the kernel names it."""

    name: str
    mac: str


class Interfaces:
    """NICs of one amphora. `namespace` is where tenants' NICs go; empty: where we live, and `fetch` asks for a NIC by its MAC."""

    def __init__(
        self,
        namespace: str = boot.TENANT_NAMESPACE,
        appear_timeout: float = management.APPEAR_TIMEOUT,
        fetch: Callable[[str], None] = lambda mac: None,
    ) -> None:
        self.namespace = self._namespace = namespace
        self._fetch = fetch
        self._appear_timeout = appear_timeout
        self._admitted: Sequence[rest.Interface] = ()  # what was let in before; nobody knows what an earlier agent did
        self._standing: frozenset[admission.Connection] = frozenset()  # from here to others, of before anything was guarded
        self._admitting: str | None = None  # the script that the kernel was given last; None: an earlier agent's, if any

    def ensure_namespace(self) -> None:
        """Have the tenant's namespace, with its settings, which hold inside it only."""
        if not (system.NAMESPACES / self._namespace).exists():
            system.run(["ip", "netns", "add", self._namespace])
        try:
            system.inside_namespace(self._namespace, _set_sysctls)
        except OSError as exc:  # a name left by a machine that died at the wrong moment
            if exc.errno == errno.EAGAIN:  # or one that nobody can enter at present
                raise
            system.run(["ip", "netns", "delete", self._namespace])
            system.run(["ip", "netns", "add", self._namespace])
            system.inside_namespace(self._namespace, _set_sysctls)
        _batch(self._inside, ["link set lo up"])

    def ensure(self, wanted: Sequence[rest.Interface]) -> None:
        """Bring NICs into the namespace, with addresses and routes; what is there already stays. VIPs come with `take_vips`.

        :raises InterfaceMissing: a NIC did not appear in time.
        :raises SettingRefused: the kernel does not take one of them.
        """
        for interface in wanted:
            nic, inside = self._wait_for(interface.mac, ([], self._inside) if self._namespace else ([],))
            if not inside or nic.name != interface.name:
                self._bring_in(nic, inside, interface.name)
            _batch(self._inside, _lines(interface))
        self._heed_sources(wanted)

    def restore(self, wanted: Sequence[rest.Interface]) -> bool:
        """Configure the NICs that came in place of some that have gone; whether there are any. Nobody tells us of either.

        :raises SettingRefused: the kernel does not take one of its settings.
        """
        there = {name for _, name in system.inside_namespace(self._namespace, socket.if_nameindex)}
        lost = [one for one in wanted if one.name not in there]
        if not lost:
            return False
        for one in lost:
            self._fetch(one.mac.lower())
        outside = {nic.mac for nic in _nics([])}
        back = [one for one in lost if one.mac.lower() in outside]
        if back:
            self.ensure(back)
        return bool(back)

    def admit(self, wanted: Sequence[rest.Interface]) -> None:
        """Let in by these NICs what they admit, and everything by those that do not say. Connections that are admitted no more end.

        :raises SettingRefused: the kernel does not take it; what held before still holds.
        """
        if self._admitting is None and not self._has_admission():
            self._admitting = _ADMITTING_ALL
        script = admission.script(wanted, self._standing)
        if script == self._admitting:
            return
        begins = self._admitting == _ADMITTING_ALL
        if begins or self._standing:
            now = self._outgoing()
            self._standing = now if begins else self._standing & now
            script = admission.script(wanted, self._standing)
        try:
            system.run(system.in_tenant_namespace(self._namespace, ["nft", "-f", "-"]), stdin=script)
        except system.CommandFailed as exc:
            raise errors.SettingRefused("nft -f", " ".join(exc.output.split())) from exc
        self._admitting = script
        self._end_others(wanted)

    def _outgoing(self) -> frozenset[admission.Connection]:
        try:
            return system.inside_namespace(self._namespace, admission.outgoing)
        except OSError as exc:
            LOG.warning("Members' answers that are under way may be lost: the kernel does not tell what is connected (%s)", exc)
            return frozenset()

    def _end_others(self, wanted: Sequence[rest.Interface]) -> None:
        """Connections that say nothing would stand until somebody speaks; where the kernel can't end them, they do."""
        former, self._admitted = self._admitted, wanted
        guarded = [one for one in wanted if one.admits is not None]
        if not guarded:
            return
        try:
            ended = system.inside_namespace(self._namespace, lambda: admission.end_others(guarded, former))
        except OSError as exc:
            LOG.warning("Connections that are admitted no more end when somebody speaks: the kernel does not end them (%s)", exc)
        else:
            if ended:
                LOG.info("%d connections were ended whose clients are admitted no more", ended)

    def _has_admission(self) -> bool:
        """Whether an earlier agent left a table here. Where nobody can tell, none could make one."""
        try:
            return admission.TABLE in system.run(system.in_tenant_namespace(self._namespace, ["nft", "list", "tables"]))
        except system.CommandFailed as exc:
            LOG.info("%s", exc)
            return False

    def take_vips(self, wanted: Sequence[rest.Interface]) -> None:
        """Answer for the VIPs from now on, and announce them. HAProxy serves by then: clients come with the announcement.

        :raises SettingRefused: the kernel does not take one of them.
        """
        lines = [_vip_line(vip, interface.name) for interface in wanted for vip in interface.vips]
        if lines:
            _batch(self._inside, lines)
            self.announce(wanted)

    def announce(self, wanted: Iterable[rest.Interface]) -> None:
        """Tell the neighbours where the VIPs are; a failure to do so is logged only."""
        vips = [(interface.name, interface.mac, vip.partition("/")[0]) for interface in wanted for vip in interface.vips]
        if not vips:
            return
        try:
            system.inside_namespace(self._namespace, lambda: announce.send(vips))
        except OSError as exc:
            LOG.warning("The VIPs %s could not be announced: %s", [vip for _, _, vip in vips], exc)

    def drop_vips(self, known: Sequence[rest.Interface]) -> None:
        """Answer for these VIPs no longer."""
        names = {nic.mac: nic.name for nic in _nics(self._inside)} if any(interface.vips for interface in known) else {}
        held = [(vip, names[interface.mac.lower()]) for interface in known for vip in interface.vips if interface.mac.lower() in names]
        if held:
            _batch(self._inside, [f"address delete {vip} dev {name}" for vip, name in held], force=True)

    def drop(self, known: Sequence[rest.Interface], wanted: Sequence[rest.Interface]) -> None:
        """Take away what we had set and nobody wants any more; what others set (keepalived) is not touched."""
        if tuple(known) == tuple(wanted):
            return
        for version, sources in _sources(known, without=wanted).items():
            _batch([*self._inside, version], [f"rule delete {rule}" for source in sources for rule in _rules(source)], force=True)
        keep = {interface.mac.lower(): interface for interface in wanted}
        nics = {nic.mac: nic for nic in _nics(self._inside)} if known else {}
        for interface in known:
            nic = nics.get(interface.mac.lower())
            if nic is None:
                continue
            stays = keep.get(nic.mac)
            if stays is None:
                _batch(self._inside, [f"link set {nic.name} down", f"address flush dev {nic.name}"], force=True)
                continue
            gone = [item for item in (*interface.addresses, *interface.vips) if item not in (*stays.addresses, *stays.vips)]
            lines = [f"address delete {item} dev {nic.name}" for item in gone]
            lines += [f"route delete {_route(route, nic.name)}" for route in interface.routes if route not in stays.routes]
            if lines:
                _batch(self._inside, lines, force=True)

    def _heed_sources(self, wanted: Sequence[rest.Interface]) -> None:
        """Have what is sent from an address go by the routes that are for it alone."""
        for version, sources in _sources(wanted).items():
            known = {rule.get("src") for rule in json.loads(system.run(["ip", *self._inside, version, "-j", "rule", "show"]) or "[]")}
            if missing := [source for source in sources if source not in known]:
                gone = [f"rule delete {_rules(source)[1]}" for source in missing]  # half of a change that was interrupted
                _batch([*self._inside, version], gone, force=True)
                _batch([*self._inside, version], [f"rule add {rule}" for source in missing for rule in reversed(_rules(source))])

    @property
    def _inside(self) -> list[str]:
        return ["-n", self._namespace] if self._namespace else []

    def _wait_for(self, mac: str, where: Sequence[list[str]]) -> tuple[Nic, bool]:
        """The NIC with a MAC, and whether it is in the last of the places. A NIC may appear a moment after the call."""
        until = time.monotonic() + self._appear_timeout
        while True:
            for place in where:
                for nic in _nics(place):
                    if nic.mac == mac.lower():
                        return nic, place == self._inside
            self._fetch(mac.lower())
            if time.monotonic() > until:
                raise errors.InterfaceMissing(mac, self._appear_timeout)
            time.sleep(0.1)

    def _bring_in(self, nic: Nic, inside: bool, name: str) -> None:
        if any(one.name == name for one in _nics(self._inside)):  # its former holder was unplugged and is still there
            _batch(self._inside, [f"link set {name} down", f"link set {name} name old{time.monotonic_ns() % 10**9}"])
        if inside:
            _batch(self._inside, [f"link set {nic.name} down", f"link set {nic.name} name {name}"])
        else:
            _batch([], [f"link set {nic.name} down", f"link set {nic.name} netns {self._namespace} name {name}"])


def merged(known: Sequence[rest.Interface], wanted: Sequence[rest.Interface]) -> tuple[rest.Interface, ...]:
    """Everything that either names: what we may have set after `wanted` was tried on top of `known`."""
    by_mac: dict[str, rest.Interface] = {interface.mac: interface for interface in known}
    for interface in wanted:
        before = by_mac.get(interface.mac)
        if before is None:
            by_mac[interface.mac] = interface
            continue
        by_mac[interface.mac] = dataclasses.replace(
            interface,
            addresses=tuple(dict.fromkeys((*before.addresses, *interface.addresses))),
            vips=tuple(dict.fromkeys((*before.vips, *interface.vips))),
            admits=None if interface.admits is None else tuple(dict.fromkeys((*(before.admits or ()), *interface.admits))),
            routes=tuple(dict.fromkeys((*before.routes, *interface.routes))),
        )
    return tuple(by_mac.values())


def _lines(interface: rest.Interface) -> list[str]:
    name = interface.name
    lines = [f"link set {name} mtu {interface.mtu} up"]
    lines += [_address_line(address, name) for address in interface.addresses]
    return lines + [f"route replace {_route(route, name)}" for route in interface.routes]


def _address_line(address: str, name: str) -> str:
    # Duplicate address detection would keep an IPv6 address from serving for a second or more.
    return f"address replace {address} dev {name}" + (" nodad" if ":" in address else "")


def _vip_line(vip: str, name: str) -> str:
    # Deprecated, as keepalived would have it: what we ask of others is sent from our own address (RFC 6724, rule 3).
    return _address_line(vip, name) + (" valid_lft forever preferred_lft 0" if ":" in vip else "")


def _route(route: rest.Route, name: str) -> str:
    words = f"{route.destination} via {route.gateway} dev {name} onlink" if route.gateway else f"{route.destination} dev {name}"
    return words if route.source is None else f"{words} table {addresses.routing_table(route.source)}"


def _rules(source: str) -> list[str]:
    """What leads to the routes of an address: that a packet is from there, or its mark, for answers of members are translated later."""
    table = addresses.routing_table(source)
    return [f"priority {_PRIORITY} {words} lookup {table}" for words in (f"from {source}", f"fwmark {table}")]


def _sources(interfaces: Iterable[rest.Interface], without: Iterable[rest.Interface] = ()) -> dict[str, list[str]]:
    """The addresses that have routes of their own, by the option of ip(8) for their version of IP."""
    found: dict[str, list[str]] = {}
    gone = {route.source for interface in without for route in interface.routes}
    for source in dict.fromkeys(route.source for interface in interfaces for route in interface.routes):
        if source is not None and source not in gone:
            found.setdefault("-6" if ":" in source else "-4", []).append(source)
    return found


def _nics(place: list[str]) -> list[Nic]:
    links: list[Mapping[str, str]] = json.loads(system.run(["ip", *place, "-j", "link", "show"]) or "[]")
    return [Nic(link["ifname"], link.get("address", "").lower()) for link in links if link.get("link_type") != "loopback"]


def _batch(place: list[str], lines: Sequence[str], force: bool = False) -> None:
    try:
        system.run(["ip", *place, *(["-force"] if force else []), "-batch", "-"], stdin="\n".join(lines) + "\n")
    except system.CommandFailed as exc:
        if not force:  # with it, what was to go had gone already
            if isinstance(exc, system.NotRun):
                raise
            raise errors.SettingRefused(*_refused(lines, exc.output)) from exc
        LOG.debug("%s", exc)


def _refused(lines: Sequence[str], output: str) -> tuple[str, str]:
    """Which of these lines was refused, and why. ip(8) tells the number of the line, but not where it does not understand one."""
    number = _LINE_NUMBER.search(output)
    words = " ".join(_LINE_NUMBER.sub("", output).split()) or "without a word"
    quoted = _QUOTED.search(words)
    guilty = [lines[int(number[1]) - 1]] if number else [line for line in lines if quoted and quoted[1] in line.split()]
    return (guilty[0] if guilty else "; ".join(lines)), words


def _set_sysctls() -> None:
    for key, value in _SYSCTLS.items():
        try:
            pathlib.Path("/proc/sys", key).write_text(value)
        except OSError as exc:
            LOG.info("Setting %s is not possible here: %s", key, exc)
