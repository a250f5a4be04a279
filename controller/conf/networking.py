"""[networking]: what tenants may say about addresses."""

from oslo_config import cfg

GROUP = "networking"
OPTS = [
    cfg.BoolOpt("allow_vip_network_id", default=True, help="Allow a load balancer to name its VIP's network."),
    cfg.BoolOpt("allow_vip_subnet_id", default=True, help="Allow a load balancer to name its VIP's subnet."),
    cfg.BoolOpt("allow_vip_port_id", default=True, help="Allow a load balancer to bring its own VIP port."),
    cfg.BoolOpt(
        "allow_invisible_resource_usage",
        default=False,
        help="Let tenants name subnets, networks, ports and security groups of other projects that are not shared with them.",
    ),
    cfg.ListOpt("valid_vip_networks", default=[], help="Networks on which VIPs may be; empty: on every one."),
    cfg.ListOpt("denylist_vip_networks", default=[], help="Networks on which VIPs may not be."),
    cfg.ListOpt(
        "reserved_ips",
        default=["169.254.169.254"],
        help="Addresses that no member may have, so that nobody reaches the cloud's metadata service through an amphora.",
    ),
]
