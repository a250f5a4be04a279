"""[haproxy_amphora]: how HAProxy inside an amphora is configured, and how its agent is reached."""

from oslo_config import cfg

from controller.conf import declared

GROUP = "haproxy_amphora"
OPTS = [
    cfg.StrOpt("haproxy_cmd", default="haproxy", help="How HAProxy is called inside an amphora: a path, or a name that is found by PATH."),
    cfg.StrOpt("keepalived_cmd", default="keepalived", help="How keepalived is called inside an amphora."),
    cfg.PortOpt("bind_port", default=9443, help="TCP port on which agents listen, on their management address."),
    cfg.FloatOpt(
        "rest_request_conn_timeout",
        default=3.0,
        min=0.05,
        help="Seconds to wait for a connection to an agent. Amphorae are near: one that does not accept in a second or two is not there.",
    ),
    cfg.FloatOpt(
        "rest_request_read_timeout",
        default=60.0,
        min=0.1,
        help="Seconds to wait for an agent's answer. It comes when HAProxy has taken over the configuration, or has refused it.",
    ),
    cfg.FloatOpt(
        "connection_retry_time",
        default=90.0,
        min=0.0,
        help="Seconds for which a refused connection to a fresh amphora is tried again within one call. It announces itself before its "
        "agent listens, so this must cover the agent's start on a crowded host. 0 tries once. A broken connection is tried again for "
        "eight seconds at most, one that has served before for two, because its replacement may be waiting.",
    ),
    cfg.FloatOpt("connection_retry_interval", default=0.1, min=0.01, help="Seconds between two such tries."),
    cfg.IntOpt(
        "connection_pool_size",
        default=256,
        min=1,
        help="Number of amphorae to which a process keeps connections open, so that the next push needs no new TLS hand-shake.",
    ),
    cfg.StrOpt(
        "haproxy_stick_size",
        default="10k",
        regex=r"^[1-9][0-9]*[kKmM]?$",
        help="Entries in the table of a pool with session persistence by source address or application cookie.",
    ),
    cfg.IntOpt(
        "haproxy_stick_expire",
        default=86400,
        min=1,
        max=2_000_000,
        help="Seconds without a request after which a client with session persistence is no longer bound to its member.",
    ),
    cfg.PortOpt("peer_port", default=1025, help="TCP port on which the HAProxies of a pair tell each other about persistent sessions."),
    cfg.IntOpt(
        "hard_stop_after",
        default=0,
        min=0,
        max=2_000_000,
        help="Seconds after a reload of HAProxy at which connections of before it are cut; 0: never, they live for as long as they last.",
    ),
    cfg.IntOpt(
        "max_former_workers",
        default=0,
        min=0,
        max=2_000_000,
        help="Reloads that a connection outlives; 0: all of them. Each leaves a process of some MB for as long as it has connections.",
    ),
    cfg.IntOpt(
        "memory_reserve",
        default=64,
        min=0,
        max=2_000_000,
        help="MiB of memory that are kept available in an amphora: below, processes that only finish connections of before a reload are "
        "ended, the one that was idle for longest first, and an event says so.",
    ),
    cfg.IntOpt("default_connection_limit", default=50000, min=1, help="Connections of a listener whose connection_limit is -1."),
    *declared.options(GROUP),
]
