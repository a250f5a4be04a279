"""What a worker can be asked to do, as frozen dataclasses, and how they are posted.

A job is a hint, the rows are the truth: losing every job loses nothing, because housekeeping posts again what a row says is owed. So a job
carries ids and small facts only. A flow's shape follows from its job alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from controller.model import status


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do. At most one unclaimed job per `subject` waits on the board: a second post finds the first."""

    kind: ClassVar[str]
    load_balancer_id: str

    @property
    def subject(self) -> str:
        """What two posts have in common if doing the work once serves both."""
        return f"{self.kind}/{self.load_balancer_id}"


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
class DeleteLoadBalancer(Job):
    """Remove a load balancer and everything below it."""

    kind: ClassVar[str] = "delete-load-balancer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailoverAmphora(Job):
    """Replace one amphora: the new one serves before the old one is deleted."""

    kind: ClassVar[str] = "failover-amphora"
    amphora_id: str
    replacement_id: str
    role: status.Role

    @property
    def subject(self) -> str:
        """One failover per amphora."""
        return f"{self.kind}/{self.amphora_id}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailoverLoadBalancer(Job):
    """Replace every amphora of a load balancer, one after the other, the backup first."""

    kind: ClassVar[str] = "failover-load-balancer"
    topology: status.Topology
    replacement_ids: tuple[str, ...]


KINDS: dict[str, type[Job]] = {
    job.kind: job for job in (CreateLoadBalancer, UpdateLoadBalancer, DeleteLoadBalancer, FailoverAmphora, FailoverLoadBalancer)
}


def dump(job: Job) -> dict[str, Any]:
    """The job as the JSON object that the board keeps."""
    return dataclasses.asdict(job)
