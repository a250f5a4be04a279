"""The schema's history leads to what the tables say."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

import pytest
import sqlalchemy as sa

from controller.cmd import db_manage
from controller.db import database, migration, tables
from controller.model import status


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


@pytest.mark.lengthy
def test_ends_of_certificates_that_are_known_are_shown_at_once(url: str) -> None:
    schema, engine = migration.Schema(url), sa.create_engine(url)
    schema.upgrade("0015")
    end = datetime.datetime(2030, 5, 17, 12, 0, 1, tzinfo=datetime.UTC)
    copies = {"first": end, "later": end + datetime.timedelta(days=9), "authority": end - datetime.timedelta(days=9), "endless": None}
    old = sa.MetaData()
    old.reflect(engine)
    with engine.begin() as connection:
        _row(connection, old.tables["load_balancers"], id="lb")
        for name, named in (
            ("both", {"default_tls_container_ref": "later", "sni_container_refs": ["authority", "first"], "protocol": "TERMINATED_HTTPS"}),
            ("neither", {"default_tls_container_ref": "endless", "protocol": "TERMINATED_HTTPS"}),
            ("plain", {"protocol": "HTTP"}),
        ):
            _row(connection, old.tables["listeners"], id=name, load_balancer_id="lb", **named)
        for name, reference in (("shown", "later"), ("hidden", None)):
            _row(connection, old.tables["pools"], id=name, load_balancer_id="lb", tls_container_ref=reference)
        for reference, not_after in copies.items():
            kind = "authorities" if reference == "authority" else "bundle"
            copy = {"load_balancer_id": "lb", "reference": reference, "kind": kind, "name": "x", "content": b"x", "not_after": not_after}
            connection.execute(sa.insert(tables.tenant_certificates).values(**copy, read_for=1, asked_for=0, is_registered=True))
    schema.upgrade()
    with engine.begin() as connection:
        found = {
            row.id: row.certificate_expires_at
            for table in (tables.listeners, tables.pools)
            for row in connection.execute(sa.select(table.c.id, table.c.certificate_expires_at))
        }
    engine.dispose()
    assert found == {"both": end, "neither": None, "plain": None, "shown": copies["later"], "hidden": None}


def test_faults_of_before_are_kept_and_what_they_lack_is_not_guessed(url: str) -> None:
    schema, engine = migration.Schema(url), sa.create_engine(url)
    schema.upgrade("0018")
    old = sa.MetaData()
    old.reflect(engine)
    with engine.begin() as connection:
        for object_id, code in (("listener", "certificate_missing"), ("lb", "transient")):
            _row(connection, old.tables["faults"], object_id=object_id, load_balancer_id="lb", code=code)
    schema.upgrade()
    with engine.begin() as connection:  # a process of the release before, which goes on
        _row(connection, old.tables["faults"], object_id="pool", load_balancer_id="lb", code="certificate_missing")
    engine.dispose()
    with database.Database(url).read() as tx:
        assert tx.faults.left_out("lb") == {"listener": None, "pool": None}
        assert tx.faults.of_load_balancer("lb").keys() == {"listener", "pool", "lb"}


@pytest.mark.lengthy
@pytest.mark.parametrize("revision", ["0001", "0015"])
def test_rows_of_every_status_are_there_afterwards_and_can_be_read(url: str, revision: str) -> None:
    """A column that is never null needs a value in the rows of before, which an empty database does not tell."""
    schema, engine = migration.Schema(url), sa.create_engine(url)
    schema.upgrade(revision)
    old = sa.MetaData()
    old.reflect(engine)
    with engine.begin() as connection:
        for one in status.ProvisioningStatus:
            whose = {"load_balancer_id": f"lb-{one}", "provisioning_status": one, "operating_status": "ONLINE"}
            common: dict[str, Any] = whose | {
                "lb_algorithm": "ROUND_ROBIN",
                "protocol": "HTTP",
                "pool_id": f"p-{one}",
                "l7policy_id": f"y-{one}",
            }
            told: dict[str, dict[str, Any]] = {
                "load_balancers": {"id": f"lb-{one}", "topology": "SINGLE", "vip_address": "192.0.2.9"},
                "pools": {"id": f"p-{one}"},
                "listeners": {"id": f"l-{one}", "protocol_port": 80, "default_pool_id": f"p-{one}"},
                "members": {"id": f"m-{one}", "address": "192.0.2.7", "protocol_port": 80},
                "health_monitors": {"id": f"h-{one}", "type": "HTTP"},
                "l7policies": {"id": f"y-{one}", "listener_id": f"l-{one}", "action": "REDIRECT_TO_POOL", "redirect_pool_id": f"p-{one}"},
                "l7policy_pools": {},
                "l7rules": {"id": f"r-{one}", "type": "PATH", "compare_type": "STARTS_WITH"},
                "amphorae": {"id": f"a-{one}", "status": "ALLOCATED", "role": "STANDALONE"},
                "listener_statistics": {"amphora_id": f"a-{one}", "listener_id": f"l-{one}"},
                "faults": {"object_id": f"lb-{one}"},
                "events": {"object_id": f"lb-{one}"},
                "jobs": {"id": f"j-{one}", "kind": "update-load-balancer", "owner": "somebody"},
                "tags": {"resource_id": f"lb-{one}"},
            }
            for name, fields in told.items():
                if (table := old.tables.get(name)) is not None:
                    known = {key: value for key, value in (common | fields).items() if key in table.c}
                    _row(connection, table, **known)
        before = {name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() for name, table in old.tables.items()}
    schema.upgrade()
    with engine.begin() as connection:
        after = {name: connection.execute(sa.select(sa.func.count()).select_from(old.tables[name])).scalar() for name in before}
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()
    assert after == before
    with database.Database(url).read() as tx:
        for one in status.ProvisioningStatus:
            snapshot = tx.snapshots.get(f"lb-{one}")
            assert (snapshot.load_balancer.provisioning_status, len(snapshot.members_by_pool[f"p-{one}"])) == (one, 1)


def _row(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    """One whose other columns hold something."""
    now = datetime.datetime(2026, 1, 1)
    fillers = {sa.JSON: [], sa.DateTime: now, sa.VARCHAR: "x", sa.Boolean: True}
    given = {*values, "id"} if table.name == "events" else {*values}  # their numbers are given out
    needed = [column for column in table.columns if not column.nullable and column.name not in given]
    made = {column.name: next((value for kind, value in fillers.items() if isinstance(column.type, kind)), 0) for column in needed}
    connection.execute(sa.insert(table).values(**made, **values))


@pytest.mark.lengthy
def test_the_command_upgrades_and_says_where_the_database_stands(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert db_manage.main(["--connection", url, "current"]) == 0
    assert capsys.readouterr().out.startswith("empty")
    assert db_manage.main(["--connection", url, "upgrade"]) == 0
    newest = migration.Schema(url).newest()
    assert newest is not None
    assert capsys.readouterr().out.startswith(newest)


@pytest.mark.parametrize(
    ("connection", "command", "words"),
    [
        ("no url", ["current"], "is no URL of SQLAlchemy"),
        ("nowhere://", ["upgrade"], "is no URL of SQLAlchemy"),
        ("sqlite:////nowhere/at/all.sqlite", ["current"], "unable to open database file"),
        ("postgresql+psycopg://figlina:secret@127.0.0.1:1/figlina", ["upgrade"], "does not answer"),
        ("sqlite://", ["upgrade", "4711"], "this program knows revisions up to"),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(
    connection: str, command: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert db_manage.main(["--connection", connection, *command]) == 1
    said = capsys.readouterr().err
    assert said.startswith("figlina-db-manage: ")
    assert words in said
    assert "Traceback" not in said
    assert "secret" not in said


@pytest.mark.lengthy
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
