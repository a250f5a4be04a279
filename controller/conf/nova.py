"""[nova]: how the compute service is asked, by the driver `nova`."""

from oslo_config import cfg

from controller.conf import clients

GROUP = "nova"
OPTS = [
    *clients.options("Nova"),
    cfg.StrOpt(
        "availability_zone",
        help="The compute service's zone for amphorae whose load balancer chose none; default is what the compute service chooses.",
    ),
    cfg.BoolOpt(
        "enable_anti_affinity", default=False, help="Have the two amphorae of a pair on two hosts, by a server group for each pair."
    ),
    cfg.StrOpt(
        "anti_affinity_policy",
        default="anti-affinity",
        choices=[
            ("anti-affinity", "never on one host: the second one is not made where there is no other host"),
            ("soft-anti-affinity", "on two hosts where that is possible"),
        ],
        help="How strictly.",
    ),
]
