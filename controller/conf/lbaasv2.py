"""[lbaasv2]: the API of LBaaS v2 beside the first one, as a network endpoint for old clients."""

from oslo_config import cfg

GROUP = "lbaasv2"
OPTS = [
    cfg.BoolOpt("enabled", default=True, help="Answer the API of LBaaS v2 below /network, as a network endpoint for old clients."),
    cfg.BoolOpt(
        "monitor_delay_over_timeout",
        default=False,
        help="Refuse health monitors whose delay is shorter than their timeout, as late versions of LBaaS v2 did. Its own user's guide "
        "makes such monitors.",
    ),
    cfg.URIOpt(
        "passthrough_url",
        schemes=["http", "https"],
        help="The real network service. What is below /network and is not about load balancers is passed on to it, so that /network can "
        "stand in the catalogue as the network endpoint. Without it there is none, and an embedded cloud answers itself.",
    ),
    cfg.FloatOpt("passthrough_connect_timeout", default=5.0, min=0.1, help="Seconds until the network service must take a connection."),
    cfg.FloatOpt("passthrough_timeout", default=60.0, min=0.1, help="Seconds that the network service may be silent."),
    cfg.IntOpt("passthrough_max_body_size", default=1048576, min=1024, help="Bytes of a body that is passed on."),
    cfg.IntOpt(
        "passthrough_max_answer_size",
        default=33554432,
        min=1024,
        help="Bytes of an answer that is passed back; as many are held in memory for each request that is under way.",
    ),
    cfg.StrOpt("passthrough_cafile", help="Certificates of authorities that may sign that of the network service; default: the system's."),
    cfg.IntOpt("passthrough_connections", default=16, min=1, help="Connections to the network service that a process keeps open."),
]
