"""Steps that bring amphorae to the newest state: render, and one request to each."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

from amphora_agent.protocol import rest
from controller import exceptions, jobs, render
from controller.db import fence as fences
from controller.drivers.amphora import interface, waiting
from controller.drivers.network import interface as network_interface
from controller.drivers.network import remembered
from controller.jobs import owed
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status
from controller.tasks import amphora as amphora_tasks
from controller.tasks import base, facts, networks, passes, tenant_certificates

LOG = logging.getLogger(__name__)

Sent = tuple[amphora_model.Amphora, str | exceptions.ControllerError]
"""An amphora, and the hash of what it runs now, or why it does not."""

_SLOW = 5.0
"""Seconds after which an amphora that does not answer may have been found dead; asked again as often."""
_TOO_SLOW = 20.0
"""Seconds after which a failover does not wait for an amphora that beats, and takes its time to answer, as on a crowded host."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Renders what an amphora has to do, and sends it."""

    amphora: interface.AmphoraDriver
    fence: fences.Fence
    network: network_interface.NetworkDriver
    known: remembered.RememberedNetworks
    settings: render.Settings
    certificates: tenant_certificates.Keeper
    side_by_side: futures.Executor
    waiting: waiting.Waiting
    slow: float = _SLOW
    asks_anew: bool = True

    def known_of(self, snapshot: model.Snapshot) -> facts.RunFacts:
        """What the amphorae are to be told of networks; `asks_anew`: also what is written down is asked for."""
        return facts.RunFacts(snapshot, self.network, self.known, anew=self.asks_anew)

    def send(
        self,
        snapshot: model.Snapshot,
        amphorae: Sequence[amphora_model.Amphora],
        member_network_ids: Sequence[str],
        lease: jobs.Lease,
        with_vip: bool = True,
        is_given_up: Callable[[amphora_model.Amphora, float], bool] = lambda *_: False,
        known: facts.RunFacts | None = None,
    ) -> list[Sent]:
        """Bring these amphorae to the snapshot's state, side by side, and say which ones could not be.

        One that is slow and is given up meanwhile is not waited for: a machine that hangs accepts a request and never answers,
        and its replacement, or its end, would wait for our lease until the request times out.

        :raises StaleLease: another worker took the load balancer over; what was sent late, amphorae refused.
        :raises ControllerError: a certificate that is new can't be had of the secret store.
        """
        material = self.certificates.gather(snapshot, lease)
        snapshot = self.certificates.served(snapshot)
        of_networks = known or self.known_of(snapshot)

        def one(amphora: amphora_model.Amphora) -> Sent:
            try:
                return amphora, self._send(snapshot, amphora, member_network_ids, lease, with_vip, material, of_networks)
            except exceptions.ControllerError as exc:
                return amphora, exc

        under_way = [(amphora, self.side_by_side.submit(one, amphora)) for amphora in amphorae]
        return [self._await(amphora, coming, lease, is_given_up) for amphora, coming in under_way]

    def _await(
        self,
        amphora: amphora_model.Amphora,
        sent: futures.Future[Sent],
        lease: jobs.Lease,
        is_given_up: Callable[[amphora_model.Amphora, float], bool],
    ) -> Sent:
        began = time.monotonic()
        with self.waiting.of(lease.load_balancer_id):
            while not futures.wait([sent], self.slow).done:
                if is_given_up(amphora, time.monotonic() - began):
                    return amphora, exceptions.AmphoraUnreachable(amphora.id, "it is silent, and its failover or deletion waits")
        return sent.result()

    def _send(
        self,
        snapshot: model.Snapshot,
        amphora: amphora_model.Amphora,
        member_network_ids: Sequence[str],
        lease: jobs.Lease,
        with_vip: bool,
        material: tenant_certificates.Material,
        known: facts.RunFacts,
    ) -> str:
        told = render.Networks(
            vips=networks.of_vip(snapshot.load_balancer.vip, known),
            members=networks.of_amphora(snapshot, amphora, member_network_ids, self.network, known) if member_network_ids else (),
            floating=networks.floating(snapshot, known, known),
        )
        wanted = render.wanted_state(snapshot, amphora, told, self.settings, material.names)
        if not with_vip:
            wanted = without_vip(wanted)
        with self.fence.writing(lease) as order:
            receipt = self.amphora.apply(amphora, wanted, material.contents, order=order)
        if (receipt.generation, receipt.hash) != (wanted.generation, wanted.hash):
            raise exceptions.AmphoraRefused(amphora.id, f"it says that it runs another state, of generation {receipt.generation}")
        LOG.debug(
            "load balancer %s: amphora %s runs generation %s (%s)", wanted.load_balancer_id, amphora.id, wanted.generation, receipt.how
        )
        return receipt.hash


class Push(base.Step):
    """Bring every amphora that serves to the newest state. `joining` ones are prepared first: if they refuse, nobody else has heard of
    them. In a pair, the half that serves is told of its partner next, and only then the partner takes part in VRRP: while it was not told,
    it would send its advertisements elsewhere, and the partner would hear nobody and take the VIP away from a living master.

    An amphora whose role a joining one takes over is left out, and is not named to the others. Who took the state is ALLOCATED from
    then on. If all took it, and the steps share a pass, the settlement writes that, in its own transaction. `prepared`: an earlier step
    has prepared what joins (`PrepareSuccessor`).
    """

    snapshots: passes.Snapshots
    sender: Sender
    joining: Sequence[str] = ()
    prepared: bool = False

    def execute(self, load_balancer_id: str, lease: jobs.Lease, member_network_ids: list[str]) -> None:
        snapshot = self.snapshots.get(load_balancer_id)
        wanted = targets(snapshot, self.joining)
        if not wanted:
            raise exceptions.NotFound("Serving amphora of load balancer", load_balancer_id)
        shown = dataclasses.replace(snapshot, amphorae=tuple(wanted))
        known = self.sender.known_of(snapshot)

        def send(some: Sequence[amphora_model.Amphora], with_vip: bool = True) -> list[Sent]:
            return self.sender.send(shown, some, member_network_ids, lease, with_vip, self._is_given_up, known)

        sent = self._send_in_order(snapshot, wanted, send)
        errors = _errors(sent)
        if not errors:
            self._note_facts(load_balancer_id, known, lease)
            self._note_left_out(snapshot, lease)
            self.sender.certificates.register(load_balancer_id)
        if isinstance(self.snapshots, passes.Pass) and not errors:
            self.snapshots.confirmed.update(_taken(sent))
            return
        self._confirm(snapshot.generation, sent, lease)
        if errors:
            raise _gravest(errors)

    def _send_in_order(
        self, snapshot: model.Snapshot, wanted: Sequence[amphora_model.Amphora], send: Callable[..., list[Sent]]
    ) -> list[Sent]:
        """What came of each amphora that was sent its whole state, or that did not take what came before."""
        coming = [one for one in wanted if one.id in self.joining and one.status not in status.SERVING]
        others = [one for one in wanted if one not in coming]
        if not coming or not others:  # new halves elect one of them
            return send(wanted)
        if not self.prepared and _errors(refused := send(coming, with_vip=False)):
            return [one for one in refused if _errors([one])]
        sent = send(others)
        return sent + send(coming) if self._may_join(snapshot, wanted, _errors(sent)) else sent

    def _may_join(
        self, snapshot: model.Snapshot, wanted: Sequence[amphora_model.Amphora], errors: Sequence[exceptions.ControllerError]
    ) -> bool:
        """Whether what joins may take the VIP if it hears nobody. A half that refused to be told lives, and may have it. One that can't be
        reached may be dead; then somebody has to serve, unless there is a predecessor that can be told to serve again.
        """
        may_be_dead = all(isinstance(one, exceptions.AmphoraUnreachable) for one in errors)
        return not errors or (may_be_dead and all(one in wanted for one in owed.serving(snapshot)))

    def revert(self, load_balancer_id: str, lease: jobs.Lease, **_: Any) -> None:
        """What was pushed is pushed, and nobody settles it: it is written down here."""
        if isinstance(self.snapshots, passes.Pass) and self.snapshots.confirmed:
            with self.services.db.begin(lease) as tx:
                tx.amphorae.confirm(self.snapshots.confirmed, self.snapshots.get(load_balancer_id).generation)

    def _note_facts(self, load_balancer_id: str, known: facts.RunFacts, lease: jobs.Lease) -> None:
        if known.is_news:
            with self.services.db.begin(lease) as tx:
                tx.load_balancers.note_facts(load_balancer_id, known.used)

    def _note_left_out(self, snapshot: model.Snapshot, lease: jobs.Lease) -> None:
        certificates = self.sender.certificates
        if certificates.left_out or certificates.was_left_out:
            with self.services.db.begin(lease) as tx:
                tx.settlement.leave_out(snapshot.load_balancer.id, snapshot.generation, certificates.left_out, lease)

    def _is_given_up(self, amphora: amphora_model.Amphora, waited: float) -> bool:
        if amphora.load_balancer_id is None:
            return False
        with self.services.db.read() as tx:
            ends = [job for job in tx.jobs.waiting(amphora.load_balancer_id) if _ends(job, amphora)]
            if not ends or waited > _TOO_SLOW or any(isinstance(job, jobs.DeleteLoadBalancer) for job in ends):
                return bool(ends)
            return not amphora_tasks.beats(self.services, tx.amphorae.get(amphora.id))

    def _confirm(self, generation: int, sent: Sequence[Sent], lease: jobs.Lease) -> None:
        """An amphora of which only the configuration was refused is as good as its load balancer's state allows: it is kept."""
        took = _taken(sent)
        refused = [one.id for one, outcome in sent if isinstance(outcome, exceptions.ConfigRefused) and one.status not in status.SERVING]
        distrusted = [one.id for one, outcome in sent if isinstance(outcome, exceptions.AmphoraDistrusted)]
        lacking = [one.id for one, outcome in sent if isinstance(outcome, exceptions.CardMissing)]
        with self.services.db.begin(lease) as tx:
            if took:
                tx.amphorae.confirm(took, generation)
            if distrusted:
                tx.certificates.hasten(distrusted, self.services.db.now())
            for amphora_id in lacking:
                tx.amphorae.note_member_ports(amphora_id, ())  # what the row says of it is not so
            if refused:
                tx.amphorae.set_status(refused, status.AmphoraStatus.ALLOCATED)


class PrepareSuccessor(base.Step):
    """Have a replacement run everything but the VIP, or what is about it in a pair, to be sure of it while its predecessor still serves."""

    sender: Sender
    successor_id: str

    def execute(self, load_balancer_id: str, lease: jobs.Lease, member_network_ids: list[str]) -> None:
        snapshot = self.services.snapshots.get(load_balancer_id)
        mine = [one for one in snapshot.amphorae if one.id == self.successor_id]
        if not mine:
            raise exceptions.NotFound("Amphora", self.successor_id)
        if mine[0].status in status.SERVING:
            return  # resumed after it took the VIP
        shown = dataclasses.replace(snapshot, amphorae=tuple(targets(snapshot, (self.successor_id,))))
        if errors := _errors(self.sender.send(shown, mine, member_network_ids, lease, with_vip=False)):
            raise errors[0]


class ReleaseVip(base.Step):
    """Have the predecessor let go of the VIP. One that can't be asked is deleted: two machines must not announce one address.

    In a pair, the other half takes over if it has not the VIP already: it does not hear from the predecessor any more, and is not told
    of the successor before that. Undone, a predecessor that lives is told to serve again, unless the successor does.
    """

    sender: Sender
    role: status.Role
    successor_id: str

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            going = amphora_tasks.predecessors(tx.amphorae.of_load_balancer(load_balancer_id), self.role, self.successor_id)
        for amphora in going:
            if amphora.status not in status.SERVING or not self._lets_go(amphora, lease):
                self._fence(amphora, lease)

    def revert(self, load_balancer_id: str, lease: jobs.Lease, member_network_ids: list[str], **_: Any) -> None:
        with self.services.db.read() as tx:
            tx.leases.check(lease)
        snapshot = self.services.snapshots.get(load_balancer_id)
        serving = targets(snapshot)
        back = amphora_tasks.predecessors(serving, self.role, self.successor_id)
        if not back or any(one.id == self.successor_id for one in serving):
            return
        shown = dataclasses.replace(snapshot, amphorae=tuple(serving))
        for some in ([one for one in serving if one not in back], back):  # the other half may know the successor as its partner
            for amphora, outcome in self.sender.send(shown, some, member_network_ids, lease):
                serves = isinstance(outcome, str)
                LOG.warning("load balancer %s: amphora %s serves again: %s", load_balancer_id, amphora.id, "yes" if serves else outcome)
                if isinstance(outcome, str):
                    with self.services.db.begin(lease) as tx:
                        tx.amphorae.confirm({amphora.id: outcome}, snapshot.generation)

    def _lets_go(self, amphora: amphora_model.Amphora, lease: jobs.Lease) -> bool:
        try:
            with self.sender.fence.writing(lease) as order, self.sender.waiting.of(lease.load_balancer_id):
                self.sender.amphora.remove(amphora, lease.load_balancer_id, order=order)
        except exceptions.HostFault:  # nobody was asked, and it may be well
            raise
        except exceptions.ControllerError as exc:
            LOG.warning("load balancer %s: amphora %s can't be asked to let go of the VIP: %s", lease.load_balancer_id, amphora.id, exc)
            return False
        return True

    def _fence(self, amphora: amphora_model.Amphora, lease: jobs.Lease) -> None:
        with self.services.db.begin(lease) as tx:
            tx.amphorae.set_status([amphora.id], status.AmphoraStatus.PENDING_DELETE)
        with self.sender.fence.writing(lease):
            self.services.compute.delete(amphora.id)


def _ends(job: jobs.Job, amphora: amphora_model.Amphora) -> bool:
    """Whether a job makes it pointless to tell this amphora anything."""
    match job:
        case jobs.FailoverAmphora():
            return job.amphora_id == amphora.id
        case jobs.FailoverLoadBalancer():
            return amphora.id in job.amphora_ids
    return isinstance(job, jobs.DeleteLoadBalancer)


def targets(snapshot: model.Snapshot, joining: Sequence[str] = ()) -> list[amphora_model.Amphora]:
    """The amphorae that take a push: those that serve, and those that join, without those whose roles the joining ones take over."""
    taken = {one.role for one in snapshot.amphorae if one.id in joining}
    return [
        one
        for one in snapshot.amphorae
        if one.id in joining or (one.status in status.SERVING and (one.role is None or one.role not in taken))
    ]


def without_vip(wanted: rest.WantedState) -> rest.WantedState:
    """The same state, of an amphora that does not answer for the VIP, and in a pair does not speak of it with the other half."""
    programs = {name: text for name, text in wanted.programs.items() if name != "keepalived"}
    return dataclasses.replace(wanted, programs=programs, interfaces=tuple(dataclasses.replace(nic, vips=()) for nic in wanted.interfaces))


def _taken(sent: Sequence[Sent]) -> dict[str, str]:
    """The hashes that amphorae confirmed."""
    return {one.id: outcome for one, outcome in sent if isinstance(outcome, str)}


def _errors(sent: Sequence[Sent]) -> list[exceptions.ControllerError]:
    return [outcome for _, outcome in sent if isinstance(outcome, exceptions.ControllerError)]


def _gravest(errors: Sequence[exceptions.ControllerError]) -> exceptions.ControllerError:
    """A refusal says more than silence: it would come back with any amphora."""
    refusals: Mapping[bool, exceptions.ControllerError] = {isinstance(one, exceptions.AmphoraRefused): one for one in reversed(errors)}
    return refusals.get(True, errors[0])
