"""Rules of listeners (spec `api.md` §9)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.api import current
from controller.api.v2.rules import tls
from controller.api.v2.rules.common import OWN_FAMILY, failure, not_allowed
from controller.model import load_balancer as model
from controller.refusals import Refusal
from controller.resources import listener
from controller.resources.declare import Values

POOL_PROTOCOLS = {
    "TCP": ("TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2"),
    "HTTP": ("HTTP", "PROXY", "PROXYV2"),
    "HTTPS": ("TCP", "HTTPS", "PROXY", "PROXYV2"),
    "TERMINATED_HTTPS": ("HTTP", "PROXY", "PROXYV2"),
    "UDP": ("UDP",),
    "SCTP": ("SCTP",),
    "PROMETHEUS": (),
}
"""The protocols that a pool may have below a listener of this one."""

_TERMINATED = "TERMINATED_HTTPS"
_HSTS = {"hsts_max_age": None, "hsts_include_subdomains": False, "hsts_preload": False}
_ONLY_WHERE_TLS_ENDS: dict[str, Any] = {
    "default_tls_container_ref": None,
    "sni_container_refs": [],
    "client_ca_tls_container_ref": None,
    "client_authentication": "NONE",
    "client_crl_container_ref": None,
    **dict.fromkeys(tls.OPTIONS),
    **_HSTS,
}
"""Fields that only TERMINATED_HTTPS knows, and what they are elsewhere."""


def new_listener(values: Values) -> None:
    """Fill the operator's defaults in and check what the fields say together.

    :raises InvalidRequest: they contradict each other, or the deployment does not allow the protocol.
    """
    protocol, allowed = values["protocol"], current.settings().tls
    if (protocol == _TERMINATED and not allowed.allow_terminated) or (protocol == "PROMETHEUS" and not allowed.allow_prometheus):
        raise not_allowed("protocol", protocol)
    fill_timeouts(values)
    headers(protocol, values["insert_headers"])
    _only_where_tls_ends(protocol, values)
    if protocol == _TERMINATED:
        tls.fill(values, allowed.listener, tls.OPTIONS)
        _whole(values)


def changed_listener(values: Values, stored: model.Listener) -> None:
    """Check new values of a listener together with those it has; a null means the default.

    :raises InvalidRequest: they contradict each other.
    """
    protocol = stored.protocol
    fill_timeouts(values)
    headers(protocol, values.get("insert_headers", ()))
    _only_where_tls_ends(protocol, values)
    if protocol == _TERMINATED:
        tls.fill(values, current.settings().tls.listener, [name for name in tls.OPTIONS if name in values])
        _whole({**{name: getattr(stored, name) for name in _ONLY_WHERE_TLS_ENDS}, **values})


def fill_timeouts(values: Values) -> None:
    """A time-out that was left out, or is null, is stored as the operator's default."""
    for name in listener.TIMEOUTS:
        if name in values and values[name] is None:
            values[name] = current.settings().timeouts[name]


def _only_where_tls_ends(protocol: str, values: Mapping[str, Any]) -> None:
    asked_for = tls.given(values, _ONLY_WHERE_TLS_ENDS) if protocol != _TERMINATED else ()
    if asked_for:
        raise failure(f"A listener of protocol {protocol} can't have {', '.join(asked_for)}: only {_TERMINATED} ends TLS.")


def _whole(values: Mapping[str, Any]) -> None:
    """A listener that ends TLS has what that needs."""
    if not values["default_tls_container_ref"] and not values["sni_container_refs"]:
        raise failure(
            f"A listener of protocol {_TERMINATED} must have a default_tls_container_ref or sni_container_refs.",
            Refusal.TLS_CONTAINER_MISSING,
        )
    if values["client_authentication"] != "NONE" and not values["client_ca_tls_container_ref"]:
        raise failure(f"client_authentication {values['client_authentication']} needs a client_ca_tls_container_ref.")
    if values["client_crl_container_ref"] and not values["client_ca_tls_container_ref"]:
        raise failure("client_crl_container_ref needs a client_ca_tls_container_ref.")
    tls.check(values)
    if values["hsts_max_age"] is None and (values["hsts_include_subdomains"] or values["hsts_preload"]):
        raise failure("hsts_include_subdomains and hsts_preload need hsts_max_age.")


def headers(protocol: str, names: Iterable[str]) -> None:
    """Headers can be inserted where HTTP is spoken, and what TLS tells only where TLS ends.

    :raises InvalidRequest: a header can't be inserted by a listener of this protocol.
    """
    for name in names:
        if protocol != _TERMINATED and (protocol != "HTTP" or name.startswith("X-SSL-")):
            raise exceptions.InvalidRequest(f"{name} is not a valid option for insert_headers of a {protocol} listener")


def cidrs(allowed: Iterable[str], vip_versions: Collection[int], *, own_groups: bool) -> None:
    """Ranges of clients have the IP version of a VIP; where security groups of the tenant decide, there are none.

    :raises InvalidRequest: it is otherwise.
    """
    for cidr in allowed:
        if own_groups:
            raise failure("allowed_cidrs can't be used together with vip_sg_ids: the security groups say who may reach the VIP.")
        if ipaddress.ip_network(cidr).version not in vip_versions:
            raise failure(f"allowed_cidrs: the VIP is IPv{' and IPv'.join(map(str, sorted(vip_versions)))}, and {cidr} is not.")


def free_port(protocol: str, port: int, taken: Sequence[str]) -> None:
    """Two listeners share a port only if their transport protocols differ.

    :raises Conflict: the port is taken by one of the protocols.
    """
    family = _family(protocol)
    if any(_family(other) == family for other in taken):
        words = f"Another Listener on this Load Balancer is already using protocol {protocol} and protocol_port {port}"
        raise exceptions.Conflict(words, code=Refusal.PORT_IN_USE)


def _family(protocol: str) -> str:
    return protocol if protocol in OWN_FAMILY else "TCP"


def pool_below(listener_protocol: str, pool_protocol: str) -> None:
    """Not every pool can serve every listener.

    :raises InvalidRequest: this one can't.
    """
    if pool_protocol not in POOL_PROTOCOLS[listener_protocol]:
        words = f"The pool protocol '{pool_protocol}' is invalid while the listener protocol is '{listener_protocol}'."
        raise failure(words, Refusal.PROTOCOL_MISMATCH)
