"""Queries on pools."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import paging, resources
from controller.model import load_balancer as model
from controller.model import status

_T = tables.pools
_RULES = sa.exists().where(
    tables.l7rules.c.l7policy_id == tables.l7policies.c.id, tables.l7rules.c.provisioning_status != resources.PENDING_DELETE
)
_REDIRECTING = sa.and_(
    tables.l7policies.c.admin_state_up.is_(sa.true()), tables.l7policies.c.provisioning_status != resources.PENDING_DELETE, _RULES
)
_HEAD = sa.select(
    _T.c.id,
    _T.c.load_balancer_id,
    _T.c.project_id,
    _T.c.protocol,
    _T.c.provisioning_status,
    sa.exists()
    .where(tables.health_monitors.c.pool_id == _T.c.id, tables.health_monitors.c.provisioning_status != resources.PENDING_DELETE)
    .label("has_monitor"),
    tables.load_balancers.c.vip_address,
    tables.load_balancers.c.additional_vips,
).where(_T.c.id == sa.bindparam("id"), tables.load_balancers.c.id == _T.c.load_balancer_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a change of a pool's members or monitor has to know of the pool."""

    id: str
    load_balancer_id: str
    project_id: str
    protocol: str
    has_monitor: bool  # one that is being deleted no longer counts
    provisioning_status: status.ProvisioningStatus
    vip_addresses: tuple[str, ...]

    @property
    def is_being_deleted(self) -> bool:
        """Whether it takes no change any more."""
        return self.provisioning_status is status.ProvisioningStatus.PENDING_DELETE


class Pools(resources.Resources[model.Pool]):
    """Queries on pools."""

    title = "Pool"
    table = _T
    relations = (
        resources.TAGS,
        resources.Relation("members", tables.members, "pool_id"),
        resources.Relation("health_monitors", tables.health_monitors, "pool_id"),
        resources.Relation("listeners", tables.listeners, "default_pool_id"),
        resources.Relation("redirecting", tables.l7policies, "redirect_pool_id", "listener_id", condition=_REDIRECTING),
    )

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.Pool:
        key = row["id"]
        monitors = resources.of(related, "health_monitors", key)
        return rows.pool(
            row,
            resources.of(related, "tags", key),
            fault,
            tuple(dict.fromkeys((*resources.of(related, "listeners", key), *resources.of(related, "redirecting", key)))),
            resources.of(related, "members", key),
            monitors[-1] if monitors else None,  # the newest: an older one can only be on its way out
        )

    def head(self, pool_id: str) -> Head:
        """The few facts that a change below the pool needs, in one statement whatever the pool's size.

        :raises NotFound: no such pool.
        """
        found = self._connection.execute(_HEAD, {"id": pool_id}).first() if paging.may_exist(pool_id) else None
        if found is None:
            raise exceptions.NotFound(self.title, pool_id)
        return Head(
            id=found.id,
            load_balancer_id=found.load_balancer_id,
            project_id=found.project_id,
            protocol=found.protocol,
            has_monitor=bool(found.has_monitor),
            provisioning_status=status.ProvisioningStatus(found.provisioning_status),
            vip_addresses=tuple(vip for vip in (found.vip_address, *(one.get("ip_address") for one in found.additional_vips or ())) if vip),
        )

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all pools of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)
