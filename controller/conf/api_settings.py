"""[api_settings]: where the REST API listens, and what it allows."""

from oslo_config import cfg

from controller.conf import declared
from controller.resources import kinds

GROUP = "api_settings"
OPTS = [
    cfg.StrOpt("bind_host", default="127.0.0.1", help="Address on which the API listens."),
    cfg.PortOpt("bind_port", default=9876, help="TCP port on which the API listens."),
    cfg.IntOpt("workers", default=1, min=1, help="Processes that answer requests. They share nothing but the database."),
    cfg.IntOpt("threads", default=8, min=1, help="Requests that one process answers at once."),
    cfg.IntOpt(
        "request_timeout",
        default=20,
        min=1,
        help="Seconds within which a request must have arrived whole; then it is answered with 408. Slow clients take no thread meanwhile.",
    ),
    cfg.IntOpt(
        "answer_timeout",
        default=20,
        min=1,
        help="Seconds that a whole request may wait for a thread, for the database, and for what others hold locked; then it is answered "
        "with 503 and Retry-After.",
    ),
    cfg.IntOpt(
        "max_connections",
        default=4000,
        min=1,
        help="Connections that one process keeps open at once. For another one, that which waits for its request for longest is closed.",
    ),
    cfg.IntOpt("graceful_timeout", default=30, min=1, help="Seconds that requests in flight may still take when the API is told to stop."),
    cfg.StrOpt(
        "auth_strategy",
        default="keystone",
        choices=[
            ("keystone", "the bearers of Keystone's tokens, which are checked as [keystone_authtoken] says"),
            ("noauth", "everybody, as administrator of the project in the header X-Project-Id or in the body"),
            ("testing", "callers are who they say they are in X-Project-Id, X-User-Id and X-Roles: to try policies without a Keystone"),
        ],
        help="Who may call. Only `keystone` is for networks on which anybody else is.",
    ),
    cfg.StrOpt(
        "noauth_project_id", help="With `noauth`: the project of callers who name none. Without it they can't create load balancers."
    ),
    cfg.BoolOpt(
        "embedded_networking",
        default=False,
        help="Answer the Networking API of the embedded network (networks, subnets, ports, security groups, routers, floating IPs) below "
        "the same root, so that clients work in an embedded cloud, where there is no other network service.",
    ),
    cfg.StrOpt("api_base_uri", help="How links in answers begin, where a proxy hides the API; default is what the request was sent to."),
    cfg.BoolOpt(
        "immutable_while_pending",
        default=False,
        help="Refuse changes (409) of a load balancer on which work is under way, as the compatible API does. By default they are "
        "accepted, and the newest state wins.",
    ),
    cfg.BoolOpt("healthcheck_enabled", default=False, help="Answer GET /healthcheck, without authentication."),
    cfg.BoolOpt("allow_pagination", default=True, help="Cut lists into pages by `limit` and `marker`."),
    cfg.BoolOpt("allow_sorting", default=True, help="Sort lists by `sort`, or by `sort_key` and `sort_dir`."),
    cfg.BoolOpt("allow_filtering", default=True, help="Filter lists by attributes."),
    cfg.BoolOpt("allow_field_selection", default=True, help="Show only the attributes that `fields` names."),
    cfg.StrOpt(
        "pagination_max_limit",
        default="1000",
        regex=r"^(infinite|[1-9][0-9]*)$",
        help="Items on a page at most, whatever the client asks for; or `infinite`.",
    ),
    cfg.IntOpt(
        "max_bodies_on_disk",
        default=268435456,
        min=65536,
        help="Bytes that the bodies of all requests of one process may take on the disk (`$TMPDIR`) at once; a request for whose body "
        "there is no room is answered with 503. Bodies up to 64 KiB are held in memory. At least as much as one request may have.",
    ),
    cfg.DictOpt(
        "enabled_provider_drivers",
        default={"amphora": "The Octavia Amphora driver.", "octavia": "Deprecated alias of the Octavia Amphora driver."},
        help="Providers that load balancers may name, with their descriptions. Each is an entry point of the group "
        "figlina.providers; one that is not installed keeps the API from starting.",
    ),
    *declared.options(GROUP),
    cfg.BoolOpt("allow_ping_health_monitors", default=True, help="Allow health monitors of type PING."),
    cfg.IntOpt(
        "udp_connect_min_interval_health_monitor",
        default=3,
        min=0,
        help="Seconds at least between two probes of a health monitor of type UDP-CONNECT.",
    ),
    cfg.BoolOpt("allow_tls_terminated_listeners", default=True, help="Allow listeners of protocol TERMINATED_HTTPS."),
    cfg.BoolOpt("allow_prometheus_listeners", default=True, help="Allow listeners of protocol PROMETHEUS."),
    cfg.StrOpt(
        "tls_cipher_prohibit_list",
        default="",
        help="Ciphers that no listener and no pool may have, in OpenSSL's names, separated by colons; the defaults above must not either.",
    ),
    cfg.StrOpt(
        "minimum_tls_version",
        choices=kinds.TLS_VERSIONS,
        help="The oldest version of TLS that listeners and pools may ask for. Not set: every one is allowed.",
    ),
]
