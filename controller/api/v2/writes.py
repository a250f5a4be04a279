"""What routes that are not yet in `changes` take of it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from controller import jobs
from controller.api import current
from controller.changes import pools
from controller.changes.asking import need, new_load_balancer_row, new_row
from controller.db import transaction
from controller.model.status import ProvisioningStatus
from controller.providers import amphora

__all__ = ["accept", "begin", "need", "need_users", "new_load_balancer_row", "new_row", "post"]


def begin() -> contextlib.AbstractContextManager[transaction.Transaction]:
    return current.asking().change()


def accept(tx: transaction.Transaction, load_balancer_id: str, allowed: Collection[ProvisioningStatus] | None = None) -> int:
    return current.asking().accept(tx, load_balancer_id, allowed)


def need_users(tx: transaction.Transaction, pool_id: str) -> None:
    pools.need_users(current.asking(), tx, pool_id, "")


def post(tx: transaction.Transaction, job: jobs.Job) -> None:
    amphora.post(tx, job, current.context().request_id)
