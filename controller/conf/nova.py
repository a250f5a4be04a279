"""[nova]: how the compute service is asked, by the driver `nova`."""

from controller.conf import clients

GROUP = "nova"
OPTS = [*clients.options("Nova")]
