"""Queries on flavors and availability zones, and on their profiles.

What may not be changed or deleted while it is used is locked first and looked at afterwards, so that whoever begins to use it meanwhile
either comes before, and is seen, or comes after, and waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import paging
from controller.model import offering as model
from controller.model import status
from controller.refusals import Refusal

N = TypeVar("N")
_LIVING = tables.load_balancers.c.provisioning_status != status.ProvisioningStatus.DELETED


class _Named(rows.Repository, Generic[N]):
    """What the four tables have in common. `key` is the column that paths name."""

    title: ClassVar[str]
    table: ClassVar[sa.Table]
    noun: type[N]
    users: ClassVar[sa.Column[Any]]
    """Where what uses one names it."""
    key: ClassVar[str] = "id"

    def get(self, name: str) -> N:
        """One.

        :raises NotFound: there is none.
        """
        found = self._rows(sa.select(self.table).where(self._is(name))) if self._may_exist(name) else []
        if not found:
            raise exceptions.NotFound(self.title, name)
        return self._noun(found[0])

    def page(self, query: paging.Query = paging.EVERYTHING) -> list[N]:
        """One page.

        :raises InvalidRequest: the marker names nothing.
        """
        found = paging.page(self._connection, self.table, sa.select(self.table), query)
        return [self._noun(row._mapping) for row in found]

    def add(self, values: Mapping[str, Any]) -> None:
        """A new one.

        :raises Conflict: the name is taken.
        """
        with self._taken(values):
            self._connection.execute(sa.insert(self.table).values({**values, "created_at": rows.now()}))

    def change(self, name: str, values: Mapping[str, Any]) -> None:
        """Other values for one that was read or locked in this transaction.

        :raises Conflict: the new name is taken.
        """
        if values:
            with self._taken(values):
                self._connection.execute(sa.update(self.table).where(self._is(name)).values(dict(values)))

    def delete(self, name: str) -> None:
        """Delete one that nothing uses.

        :raises NotFound: there is none.
        :raises Conflict: it is in use.
        """
        self.lock(name)
        self.refuse_if_used(name)
        self._connection.execute(sa.delete(self.table).where(self._is(name)))

    def lock(self, name: str) -> None:
        """Let nobody begin to use it, or change it, before this transaction ends.

        :raises NotFound: there is none.
        """
        self._hold(name, share=False)

    def hold(self, name: str) -> None:
        """Let nobody change or delete it before this transaction ends; others may hold it too.

        :raises NotFound: there is none.
        """
        self._hold(name, share=True)

    def refuse_if_used(self, name: str) -> None:
        """:raises Conflict: something uses it."""
        if self._connection.execute(sa.select(self._used(name))).scalar():
            raise exceptions.Conflict(f"{self.title} {name} is in use and cannot be modified.", code=Refusal.OFFERING_IN_USE)

    def _hold(self, name: str, *, share: bool) -> None:
        wanted = sa.select(self.table.c[self.key]).where(self._is(name)).with_for_update(read=share)
        if not self._may_exist(name) or self._connection.execute(wanted).first() is None:
            raise exceptions.NotFound(self.title, name)

    @contextlib.contextmanager
    def _taken(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Whoever was first has the name: the engine tells."""
        try:
            yield
        except sa.exc.IntegrityError as error:
            article = "An" if self.title.startswith("A") else "A"
            raise exceptions.Conflict(
                f"{article} {self.title.lower()} of {values.get('name')} already exists.", code=Refusal.NAME_EXISTS
            ) from error

    def _is(self, name: str) -> sa.ColumnElement[bool]:
        return self.table.c[self.key] == name

    def _may_exist(self, name: str) -> bool:
        return rows.may_exist(name)

    def _noun(self, row: Mapping[Any, Any]) -> N:
        return self.noun(**{name: value for name, value in row.items() if name != "created_at"})

    def _used(self, name: str) -> sa.ColumnElement[bool]:
        return sa.exists().where(self.users == name)


class FlavorProfiles(_Named[model.FlavorProfile]):
    title = "Flavor Profile"
    table = tables.flavor_profiles
    noun = model.FlavorProfile
    users = tables.flavors.c.flavor_profile_id


class AvailabilityZoneProfiles(_Named[model.AvailabilityZoneProfile]):
    title = "Availability Zone Profile"
    table = tables.availability_zone_profiles
    noun = model.AvailabilityZoneProfile
    users = tables.availability_zones.c.availability_zone_profile_id


class _Offerings(_Named[N]):
    """What load balancers choose."""

    profiles: ClassVar[sa.Table]
    profile: ClassVar[str]
    data: ClassVar[str]

    def meaning(self, name: str) -> model.Meaning:
        """A flavor or availability zone with its profile, read in one statement.

        :raises NotFound: there is none.
        """
        table, profiles = self.table, self.profiles
        wanted = sa.select(table.c.enabled, profiles.c.provider_name, profiles.c[self.data]).where(
            self._is(name), table.c[self.profile] == profiles.c.id
        )
        found = self._connection.execute(wanted).first() if self._may_exist(name) else None
        if found is None:
            raise exceptions.NotFound(self.title, name)
        return model.Meaning(found[0], found[1], model.data(found[2]))

    def _used(self, name: str) -> sa.ColumnElement[bool]:
        return sa.exists().where(self.users == name, _LIVING)


class Flavors(_Offerings[model.Flavor]):
    title = "Flavor"
    table = tables.flavors
    noun = model.Flavor
    profiles = tables.flavor_profiles
    profile = "flavor_profile_id"
    data = "flavor_data"
    users = tables.load_balancers.c.flavor_id


class AvailabilityZones(_Offerings[model.AvailabilityZone]):
    """Availability zones; their key is their name."""

    title = "Availability Zone"
    table = tables.availability_zones
    noun = model.AvailabilityZone
    key = "name"
    profiles = tables.availability_zone_profiles
    profile = "availability_zone_profile_id"
    data = "availability_zone_data"
    users = tables.load_balancers.c.availability_zone

    def _may_exist(self, name: str) -> bool:
        return len(name) <= 255 and name.isprintable()


_L, _F, _FP = tables.load_balancers, tables.flavors, tables.flavor_profiles
_Z, _ZP = tables.availability_zones, tables.availability_zone_profiles
_PLACEMENT = (
    sa.select(_FP.c.flavor_data, _ZP.c.availability_zone_data)
    .select_from(
        _L.outerjoin(_F, _F.c.id == _L.c.flavor_id)
        .outerjoin(_FP, _FP.c.id == _F.c.flavor_profile_id)
        .outerjoin(_Z, _Z.c.name == _L.c.availability_zone)
        .outerjoin(_ZP, _ZP.c.id == _Z.c.availability_zone_profile_id)
    )
    .where(_L.c.id == sa.bindparam("id"))
)


class Placements(rows.Repository):
    """What was chosen, for whoever builds."""

    def get(self, load_balancer_id: str) -> model.Placement:
        """What flavor and availability zone of a load balancer say now about its amphorae.

        :raises NotFound: no such load balancer.
        """
        found = self._connection.execute(_PLACEMENT, {"id": load_balancer_id}).first()
        if found is None:
            raise exceptions.NotFound("Load Balancer", load_balancer_id)
        return model.Placement.of(model.data(found[0]), model.data(found[1]))
