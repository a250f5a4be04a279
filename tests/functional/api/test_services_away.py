"""Each route, while a service that it needs is away, busy or full: a refusal in a sentence, without a path, never a fault of ours."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.api import current
from controller.db import database
from controller.embedded import inventory, linux
from tests.functional.api import test_cost
from tests.functional.api.conftest import Api, an_api

SECRET = "/srv/secret"
"""A path of the server: in the message of every error here, and in no answer."""


def _database_error(words: str) -> Exception:
    return sa.exc.OperationalError(f"SELECT '{SECRET}'", {}, sqlite3.OperationalError(f"{words} {SECRET}/figlina.db"))


OF_DATABASES: dict[str, Callable[[], Exception]] = {
    "away": lambda: _database_error("unable to open database file"),
    "locked": lambda: _database_error("database is locked"),
    "full": lambda: _database_error("database or disk is full"),
    "no connection left": lambda: sa.exc.TimeoutError(f"QueuePool limit of {SECRET}"),
}
OF_SERVICES: dict[str, Callable[[], Exception]] = {
    "full": lambda: OSError(errno.ENOSPC, "No space left on device", f"{SECRET}/x"),
    "read only": lambda: OSError(errno.EROFS, "Read-only file system", f"{SECRET}/x"),
    "out of files": lambda: OSError(errno.EMFILE, "Too many open files", f"{SECRET}/x"),
    "a command failed": lambda: linux.CommandFailed(["nft", "-f", f"{SECRET}/rules"], f"{SECRET}: Device or resource busy"),
    "of another version": lambda: inventory.InventoryOfAnotherVersion(f"the network inventory {SECRET}/network.db was made by others"),
    "locked": lambda: inventory.InventoryAway(f"the network inventory {SECRET}/network.db is busy: database is locked"),
}


class Away:
    """A service of which every method fails."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error = error
        self.inventory = self

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise self._error()

        return fail


class Lacking:
    """Services, one of which is another one."""

    def __init__(self, services: Any, name: str, stand_in: Any) -> None:
        self._services = services
        self._name, self._stand_in = name, stand_in

    def __getattr__(self, name: str) -> Any:
        return self._stand_in if name == self._name else getattr(self._services, name)


class AwayDatabase(database.Database):
    """A database of which no transaction begins."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error = error

    def begin(self, lease: jobs.Lease | None = None) -> Any:
        raise self._error()

    read = begin


@pytest.fixture(scope="module")
def site() -> Iterator[test_cost.Site]:
    """One of everything."""
    with an_api() as api:
        yield test_cost._settled(api, 1)


@contextlib.contextmanager
def _without(api: Api, name: str, stand_in: Any) -> Iterator[list[Any]]:
    """The answers given while this service is another one; whatever they are, the block goes on after the first."""
    answers: list[Any] = []
    services, settings = api.app.extensions[current.EXTENSION]
    send = api.send

    def sent(*arguments: Any, **named: Any) -> Any:
        answers.append(send(*arguments, **named))
        return answers[-1]

    api.send = sent  # type: ignore[method-assign]
    api.app.extensions[current.EXTENSION] = Lacking(services, name, stand_in), settings
    try:
        with contextlib.suppress(AssertionError):
            yield answers
    finally:
        api.app.extensions[current.EXTENSION] = services, settings
        del api.send


def _judge(answers: list[Any]) -> None:
    assert answers
    for answer in answers:
        said = answer.get_data(as_text=True)
        assert SECRET not in said
        assert answer.status_code < 500 or answer.status_code in (501, 503), said
        if answer.status_code == 503:
            assert answer.headers["Retry-After"].isdigit()
            assert len(answer.get_json()["faultstring"].split()) > 5


@pytest.mark.parametrize("name", [*test_cost.READS, *test_cost.WRITES])
def test_without_the_database(site: test_cost.Site, name: str) -> None:
    _, act = (test_cost.READS | test_cost.WRITES)[name]
    for error in OF_DATABASES.values():
        with _without(site.api, "db", AwayDatabase(error)) as answers:
            act(site)
        _judge(answers)


@pytest.mark.parametrize("error", OF_SERVICES)
@pytest.mark.parametrize("service", ["network", "compute", "secrets"])
def test_without_another_service(site: test_cost.Site, service: str, error: str) -> None:
    met = 0
    for _, act in (test_cost.READS | {"create": test_cost.WRITES["create a load balancer"]}).values():
        with _without(site.api, service, Away(OF_SERVICES[error])) as answers:
            act(site)
        _judge(answers)
        met += any(answer.status_code == 503 for answer in answers)
    assert met or service != "network"


@pytest.mark.parametrize("error", OF_SERVICES)
def test_the_old_dialect_and_the_networking_api_without_the_network(error: str) -> None:
    with an_api({("api_settings", "embedded_networking"): True}) as api:
        subnet = api.network.subnet_id
        asked: list[tuple[str, str, Any]] = [
            ("POST", "//network/v2.0/lbaas/loadbalancers", {"loadbalancer": {"vip_subnet_id": subnet}}),
            *(("GET", f"//v2.0/{word}", None) for word in ("networks", "subnets", "ports", "security-groups", "routers", "floatingips")),
            ("POST", "//v2.0/networks", {"network": {"name": "n"}}),
            ("POST", "//v2.0/ports", {"port": {"network_id": api.network.network_id}}),
        ]
        for method, path, body in asked:
            with _without(api, "network", Away(OF_SERVICES[error])) as answers:
                api.send(method, path, body)
            (answer,) = answers
            assert SECRET not in answer.get_data(as_text=True)
            assert answer.status_code in (404, 503), (method, path, answer.get_data(as_text=True))
            assert answer.status_code == 404 or answer.headers["Retry-After"].isdigit()


def test_what_is_for_the_operator_is_in_the_log(site: test_cost.Site, caplog: pytest.LogCaptureFixture) -> None:
    with _without(site.api, "network", Away(OF_SERVICES["locked"])):
        site.api.load_balancer()
    assert f"{SECRET}/network.db is busy" in caplog.text


def test_an_error_says_to_clients_what_it_says_unless_it_speaks_of_the_server() -> None:
    assert exceptions.NotFound("Port", "x").for_clients == "Port x not found."
