"""[barbican]: how the key manager is asked."""

from controller.conf import clients

GROUP = "barbican"
OPTS = [*clients.options("Barbican")]
