"""[neutron]: how the network service is asked, by the driver `neutron`."""

from controller.conf import clients

GROUP = "neutron"
OPTS = [*clients.options("Neutron")]
