"""Steps in the life of amphorae: recorded, heard for the first time, doubted, deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskflow.types import failure

from controller import exceptions, jobs
from controller.jobs import owed
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status
from controller.services import Services
from controller.tasks import base, dismantling, retries

LOG = logging.getLogger(__name__)

_QUESTION, _QUESTIONS = 1.5, 3
"""Seconds for an answer to "are you there?", and how often one is asked whose machine takes the connection and who is not heard either."""

_TRIES = 6
"""At the defaults of back-off, the sixth comes two and a half minutes after the first."""

Coming = Sequence[tuple[str, status.Role]]
"""Amphorae that a flow makes: id and role."""


class RecordAmphorae(base.Step):
    """Write the rows of the amphorae to come, before anything of them is made; so nothing in the cloud is ever without an explanation.

    Undone, what was made of them since is taken apart, unless an amphora has come to serve, or the failure was none of its own: a service
    that was busy, or another amphora. Then the next try goes on with it, and pays for no boot. After `_TRIES` failures in a row
    all of them are made anew: what nobody blames may be the cause all the same.
    """

    coming: Coming

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            known = tx.snapshots.outline(load_balancer_id)
        _refuse_if_going(known.load_balancer)
        ids = {amphora_id for amphora_id, _ in self.coming}
        dismantling.take_apart(self.services, [one.id for one in owed.discarded(known) if one.id in ids], lease)
        with self.services.db.begin(lease) as tx:
            for amphora_id, role in self.coming:
                tx.amphorae.ensure(amphora_id, load_balancer_id, role)

    def revert(self, load_balancer_id: str, lease: jobs.Lease, flow_failures: Mapping[str, failure.Failure], **_: Any) -> None:
        with self.services.db.read() as tx:
            amphorae = {amphora.id: amphora for amphora in tx.amphorae.of_load_balancer(load_balancer_id)}
            failures = tx.leases.failures(load_balancer_id) + 1
        begun = [one for one, _ in self.coming if one in amphorae and amphorae[one].status not in status.SERVING]
        blamed = begun if failures % _TRIES == 0 else [one for one in begun if _is_blamed(one, flow_failures)]
        if kept := [one for one in begun if one not in blamed]:
            LOG.info("load balancer %s: the next try goes on with amphorae %s", load_balancer_id, ", ".join(kept))
        dismantling.undo(self.services, blamed, lease)


def _is_blamed(amphora_id: str, failures: Mapping[str, failure.Failure]) -> bool:
    """Whether one of these failures may come from this amphora, or from what it was made of."""
    return any(_blames(each, amphora_id) for each in failures.values())


def _blames(what: failure.Failure, amphora_id: str) -> bool:
    error = what.exception
    if isinstance(error, (exceptions.AmphoraUnreachable, exceptions.AmphoraRefused)):
        return error.amphora_id == amphora_id
    code, _ = retries.explain(what)
    return code not in (exceptions.Transient.code, exceptions.HostFault.code)


class AwaitFirstHeartbeats(retries.Patient):
    """Wait until every amphora to come was heard: its machine runs, and so does its agent."""

    def __init__(self, services: Services, coming: Coming) -> None:
        super().__init__(patience=services.settings.boot_timeout, name=base.named(type(self)))
        self.services = services
        self.coming = coming

    def execute(self, load_balancer_id: str) -> None:
        with self.services.db.read() as tx:
            known = tx.snapshots.outline(load_balancer_id)
        _refuse_if_going(known.load_balancer)
        silent = [amphora_id for amphora_id, _ in self.coming if not _was_heard(known, amphora_id)]
        for amphora_id in silent:
            compute_id = next((one.compute_id for one in known.amphorae if one.id == amphora_id), None)
            if compute_id is not None and (trouble := self.services.machines.trouble(amphora_id, compute_id)) is not None:
                raise exceptions.ComputeFault(f"amphora {amphora_id} will not come up: {trouble}")
        if silent:
            raise exceptions.NotYet(
                f"no heartbeat yet of amphora {', '.join(silent)}: if none comes, look at the machine's console, at the management "
                "network, and at [health_manager] controller_ip_port_list, which says where an amphora sends its heartbeats"
            )


class JudgeAmphorae(base.Step):
    """Ask the amphorae that serve whether they are there. Who does not answer counts no more: nobody pushes to it or waits for it.

    One whose machine takes the connection is slow, as on a crowded host: it counts as long as the health manager, by its heartbeats,
    takes it for alive, and is asked again where it was heard longer ago, for instance by no health manager that runs.
    """

    def execute(self, load_balancer_id: str, lease: jobs.Lease, request_id: str | None = None) -> None:
        with self.services.db.read() as tx:
            serving = owed.serving(tx.snapshots.outline(load_balancer_id))
        with self.services.waiting.of(load_balancer_id):
            reasons = list(self.services.pushers.map(self._ask, serving))
        silent = [(one, reason) for one, reason in zip(serving, reasons, strict=True) if reason]
        if not silent:
            return
        with self.services.db.begin(lease) as tx:
            tx.amphorae.set_status([one.id for one, _ in silent], status.AmphoraStatus.ERROR)
            for one, reason in silent:
                event = model.Fault(code="amphora_lost", message=f"the {one.role} counts no more: {reason}", request_id=request_id)
                tx.faults.add_event(load_balancer_id, "amphora", one.id, event)
                LOG.warning("load balancer %s: amphora %s counts no more: %s", load_balancer_id, one.id, reason)

    def _ask(self, amphora: amphora_model.Amphora) -> str | None:
        """Why it counts no more, if so."""
        reason = None
        for _ in range(_QUESTIONS):
            try:
                self.services.amphora.info(amphora, timeout=_QUESTION)
            except exceptions.AmphoraUnreachable as exc:
                reason = str(exc)
                if not exc.is_there:
                    return reason
                if beats(self.services, amphora):
                    LOG.warning("%s; it beats, and so it counts", exc)
                    return None
            except exceptions.AmphoraRefused as exc:  # an odd answer, but an answer
                LOG.warning("amphora %s: %s", amphora.id, exc)
                return None
            else:
                return None
        return reason


def beats(services: Services, amphora: amphora_model.Amphora) -> bool:
    """Whether nobody takes it for dead yet. When it was last heard is written down more rarely than it beats."""
    at = amphora.last_heartbeat_at
    return at is not None and services.db.now() - at.timestamp() <= services.settings.heartbeat_timeout


class DeleteDiscarded(base.Step):
    """Delete the amphorae that nothing will use again: what earlier tries left, and what was found dead."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            apart = owed.discarded(tx.snapshots.outline(load_balancer_id))
        dismantling.take_apart(self.services, [one.id for one in apart], lease)


class DeletePredecessors(base.Step):
    """Delete the amphorae whose role another one has taken over. One that lives is told first, so that it lets go of the VIP politely."""

    role: status.Role
    successor_id: str

    def execute(self, load_balancer_id: str, lease: jobs.Lease, request_id: str | None = None) -> None:
        with self.services.db.read() as tx:
            going = predecessors(tx.amphorae.of_load_balancer(load_balancer_id), self.role, self.successor_id)
        for amphora in going:
            if amphora.status in status.SERVING:
                self._tell(amphora, lease)
        dismantling.take_apart(self.services, [amphora.id for amphora in going], lease)
        with self.services.db.begin() as tx:
            for amphora in going:
                event = model.Fault(code="replaced", message=f"amphora {self.successor_id} is the {self.role} now", request_id=request_id)
                tx.faults.add_event(load_balancer_id, "amphora", amphora.id, event)

    def _tell(self, amphora: amphora_model.Amphora, lease: jobs.Lease) -> None:
        try:
            with self.services.fence.writing(lease) as order, self.services.waiting.of(lease.load_balancer_id):
                self.services.amphora.remove(amphora, lease.load_balancer_id, order=order)
        except exceptions.ControllerError as exc:
            LOG.info("load balancer %s: amphora %s goes without having been told: %s", lease.load_balancer_id, amphora.id, exc)


class DeleteAmphorae(base.Step):
    """Delete all amphorae of a load balancer."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            amphorae = tx.amphorae.of_load_balancer(load_balancer_id)
        dismantling.take_apart(self.services, [one.id for one in amphorae], lease)


def predecessors(amphorae: Iterable[amphora_model.Amphora], role: status.Role, successor_id: str) -> tuple[amphora_model.Amphora, ...]:
    """The amphorae that had the role before."""
    return tuple(one for one in amphorae if one.role is role and one.id != successor_id)


def _was_heard(known: model.Snapshot, amphora_id: str) -> bool:
    found = [one for one in known.amphorae if one.id == amphora_id]
    return bool(found) and (found[0].status in status.SERVING or found[0].first_heartbeat_at is not None)


def _refuse_if_going(load_balancer: model.LoadBalancer) -> None:
    """:raises Immutable: nothing more is to be made for it."""
    if load_balancer.provisioning_status in status.IN_DELETION:
        raise exceptions.Immutable(load_balancer.id, load_balancer.provisioning_status)
