"""Changes of servers in a running HAProxy, without a reload."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from amphora_agent import certificates, haproxy_config, haproxy_drains, haproxy_first_checks, haproxy_runtime, haproxy_states, report

LOG = logging.getLogger(__name__)


class Changes:
    """Applies plans, and removes servers for good as soon as their last session has ended."""

    def __init__(self, runtime: haproxy_runtime.RuntimeApi, certificates: certificates.Certificates, drains: haproxy_drains.Drains) -> None:
        self._runtime = runtime
        self.drains = drains
        self._certificates = certificates
        self._lingering: set[tuple[str, str]] = set()
        self.first_checks = haproxy_first_checks.FirstChecks(runtime)
        self.before_renewals: Callable[[], None] = lambda: None
        self.on_deleted: Callable[[str, str], None] = lambda backend, server: None
        """What a server has counted goes with it: before one is made anew it can be taken in, and afterwards it begins at zero."""

    @property
    def lingering(self) -> frozenset[tuple[str, str]]:
        """(backend, server) that are removed, and still finish sessions."""
        return frozenset(self._lingering)

    def apply(self, old: str, new: str) -> bool:
        """Lead the running HAProxy from one configuration to the next; False if only a reload can, or if something unexpected came up."""
        plan = haproxy_config.plan(self.drains.as_run(old), self.drains.as_run(new))
        if plan is None:
            return False
        try:
            self._lead_certificates(old, new)
            self._carry_out(plan)
            found = self.differences(new, plan.touched)
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("Not by runtime commands, so by a reload: %s", exc)
            return False
        if found:
            LOG.warning("Runtime commands did not lead to what was asked for, so a reload will: %s", "; ".join(found))
        else:
            self.drains.settle()
        return not found

    def forget(self) -> None:
        """A new worker has no lingering servers."""
        self._lingering.clear()
        self.drains.forget_worker()

    def find_lingering(self, config: str) -> None:
        """Learn from a running HAProxy which servers an earlier agent had removed."""
        wanted = haproxy_config.servers_of(config)
        try:
            running = haproxy_states.rows(self._runtime.server_states())
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("Servers that linger are not known: %s", exc)
            return
        gone = (row for row in running.values() if row.key[1] not in wanted.get(row.key[0], ()))
        self._lingering.update(row.key for row in gone if row.key[0] in wanted and row.maintenance)

    def differences(self, config: str, backends: Collection[str] | None = None) -> list[str]:
        """How the running servers differ from a configuration's, in these backends or in all: read back from HAProxy, not from a file.

        :raises RuntimeFailed: no answer in time.
        """
        wanted = haproxy_config.servers_of(self.drains.as_run(config), backends)
        return haproxy_states.differences(self._runtime.server_states(backends), wanted, self.lingering)

    def remove_lingering(self) -> None:
        """Delete servers whose last session has ended; HAProxy refuses the others, which is fine."""
        for backend, name in sorted(self._lingering):
            try:
                answer = self._runtime.ask(f"del server {backend}/{name}").strip()
            except haproxy_runtime.RuntimeFailed:
                return
            if answer in ("Server deleted.", "No such server.", "No such backend."):
                self._lingering.discard((backend, name))
                self.on_deleted(backend, name)

    def _add(self, section: haproxy_config.Section, server: haproxy_config.Server) -> None:
        if (section.backend or "", server.name) in self._lingering:
            self.remove_lingering()  # the same name comes back: possible once the old one is gone
        first, *others = haproxy_config.add_commands(section, server)
        self._runtime.order(first, "New server registered.")
        for command in others:
            self._runtime.order(command)
        if server.checked and not server.disabled:
            self.first_checks.add([(section.backend or "", server.name)])

    def _renew(self, section: haproxy_config.Section, server: haproxy_config.Server) -> None:
        """Let a server out of maintenance: a new one of its name, which is checked at once.

        :raises RuntimeFailed: the old one has connections from before it was taken out. It would be checked only when its interval is over,
            and has to pass all of `rise`: a reload is quicker.
        """
        self._runtime.order(f"del server {section.backend}/{server.name}", "Server deleted.")
        self.on_deleted(section.backend or "", server.name)
        self._add(section, server)

    def _lead_certificates(self, old: str, new: str) -> None:
        was, now = certificates.of(old), certificates.of(new)
        if was != now:
            self._certificates.put(now)  # servers that come later name them, too
            self._certificates.lead(self._runtime, was, now)

    def _carry_out(self, plan: haproxy_config.Plan) -> None:
        if plan.renewed or any((section.backend or "", server.name) in self._lingering for section, server in plan.added):
            self.before_renewals()
        for section, server in plan.added:
            self._add(section, server)
        for section, server in plan.renewed:
            self._renew(section, server)
        self._turn(plan, serving=True)
        if plan.leaving:
            self.first_checks.wait(plan.leaving)
        for frontend, limit in plan.limited:
            self._runtime.order(f"set maxconn frontend {frontend} {limit}")
            if (found := report.limit_of(self._runtime.ask(f"show stat {frontend} 1 -1"))) != limit:
                raise haproxy_runtime.RuntimeFailed(f"frontend {frontend} takes {found} connections")
        self._turn(plan, serving=False)
        for backend, name in plan.removed:
            self._runtime.order(f"set server {backend}/{name} state maint")
            self._lingering.add((backend, name))
        self.remove_lingering()

    def _turn(self, plan: haproxy_config.Plan, serving: bool) -> None:
        """Give servers their weights and switches: those who get clients then, or those who get none.

        The ones come before the others, so a backend in which they take turns has somebody at every moment. Nobody is, on the way, what
        they are neither before nor after: who is switched off keeps the weight until then.
        """
        weighed = [(backend, server) for backend, server in plan.weighed if server.serves == serving]
        switched = [(backend, server) for backend, server in plan.switched if server.serves == serving]
        for backend, server in switched:
            if server.disabled:
                self._runtime.order(f"set server {backend}/{server.name} state maint")
        for backend, server in weighed:
            self._runtime.order(f"set server {backend}/{server.name} weight {server.weight}")
        for backend, server in switched:
            if not server.disabled:
                self._runtime.order(f"set server {backend}/{server.name} state ready")
