"""A transaction: `tx.load_balancers`, `tx.listeners`, `tx.jobs` and so on are the queries of one resource each."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from controller.db.repositories import (
    amphorae,
    certificates,
    faults,
    flow_records,
    health,
    health_monitors,
    housekeeping,
    jobs,
    l7policies,
    l7rules,
    leaders,
    leases,
    listeners,
    load_balancers,
    members,
    offerings,
    pools,
    quotas,
    replacements,
    settlement,
    snapshots,
    statistics,
)


class Transaction:
    """Valid inside the `with` block of `Database.begin()` or `Database.read()`; repositories are made on first use."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    @functools.cached_property
    def load_balancers(self) -> load_balancers.LoadBalancers:
        """Load balancers: read, list, add, change, advance their generation."""
        return load_balancers.LoadBalancers(self.connection)

    @functools.cached_property
    def listeners(self) -> listeners.Listeners:
        """Listeners."""
        return listeners.Listeners(self.connection)

    @functools.cached_property
    def pools(self) -> pools.Pools:
        """Pools."""
        return pools.Pools(self.connection)

    @functools.cached_property
    def members(self) -> members.Members:
        """Members."""
        return members.Members(self.connection)

    @functools.cached_property
    def health_monitors(self) -> health_monitors.HealthMonitors:
        """Health monitors."""
        return health_monitors.HealthMonitors(self.connection)

    @functools.cached_property
    def l7policies(self) -> l7policies.L7Policies:
        """L7 policies."""
        return l7policies.L7Policies(self.connection)

    @functools.cached_property
    def l7rules(self) -> l7rules.L7Rules:
        """The rules of L7 policies."""
        return l7rules.L7Rules(self.connection)

    @functools.cached_property
    def quotas(self) -> quotas.Quotas:
        """How much projects may have, and how much they have."""
        return quotas.Quotas(self.connection)

    @functools.cached_property
    def amphorae(self) -> amphorae.Amphorae:
        """Amphorae."""
        return amphorae.Amphorae(self.connection)

    @functools.cached_property
    def certificates(self) -> certificates.Certificates:
        """Renewals of amphorae's certificates."""
        return certificates.Certificates(self.connection)

    @functools.cached_property
    def flavors(self) -> offerings.Flavors:
        """Flavors."""
        return offerings.Flavors(self.connection)

    @functools.cached_property
    def flavor_profiles(self) -> offerings.FlavorProfiles:
        """What flavors mean."""
        return offerings.FlavorProfiles(self.connection)

    @functools.cached_property
    def availability_zones(self) -> offerings.AvailabilityZones:
        """Availability zones."""
        return offerings.AvailabilityZones(self.connection)

    @functools.cached_property
    def availability_zone_profiles(self) -> offerings.AvailabilityZoneProfiles:
        """What availability zones mean."""
        return offerings.AvailabilityZoneProfiles(self.connection)

    @functools.cached_property
    def placements(self) -> offerings.Placements:
        """What flavor and availability zone of a load balancer say about its amphorae."""
        return offerings.Placements(self.connection)

    @functools.cached_property
    def snapshots(self) -> snapshots.Snapshots:
        """Whole load balancers at one generation."""
        return snapshots.Snapshots(self.connection)

    @functools.cached_property
    def settlement(self) -> settlement.Settlement:
        """The end of a flow: what was applied becomes ACTIVE or vanishes; what failed becomes ERROR with a reason."""
        return settlement.Settlement(self.connection)

    @functools.cached_property
    def leases(self) -> leases.Leases:
        """Who may change a load balancer's amphorae now."""
        return leases.Leases(self.connection)

    @functools.cached_property
    def jobs(self) -> jobs.Jobs:
        """The jobboard's rows."""
        return jobs.Jobs(self.connection)

    @functools.cached_property
    def flow_records(self) -> flow_records.FlowRecords:
        """How far flows have come, so that another worker can go on."""
        return flow_records.FlowRecords(self.connection)

    @functools.cached_property
    def faults(self) -> faults.Faults:
        """Current faults, and the events that led to them."""
        return faults.Faults(self.connection)

    @functools.cached_property
    def health(self) -> health.Health:
        """Heartbeats and operating statuses."""
        return health.Health(self.connection)

    @functools.cached_property
    def replacements(self) -> replacements.Replacements:
        """Amphorae that were replaced for what they or their peers reported."""
        return replacements.Replacements(self.connection)

    @functools.cached_property
    def housekeeping(self) -> housekeeping.Housekeeping:
        """Work that nobody carries, rows that have had their time."""
        return housekeeping.Housekeeping(self.connection)

    @functools.cached_property
    def statistics(self) -> statistics.Statistics:
        """Traffic counters."""
        return statistics.Statistics(self.connection)

    @functools.cached_property
    def leaders(self) -> leaders.Leaders:
        """Which of several processes is the active one."""
        return leaders.Leaders(self.connection)
