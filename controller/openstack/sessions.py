"""Sessions with a cloud whose answers end: those of Keystone, and those that tell of versions, are read by libraries of others."""

from __future__ import annotations

from typing import Any

import requests
from keystoneauth1 import session as keystone

from controller import answers

LARGEST = 64 * 1024 * 1024
"""Bytes of an answer."""
_POOLS = answers.pools(LARGEST)
_CONNECTIONS = 10


class _Adapter(keystone.TCPKeepAliveAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def bound(session: requests.Session, connections: int = _CONNECTIONS) -> requests.Session:
    """Have its answers end, and keep so many connections to each service open."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=connections))
    return session
