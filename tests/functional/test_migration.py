"""The schema's history leads to what the tables say, forward and back."""

from __future__ import annotations

import pathlib

import pytest
import sqlalchemy as sa

from controller.cmd import db_manage
from controller.db import migration


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


def test_downgrading_to_base_leaves_no_table_of_ours(url: str) -> None:
    schema = migration.Schema(url)
    schema.upgrade()
    schema.downgrade("base")
    assert schema.current() is None
    assert set(sa.inspect(sa.create_engine(url)).get_table_names()) <= {"alembic_version"}


def test_the_command_upgrades_and_says_where_the_database_stands(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert db_manage.main(["--connection", url, "current"]) == 0
    assert capsys.readouterr().out.startswith("empty")
    assert db_manage.main(["--connection", url, "upgrade"]) == 0
    newest = migration.Schema(url).newest()
    assert newest is not None
    assert capsys.readouterr().out.startswith(newest)
