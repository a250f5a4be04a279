"""[house_keeping]: periodic work of the one active housekeeping process."""

from oslo_config import cfg

GROUP = "house_keeping"
OPTS = [
    cfg.FloatOpt("sweep_interval", default=5.0, min=0.1, help="Seconds between two looks for work that a row owes and no job carries."),
    cfg.FloatOpt("cleanup_interval", default=30.0, min=0.1, help="Seconds between two purges of what was deleted long ago."),
    cfg.FloatOpt("load_balancer_expiry_age", default=604800.0, min=0, help="Seconds for which the row of a deleted load balancer is kept."),
    cfg.FloatOpt("amphora_expiry_age", default=604800.0, min=0, help="Seconds for which the row of a deleted amphora is kept."),
    cfg.FloatOpt("event_expiry_age", default=2592000.0, min=0, help="Seconds for which an event is kept."),
    cfg.FloatOpt("orphan_interval", default=60.0, min=0.1, help="Seconds between two searches for what no row explains in the cloud."),
    cfg.FloatOpt(
        "orphan_grace",
        default=300.0,
        min=0,
        help="Seconds for which a machine or port must have been seen unexplained, at least twice, before it is deleted.",
    ),
    cfg.FloatOpt(
        "compare_interval",
        default=30.0,
        min=0.1,
        help="Seconds between two comparisons of rows with what is there, each of `compare_page_size` load balancers: lost ports, machines "
        "and access rules are events, and are mended.",
    ),
    cfg.IntOpt(
        "compare_page_size",
        default=100,
        min=1,
        help="Load balancers that one comparison looks at: a few lists of the compute and network services are read for all of them.",
    ),
    cfg.IntOpt(
        "compare_failovers_per_hour",
        default=10,
        min=1,
        help="Amphorae that comparisons replace in an hour, at most: if the services say that more have lost their machines or ports, they "
        "are rather wrong than right, and the others wait. Who falls silent is replaced by the health manager all the same.",
    ),
    cfg.BoolOpt("delete_orphans", default=True, help="Delete orphans; otherwise they are only reported, as events and in the log."),
    cfg.FloatOpt(
        "cert_interval", default=10.0, min=0.1, help="Seconds between two looks for amphorae whose certificates are to be renewed."
    ),
    cfg.IntOpt("cert_rotate_threads", default=10, min=1, help="Renewals of amphorae's certificates that are under way at once, at most."),
    cfg.FloatOpt("leader_expiry", default=15.0, min=1, help="Seconds after which another housekeeping takes over from one that died."),
    cfg.IntOpt("page_size", default=200, min=1, help="Rows that one step of a periodic task reads."),
]
