"""Rules that LBaaS v2 has and the first API has not, or has otherwise (spec `lbaasv2.md` §2-§5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from controller import exceptions
from controller.api import current
from controller.api.lbaasv2 import errors, first, settings, shapes
from controller.db.repositories import paging
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.resources.declare import Values

PAIRS = frozenset({("TCP", "TCP"), ("HTTP", "HTTP"), ("HTTPS", "HTTPS"), ("HTTP", "TERMINATED_HTTPS")})
"""Protocols of a pool and of the listener above it."""


def before_create(resource: str, values: Values) -> None:
    """Check a new object, and fill in what the first API must be told.

    :raises Fault: a rule is broken.
    """
    _CREATES.get(resource, _nothing)(values)


def before_update(resource: str, object_id: str, values: Values) -> None:
    """Check new values of an object.

    :raises Fault: a rule is broken.
    """
    if resource == "healthmonitor":
        _change_monitor(object_id, values)
    if resource == "listener" and values.get("default_pool_id") is not None:
        listener = first.call("GET", f"/v2/listeners/{object_id}")["listener"]
        _check_pair(_pool(values["default_pool_id"])["protocol"], listener["protocol"])


def before_delete(resource: str, object_id: str) -> None:
    """Nothing goes while something needs it.

    :raises Fault: EntityInUse.
    """
    with first.read() as tx:
        if resource == "listener":
            current.authorize("listener:delete", tx.listeners.get(object_id).project_id)  # before a word about what uses it
            policies = tx.l7policies.page(paging.Query(filters=(paging.Filter("listener_id", object_id),)))
            _check_unused("listener", object_id, "l7policy", policies)
        if resource == "pool" and (pool := tx.pools.head(object_id)).has_monitor:
            current.authorize("pool:delete", pool.project_id)
            monitors = tx.health_monitors.page(paging.Query(filters=(paging.Filter("pool_id", object_id),)))
            _check_unused("pool", object_id, "healthmonitor", monitors)


def _check_unused(entity: str, object_id: str, user: str, users: Sequence[model.Resource]) -> None:
    """What is being deleted uses nothing any more."""
    for one in users:
        if one.provisioning_status is not ProvisioningStatus.PENDING_DELETE:
            raise errors.in_use(entity, object_id, f"{user} {one.id}")


def _nothing(values: Values) -> None:
    """Most rules are the first API's too."""


def _create_load_balancer(values: Values) -> None:
    if values.get("provider") is not None and values.get("flavor_id") is not None:
        raise errors.Fault(409, "ProviderFlavorConflict", "Cannot specify both a provider and a flavor of a load balancer")
    if values.get("vip_subnet_id") is None and values.get("vip_network_id") is None:
        raise errors.bad_request("Failed to parse request. Required attribute 'vip_subnet_id' not specified")


def _create_listener(values: Values) -> None:
    pool_id = values.get("default_pool_id")
    if values.get("loadbalancer_id") is None and pool_id is None:
        raise _not_specified("loadbalancer_id", "default_pool_id")
    if values["protocol"] == "TERMINATED_HTTPS" and not values.get("default_tls_container_ref"):
        words = "The default TLS container of a TERMINATED_HTTPS listener must be specified: default_tls_container_ref"
        raise errors.Fault(400, "TLSDefaultContainerNotSpecified", words)
    if pool_id is not None:
        pool = _pool(pool_id)
        _check_pair(pool["protocol"], values["protocol"])
        if values.get("loadbalancer_id") is None:
            values["loadbalancer_id"] = pool["loadbalancers"][0]["id"]
    port = values["protocol_port"]
    with first.read() as tx:
        current.authorize("listener:post", tx.load_balancers.get(values["loadbalancer_id"]).project_id)
        if tx.listeners.protocols_on_port(values["loadbalancer_id"], port):
            words = f"Load balancer {values['loadbalancer_id']} already has a listener with protocol_port of {port}"
            raise errors.Fault(409, "LoadBalancerListenerProtocolPortExists", words)


def _create_pool(values: Values) -> None:
    if values.get("listener_id") is None and values.get("loadbalancer_id") is None:
        raise _not_specified("loadbalancer_id", "listener_id")
    if values.get("listener_id") is not None:
        listener = first.call("GET", f"/v2/listeners/{values['listener_id']}")["listener"]
        _check_pair(values["protocol"], listener["protocol"])


def _create_monitor(values: Values) -> None:
    _check_times(values["delay"], values["timeout"])
    if values["type"] not in ("HTTP", "HTTPS"):
        _drop_http(values)


def _change_monitor(monitor_id: str, values: Values) -> None:
    stored = first.call("GET", f"/v2/healthmonitors/{monitor_id}")["healthmonitor"]
    _check_times(values.get("delay", stored["delay"]), values.get("timeout", stored["timeout"]))
    if stored["type"] not in ("HTTP", "HTTPS"):
        _drop_http(values)


def _check_times(delay: int, timeout: int) -> None:
    if settings.current().monitor_delay_over_timeout and delay < timeout:
        raise errors.Fault(400, "DelayOrTimeoutInvalid", "The delay of a health monitor must be greater than or equal to its timeout")


def _drop_http(values: Values) -> None:
    """LBaaS v2 takes what says nothing to a monitor of this type, and never shows it."""
    for name in shapes.HTTP_ATTRIBUTES:
        values.pop(name, None)


def _not_specified(*names: str) -> errors.Fault:
    return errors.Fault(400, "RequiredAttributeNotSpecified", f"Required attribute {' or '.join(names)} not specified")


def _check_pair(pool_protocol: str, listener_protocol: str) -> None:
    if (pool_protocol, listener_protocol) not in PAIRS:
        words = f"Listener protocol {listener_protocol} and pool protocol {pool_protocol} are not compatible."
        raise errors.Fault(409, "ListenerPoolProtocolMismatch", words)


def _pool(pool_id: str) -> Values:
    try:
        found: Values = first.call("GET", f"/v2/pools/{pool_id}")["pool"]
    except exceptions.Forbidden as error:  # somebody else's does not exist for whoever names it
        raise exceptions.NotFound("Pool", pool_id) from error
    return found


_CREATES: Mapping[str, Callable[[Values], None]] = {
    "loadbalancer": _create_load_balancer,
    "listener": _create_listener,
    "pool": _create_pool,
    "healthmonitor": _create_monitor,
}
