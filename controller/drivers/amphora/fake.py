"""Agents in memory: they keep what they were told by the rules of the real one, and can be made to refuse, or to be silent."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping

from oslo_config import cfg

from amphora_agent.protocol import boot, rest
from controller import exceptions
from controller.drivers.amphora import interface
from controller.model.amphora import Amphora
from controller.model.order import Order


class FakeAmphora(interface.AmphoraDriver):
    """`pushes` counts the calls of `apply` per amphora id, answered or not; `renewals` those of `renew`. `configurations` and `identities`
    are what agents were told in place of what they were booted with.
    """

    def __init__(self) -> None:
        self.pushes: collections.Counter[str] = collections.Counter()
        self._running: dict[str, dict[str, rest.WantedState]] = {}
        self._certificates: dict[str, dict[str, bytes]] = {}
        self.configurations: dict[str, boot.AgentConfig] = {}
        self._refusals: dict[str | None, list[str]] = {}
        self.identities: dict[str, boot.Identity] = {}
        self._distrusts: collections.Counter[str] = collections.Counter()
        self.renewals: collections.Counter[str] = collections.Counter()
        self._silences: collections.Counter[str | None] = collections.Counter()
        self._slow: collections.Counter[str] = collections.Counter()
        self._tokens: collections.Counter[str] = collections.Counter()
        self._lock = threading.RLock()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> FakeAmphora:
        """It has no options."""
        return cls()

    def apply(
        self, amphora: Amphora, wanted: rest.WantedState, certificates: Mapping[str, bytes], order: Order | None = None
    ) -> interface.Applied:
        with self._lock:
            self.pushes[amphora.id] += 1
            self._answer_or_not(amphora)
            self._follow(amphora, order)
            self._refuse_if_told(amphora)
            running = self._running.setdefault(amphora.id, {}).get(wanted.load_balancer_id)
            if running is not None and wanted.generation < running.generation:
                raise exceptions.AmphoraAhead(amphora.id, generation=running.generation)
            self._keep_certificates(amphora, wanted, certificates)
            self._running[amphora.id][wanted.load_balancer_id] = wanted
            return interface.Applied(wanted.generation, wanted.hash, how(running, wanted))

    def remove(self, amphora: Amphora, load_balancer_id: str, order: Order | None = None) -> None:
        with self._lock:
            self._answer_or_not(amphora)
            self._follow(amphora, order)
            self._running.get(amphora.id, {}).pop(load_balancer_id, None)
            self._certificates.pop(amphora.id, None)

    def configure(self, amphora: Amphora, config: boot.AgentConfig, order: Order | None = None) -> None:
        with self._lock:
            self._answer_or_not(amphora)
            self._follow(amphora, order)
            self.configurations[amphora.id] = config

    def renew(self, amphora: Amphora, identity: boot.Identity, order: Order | None = None) -> None:
        with self._lock:
            self.renewals[amphora.id] += 1
            self._answer_or_not(amphora)
            self._follow(amphora, order)
            self._believe_or_not(amphora)
            self.identities[amphora.id] = identity

    def distrust(self, amphora_id: str, calls: int = 1) -> None:
        """Let the next renewals of an amphora fail because one side does not believe the other."""
        with self._lock:
            self._distrusts[amphora_id] += calls

    def info(self, amphora: Amphora, timeout: float | None = None) -> interface.AgentInfo:
        with self._lock:
            self._answer_or_not(amphora)
            running = self._running.get(amphora.id, {})
            return interface.AgentInfo(amphora_id=amphora.id, load_balancers={key: wanted.generation for key, wanted in running.items()})

    def running(self, amphora_id: str, load_balancer_id: str) -> rest.WantedState | None:
        """What an amphora runs for a load balancer; None if nothing."""
        with self._lock:
            return self._running.get(amphora_id, {}).get(load_balancer_id)

    def certificates(self, amphora_id: str) -> Mapping[str, bytes]:
        """The certificates that an amphora has been given."""
        with self._lock:
            return dict(self._certificates.get(amphora_id, {}))

    def refuse(self, words: str, *, amphora_id: str | None = None, times: int = 1) -> None:
        """Let HAProxy refuse the next configurations with these words: on one amphora, or wherever the next one goes."""
        with self._lock:
            self._refusals.setdefault(amphora_id, []).extend([words] * times)

    def be_silent(self, *, amphora_id: str | None = None, calls: int = 1) -> None:
        """Leave the next calls without an answer: on one amphora, or wherever they go."""
        with self._lock:
            self._silences[amphora_id] += calls

    def be_slow(self, amphora_id: str, calls: int = 1) -> None:
        """Take the next connections to an amphora, and give no answer in time."""
        with self._lock:
            self._slow[amphora_id] += calls

    def recover(self) -> None:
        """Forget all refusals and silences that were still to come."""
        with self._lock:
            self._refusals.clear()
            self._distrusts.clear()
            self._silences.clear()
            self._slow.clear()

    def die(self, amphora_id: str) -> None:
        """Forget what an amphora ran, as its death does."""
        with self._lock:
            self._running.pop(amphora_id, None)
            self._certificates.pop(amphora_id, None)

    def _answer_or_not(self, amphora: Amphora) -> None:
        for key in (amphora.id, None):
            if self._silences[key] > 0:
                self._silences[key] -= 1
                raise exceptions.AmphoraUnreachable(amphora.id, "it was told to be silent")
        if self._slow[amphora.id] > 0:
            self._slow[amphora.id] -= 1
            unanswered = exceptions.AmphoraUnreachable(amphora.id, "connected, but no answer in time")
            unanswered.is_there = True
            raise unanswered
        if amphora.management_address is None:
            raise exceptions.AmphoraUnreachable(amphora.id, "it has no management address yet")

    def _believe_or_not(self, amphora: Amphora) -> None:
        if self._distrusts[amphora.id] > 0:
            self._distrusts[amphora.id] -= 1
            raise exceptions.AmphoraDistrusted(amphora.id, "it was told to trust nobody")

    def _follow(self, amphora: Amphora, order: Order | None) -> None:
        if order is None:
            return
        if order.token < self._tokens[amphora.id]:
            raise exceptions.AmphoraAhead(amphora.id, token=self._tokens[amphora.id])
        self._tokens[amphora.id] = order.token

    def _refuse_if_told(self, amphora: Amphora) -> None:
        for key in (amphora.id, None):
            if self._refusals.get(key):
                raise exceptions.ConfigRefused(amphora.id, self._refusals[key].pop(0))

    def _keep_certificates(self, amphora: Amphora, wanted: rest.WantedState, certificates: Mapping[str, bytes]) -> None:
        kept = self._certificates.setdefault(amphora.id, {})
        for name in wanted.certificates:
            if name in kept:
                continue
            if name not in certificates:
                raise exceptions.AmphoraRefused(amphora.id, f"it lacks the certificate {name}, which nobody gave us")
            kept[name] = certificates[name]


def how(running: rest.WantedState | None, wanted: rest.WantedState) -> interface.How:
    """What a real agent would have to do: nothing, a few commands if only servers differ, or a reload."""
    if running is not None and running.hash == wanted.hash:
        return interface.How.NONE
    if running is None or "haproxy" not in running.programs or "haproxy" not in wanted.programs:
        return interface.How.RELOAD
    same_frame = _frame(running.programs["haproxy"]) == _frame(wanted.programs["haproxy"])
    others = [{name: text for name, text in one.programs.items() if name != "haproxy"} for one in (running, wanted)]
    same_rest = others[0] == others[1] and running.interfaces == wanted.interfaces
    return interface.How.RUNTIME if same_frame and same_rest else interface.How.RELOAD


def _frame(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("    server ")]
