"""Queries on pools, their members and health monitors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import moves, paging, resources, shown
from controller.db.repositories.resources import of
from controller.model import addresses, status
from controller.model import load_balancer as model

_T = tables.pools
_RULES = sa.exists().where(tables.l7rules.c.l7policy_id == tables.l7policies.c.id, resources.lives(tables.l7rules))
_REDIRECTING = sa.and_(tables.l7policies.c.admin_state_up.is_(sa.true()), resources.lives(tables.l7policies), _RULES)
_SPLITTING = (
    sa.select(tables.l7policy_pools.c.pool_id, tables.l7policies.c.listener_id, tables.l7policies.c.created_at)
    .where(tables.l7policy_pools.c.l7policy_id == tables.l7policies.c.id, _REDIRECTING)
    .subquery()
)
_HEAD = rows.Prepared(
    sa.select(
        _T.c.id,
        _T.c.load_balancer_id,
        _T.c.project_id,
        _T.c.protocol,
        _T.c.provisioning_status,
        sa.exists().where(tables.health_monitors.c.pool_id == _T.c.id, resources.lives(tables.health_monitors)).label("has_monitor"),
        _T.c.preserve_client_ip,
        tables.load_balancers.c.vip_address,
        tables.load_balancers.c.vip_network_id,
        tables.load_balancers.c.additional_vips,
    ).where(_T.c.id == sa.bindparam("id"), tables.load_balancers.c.id == _T.c.load_balancer_id)
)


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a change of a pool's members or monitor has to know of the pool."""

    title: ClassVar[str] = "Pool"
    id: str
    load_balancer_id: str
    project_id: str
    protocol: str
    has_monitor: bool  # one that is being deleted no longer counts
    provisioning_status: status.ProvisioningStatus
    vip_addresses: tuple[str, ...]
    vip_network_id: str
    preserves_client_ip: bool

    @property
    def is_being_deleted(self) -> bool:
        """Whether it takes no change any more."""
        return self.provisioning_status is status.ProvisioningStatus.PENDING_DELETE


class Pools(resources.Resources[model.Pool]):
    title = "Pool"
    table = _T
    noun = staticmethod(rows.pool)
    relations = (
        resources.TAGS,
        resources.Relation("members", tables.members, "pool_id"),
        resources.Relation("health_monitors", tables.health_monitors, "pool_id"),
        resources.Relation("listeners", tables.listeners, "default_pool_id"),
        resources.Relation("redirecting", tables.l7policies, "redirect_pool_id", "listener_id", condition=_REDIRECTING),
        resources.Relation("splitting", _SPLITTING, "pool_id", "listener_id"),
    )

    def _build(self, row: rows.Row, fault: model.Fault | None, related: shown.Related) -> model.Pool:
        monitors = of(related, "health_monitors", row["id"])
        users = (one for name in ("listeners", "redirecting", "splitting") for one in of(related, name, row["id"]))
        return rows.pool(
            row,
            of(related, "tags", row["id"]),
            fault,
            listener_ids=tuple(dict.fromkeys(users)),
            member_ids=tuple(of(related, "members", row["id"])),
            health_monitor_id=monitors[-1] if monitors else None,  # the newest: an older one can only be on its way out
        )

    def head(self, pool_id: str) -> Head:
        """The few facts that a change below the pool needs, in one statement whatever the pool's size.

        :raises NotFound: no such pool.
        """
        found = next(iter(_HEAD.rows(self._connection, {"id": pool_id})), None) if rows.may_exist(pool_id) else None
        if found is None:
            raise exceptions.NotFound(self.title, pool_id)
        return Head(
            id=found.id,
            load_balancer_id=found.load_balancer_id,
            project_id=found.project_id,
            protocol=found.protocol,
            has_monitor=bool(found.has_monitor),
            provisioning_status=status.ProvisioningStatus(found.provisioning_status),
            vip_addresses=(found.vip_address, *(one["ip_address"] for one in found.additional_vips)),
            vip_network_id=found.vip_network_id,
            preserves_client_ip=bool(found.preserve_client_ip),
        )


_M = tables.members
_TWIN = rows.Prepared(
    sa.select(_M.c.id).where(
        _M.c.pool_id == sa.bindparam("pool_id"),
        _M.c.address == sa.bindparam("address"),
        _M.c.protocol_port == sa.bindparam("port"),
        resources.lives(_M),
    )
)


_IPV6_TWINS = sa.select(_M.c.address).where(
    _M.c.pool_id == sa.bindparam("pool_id"),
    _M.c.address.contains(":"),
    _M.c.protocol_port == sa.bindparam("port"),
    resources.lives(_M),
)


class Members(resources.Resources[model.Member]):
    title = "Member"
    table = _M
    noun = staticmethod(rows.member)
    parent = "pool_id"
    relations = (resources.TAGS,)

    def is_taken(self, pool_id: str, address: str, port: int) -> bool:
        """Whether the pool has this server already; one being deleted no longer counts."""
        if ":" not in address:
            return bool(_TWIN.all(self._connection, {"pool_id": pool_id, "address": address, "port": port}))
        wanted = addresses.canonical(address)
        found = self._connection.execute(_IPV6_TWINS, {"pool_id": pool_id, "port": port}).scalars()
        return any(addresses.canonical(one) == wanted for one in found)

    def of_pool(self, pool_id: str) -> list[model.Member]:
        """All members of a pool, oldest first."""
        return self.page(paging.Query(filters=(paging.Filter("pool_id", pool_id),)))

    def change_many(self, changes: Sequence[Mapping[str, Any]], generation: int) -> None:
        """Write new values to many members, which are not being deleted; each change has an `id`, perhaps `tags`, and columns but statuses.

        One `executemany` per set of columns, and members that differ in nothing but their names share one.
        """
        by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for item in changes:
            columns = tuple(sorted(name for name in item if name not in ("id", "tags")))
            by_columns.setdefault(columns, []).append({"object_id": item["id"], **{f"new_{name}": item[name] for name in columns}})
        for columns, parameters in by_columns.items():
            moves.check_values(columns)
            values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in columns}
            statement = moves.changed(_M, generation=generation, updated_at=rows.NOW, **values)
            self._connection.execute(statement.where(_M.c.id == sa.bindparam("object_id")), parameters)
        tags = {item["id"]: item["tags"] for item in changes if "tags" in item}
        if tags:
            self._connection.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id.in_(list(tags))))
            self._add_tags(tags)

    def mark_many_deleted(self, member_ids: Sequence[str], generation: int) -> None:
        """Owe the removal of these members."""
        if member_ids:
            self.mark_all_deleted(_M.c.id.in_(member_ids), generation)


_H = tables.health_monitors


class HealthMonitors(resources.Resources[model.HealthMonitor]):
    title = "Health Monitor"
    table = _H
    noun = staticmethod(rows.health_monitor)
    parent = "pool_id"
    relations = (resources.TAGS,)

    def pool_of(self, monitor_id: str) -> str | None:
        """The id of the pool that a monitor probes; None: there is no such monitor."""
        wanted = sa.select(_H.c.pool_id).where(_H.c.id == monitor_id)
        return self._connection.execute(wanted).scalar() if rows.may_exist(monitor_id) else None
