"""[quotas]: how much a project may have, where nobody set limits for it."""

from oslo_config import cfg

from controller.model import quota

GROUP = "quotas"
PRESETS: dict[str, dict[str, int]] = {"octavia": {}, "lbaasv2": {"load_balancer": 10, "pool": 10}}
"""What each preset limits; anything else is unlimited."""

OPTS = [
    cfg.StrOpt(
        "preset",
        default="octavia",
        choices=[
            ("octavia", "Nothing is limited."),
            ("lbaasv2", "10 load balancers and 10 pools, as LBaaS v2 had it; nothing else is limited."),
        ],
        help="The limits that hold where neither an option below nor the project's own quota says otherwise.",
    ),
    *(
        cfg.IntOpt(
            f"default_{kind}_quota",
            min=-1,
            max=quota.HIGHEST,
            sample_default=-1,
            help=f"How many objects of the kind {title} a project may have unless its own quota says otherwise. -1: as many as it likes. "
            "If this is not set, the preset says it.",
        )
        for kind, title in quota.TITLES.items()
    ),
]
