"""[service_auth]: as whom the cloud's services are asked, by the drivers `nova`, `neutron` and `barbican`."""

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = "service_auth"
OPTS = [
    cfg.StrOpt(
        "cloud", help="A name in clouds.yaml (see openstacksdk), which says all of this by itself. Without it, the options below say it."
    ),
    cfg.StrOpt("region_name", help="The region of the services' endpoints; each service's section may name another one."),
    *loading.get_auth_common_conf_options(),
    *loading.get_session_conf_options(),
]
LOADED_BY_TYPE = loading.get_auth_plugin_conf_options("password")
"""keystoneauth registers those of `auth_type` by itself; the sample of the configuration shows the usual type's."""
