"""What a worker can be asked to do, as frozen dataclasses, and how they are posted.

A job is a hint, the rows are the truth: losing every job loses nothing, because housekeeping posts again what a row says is owed. So a job
carries ids and small facts only. A flow's shape follows from its job alone.
"""

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from controller import exceptions
from controller.model import status

URGENT, NORMAL, LATER = 1, 0, -1
"""Priorities: failovers and deletes of what harms go first, maintenance last. Among equals, who became due first is first."""

PRIORITIES = (URGENT, NORMAL, LATER)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do. At most one unclaimed job per `subject` waits on the board: a second post finds the first."""

    kind: ClassVar[str]
    settles: ClassVar[bool] = True  # whether it works off what the load balancer's row owes; if not, the row tells nothing of it
    load_balancer_id: str

    @property
    def subject(self) -> str:
        """Kind and load balancer: of jobs with one subject, at most one waits unclaimed."""
        return f"{self.kind}/{self.load_balancer_id}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AmphoraJob(Job):
    """Something to do with one amphora: at most one of its kind waits for each."""

    amphora_id: str

    @property
    def subject(self) -> str:
        """Kind and amphora, in place of the load balancer."""
        return f"{self.kind}/{self.amphora_id}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CreateLoadBalancer(Job):
    """Boot the amphorae of a load balancer and bring them to its newest generation.

    `amphora_ids` are chosen by whoever posts, one per role of the topology, so that a repeated flow finds its own machines.
    """

    kind: ClassVar[str] = "create-load-balancer"
    topology: status.Topology
    amphora_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UpdateLoadBalancer(Job):
    """Bring the amphorae of a load balancer to its newest generation."""

    kind: ClassVar[str] = "update-load-balancer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RepairLoadBalancer(Job):
    """Write the newest generation to the amphorae and to the network once more, although it was applied: something there differs."""

    kind: ClassVar[str] = "repair-load-balancer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeleteLoadBalancer(Job):
    """Remove a load balancer and everything below it."""

    kind: ClassVar[str] = "delete-load-balancer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailoverAmphora(AmphoraJob):
    """Replace one amphora: the new one serves before the old one is deleted."""

    kind: ClassVar[str] = "failover-amphora"
    replacement_id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    role: status.Role


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailoverLoadBalancer(Job):
    """Replace every amphora of a load balancer, one after the other, the backup first.

    `amphora_ids` are those that served when it was asked for: once none of them serves any more, it is done, by whoever did it. Empty, as
    older releases post it: whatever serves is replaced.
    """

    kind: ClassVar[str] = "failover-load-balancer"
    topology: status.Topology
    replacement_ids: tuple[str, ...]
    amphora_ids: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureAmphora(AmphoraJob):
    """Have the agent of an amphora live by the deployment's configuration of now. Nothing that serves changes."""

    kind: ClassVar[str] = "configure-amphora"
    settles: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RenewCertificate(AmphoraJob):
    """Give the agent of an amphora a new certificate. Nothing that serves changes."""

    kind: ClassVar[str] = "renew-certificate"
    settles: ClassVar[bool] = False


_KINDS: list[type[Job]] = [CreateLoadBalancer, UpdateLoadBalancer, RepairLoadBalancer, DeleteLoadBalancer]
_KINDS += [FailoverAmphora, FailoverLoadBalancer, ConfigureAmphora, RenewCertificate]
KINDS = {job.kind: job for job in _KINDS}


def dump(job: Job) -> dict[str, Any]:
    """The job as the JSON object that the board keeps."""
    return dataclasses.asdict(job)


_READERS: dict[str, Any] = {"topology": status.Topology, "role": status.Role, "amphora_ids": tuple, "replacement_ids": tuple}


def load(kind: str, details: Mapping[str, Any]) -> Job:
    """The job that `dump` wrote; fields that this version does not know are passed over.

    :raises NotSupported: a kind of job that this version does not know, or one that lacks a field (posted by a newer or older version).
    """
    if (job := KINDS.get(kind)) is None:
        raise exceptions.NotSupported(f"no job of kind {kind} is known")
    known = {field.name for field in dataclasses.fields(job)}
    try:
        return job(**{name: _READERS[name](value) if name in _READERS else value for name, value in details.items() if name in known})
    except (TypeError, ValueError) as exc:
        raise exceptions.NotSupported(f"a job of kind {kind} can't be read: {exc}") from exc


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """The right to change one load balancer's amphorae. The token rises with each taking: who holds an older one has lost it."""

    load_balancer_id: str
    owner: str
    token: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that a worker may run until `expires_at`, unless it extends the claim. Who holds an older token has lost it."""

    id: str
    kind: str
    load_balancer_id: str
    details: Mapping[str, Any]
    owner: str
    token: int
    attempts: int
    priority: int = NORMAL
    request_id: str | None = None
    expires_at: float = 0.0

    @property
    def job(self) -> Job:
        """What is to be done.

        :raises NotSupported: posted by another version, and not understood by this one.
        """
        return load(self.kind, self.details)


_AMPHORAE = uuid.UUID("5c7d1d5e-9a6b-4f43-8f0a-6a1f2f6d5b10")


def amphora_ids(load_balancer_id: str, topology: status.Topology, attempt: int = 0) -> tuple[str, ...]:
    """Ids for a load balancer's first amphorae, one per role: the same whoever asks, so that two posts of one create build one set."""
    return tuple(str(uuid.uuid5(_AMPHORAE, f"{load_balancer_id}/{role}/{attempt}")) for role in topology.roles)
