"""A small client of our own API, for the demo and the integration tests: JSON in, JSON out, and waiting for what is asynchronous."""

import contextlib
import functools
import http.client
import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

PREFIX = "/v2/lbaas"


class ApiError(Exception):
    """The API answered with an error; the message is its own sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"{status}: {sentence}")
        self.status = status
        self.sentence = sentence


class NeverHappened(Exception):
    """Something that was waited for did not happen in time; the message says what was seen last."""


class Api:
    """One API endpoint; a connection per request, so that threads may share it."""

    def __init__(self, url: str, timeout: float = 30.0, caller: Mapping[str, str] | None = None) -> None:
        """`caller` are the headers that say who asks: those of a site without a Keystone, unless others are given."""
        parts = urllib.parse.urlsplit(url)
        self._host, self._port, self._timeout = parts.hostname or "127.0.0.1", parts.port or 9876, timeout
        self._headers = {"Content-Type": "application/json", **(caller or {"X-Project-Id": "demo"})}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request below `/v2/lbaas` (or to a path that begins with `/v2/`) and return the answer's JSON (None if it has no body).

        :raises ApiError: an answer of 400 or above.
        :raises OSError: no answer.
        """
        with contextlib.closing(http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)) as connection:
            content = None if body is None else json.dumps(body)
            connection.request(method, path if path.startswith("/v2/") else PREFIX + path, content, self._headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 400:
            raise ApiError(answer.status, _sentence(text))
        return json.loads(text) if text else None

    get = functools.partialmethod(request, "GET")
    post = functools.partialmethod(request, "POST")
    put = functools.partialmethod(request, "PUT")
    delete = functools.partialmethod(request, "DELETE")

    def wait_active(self, load_balancer_id: str, within: float = 60.0) -> dict[str, Any]:
        """Wait until a load balancer is ACTIVE, and return it; ERROR does not end the waiting, because it is retried.

        :raises NeverHappened: it was not, within so many seconds; the message has its status and its fault.
        """
        seen: dict[str, Any] = {}

        def active() -> bool:
            seen.update(self.get(f"/loadbalancers/{load_balancer_id}")["loadbalancer"])
            return bool(seen["provisioning_status"] == "ACTIVE")

        def words() -> str:
            return f"load balancer {load_balancer_id} is {seen.get('provisioning_status')}, fault: {seen.get('fault')}"

        eventually(active, within, words)
        return seen

    def wait_gone(self, path: str, within: float = 60.0) -> None:
        """Wait until a resource answers 404.

        :raises NeverHappened: it did not, within so many seconds.
        """

        def gone() -> bool:
            try:
                self.get(path)
            except ApiError as exc:
                return exc.status == 404
            return False

        eventually(gone, within, lambda: f"{path} is still there")


def eventually(
    happened: Callable[[], bool], within: float, words: Callable[[], str] | str = "it did not happen", every: float = 0.02
) -> float:
    """Look again and again until it happened; returns after how many seconds.

    :raises NeverHappened: it did not, within so many seconds.
    """
    started = time.monotonic()
    while not happened():
        if time.monotonic() - started > within:
            raise NeverHappened(f"{words if isinstance(words, str) else words()} (waited {within:.0f} s)")
        time.sleep(every)
    return time.monotonic() - started


def _sentence(text: bytes) -> str:
    """The words of an error's body, whichever of the two shapes it has."""
    try:
        body = json.loads(text)
        return str(body.get("faultstring") or body.get("description") or body.get("title") or body)
    except (ValueError, AttributeError):
        return text.decode(errors="replace")[:500]
