"""Certificates for the web servers of `figlina dev`."""

import datetime
import pathlib

from controller.drivers.ca import certificates
from controller.embedded import machines

_VALIDITY = datetime.timedelta(days=3650)


def ensure_self_signed(path: pathlib.Path, name: str, address: str) -> pathlib.Path:
    """A file with a certificate for this name and address, the root of its own that signed it, and its key; there already is fine."""
    if not path.exists():
        now = datetime.datetime.now(datetime.UTC)
        root, key = certificates.new_root(f"{name} CA", now, _VALIDITY)
        issuer = certificates.Issuer(root, key, certificates.certificate_pem(root))
        certificate, key = certificates.issue(issuer, name, certificates.SERVER, now, _VALIDITY, addresses=[address])
        machines.write(path, certificates.certificate_pem(certificate) + issuer.roots + certificates.key_pem(key))
    return path
