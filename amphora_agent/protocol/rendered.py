"""Names in a rendered HAProxy configuration by which it speaks of what the agent has: directories, and proxies of the agent's own."""

from __future__ import annotations

CHECKS_VARIABLE = "FIGLINA_CHECKS"
"""By this environment variable a rendered HAProxy configuration names the directory of external check commands (`ping`). Where one
says `option external-check`, the agent sets it (`setenv`), `external-check` and `insecure-fork-wanted` in its own `global` section."""

METRICS_BACKEND = "figlina-metrics"
"""To this backend, which is the agent's own, a rendered HAProxy configuration sends whoever asks for metrics."""

SPLIT_BACKEND = "figlina-split-"
"""So begin the names of backends whose servers serve nobody: their weights say how an L7 policy splits requests between pools."""

NEXT_BACKEND = "figlina-next-"
"""So begin the names of backends, the agent's own, by which servers are checked that are about to serve below the name that follows."""

SPLIT_VARIABLE = "txn.split"
"""So begin the names of the variables in which that is reckoned."""

CERTIFICATES_VARIABLE = "FIGLINA_CERTIFICATES"
"""By this one it names the directory of lists of certificates (`crt-list`), which HAProxy does not find by `crt-base`."""


def is_own(proxy: str) -> bool:
    """Whether a proxy of HAProxy is none of a tenant's listeners and pools."""
    return proxy == METRICS_BACKEND or proxy.startswith((SPLIT_BACKEND, NEXT_BACKEND))
