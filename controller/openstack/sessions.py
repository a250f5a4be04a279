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
_PIECE = 64 * 1024
_PACKINGS = ("", "identity", "gzip", "deflate")
"""What is unpacked: a thousand times as much as came at most, unless it is packed several times."""


class _Adapter(keystone.TCPKeepAliveAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def send(self, request: requests.PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> requests.Response:
        answer = super().send(request, stream, *args, **kwargs)
        packing = answer.headers.get("Content-Encoding", "").strip().lower()
        if packing not in _PACKINGS:
            answer.close()
            raise requests.exceptions.ConnectionError(f"the answer is packed as {packing[:40]!r}, which was not asked for", request=request)
        if not stream:
            _read(answer, request)
        return answer

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _read(answer: requests.Response, request: requests.PreparedRequest) -> None:
    """Read its body before others do, who would unpack whatever comes of it.

    :raises ConnectionError: it is too long.
    """
    whole = bytearray()
    for part in answer.iter_content(_PIECE):
        whole += part
        if len(whole) > LARGEST:
            answer.close()
            raise requests.exceptions.ConnectionError(answers.too_long(LARGEST), request=request)
    answer._content = bytes(whole)


def bound(session: requests.Session, connections: int = _CONNECTIONS) -> requests.Session:
    """Have its answers end, and keep so many connections to each service open."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=connections))
    session.headers["Accept-Encoding"] = "gzip, deflate"
    return session
