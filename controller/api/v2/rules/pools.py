"""Rules of pools (spec `api.md` §10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from controller.api import current
from controller.api.v2.rules import tls
from controller.api.v2.rules.common import OWN_FAMILY, failure
from controller.model import load_balancer as model
from controller.refusals import Refusal
from controller.resources.declare import Values

_COOKIE_POOLS = ("HTTP", "PROXY", "PROXYV2")
_TLS_FIELDS: dict[str, Any] = {
    "tls_enabled": False,
    **dict.fromkeys(("tls_container_ref", "ca_tls_container_ref", "crl_container_ref", *tls.OPTIONS)),
}
"""Fields about TLS to the members, and what they are when nothing is asked for."""
_BY_IPVS = ("persistence_timeout", "persistence_granularity")


def new_pool(values: Values) -> None:
    """Fill the operator's defaults in and check what the fields say together.

    :raises InvalidRequest: they contradict each other.
    """
    protocol = values["protocol"]
    values["session_persistence"] = persistence(values["session_persistence"], None, protocol)
    _no_tls_over_datagrams(values, protocol)
    if values["tls_enabled"]:
        tls.fill(values, current.settings().tls.pool, tls.OPTIONS)
    _check_tls(values)


def changed_pool(values: Values, pool: model.Pool) -> None:
    """Check new values of a pool together with those it has; a null means the default.

    :raises InvalidRequest: they contradict each other.
    """
    if "session_persistence" in values:
        stored = None if pool.session_persistence is None else dataclasses.asdict(pool.session_persistence)
        values["session_persistence"] = persistence(values["session_persistence"], stored, pool.protocol)
    _no_tls_over_datagrams(values, pool.protocol)
    defaults = current.settings().tls.pool
    if pool.protocol not in OWN_FAMILY:
        tls.fill(values, defaults, [name for name in ("tls_ciphers", "tls_versions") if name in values])
    if values.get("tls_enabled") and not pool.tls_enabled:  # turned on: what nobody chose is as safe as in a new pool
        tls.fill(values, defaults, [name for name in tls.OPTIONS if name not in values and getattr(pool, name) is None])
    _check_tls({**{name: getattr(pool, name) for name in _TLS_FIELDS}, **values})


def _no_tls_over_datagrams(values: Mapping[str, Any], protocol: str) -> None:
    asked_for = tls.given(values, _TLS_FIELDS) if protocol in OWN_FAMILY else ()
    if asked_for:
        raise failure(f"A pool of protocol {protocol} can't have {', '.join(asked_for)}: it speaks no TLS.")


def _check_tls(values: Mapping[str, Any]) -> None:
    if values["crl_container_ref"] and not values["ca_tls_container_ref"]:
        raise failure("crl_container_ref needs a ca_tls_container_ref.")
    tls.check(values)


def persistence(given: Mapping[str, Any] | None, stored: Mapping[str, Any] | None, protocol: str) -> dict[str, Any] | None:
    """The session persistence that follows from what was given and what there was.

    :raises InvalidRequest: it lacks something, or its parts or the pool's protocol contradict each other.
    """
    if given is None:
        return None
    if not given:
        raise failure("Invalid session_persistence provided.", Refusal.SESSION_PERSISTENCE)
    whole = {"type": None, "cookie_name": None, "persistence_timeout": None, "persistence_granularity": None, **(stored or {}), **given}
    kind = whole["type"]
    if kind is None:
        raise failure("session_persistence must have a type.", Refusal.SESSION_PERSISTENCE)
    if given.get("type", kind) != "APP_COOKIE" and "cookie_name" not in given:
        whole["cookie_name"] = None  # what the type before needed goes with it
    if kind == "APP_COOKIE" and whole["cookie_name"] is None:
        raise failure("session_persistence of type APP_COOKIE must have a cookie_name.", Refusal.SESSION_PERSISTENCE)
    if kind != "APP_COOKIE" and whole["cookie_name"] is not None:
        raise failure(f"session_persistence of type {kind} must not have a cookie_name.", Refusal.SESSION_PERSISTENCE)
    if kind != "SOURCE_IP" and protocol not in _COOKIE_POOLS:
        raise failure(f"session_persistence of type {kind} is invalid for a pool of protocol {protocol}.", Refusal.SESSION_PERSISTENCE)
    if protocol not in OWN_FAMILY and any(whole[name] is not None for name in _BY_IPVS):
        raise failure(
            "persistence_timeout and persistence_granularity are for UDP and SCTP pools of type SOURCE_IP only.",
            Refusal.SESSION_PERSISTENCE,
        )
    return whole
