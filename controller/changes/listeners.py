"""Listeners, and their rules. Which pools can hang below which listeners says `pools`."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.changes import certificates, pools, tls
from controller.changes.asking import Asking, need, new_row
from controller.changes.settings import Settings
from controller.db import database
from controller.exceptions import NotAllowed, RuleBroken
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS
from controller.refusals import Refusal
from controller.resources.declare import Values
from controller.resources.listener import SCHEMA

_HSTS = ("hsts_max_age", "hsts_include_subdomains", "hsts_preload")
_CERTIFICATES = ("default_tls_container_ref", "sni_container_refs", "client_ca_tls_container_ref", "client_crl_container_ref")
_ONLY_WHERE_TLS_ENDS: dict[str, Any] = {
    name: SCHEMA.fields[name].default for name in (*_CERTIFICATES, "client_authentication", *tls.OPTIONS, *_HSTS)
}
"""Fields that only TERMINATED_HTTPS knows, and what they are elsewhere."""

_ONLY_WHERE_REQUESTS_ARE_SEEN = {name: SCHEMA.fields[name].default for name in ("rate_limit", "error_page")}


def create(asking: Asking, wanted: Values, *, seen: certificates.Read | None = None) -> model.Listener:
    """Store a listener as PENDING_CREATE, to be built.

    :raises InvalidRequest: its fields contradict each other or the load balancer, or a certificate can't be read.
    :raises NotFound: there is no such load balancer or pool.
    :raises Conflict: the port is taken, or the load balancer or the pool takes no change now.
    :raises QuotaExceeded: the project may not have another one.
    :raises NotSupported: the provider can't do it.
    """
    complete(asking.settings, wanted)
    secrets = _check_secrets(asking, wanted) if seen is None else seen
    with asking.change() as tx:
        load_balancer = tx.load_balancers.get(wanted["loadbalancer_id"])
        asking.authorize("listener:post", load_balancer.project_id)
        generation = asking.accept(tx, load_balancer.id)
        taken = tx.listeners.protocols_on_port(load_balancer.id, wanted["protocol_port"])
        asking.dialect.check_port(load_balancer.id, wanted["protocol_port"], taken)
        check_port(wanted["protocol"], wanted["protocol_port"], taken)
        check_cidrs(wanted["allowed_cidrs"], load_balancer.vip.versions, own_groups=bool(load_balancer.vip.sg_ids))
        _check_default_pool(asking, tx, wanted["default_pool_id"], load_balancer.id, wanted["protocol"])
        row = {**asking.columns(SCHEMA, wanted), **new_row(load_balancer.project_id, generation, load_balancer_id=load_balancer.id)}
        asking.reserve(tx, load_balancer.project_id, listener=1)
        asking.supports(asking.provider_of(tx, load_balancer.id), "listener", wanted)
        tx.listeners.add([row])
        certificates.keep(tx, load_balancer.id, secrets, generation)
        if PROTOCOLS[wanted["protocol"]].ends_tls:
            tx.tenant_certificates.tell_ends(load_balancer.id)
        return tx.listeners.get(row["id"])


def looked(
    asking: Asking, wanted: Sequence[Values], parent_id: str | None = None, project_id: str | None = None
) -> contextlib.AbstractContextManager[Sequence[certificates.Read]]:
    """What new listeners name of the secret store, read before a block. `project_id`: whose they will be, below what is yet to be made.

    :raises ControllerError: as `create()`.
    """
    for values in wanted:
        complete(asking.settings, dict(values))
    return contextlib.nullcontext([_check_secrets(asking, values, project_id) for values in wanted])


def update(asking: Asking, listener_id: str, values: Values) -> model.Listener:
    """Store new values, to be applied.

    :raises InvalidRequest: they contradict each other or the load balancer, or a certificate can't be read.
    :raises NotFound: there is no such listener or pool.
    :raises Conflict: it, the load balancer or the pool takes no change now.
    :raises NotSupported: the provider can't do it.
    """
    secrets = _check_changed_secrets(asking, values, listener_id)
    with asking.change() as tx:
        listener = tx.listeners.get(listener_id)
        asking.authorize("listener:put", listener.project_id)
        generation = asking.accept(tx, listener.load_balancer_id)
        asking.need_mutable(listener.load_balancer_id, "Listener", listener_id, listener.provisioning_status)
        complete_change(asking.settings, values, listener)
        if values.get("allowed_cidrs"):
            load_balancer = tx.load_balancers.get(listener.load_balancer_id)
            check_cidrs(values["allowed_cidrs"], load_balancer.vip.versions, own_groups=bool(load_balancer.vip.sg_ids))
        _check_default_pool(asking, tx, values.get("default_pool_id"), listener.load_balancer_id, listener.protocol)
        asking.supports(asking.provider_of(tx, listener.load_balancer_id), "listener", values)
        certificates.keep_former(tx, certificates.LISTENER, values, listener, generation)
        certificates.keep(tx, listener.load_balancer_id, secrets, generation)
        if PROTOCOLS[listener.protocol].ends_tls:  # a secret that was changed in the store is taken up by any update of who uses it
            tx.tenant_certificates.ask_again(listener.load_balancer_id, certificates.LISTENER.references(values, listener), generation)
        tx.listeners.change(listener_id, asking.columns(SCHEMA, values), generation)
        certificates.tell_ends(tx, listener.load_balancer_id, certificates.LISTENER, values)
        return tx.listeners.get(listener_id)


def delete(asking: Asking, listener_id: str) -> None:
    """Have it removed with its L7 policies; its default pool stays.

    :raises NotFound: there is no such listener.
    :raises Conflict: it, or the load balancer, takes no change now.
    """
    with asking.change() as tx:
        listener = tx.listeners.get(listener_id)
        asking.authorize("listener:delete", listener.project_id)
        generation = asking.accept(tx, listener.load_balancer_id)
        need(asking.settings.removable, "Listener", listener_id, listener.provisioning_status)
        tx.listeners.mark_deleted(listener_id, generation)
        tx.l7rules.mark_deleted_below(listener_id, generation)
        tx.l7policies.mark_deleted_in(listener_id, generation)


def _check_secrets(asking: Asking, values: Mapping[str, Any], project_id: str | None = None) -> certificates.Read:
    """What a new listener names of the secret store, read before the transaction, which must not wait for it.

    `project_id` is given where there is no load balancer yet.
    """
    if not certificates.LISTENER.named(values):
        return certificates.NOTHING
    since = 0
    if project_id is None:
        with asking.read() as tx:
            load_balancer = tx.load_balancers.get(values["loadbalancer_id"])
        project_id, since = load_balancer.project_id, load_balancer.generation
    asking.authorize("listener:post", project_id)
    return certificates.check(asking, certificates.LISTENER, values, project_id, since)


def _check_changed_secrets(asking: Asking, values: Mapping[str, Any], listener_id: str) -> certificates.Read:
    """The same for a listener that changes: a CA and its revocations are looked at together, even if only one of them is new."""
    if not certificates.LISTENER.named(values):
        return certificates.NOTHING
    with asking.read() as tx:
        listener = tx.listeners.get(listener_id)
        since = tx.load_balancers.get(listener.load_balancer_id).generation
        copied = certificates.kept(tx, certificates.LISTENER, values, listener)
    asking.authorize("listener:put", listener.project_id)
    complete_change(asking.settings, dict(values), listener)
    wanted = certificates.LISTENER.after(values, listener)
    return certificates.check(asking, certificates.LISTENER, wanted, listener.project_id, since, copied)


def _check_default_pool(asking: Asking, tx: database.Transaction, pool_id: str | None, load_balancer_id: str, protocol: str) -> None:
    if pool_id is None:
        return
    pool = tx.pools.head(pool_id)
    if pool.load_balancer_id != load_balancer_id:
        raise exceptions.NotFound("Pool", pool_id)
    if pool.is_being_deleted:
        raise exceptions.ObjectImmutable("Pool", pool_id)
    asking.dialect.check_pair(pool.protocol, protocol)
    pools.check_protocol(pool.protocol, protocol)


def complete(settings: Settings, values: Values) -> None:
    """Fill the operator's defaults into a new listener, and check what its fields say together.

    :raises InvalidRequest: they contradict each other, or the deployment does not allow the protocol.
    """
    protocol, allowed = values["protocol"], settings.tls
    ends_tls = PROTOCOLS[protocol].ends_tls
    if (ends_tls and not allowed.allow_terminated) or (protocol == "PROMETHEUS" and not allowed.allow_prometheus):
        raise NotAllowed("protocol", protocol)
    _check_headers(protocol, values["insert_headers"])
    _only_where_tls_ends(protocol, values)
    _only_where_requests_are_seen(protocol, values)
    if ends_tls:
        tls.fill(values, settings.unsaid["listener"], tls.OPTIONS)
        _check_whole(settings, values)


def complete_change(settings: Settings, values: Values, stored: model.Listener) -> None:
    """Check new values of a listener together with those it has; a null means the default.

    :raises InvalidRequest: they contradict each other.
    """
    protocol = stored.protocol
    _check_headers(protocol, values.get("insert_headers", ()))
    _only_where_tls_ends(protocol, values)
    _only_where_requests_are_seen(protocol, values)
    if PROTOCOLS[protocol].ends_tls:
        tls.fill(values, settings.unsaid["listener"], [name for name in tls.OPTIONS if name in values])
        _check_whole(settings, {**{name: getattr(stored, name) for name in _ONLY_WHERE_TLS_ENDS}, **values})


def _only_where_tls_ends(protocol: str, values: Mapping[str, Any]) -> None:
    asked_for = tls.given(values, _ONLY_WHERE_TLS_ENDS) if not PROTOCOLS[protocol].ends_tls else ()
    if asked_for:
        raise RuleBroken(f"A listener of protocol {protocol} can't have {', '.join(asked_for)}: only TERMINATED_HTTPS ends TLS.")


def _check_whole(settings: Settings, values: Mapping[str, Any]) -> None:
    """A listener that ends TLS has what that needs."""
    if not values["default_tls_container_ref"] and not values["sni_container_refs"]:
        raise RuleBroken(
            "A listener of protocol TERMINATED_HTTPS must have a default_tls_container_ref or sni_container_refs.",
            Refusal.TLS_CONTAINER_MISSING,
        )
    if values["client_authentication"] != "NONE" and not values["client_ca_tls_container_ref"]:
        raise RuleBroken(f"client_authentication {values['client_authentication']} needs a client_ca_tls_container_ref.")
    if values["client_crl_container_ref"] and not values["client_ca_tls_container_ref"]:
        raise RuleBroken("client_crl_container_ref needs a client_ca_tls_container_ref.")
    tls.check(settings.tls, values)
    if values["hsts_max_age"] is None and (values["hsts_include_subdomains"] or values["hsts_preload"]):
        raise RuleBroken("hsts_include_subdomains and hsts_preload need hsts_max_age.")


def _only_where_requests_are_seen(protocol: str, values: Mapping[str, Any]) -> None:
    asked_for = tls.given(values, _ONLY_WHERE_REQUESTS_ARE_SEEN) if not PROTOCOLS[protocol].has_requests else ()
    if asked_for:
        raise RuleBroken(f"A listener of protocol {protocol} can't have {', '.join(asked_for)}: it sees no requests.")


def _check_headers(protocol: str, names: Iterable[str]) -> None:
    """Headers can be inserted where HTTP is spoken, and what TLS tells only where TLS ends.

    :raises InvalidRequest: a header can't be inserted by a listener of this protocol.
    """
    for name in names:
        if name not in PROTOCOLS[protocol].headers:
            raise exceptions.InvalidRequest(f"{name} is not a valid option for insert_headers of a {protocol} listener")


def check_cidrs(allowed: Iterable[str], vip_versions: Collection[int], *, own_groups: bool) -> None:
    """Ranges of clients have the IP version of a VIP; where security groups of the tenant decide, there are none.

    :raises InvalidRequest: it is otherwise.
    """
    for cidr in allowed:
        if own_groups:
            raise RuleBroken("allowed_cidrs can't be used together with vip_sg_ids: the security groups say who may reach the VIP.")
        if ipaddress.ip_network(cidr).version not in vip_versions:
            raise RuleBroken(f"allowed_cidrs: the VIP is IPv{' and IPv'.join(map(str, sorted(vip_versions)))}, and {cidr} is not.")


def check_port(protocol: str, port: int, taken: Sequence[str]) -> None:
    """Two listeners share a port only if their transport protocols differ.

    :raises Conflict: the port is taken by one of the protocols.
    """
    if any(PROTOCOLS[other].transport == PROTOCOLS[protocol].transport for other in taken):
        words = f"Another Listener on this Load Balancer is already using protocol {protocol} and protocol_port {port}"
        raise exceptions.Conflict(words, code=Refusal.PORT_IN_USE)
