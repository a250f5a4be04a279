"""The provider `amphora`: machines of our own, with HAProxy and keepalived in them. What it can't do yet stands here, and nowhere else."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from controller import exceptions, jobs
from controller.db import database
from controller.model import load_balancer as model
from controller.model import status
from controller.model.protocols import PROTOCOLS
from controller.providers import amphora_profiles, interface

SUPPORTED: Mapping[str, Mapping[str, Collection[Any]]] = {
    "pool": {"lb_algorithm": frozenset({"LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP"})},
    "l7policy": {"listener_protocol": frozenset(one.name for one in PROTOCOLS.values() if one.has_requests)},
}
"""By resource and field, the valid values that an amphora can do as yet; of a field that is not named, all of them."""
_OF_DATAGRAMS: Mapping[str, Mapping[str, Collection[Any]]] = {"pool": {"lb_algorithm": frozenset({"SOURCE_IP_PORT"})}}
"""Those that it can do besides where the protocol is one of datagrams."""

_WORDS = {"listener_protocol": "l7policies of a listener of protocol"}
"""What messages call an option whose name says too little."""
_SHOWN = 300  # characters of a value in a message


class AmphoraProvider(interface.Provider):
    """Changes are owed by the generation of the load balancer's row; a job on the board tells a worker which flow to run."""

    flavor_capabilities = amphora_profiles.FLAVOR
    availability_zone_capabilities = amphora_profiles.AVAILABILITY_ZONE
    supported: ClassVar[Mapping[str, Mapping[str, Collection[Any]]]] = SUPPORTED

    def supports(self, resource: str, values: Mapping[str, Any]) -> None:
        """Compare with the table, and with the versions of IP.

        :raises NotSupported: no amphora can do that yet.
        """
        if resource == "member":
            _check_version(values)
        protocol = PROTOCOLS.get(values.get("protocol", ""))
        besides = _OF_DATAGRAMS.get(resource, {}) if protocol is not None and protocol.transport != "tcp" else {}
        for name, possible in self.supported.get(resource, {}).items():
            if name in values and values[name] not in possible and values[name] not in besides.get(name, ()):
                raise unsupported(_WORDS.get(name, name), values[name])

    def accept(self, tx: database.Transaction, change: interface.Change) -> int:
        """Raise the generation, and post the job.

        :raises NotFound: there is no such load balancer.
        :raises Immutable: it takes no such change now.
        """
        key = change.load_balancer_id
        job: jobs.Job
        match change:
            case interface.Update():
                generation = tx.load_balancers.advance(key, change.allowed)
                job = jobs.UpdateLoadBalancer(load_balancer_id=key)
            case interface.Create():
                generation = 1
                ids = jobs.amphora_ids(key, change.topology)
                job = jobs.CreateLoadBalancer(load_balancer_id=key, topology=change.topology, amphora_ids=ids)
            case interface.Delete():
                generation = tx.load_balancers.delete(key, change.allowed)
                job = jobs.DeleteLoadBalancer(load_balancer_id=key)
            case interface.Failover():
                generation = tx.load_balancers.advance(key, change.allowed)
                job = _failover(tx, change)
            case _:
                raise exceptions.NotSupported(f"Provider 'amphora' does not know how to {type(change).__name__.lower()} a load balancer")
        post(tx, job, change.request_id)
        return generation


def _check_version(member: Mapping[str, Any]) -> None:
    """Datagrams are not translated from one version of IP to the other on their way.

    :raises NotSupported: no VIP has the version of this member.
    """
    address, protocol = member["address"], member["pool_protocol"]
    version = ipaddress.ip_address(address).version
    if PROTOCOLS[protocol].transport != "tcp" and version not in member["vip_versions"]:
        words = f"of a load balancer without an IPv{version} VIP"
        raise unsupported(f"an IPv{version} member", f"{address} in a {protocol} pool {words}")


def _failover(tx: database.Transaction, change: interface.Failover) -> jobs.FailoverLoadBalancer:
    serving = [one.id for one in tx.amphorae.of_load_balancer(change.load_balancer_id) if one.status in status.SERVING]
    return jobs.FailoverLoadBalancer(
        load_balancer_id=change.load_balancer_id,
        topology=change.topology,
        replacement_ids=tuple(str(uuid.uuid4()) for _ in change.topology.roles),
        amphora_ids=tuple(serving),
    )


def post(tx: database.Transaction, job: jobs.Job, request_id: str) -> None:
    """Leave a job for the workers, which exists only if the transaction commits.

    What changes the life of a load balancer or its amphorae is also an event: who asks later what happened finds the request. Changes
    below it, of which there may be thousands a day, are not.
    """
    tx.jobs.post(job, request_id=request_id)
    if isinstance(job, jobs.UpdateLoadBalancer):
        return
    of = ("amphora", job.amphora_id) if isinstance(job, jobs.FailoverAmphora) else ("load_balancer", job.load_balancer_id)
    words = f"it was asked to {job.kind.replace('-', ' ')}"
    tx.faults.add_event(job.load_balancer_id, *of, model.Fault(code="requested", message=words, step=job.kind, request_id=request_id))


def unsupported(option: str, value: Any) -> exceptions.NotSupported:
    """The error of a valid value that no amphora can do yet."""
    shown = str(value)
    shortened = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    return exceptions.NotSupported(f"Provider 'amphora' does not support a requested option: {option} {shortened}")
