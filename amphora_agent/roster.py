"""The programs of an amphora, and how they are tied to each other."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from amphora_agent import haproxy, keepalived, netfilter, privileges, program, programs, watch
from amphora_agent.protocol import boot


@dataclasses.dataclass(frozen=True, slots=True)
class Roster:
    """The programs of an amphora."""

    haproxy: haproxy.HAProxy
    netfilter: netfilter.Netfilter
    keepalived: keepalived.Keepalived

    @property
    def programs(self) -> tuple[program.Program, ...]:
        """All of them, in the order of starting."""
        return self.haproxy, self.netfilter, self.keepalived

    def watch(self, on_change: Callable[[], None]) -> watch.Watch:
        """Tell keepalived at once when HAProxy stops to answer: in a pair the partner takes over."""
        return watch.Watch(
            lambda: self.haproxy.configured and self.keepalived.configured, self.haproxy.hangs, self.keepalived.say_hangs, on_change
        )


def make(
    config: boot.BootConfig, state: pathlib.Path, run: pathlib.Path, namespace: str, rights: privileges.Rights, record: programs.Record
) -> Roster:
    """The programs of this amphora, as an earlier agent may have left them."""
    served_by = haproxy.HAProxy(haproxy.Places(state, run, rights.own, rights.as_haproxy), config.haproxy_command, namespace, record)
    announced_by = keepalived.Keepalived(
        state,
        run,
        config.keepalived_command,
        namespace,
        config.amphora_id,
        record,
        served_by.alive_script,
        rights.as_keepalived,
        rights.alive_script,
    )
    datagrams = netfilter.Netfilter(state, namespace, record)
    served_by.tell_also(lambda: datagrams.known.rows())
    return Roster(served_by, datagrams, announced_by)
