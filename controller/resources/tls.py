"""How TLS is spoken where a listener, or a pool, does not say it: what the operator prefers."""

from __future__ import annotations

from typing import Any, Final

from controller.resources import kinds
from controller.resources.fields import Field, Operator

_CIPHERS: Final = (
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
_PREFERRED: Final[dict[str, tuple[Any, str]]] = {
    "ciphers": (_CIPHERS, "Ciphers of a {side} that speaks TLS and names none, as OpenSSL writes them."),
    "tls_versions": (["TLSv1.2", "TLSv1.3"], "Versions of TLS of a {side} that names none."),
    "alpn_protocols": (list(kinds.ALPN_PROTOCOLS), "Application protocols that a {side} which speaks TLS offers if it names none."),
}


def fields(side: str, peers: str) -> tuple[Field, ...]:
    """Of a listener or a pool (`side`), about what it speaks with its `peers`. What operators prefer holds where a rule finds that TLS is
    spoken at all.
    """

    def preferred(option: str) -> Operator:
        default, words = _PREFERRED[option]
        return Operator(
            group="api_settings", option=f"default_{side}_{option}", default=default, help=words.format(side=side), always=False
        )

    ciphers = "The ciphers of TLS that may be used, as OpenSSL writes them; null: those that the operator prefers."
    versions = "The versions of TLS that may be used; null: those that the operator prefers."
    protocols = f"The application protocols that are offered to {peers} (ALPN), the preferred one first."
    return (
        Field("tls_ciphers", kinds.ciphers, ciphers, operator=preferred("ciphers")),
        Field("tls_versions", kinds.list_of(kinds.one_of(*kinds.TLS_VERSIONS)), versions, operator=preferred("tls_versions")),
        Field("alpn_protocols", kinds.list_of(kinds.one_of(*kinds.ALPN_PROTOCOLS)), protocols, operator=preferred("alpn_protocols")),
    )
