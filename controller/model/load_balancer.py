"""What a tenant asks for: a load balancer, its VIP, and the listeners, pools, members and health monitors below it.

Times are aware UTC datetimes, timeouts of listeners are milliseconds, those of health monitors seconds. Fields bear the names of the API,
and what they are when a client says nothing stands in `resources`, where they are declared; a field that no code reads needs no line here.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from controller.model import addresses
from controller.model.amphora import Amphora
from controller.model.network import NORMAL, FixedIp
from controller.model.status import OperatingStatus, ProvisioningStatus, Topology

R = TypeVar("R", bound="Resource")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """The port that clients connect to, by whichever of its `addresses`: one on each subnet.

    The first is the API's `vip_address`, the others are its `additional_vips`.
    """

    addresses: tuple[FixedIp, ...]
    port_id: str
    network_id: str
    qos_policy_id: str | None = None
    sg_ids: tuple[str, ...] = ()
    vnic_type: str = NORMAL
    port_is_ours: bool = True  # we made the VIP port, so we delete it; a tenant's port is only released
    qos_is_asked: bool = False  # the API was asked for the QoS policy; else a tenant's port brought it, and they may change it there

    @property
    def limits_its_port(self) -> bool:
        """Whether the VIP port has a QoS policy that the load balancer put there."""
        return self.qos_policy_id is not None and (self.port_is_ours or self.qos_is_asked)

    @property
    def address(self) -> str:
        """The first one."""
        return self.addresses[0].ip_address

    @property
    def subnet_id(self) -> str:
        """Of the first address."""
        return self.addresses[0].subnet_id

    @property
    def additional(self) -> list[dict[str, str]]:
        """The other addresses, as the API shows them."""
        return [{"subnet_id": one.subnet_id, "ip_address": one.ip_address, "port_id": self.port_id} for one in self.addresses[1:]]

    @property
    def versions(self) -> frozenset[int]:
        """The versions of IP that clients can speak to it."""
        return frozenset(ipaddress.ip_address(one.ip_address).version for one in self.addresses)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an object is in ERROR: for a person to read, and to know what happens next."""

    code: str
    message: str
    step: str | None = None
    request_id: str | None = None
    occurred_at: datetime.datetime | None = None
    next_try_at: datetime.datetime | None = None


WARNINGS = frozenset({"replaced_in_vain", "member_loop"})
"""Codes of faults that tell what a person has to look at though nothing has failed: a settlement leaves them, until they are over."""
LEFT_OUT = "certificate_missing"
"""The code of the fault of a listener or a pool that is left out, or is served as it was before its change, because what it names of the
secret store was never read; and of a load balancer whose access log is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What every resource of a project has."""

    id: str
    project_id: str
    name: str
    description: str
    admin_state_up: bool
    provisioning_status: ProvisioningStatus
    operating_status: OperatingStatus
    generation: int = 0  # the load balancer's generation in which this row was last changed
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    tags: tuple[str, ...]
    fault: Fault | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AccessLog:
    """Where lines about requests and connections are sent; the last two say who must be there, with TLS."""

    protocol: str
    address: str
    port: int
    ca_tls_container_ref: str | None = None
    host_name: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer(Resource):
    """`generation` is the newest accepted state, `applied_generation` the newest that every serving amphora runs."""

    applied_generation: int = 0
    failures: int = 0  # flows that failed in a row
    next_try_at: datetime.datetime | None = None  # when what failed is tried again
    provider: str
    topology: Topology = Topology.SINGLE
    vip: Vip
    vip_generation: int = 0  # in which the tenant's own security groups on the VIP last changed; 0: there never were any
    qos_generation: int = 0  # in which the VIP's QoS policy last changed; 0: nobody ever asked for any
    access_hash: str | None = None  # of what may reach the VIP, as it was set last (`access.digest`); None: not known
    access_generation: int = 0  # settled last by a process that writes `access_hash`
    network_facts: Mapping[str, Any] | None = None  # a document of `network.Facts`; None: nobody has written them down
    flavor_id: str | None
    availability_zone: str | None
    access_log: AccessLog | None
    listener_ids: tuple[str, ...] = ()
    pool_ids: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """So many requests a client may make within a period of seconds."""

    requests: int
    period: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document that clients are shown."""

    content_type: str
    body: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FixedResponse(Page):
    """What a client is answered in the place of members."""

    status: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listener(Resource):
    """A port of the VIP that accepts connections."""

    load_balancer_id: str
    protocol: str
    protocol_port: int
    connection_limit: int
    default_pool_id: str | None
    insert_headers: Mapping[str, str]
    timeout_client_data: int
    timeout_member_connect: int
    timeout_member_data: int
    timeout_tcp_inspect: int
    allowed_cidrs: tuple[str, ...]
    default_tls_container_ref: str | None
    sni_container_refs: tuple[str, ...]
    client_ca_tls_container_ref: str | None
    client_authentication: str
    client_crl_container_ref: str | None
    tls_ciphers: str | None
    tls_versions: tuple[str, ...] | None
    alpn_protocols: tuple[str, ...] | None
    hsts_max_age: int | None  # seconds
    hsts_include_subdomains: bool
    hsts_preload: bool
    rate_limit: RateLimit | None
    error_page: Page | None
    certificate_expires_at: datetime.datetime | None  # the first one's of those that it shows
    l7policy_ids: tuple[str, ...] = ()  # by position


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionPersistence:
    """How a client is kept on one member."""

    type: str
    cookie_name: str | None = None
    persistence_timeout: int | None = None
    persistence_granularity: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Resource):
    """Members that share the load of a listener."""

    load_balancer_id: str
    protocol: str
    lb_algorithm: str
    session_persistence: SessionPersistence | None
    tls_enabled: bool
    tls_container_ref: str | None
    ca_tls_container_ref: str | None
    crl_container_ref: str | None
    tls_ciphers: str | None
    tls_versions: tuple[str, ...] | None
    alpn_protocols: tuple[str, ...] | None
    slow_start: int | None  # seconds
    drain_timeout: int | None  # seconds
    preserve_client_ip: bool | None
    certificate_expires_at: datetime.datetime | None  # of what it shows members
    listener_ids: tuple[str, ...] = ()  # the listeners whose default pool this is, or that redirect to it
    member_ids: tuple[str, ...] = ()
    health_monitor_id: str | None = None


NamesSecrets = LoadBalancer | Listener | Pool
"""Who can name something of the secret store; a load balancer for its access log."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member(Resource):
    """A server that answers requests. Weight 0 drains it."""

    pool_id: str
    address: str
    protocol_port: int
    weight: int
    backup: bool
    subnet_id: str | None
    monitor_address: str | None
    monitor_port: int | None
    vnic_type: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HealthMonitor(Resource):
    """How a pool's members are probed; delay and timeout are seconds, the retries are counts of consecutive results."""

    pool_id: str
    type: str
    delay: int
    timeout: int
    max_retries: int
    max_retries_down: int
    http_method: str | None
    url_path: str | None
    expected_codes: str | None
    http_version: float | None
    domain_name: str | None
    grpc_service: str | None  # "": all of a member


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a pool gets of the requests that are split, in relation to the other pools' weights."""

    pool_id: str
    weight: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Requests that are split between pools: each by itself, or all of a client alike (`SOURCE_IP`)."""

    pools: tuple[Share, ...]
    by: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L7Policy(Resource):
    """What a listener does with a request that meets all the rules of the policy: reject it, redirect it, or give it to another pool."""

    load_balancer_id: str
    listener_id: str
    action: str
    redirect_pool_id: str | None
    redirect_url: str | None
    redirect_prefix: str | None
    redirect_http_code: int | None
    fixed_response: FixedResponse | None
    split: Split | None
    position: int  # from 1, without gaps
    rule_ids: tuple[str, ...] = ()

    @property
    def pool_ids(self) -> tuple[str, ...]:
        """The pools that it gives requests to."""
        shares = () if self.split is None else (share.pool_id for share in self.split.pools)
        return tuple(one for one in dict.fromkeys((self.redirect_pool_id, *shares)) if one is not None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class L7Rule(Resource):
    """One comparison of a policy; `key` names a header, a cookie or a field of a distinguished name."""

    l7policy_id: str
    type: str
    compare_type: str
    key: str | None
    value: str
    invert: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One load balancer at one generation: everything that its amphorae have to know, read in one transaction.

    Objects in PENDING_DELETE are in it; `render` leaves them out. Amphorae in DELETED are not in it.
    """

    load_balancer: LoadBalancer
    listeners: tuple[Listener, ...] = ()
    pools: tuple[Pool, ...] = ()
    members: tuple[Member, ...] = ()
    health_monitors: tuple[HealthMonitor, ...] = ()
    l7policies: tuple[L7Policy, ...] = ()
    l7rules: tuple[L7Rule, ...] = ()
    amphorae: tuple[Amphora, ...] = ()

    @property
    def generation(self) -> int:
        """The generation of the load balancer at which all of this was read."""
        return self.load_balancer.generation

    @functools.cached_property
    def pools_by_id(self) -> Mapping[str, Pool]:
        """Its pools, each by its id."""
        return {pool.id: pool for pool in self.pools}

    @functools.cached_property
    def members_by_pool(self) -> Mapping[str, tuple[Member, ...]]:
        """Members by the id of their pool, in the order of their creation."""
        return _grouped(self.members, "pool_id")

    def loops(self, floating: Collection[str] = ()) -> dict[str, str]:
        """Members that are the load balancer itself, by id, with their addresses: those at one of its VIPs, or at an address that
        somebody else translates into its VIP (`floating`). One request to such a member becomes as many as there are connections.

        What is no address at all is none of them: `render` refuses it.
        """
        vips = (one.ip_address for one in self.load_balancer.vip.addresses)
        own = {addresses.canonical(one) for one in (*vips, *floating) if addresses.is_address(one)}
        found = {}
        for member in self.members:
            # An IPv4 address has one spelling; to parse those of thousands of members would take longer than to render them.
            at = member.address
            if at in own or (":" in at and addresses.is_address(at) and addresses.is_one_of(at, own)):
                found[member.id] = at
        return found

    @functools.cached_property
    def l7policies_by_listener(self) -> Mapping[str, tuple[L7Policy, ...]]:
        """L7 policies by the id of their listener, in the order of their creation."""
        return _grouped(self.l7policies, "listener_id")

    @functools.cached_property
    def l7rules_by_policy(self) -> Mapping[str, tuple[L7Rule, ...]]:
        """The rules of L7 policies by the id of their policy, in the order of their creation."""
        return _grouped(self.l7rules, "l7policy_id")

    @functools.cached_property
    def health_monitor_by_pool(self) -> Mapping[str, HealthMonitor]:
        """Its health monitors, each by the id of the pool that it checks."""
        return {monitor.pool_id: monitor for monitor in self.health_monitors}


def _grouped(items: Iterable[R], parent: str) -> Mapping[str, tuple[R, ...]]:
    grouped: dict[str, list[R]] = {}
    for item in items:
        grouped.setdefault(getattr(item, parent), []).append(item)
    return {key: tuple(some) for key, some in grouped.items()}
