"""[controller_worker]: how load balancers are built, and how long workers hold on to a job."""

import socket

from oslo_config import cfg

GROUP = "controller_worker"
OPTS = [
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<the host's name>",
        help="This machine's name in claims and leases. A worker that starts takes over at once what dead workers of the same host held.",
    ),
    cfg.StrOpt(
        "loadbalancer_topology",
        default="SINGLE",
        choices=["SINGLE", "ACTIVE_STANDBY"],
        help="How many amphorae a load balancer gets unless its flavor says otherwise: one, or a pair of which one stands by.",
    ),
    cfg.StrOpt("compute_driver", default="namespace", help="Where amphorae run: a name from the entry points `figlina.compute`."),
    cfg.StrOpt("network_driver", default="bridge", help="What plugs amphorae into networks: a name from `figlina.network`."),
    cfg.StrOpt("amphora_driver", default="rest", help="How amphorae are spoken to: a name from `figlina.amphora`."),
    cfg.StrOpt("ca_driver", default="local", help="Who issues the certificates of amphorae: a name from `figlina.ca`."),
    cfg.StrOpt(
        "secrets_driver", default="local", help="Where private keys and certificates of tenants rest: a name from `figlina.secrets`."
    ),
    cfg.StrOpt("amp_flavor_id", help="The compute service's flavor for amphorae. The embedded drivers need none."),
    cfg.StrOpt("amp_image_tag", default="amphora", help="The newest image with this tag is booted."),
    cfg.StrOpt(
        "amp_image_owner_id",
        help="The project whose images with the tag are booted. Without it anybody who may share an image with everybody may give us one.",
    ),
    cfg.StrOpt(
        "amp_ssh_key_name",
        help="A key pair of the compute service's, whose owner may log in to amphorae (ssh root@ADDRESS, on the management network). "
        "Each gets a host key of the controller's making; the worker's log has its line for known_hosts. None: no SSH server runs.",
    ),
    cfg.ListOpt(
        "amp_boot_network_list",
        default=[],
        help="Ids of the networks on which an amphora of the cloud boots; the first one is the management network, on which controllers "
        "reach agents and get heartbeats. `figlina cloud prepare` makes one. On the others it has an address (fixed or by DHCP) and the "
        "routes of the subnet, but no default route; nothing of it listens there.",
    ),
    cfg.StrOpt(
        "deployment",
        default="figlina",
        regex=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,39}$",
        help="The name of this Figlina in the cloud, written on everything that it makes there. Only what bears it is ever taken for left "
        "over, and deleted: several Figlinas in one project of a cloud need several names. It stays while there are load balancers.",
    ),
    cfg.ListOpt("amp_secgroup_list", default=[], help="Ids of the security groups of an amphora's port on the management network."),
    cfg.StrOpt(
        "volume_driver",
        default="volume_noop_driver",
        choices=[
            ("volume_noop_driver", "the disk of an amphora is the compute host's"),
            ("volume_cinder_driver", "an amphora boots from a volume, which the compute service makes of the image; see [cinder]"),
        ],
        help="Where the disks of the cloud's amphorae are.",
    ),
    cfg.FloatOpt(
        "boot_timeout",
        default=600.0,
        min=1.0,
        help="Seconds from the order to boot until the amphora's first signed heartbeat. Then the machine is given up and built anew.",
    ),
    cfg.FloatOpt(
        "claim_expiry",
        default=30.0,
        min=1.0,
        help="Seconds after which a dead worker's job is taken over by another one. Live workers renew their claims each third of it.",
    ),
    cfg.FloatOpt(
        "retry_backoff",
        default=5.0,
        min=0.1,
        help="Seconds until a flow that failed is tried again; doubled with each further failure in a row.",
    ),
    cfg.FloatOpt(
        "retry_backoff_max", default=300.0, min=0.1, help="The longest time between two tries. A load balancer is never given up."
    ),
]
