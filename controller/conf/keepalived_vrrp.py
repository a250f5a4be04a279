"""[keepalived_vrrp]: how the halves of a pair watch each other."""

from oslo_config import cfg

GROUP = "keepalived_vrrp"
OPTS = [
    cfg.FloatOpt(
        "vrrp_advert_int",
        default=0.2,
        min=0.05,
        max=40.0,
        help="Seconds between two VRRP advertisements of the master. The backup takes the VIP after 3.65 of them without a word, so 0.2 "
        "gives a takeover within 0.75 s. Where a machine may stand still for longer (a crowded hypervisor, emulation), its half loses the "
        "VIP for a moment, and connections are reset: there, take longer. VRRP counts in hundredths of a second.",
    ),
    cfg.IntOpt(
        "vrrp_garp_refresh_interval",
        default=5,
        min=0,
        help="Seconds between two announcements of the VIP's MAC address by a steady master (gratuitous ARP or neighbour advertisement). "
        "0: never.",
    ),
    cfg.IntOpt("vrrp_garp_refresh_count", default=2, min=1, help="Packets in each of these announcements."),
]
