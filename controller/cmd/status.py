"""`figlina-status`: whether everything is right, here and in the cloud, before the first load balancer is made."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence

import rich.console
from oslo_config import cfg

from controller import conf as configuration
from controller.cmd import logging_setup
from controller.deployment import checks, report, site

_WORDS = {report.Level.OK: "ok", report.Level.WARNING: "warning", report.Level.FAILURE: "failure"}
_STYLES = {report.Level.OK: "green", report.Level.WARNING: "yellow", report.Level.FAILURE: "bold red"}
UNUSABLE = 255
"""The exit code of oslo.upgradecheck for what was not foreseen: here, a configuration that can't be read."""


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands; each sets `run`, a function of the parsed options that returns an exit code."""
    commands = parser.add_subparsers(dest="status_command", required=True)
    check = commands.add_parser(
        "check", help="look at configuration, database, certificates and cloud; exit code 0, 1 (warnings) or 2 (failures)"
    )
    check.add_argument("--config-file", action="append", default=[], help="configuration file, as the controllers have it; repeatable")
    check.add_argument(
        "--only", action="append", default=[], choices=[one.name for one in checks.CHECKS], help="one check, and what it needs"
    )
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(run=_check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit code 0, 1 (warnings), 2 (failures) or 255 (the configuration can't be read)."""
    parser = argparse.ArgumentParser(prog="figlina-status", description=__doc__)
    add_commands(parser)
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _check(options: argparse.Namespace) -> int:
    try:
        conf = configuration.load_files(options.config_file)
        conf.set_override("create", False, group="certificates")  # who looks makes nothing
        logging_setup.setup(conf, "figlina-status")
        for name in ("controller", "alembic"):  # the findings tell the rest
            logging.getLogger(name).setLevel(logging.DEBUG if conf.debug else logging.ERROR)
    except (cfg.Error, OSError) as error:
        print(f"figlina-status: the configuration can't be read: {error}", file=sys.stderr)
        return UNUSABLE
    told = list(report.run(checks.chosen(options.only), site.Site(conf), conf))
    if options.json:
        rows = [{"check": one.check, "level": _WORDS[one.finding.level], "code": one.finding.code} for one in told]
        texts = [{"found": one.finding.found, "fix": one.finding.fix} for one in told]
        print(json.dumps([row | text for row, text in zip(rows, texts, strict=True)], indent=1))
    else:
        tell(told)
    return report.exit_code(told)


def tell(told: Sequence[report.Told]) -> None:
    """One line for each finding, and one for what mends it."""
    out = rich.console.Console(highlight=False, soft_wrap=True)
    for one in told:
        word = _WORDS[one.finding.level]
        out.print(f"[{_STYLES[one.finding.level]}]{word:8}[/] {one.check:14} ", end="")
        out.print(one.finding.found, markup=False)
        if one.finding.fix:
            out.print(f"{'':23} fix: {one.finding.fix}", markup=False)
    counts = [sum(one.finding.level is level for one in told) for level in (report.Level.FAILURE, report.Level.WARNING)]
    out.print(f"{counts[0]} failures, {counts[1]} warnings")


if __name__ == "__main__":
    sys.exit(main())
