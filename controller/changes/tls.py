"""How TLS is spoken, by listeners to clients and by pools to members: ciphers, versions and application protocols."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from controller.changes.settings import Tls
from controller.exceptions import RuleBroken
from controller.resources.declare import Values

_SUITES = tuple(f"TLS_{name}" for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256", "AES_128_CCM_SHA256"))
"""RFC 8446, section B.4, as OpenSSL has them."""
OPTIONS = ("tls_ciphers", "tls_versions", "alpn_protocols")


def fill(values: Values, preferred: Mapping[str, Any], names: Iterable[str]) -> None:
    """What is null, or no cipher at all, of these becomes what the operator prefers."""
    values |= {name: preferred[name] for name in names if values.get(name) in (None, "")}


def check(allowed: Tls, values: Mapping[str, Any]) -> None:
    """Ciphers and versions are allowed in this deployment, and a list that was given is not empty.

    :raises InvalidRequest: one is not.
    """
    _check_ciphers(allowed, values.get("tls_ciphers"))
    for name, words in (("tls_versions", "TLS versions"), ("alpn_protocols", "ALPN protocols")):
        if values.get(name) == []:
            raise RuleBroken(f"{name}: the list of {words} must not be empty.")
    if values.get("tls_versions") and set(values["tls_versions"]) == {"SSLv3"}:
        raise RuleBroken("tls_versions: nothing speaks SSLv3 any more (RFC 7568): name TLSv1.2 or TLSv1.3, too.")
    too_old = [version for version in values.get("tls_versions") or () if version in allowed.refused_versions]
    if too_old:
        raise RuleBroken(f"tls_versions: {', '.join(too_old)} is older than this deployment allows.")


def _check_ciphers(allowed: Tls, ciphers: str | None) -> None:
    asked_for = [item.lstrip("+") for item in (ciphers or "").split(":") if not item.startswith(("!", "-"))]
    prohibited = [cipher for cipher in asked_for if cipher in allowed.prohibited_ciphers]
    if prohibited:
        raise RuleBroken(f"tls_ciphers: {', '.join(prohibited)} must not be used in this deployment.")
    suites = [cipher for cipher in asked_for if cipher.startswith("TLS_")]
    if unknown := [suite for suite in suites if suite not in _SUITES]:
        raise RuleBroken(f"tls_ciphers: {', '.join(unknown)} is no cipher suite of TLS 1.3: {', '.join(_SUITES)} are.")
    older = ":".join(item for item in (ciphers or "").split(":") if item and not item.startswith("TLS_"))
    try:
        if older:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(older)
    except ssl.SSLError:
        raise RuleBroken(f"tls_ciphers: OpenSSL knows no cipher by {older!r}: see `openssl ciphers -v {older}`.") from None


def given(values: Mapping[str, Any], fields: Mapping[str, Any]) -> list[str]:
    """The names, of these with what they are when nothing is asked for, that ask for something."""
    return [name for name, nothing in fields.items() if values.get(name) not in (None, "", nothing)]
