"""The contract of the way to an amphora's agent."""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Mapping

from amphora_agent.protocol import boot, rest
from controller.model.amphora import Amphora
from controller.model.order import Order


class How(enum.StrEnum):
    """What the agent had to do to reach the wanted state."""

    NONE = "none"  # it had it already
    RUNTIME = "runtime"  # a few commands on HAProxy's socket: no reload
    RELOAD = "reload"  # a hitless reload, or the first start


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """The agent's receipt."""

    generation: int
    hash: str
    how: How


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """What an agent says of itself; `load_balancers` maps ids to the generation that is running."""

    amphora_id: str
    load_balancers: Mapping[str, int]


class AmphoraDriver(abc.ABC):
    """One call carries the whole wanted state of a load balancer.

    The `order` says under which lease a worker writes. The agent keeps the highest token that it has seen, over its restarts and the
    machine's, and refuses a lower one. Without an order nothing is compared.

    Each raises HostFault if this machine has no descriptor or memory for the question: that tells nothing of the amphora.
    """

    @abc.abstractmethod
    def apply(self, amphora: Amphora, wanted: rest.WantedState, certificates: Mapping[str, bytes], order: Order | None = None) -> Applied:
        """Bring the amphora to the wanted state; certificates (file name to PEM) travel only if the agent lacks them.

        :raises AmphoraAhead: the agent has followed a newer order, or runs a newer generation.

        :raises ConfigRefused: HAProxy or keepalived refused; what served before goes on serving.
        :raises AmphoraRefused: the agent refused for another reason.
        :raises AmphoraUnreachable: no answer in time; the call may be repeated.
        """

    @abc.abstractmethod
    def remove(self, amphora: Amphora, load_balancer_id: str, order: Order | None = None) -> None:
        """Stop serving a load balancer and forget its files; unknown to the agent is fine.

        :raises AmphoraAhead: the agent has followed a newer order.

        :raises AmphoraUnreachable: no answer in time.
        """

    @abc.abstractmethod
    def configure(self, amphora: Amphora, config: boot.AgentConfig, order: Order | None = None) -> None:
        """Have the agent live by this configuration of its own from now on, also after a restart. What it serves is not touched.

        :raises AmphoraAhead: the agent has followed a newer order.

        :raises AmphoraRefused: the agent refused, or is too old to be told.
        :raises AmphoraUnreachable: no answer in time; the call may be repeated.
        """

    @abc.abstractmethod
    def renew(self, amphora: Amphora, identity: boot.Identity, order: Order | None = None) -> None:
        """Have the agent serve with another certificate, and trust these roots and names, from its next connection on; then look at it.

        One whose certificate has run out is told, too. Connections that are open go on; what the amphora serves is not touched.

        :raises AmphoraAhead: the agent has followed a newer order.
        :raises AmphoraDistrusted: one side does not believe the other, for another reason than that a certificate has run out.
        :raises AmphoraRefused: the agent refused, is too old to be told, or shows another certificate afterwards.
        :raises AmphoraUnreachable: no answer in time; the call may be repeated.
        """

    @abc.abstractmethod
    def info(self, amphora: Amphora, timeout: float | None = None) -> AgentInfo:
        """Ask whether the agent lives and what it runs; `timeout` in seconds replaces the configured one.

        :raises AmphoraUnreachable: no answer in time.
        """
