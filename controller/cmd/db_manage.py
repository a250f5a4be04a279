"""`figlina-db-manage`: bring the database's schema to a revision, or say where it stands."""

from __future__ import annotations

import argparse
import sys

from oslo_config import cfg

from controller import conf as configuration
from controller import exceptions
from controller.db import migration


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit code 0 if it did what was asked, 1 if it could not: it says why."""
    options = _parser().parse_args(arguments)
    try:
        print(_run(options))
    except (exceptions.Misconfigured, cfg.Error) as error:
        print(f"figlina-db-manage: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> str:
    """What there is to say afterwards."""
    url = options.connection or configuration.load_files(options.config_file).database.connection
    schema = migration.Schema(url)
    if options.command == "upgrade":
        schema.upgrade(options.revision)
    elif options.command == "revision":
        return schema.new_revision(options.message)
    return f"{schema.current() or 'empty'} (newest: {schema.newest()})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="figlina-db-manage", description=__doc__)
    parser.add_argument("--config-file", action="append", default=[], help="configuration file with [database] connection")
    parser.add_argument("--connection", help="SQLAlchemy URL, instead of a configuration file's")
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade", help="bring the schema forward; what is there already stays as it is")
    upgrade.add_argument("revision", nargs="?", default="head", help="where to (default: the newest)")
    commands.add_parser("current", help="say which revision the database has")
    revision = commands.add_parser("revision", help="write a new revision from the difference between database and tables (developers)")
    revision.add_argument("-m", "--message", required=True, help="what it is for")
    return parser


if __name__ == "__main__":
    sys.exit(main())
