"""[glance]: how the image service is asked, by the driver `nova`."""

from controller.conf import clients

GROUP = "glance"
OPTS = [*clients.options("Glance")]
