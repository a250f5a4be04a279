"""A real agent whose certificate lives for seconds: renewed under traffic, mended after its end, and no friend of other amphorae."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import json
import pathlib
import shutil
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from amphora_agent.protocol import boot, rest
from controller import exceptions
from controller.drivers.amphora import interface
from controller.drivers.amphora import rest as driver
from controller.drivers.ca import local
from controller.tasks import certificates
from tests import builders
from tests.integration import agent_amphora
from tests.integration.agent_amphora import AGENT, Amphora, config, eventually
from tests.integration.test_agent_life import Load

pytestmark = pytest.mark.integration
_T = TypeVar("_T")
MINUTE = datetime.timedelta(minutes=1)


@dataclasses.dataclass
class Deployment:
    """An authority of our own, the driver that speaks by it, and an amphora that was booted by it."""

    folder: pathlib.Path
    amphora: Amphora
    authority: local.LocalCertificateAuthority
    driver: driver.RestAmphora

    def __post_init__(self) -> None:
        self.row = builders.an_amphora(id=self.amphora.id, management_address=AGENT)

    def identity(self, validity: datetime.timedelta = MINUTE) -> boot.Identity:
        """A new certificate for the agent."""
        issuer = local.LocalCertificateAuthority(self.folder / "ca", validity=validity)
        return certificates.identity(self.authority, issuer.issue_amphora_certificate(self.amphora.id))

    def renew(self, identity: boot.Identity) -> None:
        self.amphora.outdoors(lambda: self.driver.renew(self.row, identity))

    def info(self) -> interface.AgentInfo:
        return self.amphora.outdoors(lambda: self.driver.info(self.row, 5.0))

    def answers(self) -> bool:
        """Whether the agent does."""
        with contextlib.suppress(exceptions.AmphoraUnreachable):
            return self.info().amphora_id == self.amphora.id
        return False

    def put_on_disk(self, identity: boot.Identity) -> None:
        """What the controller has put into the machine when it boots."""
        certs = self.amphora.folder / "etc" / "certs"
        (certs / "server.pem").write_text(identity.server_pem)
        (certs / "client_roots.pem").write_text(identity.client_roots)
        (certs / "client_names.json").write_text(json.dumps(identity.client_names))

    def shown(self) -> ssl.SSLSocket:
        """A connection that is kept open, as the controller's own."""
        context = ssl.create_default_context(cadata=self.authority.server_roots().decode())
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        context.load_cert_chain(self.authority.client_certificate_path())
        return context.wrap_socket(self.amphora.connect(AGENT, 9443), server_hostname=self.amphora.id)


@contextlib.contextmanager
def deployed(folder: pathlib.Path, validity: datetime.timedelta = MINUTE, **boot_changes: Any) -> Iterator[Deployment]:
    amphora = Amphora(folder / "amphora", **boot_changes)
    authority = local.LocalCertificateAuthority(folder / "ca", create=True)
    made = Deployment(folder, amphora, authority, driver.RestAmphora(authority, retry_time=0.0, read_timeout=10.0))
    try:
        amphora.make()
        made.put_on_disk(made.identity(validity))
        amphora.start()
        eventually(made.answers, within=60)
        yield made
    except BaseException:
        with contextlib.suppress(OSError):
            sys.stderr.write(amphora.log()[-8000:])
        raise
    finally:
        made.driver.close()
        amphora.destroy()
        shutil.rmtree(folder / "amphora", ignore_errors=True)


@pytest.fixture
def deployment(tmp_path: pathlib.Path) -> Iterator[Deployment]:
    with deployed(tmp_path, heartbeat_interval=0.2) as made:
        yield made


def _serve(made: Deployment) -> None:
    text = config(f"m1 {made.amphora.web(9001)} weight 1")
    wanted = made.amphora.wanted(1, text)
    made.amphora.outdoors(lambda: made.driver.apply(made.row, wanted, {}))


def test_ten_renewals_cost_no_request_no_beat_and_no_open_connection(deployment: Deployment) -> None:
    """Certificates of four seconds, a new one each second; what began by an old one goes on long after its end."""
    _serve(deployment)
    beats = deployment.amphora.beats()
    kept = deployment.shown()
    first = kept.getpeercert(binary_form=True)
    load = Load(deployment.amphora, seconds=11)
    thread = threading.Thread(target=lambda: deployment.amphora.outdoors(load.run))
    thread.start()
    beats.drain()
    seen = {first}
    began = time.monotonic()
    for number in range(10):
        time.sleep(max(0.0, began + number - time.monotonic()))
        deployment.renew(deployment.identity(datetime.timedelta(seconds=4)))
        with deployment.shown() as fresh:
            seen.add(fresh.getpeercert(binary_form=True))
    thread.join()
    assert load.failures == []
    assert load.done == 2200
    assert len(seen) == 11
    kept.sendall(f"GET {rest.INFO_PATH} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
    assert kept.recv(65536).startswith(b"HTTP/1.1 200")
    kept.close()
    _assert_no_beat_was_lost(beats, time.monotonic() - began)


def _assert_no_beat_was_lost(beats: agent_amphora.Beats, seconds: float) -> None:
    """The agent looks once a second at least: so many beats, in a row, of one boot, each within its time."""
    headers = []
    with contextlib.suppress(TimeoutError, BlockingIOError):
        while True:
            headers.append(beats.next(0.01)[0])
    assert len(headers) >= int(seconds) - 1
    assert len({header.boot_id for header in headers}) == 1
    numbers = [header.sequence for header in headers]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    sent = [header.sent_at for header in headers]
    assert max(after - before for before, after in itertools.pairwise(sent)) < 3.0


def test_a_renewed_certificate_outlives_the_agent_and_what_the_machine_was_booted_with(deployment: Deployment) -> None:
    deployment.renew(deployment.identity())
    with deployment.shown() as before:
        wanted = before.getpeercert(binary_form=True)
    agent_amphora.kill(deployment.amphora.agent_pid())
    time.sleep(0.3)
    eventually(deployment.answers)
    with deployment.shown() as after:
        assert after.getpeercert(binary_form=True) == wanted


def test_one_whose_certificate_ran_out_says_how_it_does_and_is_mended_by_the_next_write(tmp_path: pathlib.Path) -> None:
    """It was away until its certificate had run out: no ERROR, no failover; a write gives it a new one first."""
    with deployed(tmp_path, datetime.timedelta(seconds=15)) as made:
        _serve(made)
        made.driver.close()  # connections that are open would go on
        eventually(lambda: _is_out_of_time(made), within=60)
        fresh = driver.RestAmphora(made.authority, retry_time=0.0, read_timeout=10.0)
        made.driver = fresh
        assert made.info().amphora_id == made.amphora.id
        assert _is_out_of_time(made), "a question changes nothing"
        wanted = made.amphora.wanted(2, config(f"m1 {made.amphora.web(9002)} weight 1"))
        assert made.amphora.outdoors(lambda: fresh.apply(made.row, wanted, {})).generation == 2
        with made.shown() as connection:
            assert connection.getpeercert()
        assert made.amphora.fetch_all() == {"9002"}


def _is_out_of_time(made: Deployment) -> bool:
    try:
        with made.shown():
            return False
    except ssl.SSLCertVerificationError as exc:
        return exc.verify_code == 10


def test_another_amphora_is_not_a_controller(deployment: Deployment) -> None:
    """An amphora's own certificate opens no other amphora, not even where one root vouches for both sides."""
    other = deployment.folder / "other.pem"
    other.write_bytes(deployment.authority.issue_amphora_certificate(builders.an_id("another amphora")).pem)
    assert _turned_away(deployment, other)
    shared = deployment.identity()
    both = shared.client_roots + deployment.authority.server_roots().decode()
    deployment.renew(dataclasses.replace(shared, client_roots=both))
    assert _turned_away(deployment, other)
    assert deployment.info().amphora_id == deployment.amphora.id


def test_a_client_of_the_controllers_root_that_is_not_the_controller_is_turned_away(deployment: Deployment) -> None:
    from controller.drivers.ca import certificates as material

    issuer = material.load_issuer(
        "test",
        (deployment.folder / "ca" / "client_ca.pem").read_bytes(),
        (deployment.folder / "ca" / "client_ca.key").read_bytes(),
        None,
        datetime.datetime.now(datetime.UTC),
    )
    for name, away in (("somebody-else", True), ("figlina-controller", False)):
        certificate, key = material.issue(issuer, name, material.CLIENT, datetime.datetime.now(datetime.UTC), MINUTE)
        path = deployment.folder / f"{name}.pem"
        path.write_bytes(material.certificate_pem(certificate) + material.key_pem(key))
        assert _turned_away(deployment, path) is away


def _turned_away(made: Deployment, client_pem: pathlib.Path) -> bool:
    context = ssl.create_default_context(cadata=made.authority.server_roots().decode())
    context.load_cert_chain(client_pem)
    try:
        with context.wrap_socket(made.amphora.connect(AGENT, 9443), server_hostname=made.amphora.id) as connection:
            connection.sendall(f"GET {rest.INFO_PATH} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            return not connection.recv(100)
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize("spoil", ["no pem", "another key", "no roots"])
def test_what_makes_no_identity_is_refused_and_the_old_one_serves_on(deployment: Deployment, spoil: str) -> None:
    good, other = deployment.identity(), deployment.identity()
    end = "-----END CERTIFICATE-----\n"
    bad = {
        "no pem": dataclasses.replace(good, server_pem="nothing"),
        "another key": dataclasses.replace(good, server_pem=good.server_pem.partition(end)[0] + end + other.server_pem.partition(end)[2]),
        "no roots": dataclasses.replace(good, client_roots=""),
    }[spoil]
    with deployment.shown() as before:
        shown = before.getpeercert(binary_form=True)
    with pytest.raises(exceptions.AmphoraRefused, match="keeps its own"):
        deployment.renew(bad)
    with deployment.shown() as after:
        assert after.getpeercert(binary_form=True) == shown
