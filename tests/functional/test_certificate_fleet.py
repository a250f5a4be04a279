"""A fleet of 200 amphorae lives through its certificates' time: renewed spread out and few at once, tried again, and never failed over."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import time
import uuid
from typing import cast

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import boot
from controller import exceptions, jobs
from controller.db import tables
from controller.drivers.ca import fake as fake_ca
from controller.housekeeping import certificates
from controller.model import renewal
from controller.model.order import Order
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.worker.engine import Outcome
from tests.functional import flow_site

FLEET = 200
AT_ONCE = 10
DAY = 86400.0
LIFETIME = 30  # days


@dataclasses.dataclass
class Fleet:
    """Load balancers with an amphora each, in rows; housekeeping and the worker do what is due when the test says so."""

    site: flow_site.Site
    amphorae: dict[str, str]  # id of its load balancer, by the amphora's
    housekeeping: certificates.Renewal
    most_at_once: int = 0

    def at(self, days: float) -> None:
        """Let so much time pass: all that rows say of the future comes nearer."""
        seconds = days * DAY
        with self.site.db.begin() as tx:
            rows = tx.connection.execute(sa.select(tables.amphorae.c.id, tables.amphorae.c.cert_expiration)).all()
            for row in rows:
                sooner = row.cert_expiration - datetime.timedelta(seconds=seconds)
                mine = sa.update(tables.amphorae).where(tables.amphorae.c.id == row.id)
                tx.connection.execute(mine.values(cert_expiration=sooner, cert_renew_at=tables.amphorae.c.cert_renew_at - seconds))

    def turn(self) -> list[str]:
        """One look of housekeeping, and the worker does what was posted; the amphorae that were tried."""
        self.housekeeping.renew(lambda: True)
        posted = self.board(jobs.RenewCertificate.kind)
        self.most_at_once = max(self.most_at_once, len(posted))
        for job in posted:
            result = self.site.work(job)
            assert result is not None
            assert result.outcome is Outcome.SUCCEEDED, result
            with self.site.db.begin() as tx:
                tx.connection.execute(sa.delete(tables.jobs).where(tables.jobs.c.subject == job.subject))
        return [job.amphora_id for job in posted if isinstance(job, jobs.RenewCertificate)]

    def until_nothing_is_due(self) -> list[str]:
        tried: list[str] = []
        while mine := self.turn():
            tried += mine
            assert len(tried) <= 3 * FLEET
        return tried

    def board(self, kind: str) -> list[jobs.Job]:
        with self.site.db.read() as tx:
            return [jobs.load(row["kind"], row["details"]) for row in tx.jobs.page(1000) if row["kind"] == kind]

    def rows(self) -> dict[str, sa.Row[object]]:
        with self.site.db.read() as tx:
            return {row.id: row for row in tx.connection.execute(sa.select(tables.amphorae))}

    def events(self) -> collections.Counter[str]:
        with self.site.db.read() as tx:
            return collections.Counter(tx.connection.execute(sa.select(tables.events.c.code)).scalars())


@pytest.fixture
def fleet(site: flow_site.Site) -> Fleet:
    return _made(site, FLEET)


@pytest.fixture
def few(site: flow_site.Site) -> Fleet:
    return _made(site, 12)


def _made(site: flow_site.Site, count: int) -> Fleet:
    ca, now = site.services.ca, time.time()
    amphorae: dict[str, str] = {}
    for number in range(count):
        load_balancer_id = site.accept_load_balancer(Topology.SINGLE)
        amphora_id = str(uuid.uuid4())
        amphorae[amphora_id] = load_balancer_id
        until = now + LIFETIME * DAY
        with site.db.begin() as tx:
            tx.amphorae.ensure(amphora_id, load_balancer_id, Role.STANDALONE)
            tx.amphorae.set_status([amphora_id], AmphoraStatus.BOOTING)
            tx.amphorae.update(
                amphora_id,
                status=AmphoraStatus.ALLOCATED,
                management_address=f"198.19.{number // 250}.{number % 250 + 1}",
                cert_expiration=datetime.datetime.fromtimestamp(until, datetime.UTC),
                cert_trust=ca.trust(),
                cert_renew_at=renewal.renew_at(amphora_id, now, until),
            )
            mine = sa.update(tables.load_balancers).where(tables.load_balancers.c.id == load_balancer_id)
            tx.connection.execute(mine.values(provisioning_status=ProvisioningStatus.ACTIVE))
    return Fleet(site, amphorae, certificates.Renewal(site.db, lambda: ca, lambda: None, at_once=AT_ONCE))


@pytest.mark.slow
def test_two_hundred_are_renewed_in_time_spread_out_and_few_at_once(fleet: Fleet) -> None:
    """Day by day through two months, with amphorae that are silent for a while: all are renewed long before the end, nobody replaced."""
    silent = sorted(fleet.amphorae)[:: FLEET // 20]  # every tenth
    failures = 2
    # Looks are a day apart here: one may come a day after the time that is right for an amphora, and each further try is a day later.
    least = LIFETIME * (1 - renewal.RENEW_AFTER) - failures
    per_day: list[int] = []
    for day in range(60):
        for amphora_id in silent if day == 19 else []:
            fleet.site.amphora.be_silent(amphora_id=amphora_id, calls=failures)
        per_day.append(len(fleet.until_nothing_is_due()))
        left = [(row.cert_expiration - datetime.datetime.now(datetime.UTC)).total_seconds() / DAY for row in fleet.rows().values()]
        assert min(left) > least, f"day {day}"
        fleet.at(1.0)
    assert fleet.most_at_once == AT_ONCE
    first = [count for count in per_day[:25] if count]
    assert len(first) >= 3, "renewals of amphorae that were made together are spread over days"
    assert max(first) <= FLEET * 0.6
    assert all(fleet.site.amphora.identities.get(amphora_id) for amphora_id in fleet.amphorae)
    events = fleet.events()
    assert events["certificate_renewed"] >= 2 * FLEET
    assert events["certificate_not_renewed"] >= 1
    assert events["certificate_replacement"] == 0
    assert fleet.board(jobs.FailoverAmphora.kind) == []
    rows = fleet.rows().values()
    assert not any(row.cert_busy or row.cert_failures for row in rows)


@pytest.mark.slow
def test_a_fleet_that_was_away_until_every_certificate_ran_out_is_mended(fleet: Fleet) -> None:
    fleet.at(40.0)
    tried = fleet.until_nothing_is_due()
    assert sorted(tried) == sorted(fleet.amphorae)
    assert fleet.most_at_once == AT_ONCE
    assert fleet.board(jobs.FailoverAmphora.kind) == []
    now = datetime.datetime.now(datetime.UTC)
    assert all(row.cert_expiration > now for row in fleet.rows().values())


@pytest.mark.slow
def test_a_fleet_that_trusts_us_no_more_is_not_failed_over(fleet: Fleet) -> None:
    """Our own clock or authority is wrong: every amphora refuses us, for days. An event says what is suspected, and nobody is replaced."""
    fleet.at(31.0)
    for amphora_id in fleet.amphorae:
        fleet.site.amphora.distrust(amphora_id, 1000)
    for _ in range(5):
        fleet.until_nothing_is_due()
        fleet.at(0.05)
    assert fleet.board(jobs.FailoverAmphora.kind) == []
    events = fleet.events()
    assert events["certificate_replacement"] == 0
    assert events["certificate_replacement_stopped"] > 0
    assert events["certificate_not_renewed"] == FLEET, "the same reason is told once"


def test_one_that_trusts_us_no_more_is_replaced_with_an_event_that_says_why(few: Fleet) -> None:
    lost = sorted(few.amphorae)[0]
    few.site.amphora.distrust(lost, 1000)
    few.at(31.0)
    for _ in range(4):
        few.until_nothing_is_due()
        few.at(0.05)
    assert [job.amphora_id for job in few.board(jobs.FailoverAmphora.kind) if isinstance(job, jobs.FailoverAmphora)] == [lost]
    assert few.events()["certificate_replacement"] == 1
    with few.site.db.read() as tx:
        words = [row["message"] for row in tx.faults.events(few.amphorae[lost]) if row["code"] == "certificate_replacement"]
    assert "trust" in words[0]


def test_two_that_trust_us_no_more_are_replaced_one_after_the_other(few: Fleet) -> None:
    for amphora_id in sorted(few.amphorae)[:2]:
        few.site.amphora.distrust(amphora_id, 1000)
    few.at(31.0)
    for _ in range(5):
        few.until_nothing_is_due()
        few.at(0.05)
        assert len(few.board(jobs.FailoverAmphora.kind)) <= 1
    assert len(few.board(jobs.FailoverAmphora.kind)) == 1


def test_silence_alone_replaces_nobody(few: Fleet) -> None:
    lost = sorted(few.amphorae)[0]
    few.site.amphora.be_silent(amphora_id=lost, calls=1000)
    few.at(31.0)
    for _ in range(6):
        few.until_nothing_is_due()
        few.at(0.05)
    assert few.board(jobs.FailoverAmphora.kind) == []
    assert few.site.amphora.renewals[lost] >= 4


def test_an_agent_too_old_to_be_told_is_replaced_when_its_time_is_over_and_not_before(few: Fleet) -> None:
    old = sorted(few.amphorae)[0]
    refusal = exceptions.AmphoraRefused(old, "there is no /1/identity (HTTP 404)")
    renew = few.site.amphora.renew

    def refuse(amphora: object, identity: boot.Identity, order: Order | None = None) -> None:
        if getattr(amphora, "id", None) == old:
            raise refusal
        renew(amphora, identity, order)  # type: ignore[arg-type]

    few.site.amphora.renew = refuse  # type: ignore[method-assign]
    few.at(21.0)
    for _ in range(4):
        few.until_nothing_is_due()
        few.at(0.05)
    assert few.board(jobs.FailoverAmphora.kind) == []
    few.at(9.0)
    few.until_nothing_is_due()
    assert len(few.board(jobs.FailoverAmphora.kind)) == 1


@pytest.mark.slow
def test_the_whole_fleet_follows_another_root_few_at_once(fleet: Fleet) -> None:
    assert fleet.until_nothing_is_due() == []
    cast(fake_ca.FakeCertificateAuthority, fleet.site.services.ca).trusts = "the next root"
    tried = fleet.until_nothing_is_due()
    assert sorted(tried) == sorted(fleet.amphorae)
    assert fleet.most_at_once == AT_ONCE
    with fleet.site.db.read() as tx:
        progress = tx.certificates.progress("the next root")
    assert (progress.fleet, progress.following, progress.others) == (FLEET, FLEET, ())


@pytest.mark.parametrize("jump", [-600.0, 600.0])
def test_a_clock_that_jumps_by_ten_minutes_moves_a_renewal_by_ten_minutes_and_no_more(
    few: Fleet, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    few.at(21.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    few.until_nothing_is_due()
    monkeypatch.setattr(time, "time", real)
    few.until_nothing_is_due()
    assert few.board(jobs.FailoverAmphora.kind) == []
    now = real()
    for row in few.rows().values():
        assert row.cert_expiration.timestamp() - now > 20 * DAY
        assert row.cert_renew_at - now == pytest.approx(20 * DAY - 1.5 * DAY, abs=1.6 * DAY)


def test_the_key_is_in_no_record_of_the_flow(few: Fleet) -> None:
    few.at(21.0)
    amphora_id = few.turn()[0]
    identity = few.site.amphora.identities.get(amphora_id)
    assert identity is not None
    assert "PRIVATE" in identity.server_pem
    assert "PRIVATE" not in repr(identity)
    with few.site.db.read() as tx:
        records = tx.connection.execute(sa.select(tables.flow_records.c.data)).scalars().all()
    assert not any(b"PRIVATE" in data for data in records)
