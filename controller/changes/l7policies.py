"""L7 policies, and their rules; `l7rules` has those that decide which requests a policy is for."""

from __future__ import annotations

from collections.abc import Iterable

from controller import exceptions
from controller.changes import pools
from controller.changes.asking import Asking, need, new_row
from controller.db import database
from controller.exceptions import RuleBroken
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS
from controller.model.status import ProvisioningStatus
from controller.refusals import Refusal
from controller.resources import kinds
from controller.resources.declare import Values
from controller.resources.l7policy import DEFAULT_HTTP_CODE, FIXED, PREFIX, SCHEMA, TARGETS, TO_POOL, TO_URL

_MOST_POOLS = 10
_WITHOUT_BODY = (204, 205, 304)  # RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5
_WITH_CODE, _WITHOUT_CODE = (TO_URL, PREFIX), (TO_POOL, FIXED)


def create(asking: Asking, wanted: Values) -> model.L7Policy:
    """Store a policy as PENDING_CREATE, at its position among those of its listener, to be applied.

    :raises InvalidRequest: what its action needs is missing, or it does not fit its listener.
    :raises NotFound: there is no such listener or pool.
    :raises Conflict: one of them takes no change now.
    :raises QuotaExceeded: the project may not have another one.
    :raises NotSupported: the provider can't do it on such a listener.
    """
    complete(wanted)
    with asking.change() as tx:
        listener = tx.listeners.get(wanted["listener_id"])
        asking.authorize("l7policy:post", listener.project_id)
        check_listener(listener.protocol)
        generation = asking.accept(tx, listener.load_balancer_id)
        asking.need_mutable(listener.load_balancer_id, "Listener", listener.id, listener.provisioning_status)
        tx.listeners.touch(listener.id, generation)
        for pool_id in _pools(wanted):
            _check_pool(tx, pool_id, listener)
        position = min(wanted["position"], tx.l7policies.last_position(listener.id) + 1)
        asking.reserve(tx, listener.project_id, l7policy=1)
        provider = asking.provider_of(tx, listener.load_balancer_id)
        asking.supports(provider, "l7policy", {**wanted, "listener_protocol": listener.protocol})
        row = {
            **asking.columns(SCHEMA, wanted),
            **new_row(listener.project_id, generation, load_balancer_id=listener.load_balancer_id),
            "position": position,
        }
        tx.l7policies.make_room(listener.id, position, generation)
        tx.l7policies.add([row])
        _touch_users(tx, generation, _pools(wanted))
        return tx.l7policies.get(row["id"])


def update(asking: Asking, policy_id: str, values: Values) -> model.L7Policy:
    """Store new values, move the policy and those between its old and its new position, and have it applied.

    :raises InvalidRequest: what its action needs is missing.
    :raises NotFound: there is no such policy or pool.
    :raises Conflict: one of them takes no change now.
    """
    with asking.change() as tx:
        head = tx.l7policies.head(policy_id)
        asking.authorize("l7policy:put", head.project_id)
        generation = asking.accept(tx, head.load_balancer_id)
        stored = tx.l7policies.get(policy_id)  # under the load balancer's lock
        asking.need_mutable(head.load_balancer_id, "L7 Policy", policy_id, stored.provisioning_status)
        tx.l7policies.touch(policy_id, generation)
        listener = tx.listeners.get(stored.listener_id)
        tx.listeners.touch(listener.id, generation)
        complete_change(values, stored)
        for pool_id in _pools(values):
            if pool_id not in stored.pool_ids:
                _check_pool(tx, pool_id, listener)
        asking.supports(asking.provider_of(tx, head.load_balancer_id), "l7policy", values)
        if "position" in values:
            values["position"] = min(values["position"], tx.l7policies.last_position(listener.id))
            tx.l7policies.move(stored, values["position"], generation)
        _touch_users(tx, generation, stored.pool_ids)
        row = asking.columns(SCHEMA, values)
        if values["split"] is None and stored.split is None:
            del row["split"]  # there is nothing to write
        tx.l7policies.change(policy_id, row, generation)
        _touch_users(tx, generation, _pools(values))
        return tx.l7policies.get(policy_id)


def delete(asking: Asking, policy_id: str) -> None:
    """Have it removed with its rules; those behind it move up.

    :raises NotFound: there is no such policy.
    :raises Conflict: it, or the load balancer, takes no change now.
    """
    with asking.change() as tx:
        head = tx.l7policies.head(policy_id)
        asking.authorize("l7policy:delete", head.project_id)
        generation = asking.accept(tx, head.load_balancer_id)
        stored = tx.l7policies.get(policy_id)
        need(asking.settings.removable, "L7 Policy", policy_id, stored.provisioning_status)
        tx.l7policies.mark_deleted(policy_id, generation)
        tx.l7rules.mark_deleted_in(policy_id, generation)
        tx.l7policies.close_gap(stored.listener_id, stored.position, generation)
        tx.listeners.touch(stored.listener_id, generation)
        _touch_users(tx, generation, stored.pool_ids)


def _pools(values: Values) -> list[str]:
    """The pools that a policy with these values gives requests to."""
    shares = [share["pool_id"] for share in values["split"]["pools"]] if values["split"] else []
    return [one for one in dict.fromkeys((values["redirect_pool_id"], *shares)) if one is not None]


def _check_pool(tx: database.Transaction, pool_id: str, listener: model.Listener) -> None:
    """Whether requests of the listener can be given to the pool, read under the load balancer's lock."""
    pool = tx.pools.head(pool_id)
    if pool.load_balancer_id != listener.load_balancer_id:
        raise exceptions.NotFound("Pool", pool_id)
    if pool.provisioning_status is ProvisioningStatus.PENDING_DELETE:
        raise exceptions.ObjectImmutable("Pool", pool_id)
    pools.check_protocol(pool.protocol, listener.protocol)


def _touch_users(tx: database.Transaction, generation: int, pool_ids: Iterable[str]) -> None:
    for pool_id in pool_ids:
        tx.listeners.touch_users(pool_id, generation)


def complete(values: Values) -> None:
    """Keep of a new policy what its action needs, and check that it is there.

    :raises InvalidRequest: something is missing.
    """
    action = values["action"]
    _keep_target(values, action)
    values["redirect_http_code"] = _http_code(action, values["redirect_http_code"])


def complete_change(values: Values, stored: model.L7Policy) -> None:
    """Add to the new values of a policy what follows from them: the targets of other actions go, and the code that fits comes.

    :raises InvalidRequest: neither the new values nor the stored ones have what the action needs.
    """
    action = values.get("action", stored.action)
    names = (*TARGETS.values(), "split")
    targets = {name: values[name] if name in values else kinds.as_given(getattr(stored, name)) for name in names}
    if (
        values.get("split")
        and "redirect_pool_id" not in values
        and stored.redirect_pool_id not in _pools({**targets, "redirect_pool_id": None})
    ):
        targets["redirect_pool_id"] = None  # the first of the new ones takes its place
    _keep_target(targets, action)
    values.update(targets)
    if action != stored.action:
        kept = stored.redirect_http_code if action in _WITH_CODE else None
        values["redirect_http_code"] = _http_code(action, values.get("redirect_http_code", kept))
    elif action in _WITHOUT_CODE:
        values["redirect_http_code"] = None


def _keep_target(values: Values, action: str) -> None:
    """Clear the targets of other actions.

    :raises InvalidRequest: that of this action is missing.
    """
    if action != TO_POOL:
        values["split"] = None
    elif values["split"] is not None:
        _check_split(values)
    for of_action, name in TARGETS.items():
        if of_action != action:
            values[name] = None
        elif values[name] is None:
            raise exceptions.InvalidRequest(f"Invalid L7 Policy arguments: {name} must not be None", code=Refusal.L7POLICY_TARGET_MISSING)
    response = values["fixed_response"]
    if response is not None and response["body"] and response["status"] in _WITHOUT_BODY:
        raise RuleBroken(f"fixed_response: an answer of status {response['status']} has no body.")


def _check_split(values: Values) -> None:
    """Check how requests are split between pools, the first of which is the policy's if none is named.

    :raises InvalidRequest: they can't be.
    """
    shares = values["split"]["pools"]
    ids = [share["pool_id"] for share in shares]
    if not 2 <= len(ids) <= _MOST_POOLS or len(set(ids)) < len(ids):
        raise RuleBroken(f"split: requests are split between 2 to {_MOST_POOLS} pools, each named once.")
    if not any(share["weight"] for share in shares):
        raise RuleBroken("split: at least one pool needs a weight above 0.")
    if values["redirect_pool_id"] is None:
        values["redirect_pool_id"] = ids[0]
    elif values["redirect_pool_id"] not in ids:
        raise RuleBroken(
            f"split: redirect_pool_id {values['redirect_pool_id']} is none of its pools. Change both together, or set split to null."
        )


def _http_code(action: str, code: int | None) -> int | None:
    if action in _WITHOUT_CODE:
        return None
    if code is None and action in _WITH_CODE:
        return DEFAULT_HTTP_CODE
    return code


def check_listener(listener_protocol: str) -> None:
    """Policies decide where requests go.

    :raises InvalidRequest: this listener serves nothing but metrics.
    """
    if not PROTOCOLS[listener_protocol].pools:
        raise RuleBroken("A listener of protocol PROMETHEUS can't have L7 policies.")


def ordered(wanted: Iterable[Values]) -> list[Values]:
    """New policies in the order that their positions ask for, as if they had been made one after the other; they are numbered anew."""
    found: list[Values] = []
    for values in wanted:
        found.insert(values["position"] - 1, values)
    for position, values in enumerate(found, start=1):
        values["position"] = position
    return found
