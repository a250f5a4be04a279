"""How long anybody waits for the database: until the deadline, all of those who wait together, on each engine."""

from __future__ import annotations

import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent import futures

import pytest
import sqlalchemy as sa

from controller import deadlines
from controller.db import database, tables
from controller.embedded import inventory


@pytest.fixture
def db(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[database.Database]:
    """An empty one; nobody waits for longer than ten seconds."""
    made = database.Database(database_url or f"sqlite:///{tmp_path}/figlina.db", busy_timeout=10)
    tables.metadata.create_all(made.engine)
    yield made
    tables.metadata.drop_all(made.engine)
    made.close()


@pytest.fixture
def held(db: database.Database) -> Iterator[threading.Event]:
    """Somebody else has locked what everybody writes, until the event is set."""
    other = sa.create_engine(db.engine.url, isolation_level=None if db.is_sqlite else "READ COMMITTED")
    release, locked = threading.Event(), threading.Event()

    def hold() -> None:
        with other.connect() as connection:
            if db.is_sqlite:
                connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.execute(sa.insert(tables.leaders).values(name="held", owner="other", expires_at=0.0))
            locked.set()
            release.wait(30)
            connection.rollback()

    with futures.ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert locked.wait(10)
        yield release
        release.set()
        holding.result()
    other.dispose()


def _write(db: database.Database) -> None:
    with db.begin() as tx:
        tx.connection.execute(sa.insert(tables.leaders).values(name="held", owner="me", expires_at=0.0))
        tx.connection.rollback()


def _waited(db: database.Database, seconds: float) -> float:
    """How long a writer with a deadline waits in vain."""
    started = time.monotonic()
    with pytest.raises(sa.exc.SQLAlchemyError) as refused, deadlines.until(started + seconds):
        _write(db)
    assert database.is_transient(refused.value), refused.value
    return time.monotonic() - started


@pytest.mark.lengthy
def test_eight_writers_with_a_deadline_wait_side_by_side(db: database.Database, held: threading.Event) -> None:
    started = time.monotonic()
    with futures.ThreadPoolExecutor(8) as pool:
        waited = list(pool.map(lambda _: _waited(db, 2), range(8)))
    assert min(waited) > 0.5
    assert time.monotonic() - started < 7


@pytest.mark.lengthy
def test_a_deadline_of_one_request_is_none_of_the_next(db: database.Database, held: threading.Event) -> None:
    _waited(db, 1)
    threading.Timer(3, held.set).start()
    started = time.monotonic()
    _write(db)
    assert time.monotonic() - started > 2


def test_what_is_late_already_is_not_begun(db: database.Database) -> None:
    assert _waited(db, 0) < 1


def test_a_connection_is_waited_for_until_the_deadline(db: database.Database) -> None:
    taken = [db.engine.connect() for _ in range(60)]
    started = time.monotonic()
    with pytest.raises(sa.exc.TimeoutError), deadlines.until(started + 0.5):
        db.engine.connect()
    assert time.monotonic() - started < 3
    for connection in taken:
        connection.close()


def test_requests_that_wait_for_nobody_set_a_time_out_once(db: database.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float] = []
    changed = database._Limiter._changed

    def counted(limiter: database._Limiter, connection: sa.Connection) -> float | None:
        wanted = changed(limiter, connection)
        said.extend([] if wanted is None else [wanted])
        return wanted

    monkeypatch.setattr(database._Limiter, "_changed", counted)
    for _ in range(5):
        with deadlines.until(time.monotonic() + 5), db.begin() as tx:
            tx.connection.execute(sa.select(tables.leaders)).all()
    assert len(said) == 1


@pytest.mark.lengthy
def test_an_inventory_that_another_process_holds_is_waited_for_until_the_deadline(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "network.db"
    books = inventory.Inventory(path)
    with books.change():
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(inventory.InventoryAway) as refused, deadlines.until(started + 1), books.change():
        pass
    assert 0.5 < time.monotonic() - started < 5
    assert str(path) in str(refused.value)
    assert str(tmp_path) not in refused.value.for_clients
    other.execute("ROLLBACK")
    with books.change() as contents:
        contents.add_network("n", "br")


def test_an_inventory_whose_disk_is_full_changes_nothing_and_goes_on_later(tmp_path: pathlib.Path) -> None:
    books = inventory.Inventory(tmp_path / "network.db")
    _limit_pages(books)
    names = [f"n-{number}" for number in range(1000)]
    with pytest.raises(inventory.InventoryAway, match="full"), books.change() as contents:
        [contents.add_network(name, f"br-{name}") for name in names]
    _limit_pages(books, 100_000)
    with books.change() as contents:
        contents.add_network(names[0], "br-0")
        assert contents.bridges() == ["br-0"]


def _limit_pages(books: inventory.Inventory, most: int | None = None) -> None:
    """No more than the file has, or than `most`; this thread's next transactions have the same connection."""
    with books.read() as contents:
        pages = contents.rows.run(sa.text("PRAGMA page_count")).scalar_one()
        contents.rows.run(sa.text(f"PRAGMA max_page_count = {most or pages}"))
