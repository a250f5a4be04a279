"""[cinder]: the disks of amphorae that boot from a volume, see [controller_worker] volume_driver."""

from oslo_config import cfg

from controller.conf import clients

GROUP = "cinder"
OPTS = [
    *clients.options("Cinder"),
    cfg.IntOpt("volume_size", default=16, min=1, help="GiB of the volume that an amphora boots from."),
    cfg.StrOpt("volume_type", help="The volume service's type for them; default is its own."),
]
