"""How TLS is spoken where a listener, or a pool, does not say it: what the operator prefers."""

from __future__ import annotations

from typing import Any, Final

from controller.resources import kinds
from controller.resources.fields import Operator

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


def operator(side: str, option: str) -> Operator:
    """The option of one of the three, for listeners or for pools. It holds where a rule finds that TLS is spoken at all."""
    default, words = _PREFERRED[option]
    return Operator(group="api_settings", option=f"default_{side}_{option}", default=default, help=words.format(side=side), always=False)
