"""The schema's history leads to what the tables say."""

from __future__ import annotations

import datetime
import pathlib

import pytest
import sqlalchemy as sa

from controller.cmd import db_manage
from controller.db import database, migration, tables


@pytest.fixture
def url(tmp_path: pathlib.Path) -> str:
    return f"sqlite:///{tmp_path}/figlina.db"


def test_upgrading_an_empty_database_gives_what_the_tables_say(url: str) -> None:
    schema = migration.Schema(url)
    assert schema.differences()
    schema.upgrade()
    assert schema.differences() == []
    assert schema.current() == schema.newest()


def test_upgrading_twice_is_harmless(url: str) -> None:
    schema = migration.Schema(url)
    schema.upgrade()
    schema.upgrade()
    assert schema.current() == schema.newest()


@pytest.mark.parametrize(("before", "after"), [("gold", "amphora"), ("octavia", "octavia"), ("amphora", "amphora")])
def test_a_provider_of_any_name_was_the_amphora_provider(url: str, before: str, after: str) -> None:
    """Its load balancers would be left to a provider that is not there, and every change of them would stay pending."""
    schema, engine = migration.Schema(url), sa.create_engine(url)
    schema.upgrade("0006")
    profile = {"id": "p", "name": "p", "provider_name": before, "flavor_data": "{}", "created_at": datetime.datetime.now(datetime.UTC)}
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.flavor_profiles).values(profile))
    schema.upgrade()
    with engine.begin() as connection:
        assert connection.execute(sa.select(tables.flavor_profiles.c.provider_name)).scalars().all() == [after]
    engine.dispose()


def test_amphorae_of_before_have_one_address_on_the_vips_network(url: str) -> None:
    schema = migration.Schema(url)
    schema.upgrade("0011")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        born = datetime.datetime.now(datetime.UTC)
        named = {"id": "a", "status": "ALLOCATED", "vrrp_ip": "192.0.2.7", "cert_busy": False, "created_at": born}
        connection.execute(
            sa.insert(tables.amphorae).values(named | dict.fromkeys(("cert_renew_at", "cert_failures", "applied_generation"), 0))
        )
    engine.dispose()
    schema.upgrade()
    with database.Database(url).read() as tx:
        found = tx.amphorae.get("a")
    assert (found.vrrp_ip, found.additional_vrrp_ips) == ("192.0.2.7", ())


def test_the_command_upgrades_and_says_where_the_database_stands(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert db_manage.main(["--connection", url, "current"]) == 0
    assert capsys.readouterr().out.startswith("empty")
    assert db_manage.main(["--connection", url, "upgrade"]) == 0
    newest = migration.Schema(url).newest()
    assert newest is not None
    assert capsys.readouterr().out.startswith(newest)


def test_mariadb_compares_exactly_whatever_its_defaults_are(mariadb_server: str) -> None:
    root = sa.create_engine(mariadb_server % "test", isolation_level="AUTOCOMMIT")
    with root.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE migrated CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    url = mariadb_server % "migrated"
    migration.Schema(url).upgrade()
    assert migration.Schema(url).current() == migration.Schema(url).newest()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.leaders).values(name="Größe 🏺", owner="a", expires_at=0.1))
        for name, owner, found in (("Größe 🏺", "a", 1), ("größe 🏺", "a", 0), ("Größe 🏺", "A", 0)):
            query = sa.select(tables.leaders).where(tables.leaders.c.name == name, tables.leaders.c.owner == owner)
            assert len(connection.execute(query).all()) == found
    keys = {key["name"] for table in tables.metadata.sorted_tables for key in sa.inspect(engine).get_foreign_keys(table.name)}
    assert keys == {key.name for table in tables.metadata.sorted_tables for key in table.foreign_key_constraints}
    engine.dispose()
    with root.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE migrated")
    root.dispose()
