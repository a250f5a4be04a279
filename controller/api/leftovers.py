"""Bodies that no route read, because the request was refused before: read them, so that the connection can be used again.

A server that answers while the client still sends has to close the connection sooner or later, although it told the client that it keeps
it: the next request on it, such as the same one with a new token, is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_MOST = 16 * 1024 * 1024
_PART = 64 * 1024


class Read:
    """Around the whole application; what is left of a body is read when the answer is ready, and before it is sent."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._application(environ, start_response)
        if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
            _read(environ)
        return answer


def _read(environ: WSGIEnvironment) -> None:
    left = _MOST
    try:
        while left > 0 and (part := environ["wsgi.input"].read(_PART)):
            left -= len(part)
    except Exception:  # noqa: S110 - chunks that make no sense, or a client that went away: then there is no next request
        pass
