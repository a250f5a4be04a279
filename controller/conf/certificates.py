"""[certificates]: who vouches for amphorae and controllers, and where tenants' certificates rest."""

from oslo_config import cfg

from controller.model import renewal

GROUP = "certificates"
OPTS = [
    cfg.StrOpt(
        "ca_path",
        default="/var/lib/figlina/ca",
        help="Directory of the `local` certificate authority: server_ca.pem and server_ca.key (who vouches for amphorae), client_ca.pem "
        "and client_ca.key (who vouches for controllers), controller.pem (our own certificate with its key). Each .pem of a CA holds one "
        "or more roots, the issuing one first. Nobody but our user may read it.",
    ),
    cfg.StrOpt(
        "storage_path",
        default="/var/lib/figlina/secrets",
        help="Directory of the `local` store of tenants' certificates; its files are encrypted.",
    ),
    cfg.IntOpt("secrets_per_project", default=1000, min=1, help="So many secrets a project may have in the `local` store."),
    cfg.BoolOpt(
        "create",
        default=False,
        help="Make what is missing on first use: both certificate authorities, and a key for the `local` store. Meant for one machine; a "
        "deployment makes its own once and gives them to every controller.",
    ),
    cfg.StrOpt(
        "ca_private_key_passphrase", secret=True, help="Passphrase of server_ca.key and client_ca.key. None: they are not encrypted."
    ),
    cfg.ListOpt(
        "server_certs_key_passphrase",
        default=[],
        secret=True,
        help="Fernet keys of the `local` store (32 bytes in URL-safe base64). The first one encrypts, all of them decrypt: to change the "
        "key, add a new one behind it, restart everywhere, and put it in front then. Empty: the lines of `keys` in storage_path.",
    ),
    cfg.IntOpt(
        "tenant_cert_warning",
        default=30 * 24 * 3600,
        min=0,
        help="Seconds before the end of a tenant's certificate, or list of revocations, at which an event of its load balancer says so.",
    ),
    cfg.IntOpt(
        "cert_validity_time",
        default=30 * 24 * 3600,
        min=5,
        help="Seconds for which an amphora's certificate is valid. It is renewed while the amphora serves, see cert_renew_after.",
    ),
    cfg.FloatOpt(
        "cert_renew_after",
        default=renewal.RENEW_AFTER,
        min=0.2,
        max=0.9,
        help="The part of its lifetime after which an amphora's certificate is renewed; each amphora's turn comes up to a tenth of the "
        "lifetime earlier, so that those made together are not renewed together.",
    ),
    cfg.IntOpt(
        "ca_validity_time",
        default=10 * 365 * 24 * 3600,
        min=60,
        help="Seconds for which a certificate authority that `create` makes is valid.",
    ),
    cfg.IntOpt(
        "client_cert_validity_time",
        default=365 * 24 * 3600,
        min=5,
        help="Seconds for which the controller's own certificate is valid. Whichever process speaks to an agent first in the last third "
        "of that time renews it (controller.pem); the others notice. Without a client_ca.key, somebody else looks after controller.pem.",
    ),
]
