"""[api_settings]: where the REST API listens, and what it allows."""

from oslo_config import cfg

GROUP = "api_settings"
OPTS = [
    cfg.StrOpt("bind_host", default="127.0.0.1", help="Address on which the API listens."),
    cfg.PortOpt("bind_port", default=9876, help="TCP port on which the API listens."),
    cfg.IntOpt("workers", default=1, min=1, help="Processes that answer requests. They share nothing but the database."),
    cfg.IntOpt("threads", default=8, min=1, help="Requests that one process answers at once."),
    cfg.IntOpt("graceful_timeout", default=30, min=1, help="Seconds that requests in flight may still take when the API is told to stop."),
    cfg.StrOpt(
        "auth_strategy",
        default="noauth",
        choices=["noauth"],
        help="Who may call. `noauth`: everybody, as administrator of the project in the header X-Project-Id or in the body.",
    ),
    cfg.StrOpt(
        "noauth_project_id", help="With `noauth`: the project of callers who name none. Without it they can't create load balancers."
    ),
    cfg.BoolOpt(
        "network_lookups",
        default=False,
        help="Answer the network service's GET of subnets, networks and ports by id, so that the command line client works in an embedded "
        "cloud, where there is no such service.",
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
    cfg.IntOpt("max_request_body_size", default=114688, min=1024, help="Bytes of a body; more is answered with 413."),
    cfg.DictOpt(
        "enabled_provider_drivers",
        default={
            "amphora": "The Octavia Amphora driver.",
            "octavia": "Deprecated alias of the Octavia Amphora driver.",
        },
        help="Providers that load balancers may name, with their descriptions.",
    ),
    cfg.StrOpt("default_provider_driver", default="amphora", help="The provider of load balancers that name none."),
    cfg.BoolOpt("allow_ping_health_monitors", default=True, help="Allow health monitors of type PING."),
    cfg.ListOpt("cors_allowed_origins", default=[], help="Origins whose web pages may call the API, or `*`."),
]
