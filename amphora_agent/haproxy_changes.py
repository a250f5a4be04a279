"""Changes of servers in a running HAProxy, without a reload."""

from __future__ import annotations

import logging
import socket

from amphora_agent import haproxy_config, haproxy_runtime

LOG = logging.getLogger(__name__)


class Changes:
    """Applies plans, and removes servers for good as soon as their last session has ended."""

    def __init__(self, runtime: haproxy_runtime.RuntimeApi) -> None:
        self._runtime = runtime
        self._lingering: set[tuple[str, str]] = set()

    @property
    def lingering(self) -> frozenset[tuple[str, str]]:
        """(backend, server) that are removed, and still finish sessions."""
        return frozenset(self._lingering)

    def apply(self, old: str, new: str) -> bool:
        """Lead the running HAProxy from one configuration to the next; False if only a reload can, or if something unexpected came up."""
        plan = haproxy_config.plan(old, new)
        if plan is None:
            return False
        try:
            self._carry_out(plan)
            self._verify(plan, new)
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("Not by runtime commands, so by a reload: %s", exc)
            return False
        return True

    def forget(self) -> None:
        """A new worker has no lingering servers."""
        self._lingering.clear()

    def find_lingering(self, config: str) -> None:
        """Learn from a running HAProxy which servers an earlier agent had removed."""
        for backend, servers in haproxy_config.servers_of(config).items():
            try:
                running = self._runtime.server_states(backend)
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.warning("Servers that linger are not known: %s", exc)
                return
            self._lingering.update((backend, name) for name, state in running.items() if name not in servers and state.maintenance)

    def remove_lingering(self) -> None:
        """Delete servers whose last session has ended; HAProxy refuses the others, which is fine."""
        for backend, name in sorted(self._lingering):
            try:
                answer = self._runtime.ask(f"del server {backend}/{name}").strip()
            except haproxy_runtime.RuntimeFailed:
                return
            if answer in ("Server deleted.", "No such server.", "No such backend."):
                self._lingering.discard((backend, name))

    def _carry_out(self, plan: haproxy_config.Plan) -> None:
        for section, server in plan.added:
            if (section.backend or "", server.name) in self._lingering:
                self.remove_lingering()  # the same name comes back: possible once the old one is gone
            first, *others = haproxy_config.add_commands(section, server)
            self._runtime.order(first, "New server registered.")
            for command in others:
                self._runtime.order(command)
        for backend, server in plan.weighed:
            self._runtime.order(f"set server {backend}/{server.name} weight {server.weight}")
        for backend, server in plan.switched:
            self._runtime.order(f"set server {backend}/{server.name} state {'maint' if server.disabled else 'ready'}")
        for backend, name in plan.removed:
            self._runtime.order(f"set server {backend}/{name} state maint")
            self._lingering.add((backend, name))
        self.remove_lingering()

    def _verify(self, plan: haproxy_config.Plan, config: str) -> None:
        """Read back that the running servers are the wanted ones."""
        wanted = haproxy_config.servers_of(config, plan.touched)
        for backend in plan.touched:
            running = self._runtime.server_states(backend)
            for name in set(running) - set(wanted[backend]):
                if (backend, name) not in self._lingering or not running[name].maintenance:
                    raise haproxy_runtime.RuntimeFailed(f"server {backend}/{name} is not wanted, and serves")
            for server in wanted[backend].values():
                if not _is_as_wanted(running.get(server.name), server):
                    raise haproxy_runtime.RuntimeFailed(f"server {backend}/{server.name} is not as wanted: {running.get(server.name)}")


def _is_as_wanted(running: haproxy_runtime.ServerState | None, wanted: haproxy_config.Server) -> bool:
    if running is None or running.weight != wanted.weight or running.maintenance != wanted.disabled:
        return False
    address, _, port = wanted.address.rpartition(":")
    return _packed(running.address) == _packed(address.strip("[]")) and str(running.port) == port


def _packed(address: str) -> bytes | str:
    """Equal for all spellings of an address; a host name stands for itself."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, address)
        except OSError:
            continue
    return address
