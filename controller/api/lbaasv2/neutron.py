"""The real network service, where there is one: what is not about load balancers is passed on to it, and its answers are passed back.

Bodies of requests are bounded and read whole, for they are small. Answers are bounded as well, and read whole before ours begins: the
server in front (`serving/threads.py`) hands on whole answers only, so that a slow client takes no thread. Addresses of the service in links
become ours.
"""

from __future__ import annotations

import http
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib import parse as urls

import flask
import orjson
import urllib3
from urllib3 import exceptions as http_errors

from controller import answers
from controller.api.lbaasv2 import errors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG = logging.getLogger(__name__)

EXTENSION = "figlina-neutron"
_CHUNK = 64 * 1024
_LARGEST_ANSWER = 8 * 1024 * 1024  # of those that are read here to be merged with ours
_RAW: dict[str, Any] = {"redirect": False, "preload_content": False, "decode_content": False}
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"host", "content-length", "accept-encoding", "expect", "forwarded"})
_IDENTITY = re.compile(
    r"x-(project|tenant|user|domain|roles?|identity|is-admin|system|service-(project|user|domain|roles|identity|catalog))(-|$)"
).match
"""What the middleware that proves tokens puts beside them: the service asks for itself."""
_OWN_PATHS = re.compile(
    r"/?$|/v2\.0/?$|/v2\.0/(lbaas|extensions|service-providers|quotas)(\.json)?(/|$)|/v2\.0/agents/[^/]+/agent-loadbalancers"
)


_FLAVORS = re.compile(r"/v2\.0/flavors(\.json)?/?$")


def is_ours(method: str, path: str) -> bool:
    """Whether this application answers it, even where there is a network service."""
    return _OWN_PATHS.match(path) is not None or (method == "GET" and _FLAVORS.match(path) is not None)


class Neutron:
    """A client of the service, with connections that its users share."""

    def __init__(self, section: Any) -> None:
        """With the options of `[lbaasv2]`."""
        self.url = section.passthrough_url.rstrip("/")
        self._largest = section.passthrough_max_body_size
        self._largest_answer = section.passthrough_max_answer_size
        self._pool = urllib3.PoolManager(
            maxsize=section.passthrough_connections,
            timeout=urllib3.Timeout(connect=section.passthrough_connect_timeout, read=section.passthrough_timeout),
            retries=False,
            ca_certs=section.passthrough_cafile,
        )
        self._pool.pool_classes_by_scheme = answers.pools(2 * max(self._largest_answer, _LARGEST_ANSWER))  # with chunks and headers

    def forward(self, environ: WSGIEnvironment, start_response: StartResponse, base: str) -> Iterable[bytes]:
        """Answer a request with the service's answer. `base` is how our addresses begin.

        :raises Fault: it is away, or the body is too large, or the path leads out of the service to whatever its host has beside it.
        """
        if not {".", ".."}.isdisjoint(environ.get("PATH_INFO", "").split("/")):
            raise errors.Fault(404, "HTTPNotFound", "The resource could not be found.")
        path = urls.quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/~:@!$&'()*+,;=")
        query = environ.get("QUERY_STRING", "")
        method = environ["REQUEST_METHOD"]
        answer = self._send(method, f"{path}?{query}" if query else path, headers_of(environ), self._body(environ))
        headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        rewrites = answer.headers.get("Content-Type", "").startswith("application/json") and not answer.headers.get("Content-Encoding")
        rewrites = rewrites and method != "HEAD"
        if rewrites:
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        content = self._whole(answer)
        start_response(f"{answer.status} {answer.reason or _phrase(answer.status)}", headers)
        return relinked(content, self.url, base) if rewrites else content

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer, for the caller of the request in hand; None if it has none.

        :raises Fault: the service refused, in its own words, or it is away.
        """
        headers = headers_of(flask.request.environ)
        headers["Content-Type"] = "application/json"
        answer = self._send(method, path, headers, None if body is None else orjson.dumps(body))
        try:
            content = answer.read(_LARGEST_ANSWER + 1, decode_content=True)
        except http_errors.HTTPError as error:
            raise _bad_gateway(error) from error
        finally:
            answer.close()  # but for the connection of one that was read to its end, which was given back then
            answer.release_conn()
        if len(content) > _LARGEST_ANSWER:
            raise _bad_gateway("its answer is too large")
        return _read(answer.status, content)

    def _whole(self, answer: urllib3.BaseHTTPResponse) -> list[bytes]:
        """The pieces of an answer."""
        parts, size = [], int(answer.length_remaining or 0)
        try:
            if size <= self._largest_answer:
                size = 0
                for part in answer.stream(_CHUNK, decode_content=False):
                    size += len(part)
                    if size > self._largest_answer:
                        break
                    parts.append(part)
        except http_errors.HTTPError as error:
            answer.close()
            raise _bad_gateway(error) from error
        if size > self._largest_answer:
            answer.close()
            LOG.warning("The network service answers with more than %d bytes", self._largest_answer)
            words = "The answer of the network service is too large. Please ask for less at once, by `limit` or `fields`."
            raise errors.Fault(502, "HTTPBadGateway", words)
        answer.release_conn()
        return parts

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> urllib3.BaseHTTPResponse:
        try:
            return self._sent(method, path, headers, body)
        except (
            http_errors.ConnectTimeoutError,
            http_errors.NewConnectionError,
            http_errors.ReadTimeoutError,
            http_errors.SSLError,
        ) as error:
            LOG.warning("The network service %s is away: %s", self.url, error)
            words = "The network service does not answer. Please repeat the request."
            raise errors.Fault(503, "ServiceUnavailable", words) from error
        except http_errors.HTTPError as error:
            raise _bad_gateway(error) from error

    def _sent(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> urllib3.BaseHTTPResponse:
        """A connection that was kept may have been closed meanwhile: what changes nothing is sent once more."""
        sent = {"headers": dict(headers), "body": body, **_RAW}
        try:
            return self._pool.request(method, self.url + path, **sent)
        except http_errors.ProtocolError:
            if method not in ("GET", "HEAD"):
                raise
            return self._pool.request(method, self.url + path, **sent)

    def _body(self, environ: WSGIEnvironment) -> bytes | None:
        """The server in front has it whole, and tells its length."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self._largest:
            raise errors.Fault(413, "HTTPRequestEntityTooLarge", "The body of the request is too large.")
        return environ["wsgi.input"].read(length) or None


def relinked(content: Iterable[bytes], theirs: str, ours: str) -> Iterator[bytes]:
    """The text of a JSON document, with `"href": "<theirs>` as `"href": "<ours>`, wherever it is cut into pieces."""
    pattern = re.compile(rb'("href":\s?")' + re.escape(theirs.encode()) + rb'(?=[/?"])')
    longest = len(b'"href": "') + len(theirs.encode()) + 1
    held = b""
    for part in content:
        held += part
        done, end = [], 0
        for match in pattern.finditer(held):
            done += [held[end : match.end(1)], ours.encode()]
            end = match.end()
        cut = max(end, len(held) - longest)  # a link that has begun may be going on in the next piece
        if ready := b"".join((*done, held[end:cut])):
            yield ready
        held = held[cut:]
    if held:
        yield held


def headers_of(environ: WSGIEnvironment) -> dict[str, str]:
    """What goes on to the service: everything of the client's that is meant for the end of the way."""
    named = {
        key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_") and isinstance(value, str)
    }
    if environ.get("CONTENT_TYPE"):
        named["content-type"] = environ["CONTENT_TYPE"]
    dropped = _HOP_BY_HOP | _OURS | {word.strip().lower() for word in named.get("connection", "").split(",")}
    proved = "x-auth-token" in named
    dropped |= {name for name in named if name.startswith("x-forwarded-") or (proved and _IDENTITY(name))}
    return {name: value for name, value in named.items() if name not in dropped} | {"accept-encoding": "identity"}


def is_there() -> bool:
    """Whether there is a network service to ask."""
    return EXTENSION in flask.current_app.extensions


def get(path: str) -> Any:
    """`Neutron.ask()` for what it shows; None where it does not know such a path."""
    try:
        return ask("GET", path)
    except errors.Fault as fault:
        if fault.status == 404:
            return None
        raise


def ask(method: str, path: str, body: Any = None) -> Any:
    """`Neutron.ask()` of this application's."""
    return cast("Neutron", flask.current_app.extensions[EXTENSION]).ask(method, path, body)


def _read(status: int, content: bytes) -> Any:
    try:
        found = orjson.loads(content) if content else None
    except orjson.JSONDecodeError as error:
        raise _bad_gateway(error) from error
    if status < 400:
        return found
    said = found.get("NeutronError") if isinstance(found, dict) else None
    if not isinstance(said, dict):
        raise errors.Fault(status, "HTTPException", f"The network service answered {status} {_phrase(status)}.")
    raise errors.Fault(status, str(said.get("type")), str(said.get("message")))


def _bad_gateway(reason: object) -> errors.Fault:
    LOG.warning("The answer of the network service can't be used: %s", reason)
    return errors.Fault(502, "HTTPBadGateway", "The answer of the network service could not be understood.")


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
