"""Calls of the first API from inside the process: its route runs, in the caller's name, and its exceptions come out as they were raised.

Several calls can be one transaction (`together()`): all of it is stored, or nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import flask
import orjson

from controller import exceptions
from controller.api import current
from controller.api.settings import Settings
from controller.changes.asking import Services
from controller.db import database, transaction
from controller.drivers.network import interface
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOG = logging.getLogger(__name__)

_DROPPED = frozenset({"HTTP_TRANSFER_ENCODING", "HTTP_ACCEPT", "HTTP_EXPECT", "HTTP_ORIGIN", "wsgi.input_terminated"})
_EXTENSION = "figlina-first-api"


class First:
    """The first API's application."""

    def __init__(self, application: flask.Flask) -> None:
        self._application = application

    def install(self, application: flask.Flask) -> None:
        """Let the routes of another application find it."""
        application.extensions[_EXTENSION] = self

    def call(self, method: str, path: str, body: Any = None, query: str = "", lent: Lent | None = None) -> Any:
        """The JSON of an answer; None if it has no body. `path` begins with `/v2/`.

        :raises ControllerError: what the route raised.
        :raises HTTPException: there is no such route.
        """
        with self._application.request_context(_environ(method, path, body, query, lent)):
            self._application.preprocess_request()
            answer = self._application.make_response(self._application.dispatch_request())
        return orjson.loads(answer.data) if answer.data else None


def call(method: str, path: str, body: Any = None, query: str = "", lent: Lent | None = None) -> Any:
    """`First.call()` of the request in hand; in the transaction of `together()`, inside its block."""
    found = cast("First", flask.current_app.extensions[_EXTENSION])
    return found.call(method, path, body, query, lent or flask.g.get("lent"))


def _environ(method: str, path: str, body: Any, query: str, lent: Lent | None) -> WSGIEnvironment:
    content = b"" if body is None else orjson.dumps(body)
    outer = flask.request.environ
    environ = {key: value for key, value in outer.items() if key not in _DROPPED and not key.startswith("werkzeug.")}
    environ |= {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),  # as WSGI has it
        "QUERY_STRING": query,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.input": io.BytesIO(content),
    }
    if lent is not None:
        environ[current.LENT] = lent
    return environ


Lent = tuple["OneTransaction", Settings]


class _Ports:
    """A network driver that remembers the VIPs which it allocated, for the case that nothing is stored after all."""

    def __init__(self, network: interface.NetworkDriver) -> None:
        self._network = network
        self._allocated: list[tuple[str, model.Vip]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def allocate_vip(self, load_balancer_id: str, *rest: Any, **named: Any) -> model.Vip:
        vip = self._network.allocate_vip(load_balancer_id, *rest, **named)
        self._allocated.append((load_balancer_id, vip))
        return vip

    def give_back(self) -> None:
        """Housekeeping finds what can't be given back now: no row explains the port."""
        for load_balancer_id, vip in self._allocated:
            try:
                self._network.deallocate_vip(load_balancer_id, vip)
            except exceptions.ControllerError:
                LOG.exception("The VIP port %s of load balancer %s is left to housekeeping", vip.port_id, load_balancer_id)


class OneTransaction:
    """Services whose transactions are all the same one, and who ring for workers only when it is committed."""

    def __init__(self, services: Services, tx: transaction.Transaction) -> None:
        self._tx = tx
        self._services = services
        self.ports = _Ports(services.network)
        self.wanted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services, name)

    @property
    def db(self) -> database.Database:
        """Begins no transaction: gives the one that there is."""
        return cast("database.Database", self)

    @property
    def network(self) -> interface.NetworkDriver:
        """Remembers the ports that it makes."""
        return cast("interface.NetworkDriver", self.ports)

    @property
    def wake(self) -> Callable[[], Any]:
        """Later."""
        return self._want

    def _want(self) -> None:
        self.wanted = True

    @contextlib.contextmanager
    def begin(self) -> Iterator[transaction.Transaction]:
        """The transaction."""
        yield self._tx

    read = begin


@contextlib.contextmanager
def read() -> Iterator[transaction.Transaction]:
    """Look at rows; inside a block of `together()`, as its calls see them."""
    lent: Lent | None = flask.g.get("lent")
    with lent[0].begin() if lent else current.services().db.read() as tx:
        yield tx


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Let all calls of the first API in this block be one transaction.

    What a strict deployment refuses to others while work is under way is no conflict with the block's own calls: nothing of it is under
    way before the block ends. So a load balancer takes children in the block that made it.
    """
    services, settings = current.services(), current.settings()
    made: OneTransaction | None = None
    try:
        with services.db.begin() as tx:
            made = OneTransaction(services, tx)
            flask.g.lent = made, settings
            yield
    except BaseException:
        if made is not None:
            made.ports.give_back()
        raise
    finally:
        flask.g.pop("lent", None)
    if made.wanted:
        services.wake()


def allow_own_changes() -> None:
    """From now on in this block of `together()`, what it made or changed takes further changes in a strict deployment too."""
    services, settings = flask.g.lent
    pending = {ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.PENDING_UPDATE}
    flask.g.lent = services, dataclasses.replace(settings, mutable=settings.mutable | pending)
