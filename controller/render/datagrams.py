"""The part of a load balancer that is spoken to over UDP and SCTP: a service for each listener, with its default pool and members."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from amphora_agent.protocol import datagrams
from controller import exceptions
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS
from controller.model.status import ProvisioningStatus
from controller.render import health_checks, l7, safe

_PERSISTENCE_TIMEOUT = 360
"""Seconds, where a pool says none: the six minutes of keepalived.conf(5)."""
_FOR_EVER = 3 * 365 * 86400
"""Seconds: three years. nft(8) takes none from 100,000,000 on, the API takes twenty times as many, and no amphora gets so old."""


def config(snapshot: model.Snapshot, subnets: Sequence[str] = ()) -> str | None:
    """The text, the same for both halves of a pair, who are on the same `subnets`; None if there is no such listener.

    :raises UnsafeValue: a string can't be written into it.
    :raises NotSupported: an algorithm, persistence or monitor type is not known here.
    """
    if not l7.serves(snapshot.load_balancer):
        return None
    listeners = [one for one in snapshot.listeners if l7.serves(one) and PROTOCOLS[one.protocol].program == datagrams.NAME]
    of_pools: dict[str, Mapping[str, Any]] = {}
    services = tuple(_service(snapshot, one, of_pools, subnets) for one in sorted(listeners, key=lambda item: item.id))
    return datagrams.dump(services) if services else None


def _service(
    snapshot: model.Snapshot, listener: model.Listener, of_pools: dict[str, Mapping[str, Any]], subnets: Sequence[str]
) -> datagrams.Service:
    """`of_pools` are the fields that pools decide, by their ids; what is made comes to them."""
    pool = snapshot.pools_by_id.get(listener.default_pool_id) if listener.default_pool_id else None
    if pool is not None and not l7.serves(pool):
        pool = None
    load_balancer = snapshot.load_balancer
    named = f"VIP address of load balancer {load_balancer.id}"
    service = datagrams.Service(
        id=safe.object_id("listener id", listener.id),
        transport=safe.one_of(f"protocol of listener {listener.id}", PROTOCOLS[listener.protocol].transport, datagrams.TRANSPORTS),
        addresses=tuple(safe.address(named, one.ip_address) for one in load_balancer.vip.addresses),
        port=safe.port(f"protocol_port of listener {listener.id}", listener.protocol_port),
        most_flows=max(0, int(listener.connection_limit)),
    )
    if pool is None:
        return service
    if pool.id not in of_pools:
        of_pools[pool.id] = _of_pool(snapshot, pool, service.addresses[0], subnets)
    return dataclasses.replace(service, **of_pools[pool.id])


def _of_pool(snapshot: model.Snapshot, pool: model.Pool, vip_address: str, subnets: Sequence[str]) -> Mapping[str, Any]:
    monitor = snapshot.health_monitor_by_pool.get(pool.id)
    return {
        "pool_id": safe.object_id("pool id", pool.id),
        "algorithm": _algorithm(pool),
        "persistence": _persistence(pool),
        "check": _check(monitor, vip_address) if monitor is not None and l7.serves(monitor) else None,
        "members": _members(snapshot.members_by_pool.get(pool.id, ())),
        "preserve_client_ip": bool(pool.preserve_client_ip),
        "subnets": tuple(subnets) if pool.preserve_client_ip else (),
    }


def _members(members: Sequence[model.Member]) -> tuple[datagrams.Member, ...]:
    there = (one for one in members if one.provisioning_status is not ProvisioningStatus.PENDING_DELETE)
    return tuple(_member(one) for one in sorted(there, key=lambda item: item.id))


def _member(member: model.Member) -> datagrams.Member:
    named = f"of member {member.id}"
    address = safe.address(f"address {named}", member.address)
    port = safe.port(f"protocol_port {named}", member.protocol_port)
    return datagrams.Member(
        id=safe.object_id("member id", member.id),
        address=address,
        port=port,
        weight=int(member.weight),
        check_address=safe.address(f"monitor_address {named}", member.monitor_address) if member.monitor_address else address,
        check_port=safe.port(f"monitor_port {named}", member.monitor_port) if member.monitor_port else port,
        backup=member.backup,
        enabled=member.admin_state_up,
    )


def _algorithm(pool: model.Pool) -> str:
    if pool.lb_algorithm not in datagrams.ALGORITHMS:
        raise exceptions.NotSupported(f"An amphora can't balance by {pool.lb_algorithm!r} over {pool.protocol!r} (pool {pool.id!r}).")
    return pool.lb_algorithm


def _persistence(pool: model.Pool) -> datagrams.Persistence | None:
    """How clients are held; what a pool wants for longer than three years is held for three."""
    persistence = pool.session_persistence
    if persistence is None:
        return None
    if persistence.type != "SOURCE_IP":
        raise exceptions.NotSupported(f"An amphora does not know the session persistence {persistence.type!r} of pool {pool.id!r}.")
    timeout = min(max(1, int(persistence.persistence_timeout or _PERSISTENCE_TIMEOUT)), _FOR_EVER)
    if persistence.persistence_granularity is None:
        return datagrams.Persistence(timeout=timeout)
    mask = ipaddress.ip_address(safe.address(f"persistence_granularity of pool {pool.id}", persistence.persistence_granularity))
    prefix = int(mask).bit_count()
    if mask.version == 4:
        return datagrams.Persistence(timeout=timeout, prefix4=prefix)
    return datagrams.Persistence(timeout=timeout, prefix6=prefix)


def _check(monitor: model.HealthMonitor, vip_address: str) -> datagrams.Check:
    if monitor.type not in datagrams.CHECKS:
        raise exceptions.NotSupported(f"An amphora can't probe by {monitor.type!r} (health monitor {monitor.id!r}).")
    # An interval or a time-out of zero would be no check; the API lets both through.
    check = datagrams.Check(
        type=monitor.type,
        delay=max(1, monitor.delay),
        timeout=max(1, monitor.timeout),
        rise=monitor.max_retries,
        fall=monitor.max_retries_down,
    )
    if monitor.type != datagrams.HTTP:
        return check
    asked = health_checks.request(monitor, vip_address)
    codes = tuple((int(code[:3]), int(code[-3:])) for code in asked.codes.split(","))
    return dataclasses.replace(check, method=asked.method, path=asked.path, version=asked.version, host=asked.host, codes=codes)
