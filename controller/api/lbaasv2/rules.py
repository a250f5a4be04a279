"""Rules that LBaaS v2 has and the others have not, or have otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from controller import exceptions
from controller.api.lbaasv2 import errors, shapes
from controller.changes import dialect
from controller.changes.asking import Asking
from controller.db.repositories import paging
from controller.db.repositories.pools import Head
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS
from controller.model.status import ProvisioningStatus
from controller.resources.declare import Values


class Dialect(dialect.Dialect):
    """What clients of LBaaS v2 may not combine, looked at where changes have the rows at hand."""

    def __init__(self, *, monitor_delay_over_timeout: bool) -> None:
        self._monitor_delay_over_timeout = monitor_delay_over_timeout

    def check_port(self, load_balancer_id: str, port: int, taken: Collection[str]) -> None:
        """No two listeners share a port, whatever they speak."""
        if taken:
            words = f"Load balancer {load_balancer_id} already has a listener with protocol_port of {port}"
            raise errors.Fault(409, "LoadBalancerListenerProtocolPortExists", words)

    def check_pair(self, pool_protocol: str, listener_protocol: str) -> None:
        """Fewer pools serve a listener."""
        if pool_protocol not in PROTOCOLS[listener_protocol].lbaasv2_pools:
            words = f"Listener protocol {listener_protocol} and pool protocol {pool_protocol} are not compatible."
            raise errors.Fault(409, "ListenerPoolProtocolMismatch", words)

    def check_times(self, delay: int, timeout: int) -> None:
        """Where the operator wants it so, a check is over before the next one begins."""
        if self._monitor_delay_over_timeout and delay < timeout:
            words = "The delay of a health monitor must be greater than or equal to its timeout"
            raise errors.Fault(400, "DelayOrTimeoutInvalid", words)


def _delete_listener(asking: Asking, listener_id: str) -> None:
    with asking.read() as tx:
        asking.authorize("listener:delete", tx.listeners.get(listener_id).project_id)  # before a word about what uses it
        policies = tx.l7policies.page(paging.Query(filters=(paging.Filter("listener_id", listener_id),)))
    _check_unused("listener", listener_id, "l7policy", policies)


def _delete_pool(asking: Asking, pool_id: str) -> None:
    with asking.read() as tx:
        pool = tx.pools.head(pool_id)
        if pool.has_monitor:
            asking.authorize("pool:delete", pool.project_id)
            monitors = tx.health_monitors.page(paging.Query(filters=(paging.Filter("pool_id", pool_id),)))
            _check_unused("pool", pool_id, "healthmonitor", monitors)


def _check_unused(entity: str, object_id: str, user: str, users: Sequence[model.Resource]) -> None:
    """What is being deleted uses nothing any more."""
    for one in users:
        if one.provisioning_status is not ProvisioningStatus.PENDING_DELETE:
            raise errors.in_use(entity, object_id, f"{user} {one.id}")


def _create_load_balancer(asking: Asking, values: Values) -> None:
    if values.get("provider") is not None and values.get("flavor_id") is not None:
        raise errors.Fault(409, "ProviderFlavorConflict", "Cannot specify both a provider and a flavor of a load balancer")
    if values.get("vip_subnet_id") is None and values.get("vip_network_id") is None:
        raise errors.bad_request("Failed to parse request. Required attribute 'vip_subnet_id' not specified")


def _create_listener(asking: Asking, values: Values) -> None:
    pool_id = values.get("default_pool_id")
    if values.get("loadbalancer_id") is None and pool_id is None:
        raise _not_specified("loadbalancer_id", "default_pool_id")
    if PROTOCOLS[values["protocol"]].ends_tls and not values.get("default_tls_container_ref"):
        words = "The default TLS container of a TERMINATED_HTTPS listener must be specified: default_tls_container_ref"
        raise errors.Fault(400, "TLSDefaultContainerNotSpecified", words)
    if values.get("loadbalancer_id") is None:
        values["loadbalancer_id"] = _pool(asking, str(pool_id)).load_balancer_id


def _create_pool(asking: Asking, values: Values) -> None:
    if values.get("listener_id") is None and values.get("loadbalancer_id") is None:
        raise _not_specified("loadbalancer_id", "listener_id")


def _create_monitor(asking: Asking, values: Values) -> None:
    if values["type"] not in ("HTTP", "HTTPS"):
        _drop_http(values)


def _change_monitor(asking: Asking, monitor_id: str, values: Values) -> None:
    with asking.read() as tx:
        stored = tx.health_monitors.get(monitor_id)
    asking.authorize("healthmonitor:get_one", stored.project_id)
    if stored.type not in ("HTTP", "HTTPS"):
        _drop_http(values)


def _drop_http(values: Values) -> None:
    """LBaaS v2 takes what says nothing to a monitor of this type, and never shows it."""
    for name in shapes.HTTP_ATTRIBUTES:
        values.pop(name, None)


def _not_specified(*names: str) -> errors.Fault:
    return errors.Fault(400, "RequiredAttributeNotSpecified", f"Required attribute {' or '.join(names)} not specified")


def _pool(asking: Asking, pool_id: str) -> Head:
    """:raises NotFound: there is none, or it is somebody else's, which does not exist for whoever names it."""
    with asking.read() as tx:
        found = tx.pools.head(pool_id)
    if not asking.may("pool:get_one", found.project_id):
        raise exceptions.NotFound("Pool", pool_id)
    return found


CREATES: Mapping[str, Callable[[Asking, Values], None]] = {
    "loadbalancer": _create_load_balancer,
    "listener": _create_listener,
    "pool": _create_pool,
    "healthmonitor": _create_monitor,
}
"""Rules for new objects, which also fill in what changes must be told."""
UPDATES: Mapping[str, Callable[[Asking, str, Values], None]] = {"healthmonitor": _change_monitor}
DELETES: Mapping[str, Callable[[Asking, str], None]] = {"listener": _delete_listener, "pool": _delete_pool}
"""Rules that look at rows before a change. Nothing goes while something needs it."""
