"""A certificate authority in a folder that goes with the process; every certificate is for the same throw-away key, made once."""

import atexit
import functools
import pathlib
import shutil
import tempfile
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from oslo_config import cfg

from controller.drivers.ca import certificates, interface, local


@functools.cache
def _folder() -> pathlib.Path:
    folder = tempfile.mkdtemp(prefix="figlina-fake-ca-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


@functools.cache
def _key() -> ec.EllipticCurvePrivateKey:
    return certificates.new_key()


class FakeCertificateAuthority(local.LocalCertificateAuthority):
    """Answers at once. `issued` holds the amphora ids that it was asked for.

    A test may set `trusts`, as if another root had begun to issue, and `validity`.
    """

    def __init__(self) -> None:
        super().__init__(_folder(), create=True)
        self.issued: list[str] = []
        self.trusts = "fake"
        self.key = _key()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        return cls()

    def issue_amphora_certificate(self, amphora_id: str) -> interface.IssuedCertificate:
        self.issued.append(amphora_id)
        return super().issue_amphora_certificate(amphora_id)

    def trust(self) -> str:
        return self.trusts
