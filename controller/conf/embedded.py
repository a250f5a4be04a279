"""[embedded]: the cloud inside this machine (compute `namespace`, network `bridge`), as `figlina dev` makes it."""

from oslo_config import cfg

GROUP = "embedded"
OPTS = [
    cfg.StrOpt(
        "state_path",
        default="/var/lib/figlina/embedded",
        help="Folder of the embedded cloud: its inventory of ports, and a folder for each amphora with its files and keys.",
    ),
    cfg.StrOpt(
        "namespace_prefix",
        default="figlina",
        regex=r"^[a-z0-9][a-z0-9-]{0,31}$",
        help="How the names of this instance's network namespaces begin. Two instances on one machine need two prefixes and two folders.",
    ),
    cfg.StrOpt(
        "management_cidr",
        default="198.19.0.0/20",
        help="Addresses of the network on which controller and amphorae talk. It exists inside our own namespaces only.",
    ),
    cfg.StrOpt("private_cidr", default="198.19.64.0/20", help="Addresses of the tenant network `private`, subnet `private-subnet`."),
    cfg.StrOpt(
        "public_cidr",
        help="Addresses of an external network `public`, subnet `public-subnet`, from which floating IPs come; the router `router1` leads "
        "to it from `private`, whose first address it takes. Without this option there is no external network and no router.",
    ),
    cfg.BoolOpt(
        "port_security",
        default=True,
        help="Filter what amphorae send and receive: only their own MAC and addresses as sender, only the VIP's open ports as receiver. "
        "Turn it off to see whether a filter is to blame.",
    ),
    cfg.StrOpt(
        "image",
        default="build/image/amphora.qcow2",
        help="The image of virtual machines, for the compute driver `qemu`; `make image` builds it.",
    ),
    cfg.StrOpt(
        "agent_command",
        help="The program that runs inside an amphora; default is the `figlina-agent` beside the Python that runs the worker.",
    ),
]
