"""[database]: where the rows are."""

from oslo_config import cfg

GROUP = "database"
OPTS = [
    cfg.StrOpt(
        "connection",
        default="sqlite:////var/lib/figlina/figlina.db",
        secret=True,
        help="SQLAlchemy URL of the database: SQLite for one machine, MariaDB, MySQL or PostgreSQL for a deployment.",
    ),
    cfg.IntOpt(
        "busy_timeout",
        default=30,
        min=1,
        help="Seconds that a transaction waits for a connection and for what others hold locked, on every engine. Requests wait no longer "
        "than [api_settings] answer_timeout in all.",
    ),
]
