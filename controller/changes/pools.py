"""Pools, and their rules: among them, which pools can hang below which listeners."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.changes import certificates, client_ips, tls
from controller.changes.asking import Asking, new_row
from controller.changes.settings import Settings
from controller.db import database
from controller.exceptions import RuleBroken
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS, fits
from controller.refusals import Refusal
from controller.resources import kinds
from controller.resources.declare import Values
from controller.resources.pool import PERSISTENCE, SCHEMA

_TLS_FIELDS: dict[str, Any] = {
    name: SCHEMA.fields[name].default
    for name in ("tls_enabled", "tls_container_ref", "ca_tls_container_ref", "crl_container_ref", *tls.OPTIONS)
}
"""Fields about TLS to the members, and what they are when nothing is asked for."""
_OF_STREAMS = {name: SCHEMA.fields[name].default for name in ("slow_start", "drain_timeout")}
_OF_DATAGRAMS = {"preserve_client_ip": False}
_BY_IPVS = ("persistence_timeout", "persistence_granularity")


def create(asking: Asking, wanted: Values, *, seen: certificates.Read | None = None) -> model.Pool:
    """Store a pool as PENDING_CREATE, below its listener if it names one, to be built.

    :raises InvalidRequest: its fields contradict each other or its listener, or a certificate can't be read.
    :raises NotFound: there is no such load balancer or listener.
    :raises Conflict: the listener has a default pool, or takes no change now.
    :raises QuotaExceeded: the project may not have another one.
    :raises NotSupported: the provider can't do it.
    """
    complete(asking.settings, wanted)
    secrets = _check_secrets(asking, wanted) if seen is None else seen
    _check_client_ips(asking, wanted)
    with asking.change() as tx:
        load_balancer_id, project_id, listener = _parents(asking, tx, wanted)
        asking.authorize("pool:post", project_id)
        generation = asking.accept(tx, load_balancer_id)
        if listener is not None:
            _check_listener(asking, tx.listeners.get(listener.id), wanted["protocol"])
        row = {**asking.columns(SCHEMA, wanted), **new_row(project_id, generation, load_balancer_id=load_balancer_id)}
        asking.reserve(tx, project_id, pool=1)
        asking.supports(asking.provider_of(tx, load_balancer_id), "pool", wanted)
        tx.pools.add([row])
        certificates.keep(tx, load_balancer_id, secrets, generation)
        if listener is not None:
            tx.listeners.change(listener.id, {"default_pool_id": row["id"]}, generation)
        if wanted["tls_container_ref"]:
            tx.tenant_certificates.tell_ends(load_balancer_id)
        return tx.pools.get(row["id"])


def looked(
    asking: Asking, wanted: Sequence[Values], parent_id: str | None = None, project_id: str | None = None
) -> contextlib.AbstractContextManager[Sequence[certificates.Read]]:
    """What new pools name of the secret store, read before a block. `project_id`: whose they will be, below what is yet to be made.

    :raises ControllerError: as `create()`.
    """
    for values in wanted:
        complete(asking.settings, dict(values))
    return contextlib.nullcontext([_check_secrets(asking, values, project_id) for values in wanted])


def update(asking: Asking, pool_id: str, values: Values) -> model.Pool:
    """Store new values, to be applied.

    :raises InvalidRequest: they contradict each other, or a certificate can't be read.
    :raises NotFound: there is no such pool.
    :raises Conflict: it, or the load balancer, takes no change now.
    :raises NotSupported: the provider can't do it.
    """
    wanted = dict(values)  # without the operator's defaults, which take the place of nulls
    secrets = _check_changed_secrets(asking, values, pool_id)
    _check_changed_client_ips(asking, values, pool_id)
    with asking.change() as tx:
        pool = tx.pools.get(pool_id)
        asking.authorize("pool:put", pool.project_id)
        generation = asking.accept(tx, pool.load_balancer_id)
        asking.need_users(tx, pool_id, pool.load_balancer_id)
        complete_change(asking.settings, values, pool)
        asking.supports(asking.provider_of(tx, pool.load_balancer_id), "pool", {**wanted, "protocol": pool.protocol})
        certificates.keep_former(tx, certificates.POOL, values, pool, generation)
        certificates.keep(tx, pool.load_balancer_id, secrets, generation)
        if pool.tls_enabled:
            tx.tenant_certificates.ask_again(pool.load_balancer_id, certificates.POOL.references(values, pool), generation)
        tx.pools.change(pool_id, asking.columns(SCHEMA, values), generation)
        tx.listeners.touch_users(pool_id, generation)
        certificates.tell_ends(tx, pool.load_balancer_id, certificates.POOL, values)
        return tx.pools.get(pool_id)


def delete(asking: Asking, pool_id: str) -> None:
    """Have it removed with its members and its monitor; listeners lose their default pool.

    :raises NotFound: there is no such pool.
    :raises Conflict: an L7 policy uses it; or it, or the load balancer, takes no change now.
    """
    with asking.change() as tx:
        pool = tx.pools.head(pool_id)
        asking.authorize("pool:delete", pool.project_id)
        generation = asking.accept(tx, pool.load_balancer_id)
        asking.need_users(tx, pool_id, pool.load_balancer_id)
        if (user := tx.l7policies.user_of(pool_id)) is not None:
            raise exceptions.Conflict(f"Pool {pool_id} is in use by L7 policy {user}", code=Refusal.POOL_IN_USE)
        tx.pools.mark_deleted(pool_id, generation)
        tx.members.mark_deleted_in(pool_id, generation)
        tx.health_monitors.mark_deleted_in(pool_id, generation)
        tx.listeners.detach(pool_id, generation)


def _parents(asking: Asking, tx: database.Transaction, wanted: Values) -> tuple[str, str, model.Listener | None]:
    """The load balancer's id and project, and the listener if one was named."""
    if wanted["listener_id"] is not None:
        listener = tx.listeners.get(wanted["listener_id"])
        asking.authorize("pool:post", listener.project_id)  # before a word about where somebody else's listener is
        if wanted["loadbalancer_id"] not in (None, listener.load_balancer_id):
            raise RuleBroken(f"Listener {listener.id} is not on load balancer {wanted['loadbalancer_id']}.")
        wanted["loadbalancer_id"] = listener.load_balancer_id
        return listener.load_balancer_id, listener.project_id, listener
    if wanted["loadbalancer_id"] is None:
        raise RuleBroken("Must provide at least one of: loadbalancer_id, listener_id")
    load_balancer = tx.load_balancers.get(wanted["loadbalancer_id"])
    return load_balancer.id, load_balancer.project_id, None


def _check_secrets(asking: Asking, wanted: Values, project_id: str | None = None) -> certificates.Read:
    """What a new pool names of the secret store, read before the transaction, which must not wait for it.

    `project_id` is given where there is no load balancer yet.
    """
    if not certificates.POOL.named(wanted):
        return certificates.NOTHING
    since = 0
    if project_id is None:
        with asking.read() as tx:
            load_balancer_id, project_id, _listener = _parents(asking, tx, wanted)
            since = tx.load_balancers.get(load_balancer_id).generation
    asking.authorize("pool:post", project_id)
    return certificates.check(asking, certificates.POOL, wanted, project_id, since)


def _check_changed_secrets(asking: Asking, values: Values, pool_id: str) -> certificates.Read:
    """The same for a pool that changes."""
    if not certificates.POOL.named(values):
        return certificates.NOTHING
    with asking.read() as tx:
        pool = tx.pools.get(pool_id)
        since = tx.load_balancers.get(pool.load_balancer_id).generation
    asking.authorize("pool:put", pool.project_id)
    complete_change(asking.settings, dict(values), pool)
    return certificates.check(asking, certificates.POOL, certificates.POOL.after(values, pool), pool.project_id, since)


def _check_client_ips(asking: Asking, wanted: Values) -> None:
    """Whether members of a new pool can be sent what is in their clients' names."""
    if not wanted["preserve_client_ip"]:
        return
    with asking.read() as tx:
        load_balancer_id, project_id, _listener = _parents(asking, tx, wanted)
        vip = tx.load_balancers.get(load_balancer_id).vip
    asking.authorize("pool:post", project_id)
    client_ips.check_vip(asking, vip)


def _check_changed_client_ips(asking: Asking, values: Values, pool_id: str) -> None:
    """The same for a pool that changes, and has members; one whose members see their clients already was looked at."""
    if not values.get("preserve_client_ip"):
        return
    with asking.read() as tx:
        pool = tx.pools.get(pool_id)
        if pool.preserve_client_ip:
            return
        vip = tx.load_balancers.get(pool.load_balancer_id).vip
        subnets = [one.subnet_id for one in tx.members.of_pool(pool_id)]
    asking.authorize("pool:put", pool.project_id)
    complete_change(asking.settings, dict(values), pool)
    client_ips.check_vip(asking, vip)
    client_ips.check_subnets(asking, subnets, vip.network_id)


def _check_listener(asking: Asking, listener: model.Listener, protocol: str) -> None:
    """Whether the listener, read under the load balancer's lock, can take the new pool."""
    asking.need_mutable(listener.load_balancer_id, "Listener", listener.id, listener.provisioning_status)
    asking.dialect.check_pair(protocol, listener.protocol)
    check_protocol(protocol, listener.protocol)
    if listener.default_pool_id is not None:
        words = f"Listener {listener.id} already has a default pool: {listener.default_pool_id}"
        raise exceptions.Conflict(words, code=Refusal.DEFAULT_POOL_EXISTS)


def check_protocol(pool_protocol: str, listener_protocol: str) -> None:
    """Not every pool can serve every listener: a TCP pool can't hang below an HTTP listener.

    :raises InvalidRequest: this one can't.
    """
    if not fits(pool_protocol, listener_protocol):
        words = f"The pool protocol '{pool_protocol}' is invalid while the listener protocol is '{listener_protocol}'."
        raise RuleBroken(words, Refusal.PROTOCOL_MISMATCH)


def complete(settings: Settings, values: Values) -> None:
    """Fill the operator's defaults into a new pool, and check what its fields say together.

    :raises InvalidRequest: they contradict each other.
    """
    protocol = values["protocol"]
    values["session_persistence"] = _persistence(values["session_persistence"], None, protocol)
    _only_where_it_fits(values, protocol)
    if values["tls_enabled"]:
        tls.fill(values, settings.unsaid["pool"], tls.OPTIONS)
    _check_tls(settings, values)


def complete_change(settings: Settings, values: Values, pool: model.Pool) -> None:
    """Check new values of a pool together with those it has; a null means the default.

    :raises InvalidRequest: they contradict each other.
    """
    if "session_persistence" in values:
        stored = kinds.as_given(pool.session_persistence)
        values["session_persistence"] = _persistence(values["session_persistence"], stored, pool.protocol)
    _only_where_it_fits(values, pool.protocol)
    defaults = settings.unsaid["pool"]
    if PROTOCOLS[pool.protocol].transport == "tcp":
        tls.fill(values, defaults, [name for name in ("tls_ciphers", "tls_versions") if name in values])
    if values.get("tls_enabled") and not pool.tls_enabled:  # turned on: what nobody chose is as safe as in a new pool
        tls.fill(values, defaults, [name for name in tls.OPTIONS if name not in values and getattr(pool, name) is None])
    _check_tls(settings, {**{name: getattr(pool, name) for name in _TLS_FIELDS}, **values})


def _only_where_it_fits(values: Mapping[str, Any], protocol: str) -> None:
    of_datagrams = (_OF_DATAGRAMS, "that is for pools of protocol UDP or SCTP")
    of_others = ((_TLS_FIELDS, "it speaks no TLS"), (_OF_STREAMS, "that is for pools over TCP"))
    for fields, reason in (of_datagrams,) if PROTOCOLS[protocol].transport == "tcp" else of_others:
        if asked_for := tls.given(values, fields):
            raise RuleBroken(f"A pool of protocol {protocol} can't have {', '.join(asked_for)}: {reason}.")


def _check_tls(settings: Settings, values: Mapping[str, Any]) -> None:
    if values["crl_container_ref"] and not values["ca_tls_container_ref"]:
        raise RuleBroken("crl_container_ref needs a ca_tls_container_ref.")
    tls.check(settings.tls, values)


def _persistence(given: Mapping[str, Any] | None, stored: Mapping[str, Any] | None, protocol: str) -> dict[str, Any] | None:
    """The session persistence that follows from what was given and what there was.

    :raises InvalidRequest: it lacks something, or its parts or the pool's protocol contradict each other.
    """
    if given is None:
        return None
    if not given:
        raise RuleBroken("Invalid session_persistence provided.", Refusal.SESSION_PERSISTENCE)
    whole = {**PERSISTENCE.defaults, **(stored or {}), **given}
    kind = whole["type"]
    if kind is None:
        raise RuleBroken("session_persistence must have a type.", Refusal.SESSION_PERSISTENCE)
    if given.get("type", kind) != "APP_COOKIE" and "cookie_name" not in given:
        whole["cookie_name"] = None  # what the type before needed goes with it
    if kind == "APP_COOKIE" and whole["cookie_name"] is None:
        raise RuleBroken("session_persistence of type APP_COOKIE must have a cookie_name.", Refusal.SESSION_PERSISTENCE)
    if kind != "APP_COOKIE" and whole["cookie_name"] is not None:
        raise RuleBroken(f"session_persistence of type {kind} must not have a cookie_name.", Refusal.SESSION_PERSISTENCE)
    if kind != "SOURCE_IP" and not PROTOCOLS[protocol].has_cookies:
        raise RuleBroken(f"session_persistence of type {kind} is invalid for a pool of protocol {protocol}.", Refusal.SESSION_PERSISTENCE)
    if PROTOCOLS[protocol].transport == "tcp" and any(whole[name] is not None for name in _BY_IPVS):
        raise RuleBroken(
            "persistence_timeout and persistence_granularity are for UDP and SCTP pools of type SOURCE_IP only.",
            Refusal.SESSION_PERSISTENCE,
        )
    return whole
