"""The life of the deployment's certificates on its disk: renewed by many at once, roots that follow each other, clocks that jump."""

from __future__ import annotations

import datetime
import multiprocessing
import pathlib
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from controller.cmd import figlina
from controller.db import database, migration
from controller.drivers.amphora import connections, links
from controller.drivers.ca import certificates, interface, local, rollover
from controller.model.status import AmphoraStatus, Role
from controller.tasks import certificates as tasks
from tests import builders

NAME = builders.an_id("amphora")
YEAR = datetime.timedelta(days=365)


def a_ca(folder: pathlib.Path, ahead: float = 0.0, **options: Any) -> local.LocalCertificateAuthority:
    """The authority as a process sees it whose clock is ahead by so many seconds; it looks at the disk each time."""
    shift = datetime.timedelta(seconds=ahead)
    return local.LocalCertificateAuthority(
        folder / "ca", create=True, look_interval=0.0, clock=lambda: datetime.datetime.now(datetime.UTC) + shift, **options
    )


class Agent:
    """The agent's side of a hand-shake, by what it was given; strict, as Python 3.13 is."""

    def __init__(self, folder: pathlib.Path, authority: interface.CertificateAuthority) -> None:
        self._folder = folder
        self.renew(authority)

    def renew(self, authority: interface.CertificateAuthority) -> None:
        given = tasks.identity(authority, authority.issue_amphora_certificate(NAME))
        path = self._folder / f"{uuid.uuid4()}.pem"
        path.write_text(given.server_pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        self.context.load_verify_locations(cadata=given.client_roots)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT


def speak(agent: Agent, authority: interface.CertificateAuthority) -> None:
    """A controller connects to the agent, and both believe each other. :raises ssl.SSLError: not so."""
    context = connections.tls_context(authority.server_roots(), authority.client_certificate_path())
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    here, there = socket.socketpair()
    failed: list[BaseException] = []

    def answer() -> None:
        try:
            with agent.context.wrap_socket(there, server_side=True) as connection:
                connection.sendall(connection.recv(1))
        except (ssl.SSLError, OSError) as exc:
            failed.append(exc)
            there.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with here, context.wrap_socket(here, server_hostname=NAME) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
    finally:
        thread.join(10)
        here.close()
    if failed:
        raise failed[0]


def own(folder: pathlib.Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "ca" / "controller.pem").read_bytes())


# The controller's own certificate


@pytest.mark.lengthy
def test_a_process_that_runs_renews_its_certificate_and_speaks_by_the_new_one(tmp_path: pathlib.Path) -> None:
    authority = a_ca(tmp_path, client_validity=datetime.timedelta(seconds=6))
    agent, ways = Agent(tmp_path, authority), links.Links(authority, 9443, 4)
    first, way = own(tmp_path), ways.now()
    speak(agent, authority)
    end = time.monotonic() + 15
    while own(tmp_path).serial_number == first.serial_number and time.monotonic() < end:
        time.sleep(0.2)
        speak(agent, authority)  # it never has one that is out of its time
        ways.now()
    assert own(tmp_path).serial_number != first.serial_number
    assert ways.now() is not way, "connections are made by the new one"


def _use(arguments: tuple[pathlib.Path, float]) -> list[int]:
    """What a process saw of `controller.pem` for some seconds, each time whole."""
    folder, seconds = arguments
    authority, seen = a_ca(folder, client_validity=datetime.timedelta(seconds=6)), []
    agent, end = Agent(folder, authority), time.monotonic() + seconds
    while time.monotonic() < end:
        speak(agent, authority)
        seen.append(own(folder).serial_number)
        time.sleep(0.05)
    return seen


@pytest.mark.slow
def test_processes_that_renew_at_once_make_one_and_never_lack_one(tmp_path: pathlib.Path) -> None:
    a_ca(tmp_path, client_validity=datetime.timedelta(seconds=6))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        seen = pool.map(_use, [(tmp_path, 9.0)] * 3)
    made = {number for each in seen for number in each}
    assert 2 <= len(made) <= 5, "one every four seconds, however many ask"


def test_what_somebody_else_renews_is_noticed(tmp_path: pathlib.Path) -> None:
    authority = a_ca(tmp_path)
    key = (tmp_path / "ca" / "client_ca.key").read_bytes()
    (tmp_path / "ca" / "client_ca.key").unlink()
    authority = a_ca(tmp_path)
    before = authority.revision()
    issuer = certificates.load_issuer(
        "theirs", (tmp_path / "ca" / "client_ca.pem").read_bytes(), key, None, datetime.datetime.now(datetime.UTC)
    )
    made, its_key = certificates.issue(issuer, "figlina-controller", certificates.CLIENT, datetime.datetime.now(datetime.UTC), YEAR)
    (tmp_path / "ca" / "controller.pem").write_bytes(certificates.certificate_pem(made) + certificates.key_pem(its_key))
    assert authority.revision() != before
    speak(Agent(tmp_path, authority), authority)


def test_files_that_can_not_be_used_change_nothing(tmp_path: pathlib.Path) -> None:
    authority = a_ca(tmp_path)
    agent, before = Agent(tmp_path, authority), authority.revision()
    (tmp_path / "ca" / "server_ca.pem").write_bytes(b"half a copy")
    assert authority.revision() == before
    assert authority.issue_amphora_certificate(NAME).pem
    speak(agent, authority)


# Roots


@pytest.fixture
def roll_over(tmp_path: pathlib.Path) -> rollover.RollOver:
    a_ca(tmp_path)
    return rollover.RollOver(tmp_path / "ca", None, YEAR)


def test_at_no_moment_of_a_roll_over_does_anybody_not_believe_anybody(tmp_path: pathlib.Path, roll_over: rollover.RollOver) -> None:
    """Two controllers that run all the time, and one that starts now; agents as of the step before, and as of now."""
    one, two = a_ca(tmp_path), a_ca(tmp_path)
    agents = [Agent(tmp_path, one)]
    trusts = [one.trust()]
    for step in (roll_over.start, roll_over.switch, roll_over.finish):
        for controller in (one, two, a_ca(tmp_path)):
            speak(agents[-1], controller)
        step()
        for controller in (one, two, a_ca(tmp_path)):
            speak(agents[-1], controller)  # not renewed since the step
        agents.append(Agent(tmp_path, two))
        for controller in (one, two, a_ca(tmp_path)):
            speak(agents[-1], controller)
        trusts.append(two.trust())
        assert one.trust() == trusts[-1]
    assert len(set(trusts)) == 4, "after each step the fleet is renewed"
    with pytest.raises(ssl.SSLError):
        speak(agents[0], one)  # who was never renewed knows only the old roots
    assert len(x509.load_pem_x509_certificates(one.server_roots())) == 1
    assert roll_over.phase() is rollover.Phase.NONE


def test_a_switch_that_broke_off_in_the_middle_is_taken_again(tmp_path: pathlib.Path, roll_over: rollover.RollOver) -> None:
    roll_over.start()
    (tmp_path / "ca" / "server_ca.next.key").replace(tmp_path / "ca" / "server_ca.key")
    assert roll_over.phase() is rollover.Phase.STARTED
    roll_over.switch()
    assert roll_over.phase() is rollover.Phase.SWITCHED
    assert [root.issues for root in roll_over.roots()] == [False, True, False, True]


@pytest.fixture
def command(tmp_path: pathlib.Path, roll_over: rollover.RollOver) -> Iterator[Command]:
    url = f"sqlite:///{tmp_path}/figlina.db"
    migration.Schema(url).upgrade()
    (tmp_path / "figlina.conf").write_text(f"[database]\nconnection = {url}\n[certificates]\nca_path = {tmp_path}/ca\n")
    db = database.Database(url)
    yield Command(tmp_path, db)
    db.close()


class Command:
    """`figlina ca`, with one amphora in the rows."""

    def __init__(self, folder: pathlib.Path, db: database.Database) -> None:
        self._folder, self._db = folder, db
        with db.begin() as tx:
            tx.amphorae.ensure(NAME, builders.an_id("load balancer"), Role.STANDALONE)
            tx.amphorae.set_status([NAME], AmphoraStatus.BOOTING)
            tx.amphorae.update(NAME, status=AmphoraStatus.ALLOCATED, cert_trust="before all this")

    def __call__(self, word: str) -> int:
        return figlina.main(["ca", word, "--config-file", str(self._folder / "figlina.conf")])

    def follow(self) -> None:
        """Housekeeping has renewed the amphora."""
        with self._db.begin() as tx:
            tx.amphorae.update(NAME, cert_trust=a_ca(self._folder).trust())


def test_the_command_leads_through_a_roll_over_and_leaves_nobody_behind(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("switch") == 1, "not started"
    command.follow()
    assert command("finish") == 1
    assert "figlina ca status" in capsys.readouterr().err
    assert command("start") == 0
    for word, following in (("switch", "figlina ca switch"), ("finish", "figlina ca finish")):
        capsys.readouterr()
        assert command("status") == 0
        assert "0 of 1 have followed" in capsys.readouterr().out
        assert command(word) == 1
        assert NAME in capsys.readouterr().err
        command.follow()
        assert command("status") == 0
        assert f"next: {following}" in capsys.readouterr().out
        assert command(word) == 0
    capsys.readouterr()
    assert command("status") == 0
    said = capsys.readouterr().out
    assert "phase: none" in said
    assert said.count("issues, trusted") == 2


def test_a_root_in_its_last_year_is_told_of_once(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    a_ca(tmp_path, root_validity=datetime.timedelta(days=400))
    assert "figlina ca start" not in caplog.text
    late = a_ca(tmp_path, ahead=100 * 86400.0)
    for _ in range(3):
        late.revision()
        (tmp_path / "ca" / "server_ca.pem").touch()
    assert caplog.text.count("figlina ca start") == 1


# Clocks


@pytest.mark.parametrize("agent_ahead", [-600.0, 0.0, 600.0])
@pytest.mark.parametrize("controller_ahead", [-600.0, 0.0, 600.0])
def test_ten_minutes_of_difference_keep_nobody_from_speaking(tmp_path: pathlib.Path, controller_ahead: float, agent_ahead: float) -> None:
    """OpenSSL goes by this machine's clock, so both clocks are moved against it by whoever issues."""
    issuing = a_ca(tmp_path, controller_ahead)
    agent = Agent(tmp_path, issuing)
    assert own(tmp_path).not_valid_before_utc <= datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=abs(agent_ahead))
    speak(agent, a_ca(tmp_path))


@pytest.mark.parametrize("jump", [-600.0, 600.0])
def test_a_clock_that_jumps_neither_makes_certificates_nor_keeps_them_from_being_made(tmp_path: pathlib.Path, jump: float) -> None:
    shift = [datetime.timedelta()]
    authority = local.LocalCertificateAuthority(
        tmp_path / "ca", create=True, look_interval=0.0, clock=lambda: datetime.datetime.now(datetime.UTC) + shift[0]
    )
    first = own(tmp_path).serial_number
    shift[0] = datetime.timedelta(seconds=jump)
    authority.revision()
    assert own(tmp_path).serial_number == first, "days before its time"
    shift[0] += datetime.timedelta(days=365 * 2 / 3 + 1)
    authority.revision()
    assert own(tmp_path).serial_number != first


def test_a_certificate_made_while_the_clock_was_years_ahead_is_made_anew(tmp_path: pathlib.Path) -> None:
    authority = a_ca(tmp_path)
    assert a_ca(tmp_path, ahead=3 * 365 * 86400.0).revision()
    assert own(tmp_path).not_valid_before_utc > datetime.datetime.now(datetime.UTC)
    authority.revision()
    assert own(tmp_path).not_valid_before_utc < datetime.datetime.now(datetime.UTC)
    speak(Agent(tmp_path, authority), authority)
