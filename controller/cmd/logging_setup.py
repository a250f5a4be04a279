"""Logs of all our processes: oslo.log, so that operators find the options and formats they know (`--debug`, `--log-file`, `[DEFAULT]`)."""

from __future__ import annotations

import logging as standard_logging

from oslo_config import cfg
from oslo_log import log as logging

_QUIET = (
    *("taskflow=WARN", "sqlalchemy=WARN", "alembic=INFO", "stevedore=WARN", "urllib3=WARN", "paramiko=WARN", "werkzeug=WARN"),
    *("keystoneauth=WARN", "keystonemiddleware=INFO", "oslo_policy=INFO", "controller.db.database._Pool=WARN"),  # the pool is SQLAlchemy's
)


def setup(conf: cfg.ConfigOpts, process_name: str) -> None:
    """Send the logs of this process where the configuration says; libraries speak only when something is wrong.

    `conf` comes from `controller.conf.load`, which registers the options of oslo.log too.
    """
    logging.set_defaults(default_log_levels=list(_QUIET))
    if not (conf.log_file or conf.log_dir or conf.use_journal):
        conf.set_default("use_stderr", True)  # standard output is for what a command answers
    logging.setup(conf, process_name)
    standard_logging.captureWarnings(True)
