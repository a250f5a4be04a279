"""Bridges in a network namespace of ours, routers in others, and a packet filter: what the embedded network's inventory does to packets."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Sequence

from controller.embedded import filter_audit, filter_parts, linux, marks, packet_filter, router_namespaces, tables
from controller.embedded.contents import Contents, Effects

LOG = logging.getLogger(__name__)


class Bridges(Effects):
    """A network is a bridge in the namespace `<prefix>-net`; nothing exists outside of it but the far ends of cables."""

    def __init__(self, folder: pathlib.Path, prefix: str, first_router: str, port_security: bool, host: linux.Host) -> None:
        """`folder` holds the marks of what is under way; `first_router` is the id of the one that is there from the beginning."""
        self.namespace: str = f"{prefix}-net"
        self._prefix = prefix
        self._first_router = first_router
        self._port_security = port_security
        self._host = host
        self._marks = marks.Marks(folder, self._settle)
        self.guard = self._marks.guard  # type: ignore[method-assign]

    def install(self, names: Sequence[str]) -> None:
        """Make the namespace and these bridges, whatever of them is there already.

        :raises CommandFailed: the machine can't do it, with its words.
        """
        linux.ensure_namespace(self._host, self.namespace)
        # Bridges here have no addresses, so IPv6 on them would only make noise.
        self._host.inside(self.namespace, ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"])
        present = self._host.run(["ip", "-n", self.namespace, "-brief", "link", "show", "type", "bridge"]).split()
        lines = [_bridge_line(name) for name in names if name not in present]
        self._host.ip_batch(self.namespace, [*lines, *(f"link set {name} up" for name in names)])

    def remove(self) -> None:
        """Take the namespaces away, and everything in them; gone already is fine."""
        for namespace in linux.namespaces(f"{self._prefix}-router"):
            linux.delete_namespace(self._host, namespace)
        linux.delete_namespace(self._host, self.namespace)

    # Networks and routers

    def network_made(self, bridge: str) -> None:
        self._host.ip_batch(self.namespace, [_bridge_line(bridge), f"link set {bridge} up"])

    def network_gone(self, bridge: str) -> None:
        linux.take_away(self._host, self.namespace, [f"link delete {bridge}"])

    def router_changed(self, contents: Contents, router_id: str) -> None:
        self._marks.mark()
        self._bring_to(contents, router_id)

    def _bring_to(self, contents: Contents, router_id: str) -> None:
        wanted = router_namespaces.wanted(contents, router_id)
        router_namespaces.bring_to(self._host, self.namespace, self._router_namespace(router_id), wanted)

    def router_gone(self, router_id: str) -> None:
        linux.delete_namespace(self._host, self._router_namespace(router_id))

    def _router_namespace(self, router_id: str) -> str:
        return f"{self._prefix}-router" if router_id == self._first_router else f"{self._prefix}-router-{router_id[:8]}"

    # The filter

    def rebuild(self, contents: Contents) -> None:
        """Make the filter say what the inventory says, in one transaction of the kernel.

        :raises CommandFailed: with the words of nft.
        """
        if not self._port_security:
            with contextlib.suppress(linux.CommandFailed):  # a kernel that knows no such filter has none that could be in the way
                self._host.inside(self.namespace, ["nft", "delete", "table", "bridge", packet_filter.TABLE])
            return
        self._host.inside(self.namespace, ["nft", "-f", "-"], packet_filter.whole_script(contents))

    def lost(self, contents: Contents) -> set[str]:
        """What the kernel's filter has lost of what the inventory says, by the names of chains, sets and interfaces."""
        if not self._port_security or not linux.namespace_exists(self.namespace):
            return set()
        return filter_audit.lost(filter_audit.wanted(self._host, contents), filter_audit.present(self._host, self.namespace))

    def mend(self, contents: Contents) -> frozenset[str]:
        """Build the filter anew if it has lost something; the load balancers that it concerns."""
        lost = self.lost(contents)
        if lost:
            LOG.warning("The packet filter of %s lost %s: it is built anew", self.namespace, ", ".join(sorted(lost)[:20]))
            self.rebuild(contents)
        return filter_audit.whose(contents, lost)

    def _settle(self, contents: Contents) -> None:
        """Make the kernel say what the inventory says, after a change that was broken off; not up is fine."""
        if not linux.namespace_exists(self.namespace):
            return
        LOG.warning("A change of the network %s was broken off: its filter and its routers are built anew", self.namespace)
        self.rebuild(contents)
        for router in contents.rows.all(tables.routers):
            self._bring_to(contents, router.id)

    def _apply(self, contents: Contents, script: str) -> None:
        """Called within the inventory's transaction, so that kernel and inventory change in the same order."""
        if not self._port_security or not script:
            return
        self._marks.mark()
        try:
            self._host.inside(self.namespace, ["nft", "-f", "-"], script)
        except linux.CommandFailed as exc:
            if not linux.namespace_exists(self.namespace):
                raise
            LOG.warning("The packet filter of %s is not as it was left, building it anew: %s", self.namespace, exc)
            self.rebuild(contents)

    def made(self, contents: Contents, port_id: str) -> None:
        self._apply(contents, packet_filter.port_script(contents, port_id))

    def unplug(self, port_ids: Sequence[str]) -> None:
        # Before its filter goes: the machine that has it may still run.
        linux.cut_cables(self._host, self.namespace, port_ids)

    @contextlib.contextmanager
    def changing(self, contents: Contents, port_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Iterator[None]:
        before = packet_filter.part(contents, port_ids, group_ids)
        yield
        after = packet_filter.part(contents, port_ids, group_ids)
        still = {  # another port has the address that this one loses, as a member of the same group
            (name, address)
            for name, address in before.elements - after.elements
            if (group_id := filter_parts.group_of_set(name)) is not None and contents.is_member(group_id, address)
        }
        after = dataclasses.replace(after, elements=after.elements | still)
        self._apply(contents, filter_parts.script(packet_filter.TABLE, before, after))


def _bridge_line(name: str) -> str:
    return f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
