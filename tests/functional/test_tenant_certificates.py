"""Tenants' certificates on their way to amphorae: read once, kept encrypted, sent where they lack, forgotten when nobody names them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from controller import conf as configuration
from controller import exceptions, jobs
from controller.changes import asking, listeners, pools, settings
from controller.db import tables
from controller.drivers.secrets import bundles, fake
from controller.housekeeping import tenant_certificates
from controller.model import load_balancer as model
from controller.model import status, tls
from controller.model.status import ProvisioningStatus, Topology
from controller.providers import amphora
from controller.resources import listener as listener_fields
from controller.resources import pool as pool_fields
from controller.tasks import tenant_certificates as tasks
from tests import builders, tls_material
from tests.functional import flow_site
from tests.functional.changes.conftest import Caller

WEB = tls_material.issue("web.example", ends=datetime.timedelta(days=3))
CA = tls_material.issue("ca.example", is_ca=True)
OTHER = tls_material.issue("other.example", ends=datetime.timedelta(days=90))
PROJECT = builders.PROJECT


class Store(fake.FakeSecrets):
    """Counts what is asked, may be away, and knows who uses what."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.away = False
        self.patience = 0.0
        self.questions = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.users: set[tuple[str, str]] = set()

    def get_bundle(self, project_id: str, reference: str) -> Any:
        self._be_there()
        self.reads += 1
        return super().get_bundle(project_id, reference)

    def register(self, reference: str, load_balancer_id: str) -> None:
        self._be_there()
        self.users.add((reference, load_balancer_id))

    def unregister(self, reference: str, load_balancer_id: str) -> None:
        self._be_there()
        self.users.discard((reference, load_balancer_id))
        self.meanwhile()

    def _be_there(self) -> None:
        self.questions += 1
        if self.away:
            time.sleep(self.patience)
            raise exceptions.Transient(f"the secret store is away (GET /v1/secrets/x, request req-{self.questions})")


@pytest.fixture
def store(site: flow_site.Site) -> Store:
    made = Store()
    site.services.made["secrets"] = made
    return made


def _a_listener(site: flow_site.Site, load_balancer_id: str, reference: str, port: int = 443) -> str:
    values = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": reference}
    table, row = flow_site.a_listener(port, **values)
    site.accept(load_balancer_id, (table, row))
    return next(one.id for one in site.snapshot(load_balancer_id).listeners if one.protocol_port == port)


def _renew(site: flow_site.Site, load_balancer_id: str, reference: str) -> None:
    """As an update of the listener does."""
    with site.db.begin() as tx:
        generation = tx.load_balancers.advance(load_balancer_id)
        tx.tenant_certificates.ask_again(load_balancer_id, [reference], generation)


def _asking(site: flow_site.Site) -> asking.Asking:
    """Whoever may all."""
    options = settings.load(configuration.load([], []))
    providers = {"amphora": amphora.AmphoraProvider()}
    return asking.Asking(caller=Caller(), may=lambda *_: True, settings=options, services=site.services, providers=providers)


def _sent(site: flow_site.Site, load_balancer_id: str) -> list[dict[str, bytes]]:
    return [dict(site.amphora.certificates(one.id)) for one in site.snapshot(load_balancer_id).amphorae]


@pytest.mark.parametrize("topology", Topology)
def test_the_store_is_read_once_and_every_amphora_gets_what_it_lacks(site: flow_site.Site, store: Store, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert store.reads == 1
    for sent in _sent(site, load_balancer_id):
        assert list(sent.values()) == [bundles.pem(WEB.bundle)]
    assert store.users == {(reference, load_balancer_id)}
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert store.reads == 1
    _renew(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert store.reads == 2


def test_a_store_that_is_away_delays_only_what_is_new(site: flow_site.Site, store: Store) -> None:
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    store.away = True
    _renew(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))  # its copy serves on
    assert [code for code in site.events(load_balancer_id) if "not_read" in code or "read anew" in code]
    [serving] = site.snapshot(load_balancer_id).amphorae
    replacement = builders.an_id()
    site.succeed(
        jobs.FailoverAmphora(
            load_balancer_id=load_balancer_id,
            amphora_id=serving.id,
            replacement_id=replacement,
            role=status.Role.STANDALONE,
        )
    )
    assert list(site.amphora.certificates(replacement).values()) == [bundles.pem(WEB.bundle)]
    new = store.store_bundle(PROJECT, "other", OTHER.bundle)
    listener_id = _a_listener(site, load_balancer_id, new, 8443)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert _child(site, load_balancer_id, listener_id) is ProvisioningStatus.ERROR
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    store.away = False
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert _child(site, load_balancer_id, listener_id) is ProvisioningStatus.ACTIVE


def _child(site: flow_site.Site, load_balancer_id: str, child_id: str) -> ProvisioningStatus:
    snapshot = site.snapshot(load_balancer_id)
    return next(one.provisioning_status for one in (*snapshot.listeners, *snapshot.pools) if one.id == child_id)


def _text(site: flow_site.Site, load_balancer_id: str) -> str:
    [serving] = site.snapshot(load_balancer_id).amphorae
    running = site.amphora.running(serving.id, load_balancer_id)
    return "" if running is None else running.programs.get("haproxy", "")


@pytest.mark.parametrize("gone", [True, False])
def test_who_names_what_was_never_read_is_in_nobodys_way(site: flow_site.Site, store: Store, gone: bool) -> None:
    """The store does not have it, or is away: all others are served, and changed; it says itself why it is not, until it is."""
    load_balancer_id = site.built()
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    other = next(one for one in site.snapshot(load_balancer_id).listeners if one.protocol_port == 8080)
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    lost = store._kept.pop((PROJECT, reference)) if gone else None
    store.away = not gone
    listener_id = _a_listener(site, load_balancer_id, reference)
    tls = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True, "tls_container_ref": reference}
    pool_id = builders.an_id()
    site.accept(load_balancer_id, (tables.pools, {"new_id": pool_id, **tls}))
    for _ in range(2):
        site.accept(load_balancer_id, flow_site.a_listener(9000 + len(site.snapshot(load_balancer_id).listeners)))
        asked = store.questions
        site.succeed(flow_site.an_update(load_balancer_id))
        assert store.questions - asked <= 1
        assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
        assert {_child(site, load_balancer_id, one) for one in (listener_id, pool_id)} == {ProvisioningStatus.ERROR}
        faults = site.faults(load_balancer_id)
        assert {faults[one].code for one in (listener_id, pool_id)} == {model.LEFT_OUT}
        assert reference in faults[listener_id].message
        others = {one.provisioning_status for one in site.snapshot(load_balancer_id).listeners if one.id != listener_id}
        assert others == {ProvisioningStatus.ACTIVE}
        assert other.id in _text(site, load_balancer_id)
        assert listener_id not in _text(site, load_balancer_id)
    with site.db.read() as tx:
        told = [row["object_id"] for row in tx.faults.events(load_balancer_id) if row["code"] == model.LEFT_OUT]
    assert sorted(told) == sorted([listener_id, pool_id]), "each once"
    if lost is not None:
        store._kept[PROJECT, reference] = lost
    store.away = False
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=10)
    keeping.look(lambda: True)
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert {_child(site, load_balancer_id, one) for one in (listener_id, pool_id)} == {ProvisioningStatus.ACTIVE}
    assert listener_id in _text(site, load_balancer_id)
    assert not site.faults(load_balancer_id).keys() & {listener_id, pool_id}


def test_what_could_not_be_read_anew_is_tried_again(site: flow_site.Site, store: Store) -> None:
    """Nobody changes the load balancer once more: it is ACTIVE, and serves what was read before."""
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    store._kept[PROJECT, reference] = store._kept[PROJECT, store.store_bundle(PROJECT, "new", OTHER.bundle)]
    store.away = True
    _renew(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    store.away = False
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=10)
    repairs = sa.select(tables.jobs.c.load_balancer_id).where(tables.jobs.c.kind == jobs.RepairLoadBalancer.kind)
    for expected in ([load_balancer_id], []):
        keeping.look(lambda: True)
        with site.db.read() as tx:
            assert list(tx.connection.execute(repairs).scalars()) == expected
        site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
        with site.db.begin() as tx:
            tx.connection.execute(sa.delete(tables.jobs))
    assert all(bundles.pem(OTHER.bundle) in sent.values() for sent in _sent(site, load_balancer_id))


@pytest.mark.parametrize("has_failed", [False, True])
def test_no_failover_waits_for_what_is_left_out(site: flow_site.Site, store: Store, has_failed: bool) -> None:
    """Not even after a push that failed because the amphora is dead. Its reason stays as it was told."""
    load_balancer_id = site.built()
    left_out = _a_listener(site, load_balancer_id, "nowhere")
    site.succeed(flow_site.an_update(load_balancer_id))
    reason = site.faults(load_balancer_id)[left_out].message
    if has_failed:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
        site.work(flow_site.an_update(load_balancer_id), spoil=flow_site.failing(["Push"], exceptions.Misconfigured("nobody knows")))
    store.away, asked = True, store.questions
    _fail_over(site, load_balancer_id)
    assert store.questions == asked
    assert site.faults(load_balancer_id)[left_out].message == reason
    assert left_out not in _text(site, load_balancer_id)
    store.away = False
    site.accept(load_balancer_id, (tables.listeners, {"id": left_out, "default_tls_container_ref": "elsewhere"}))
    read = _a_listener(site, load_balancer_id, store.store_bundle(PROJECT, "web", WEB.bundle), 8443)
    asked = store.questions
    _fail_over(site, load_balancer_id)
    assert store.questions - asked == 3, "what nobody has tried yet is, once, and the store is told of what it gave"
    assert "elsewhere" in site.faults(load_balancer_id)[left_out].message
    assert read in _text(site, load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE


def _fail_over(site: flow_site.Site, load_balancer_id: str) -> None:
    [serving] = site.snapshot(load_balancer_id).amphorae
    new, role = builders.an_id(), status.Role.STANDALONE
    site.succeed(jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=serving.id, replacement_id=new, role=role))


def test_all_of_whom_something_is_left_out_are_tried_again(site: flow_site.Site, store: Store) -> None:
    """Also behind a page of those whose secrets never come."""
    store.away = True
    incomplete = [site.built() for _ in range(3)]
    for load_balancer_id in incomplete:
        _a_listener(site, load_balancer_id, "nowhere")
        site.succeed(flow_site.an_update(load_balancer_id))
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=2)
    for _ in range(2):
        keeping.look(lambda: True)
    repairs = sa.select(tables.jobs.c.load_balancer_id).where(tables.jobs.c.kind == jobs.RepairLoadBalancer.kind)
    with site.db.read() as tx:
        assert set(tx.connection.execute(repairs).scalars()) == set(incomplete)


@pytest.mark.parametrize("seen", ["ONLINE", "ERROR", "OFFLINE"])
def test_who_serves_is_not_left_out_for_what_was_never_read(site: flow_site.Site, store: Store, seen: str) -> None:
    """A part of its change must not be applied; what it had before serves on, whatever is seen of it: in ERROR are also those whose
    amphorae were silent a moment ago."""
    load_balancer_id = site.built()
    listener_id = _a_listener(site, load_balancer_id, store.store_bundle(PROJECT, "web", WEB.bundle))
    site.succeed(flow_site.an_update(load_balancer_id))
    with site.db.begin() as tx:
        generation = tx.load_balancers.advance(load_balancer_id)
        changed = {"default_tls_container_ref": "nowhere", "generation": generation, "provisioning_status": "PENDING_UPDATE"}
        changed["operating_status"] = seen
        tx.connection.execute(sa.update(tables.listeners).where(tables.listeners.c.id == listener_id).values(**changed))
    before = _text(site, load_balancer_id)
    for _ in range(2):
        result = site.work(flow_site.an_update(load_balancer_id))
        assert result is not None
        assert "nowhere" in result.words
        assert _text(site, load_balancer_id) == before


@pytest.mark.parametrize("is_left_out_first", [True, False])
def test_who_was_never_served_is_known_also_after_a_failure(site: flow_site.Site, store: Store, is_left_out_first: bool) -> None:
    """Its status says only that something failed."""
    load_balancer_id = site.built()
    store.away = True
    listener_id = _a_listener(site, load_balancer_id, "nowhere")
    if is_left_out_first:
        site.succeed(flow_site.an_update(load_balancer_id))
        site.accept(load_balancer_id, (tables.listeners, {"id": listener_id, "name": "changed"}))
    failed = site.work(flow_site.an_update(load_balancer_id), spoil=flow_site.failing(["Push"], exceptions.Misconfigured("nobody knows")))
    assert failed is not None
    assert (site.faults(load_balancer_id)[listener_id].code == model.LEFT_OUT) is is_left_out_first
    site.accept(load_balancer_id, (tables.listeners, {"id": listener_id, "name": "and again"}))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.faults(load_balancer_id)[listener_id].code == model.LEFT_OUT
    assert listener_id not in _text(site, load_balancer_id)


def test_who_served_although_its_first_push_failed_in_the_end_is_not_taken_away(site: flow_site.Site, store: Store) -> None:
    """The amphora took it; a later step failed, and the copy is lost."""
    load_balancer_id = site.built()
    listener_id = _a_listener(site, load_balancer_id, store.store_bundle(PROJECT, "web", WEB.bundle))
    spoil = flow_site.failing(["ReleaseMemberNetworks"], exceptions.Misconfigured("nobody knows"))
    failed = site.work(flow_site.an_update(load_balancer_id), spoil=spoil)
    assert failed is not None
    assert listener_id in _text(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.connection.execute(sa.delete(tables.tenant_certificates))
    store.away = True
    result = site.work(flow_site.an_update(load_balancer_id))
    assert result is not None
    assert listener_id in _text(site, load_balancer_id)


@pytest.mark.parametrize("is_applied", [True, False])
def test_who_is_switched_on_is_in_nobodys_way_if_it_was_off(site: flow_site.Site, store: Store, is_applied: bool) -> None:
    """If amphorae were never told that it is off, it serves, and must not be taken away."""
    load_balancer_id = site.built()
    listener_id = _a_listener(site, load_balancer_id, store.store_bundle(PROJECT, "web", WEB.bundle))
    site.succeed(flow_site.an_update(load_balancer_id))
    asking = _asking(site)
    for state in (False, True):
        listeners.update(asking, listener_id, listener_fields.SCHEMA.updated({"admin_state_up": state}, "test"))
        if is_applied and not state:
            site.succeed(flow_site.an_update(load_balancer_id))
    with site.db.begin() as tx:
        tx.connection.execute(sa.delete(tables.tenant_certificates))
    store.away = True
    result = site.work(flow_site.an_update(load_balancer_id))
    assert result is not None
    assert (listener_id in _text(site, load_balancer_id)) is not is_applied
    assert (site.state(load_balancer_id) is ProvisioningStatus.ACTIVE) is is_applied


@pytest.mark.lengthy
def test_a_store_that_hangs_is_left_alone_for_a_while(site: flow_site.Site, store: Store) -> None:
    """Ten times as long as the question lasted."""
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    store.away, store.patience, asked = True, 2.0, store.questions
    for _ in range(3):
        _renew(site, load_balancer_id, reference)
        site.succeed(flow_site.an_update(load_balancer_id))
    assert store.questions - asked == 1
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE


def test_a_store_that_refuses_at_once_is_asked_again_at_once(site: flow_site.Site, store: Store) -> None:
    """However busy the machine is, what takes less than a second is no hanging."""
    load_balancer_id = site.built()
    listener_id = _a_listener(site, load_balancer_id, store.store_bundle(PROJECT, "web", WEB.bundle))
    store.away, store.patience = True, 0.4
    site.succeed(flow_site.an_update(load_balancer_id))
    assert _child(site, load_balancer_id, listener_id) is ProvisioningStatus.ERROR
    store.away = False
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert _child(site, load_balancer_id, listener_id) is ProvisioningStatus.ACTIVE


def _of_another_project(site: flow_site.Site, store: Store) -> tuple[str, str]:
    """A load balancer, and a secret of its project that was never read."""
    load_balancer_id, project_id = site.built(), builders.an_id().replace("-", "")
    with site.db.begin() as tx:
        row = sa.update(tables.load_balancers).where(tables.load_balancers.c.id == load_balancer_id)
        tx.connection.execute(row.values(project_id=project_id))
    return load_balancer_id, store.store_bundle(project_id, "web", WEB.bundle)


@pytest.mark.lengthy
def test_a_reference_that_is_never_answered_is_no_other_projects_trouble(site: flow_site.Site, store: Store) -> None:
    hanging = _a_listener(site, ours := site.built(), "never answered")
    theirs, reference = _of_another_project(site, store)
    store.away, store.patience = True, 2.0
    site.succeed(flow_site.an_update(ours))
    store.away = False
    assert _child(site, ours, hanging) is ProvisioningStatus.ERROR
    listener_id = _a_listener(site, theirs, reference)
    site.succeed(flow_site.an_update(theirs))
    assert _child(site, theirs, listener_id) is ProvisioningStatus.ACTIVE
    asked = store.questions
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=ours))
    assert store.questions == asked, "it rests for who asked"


@pytest.mark.lengthy
def test_a_store_that_answers_no_project_is_left_alone_by_all(site: flow_site.Site, store: Store) -> None:
    several = [_of_another_project(site, store) for _ in range(6)]
    for load_balancer_id, reference in several:
        _a_listener(site, load_balancer_id, reference)
    store.away, store.patience = True, 1.2
    for load_balancer_id, _ in several[:5]:
        site.succeed(flow_site.an_update(load_balancer_id))
    assert store.questions == 3


def _named_by_requests(asking: Any, load_balancer_id: str, new: Callable[[], str]) -> None:
    """Every field of a listener and a pool that names a secret, by a POST and by a PUT; no reference twice."""
    ends = {"loadbalancer_id": load_balancer_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
    listener = listeners.create(asking, listener_fields.SCHEMA.created({**ends, "default_tls_container_ref": new()}, "test"))
    verified = {"client_authentication": "MANDATORY", "client_ca_tls_container_ref": new(), "client_crl_container_ref": new()}
    named = {"default_tls_container_ref": new(), "sni_container_refs": [new(), new()], **verified}
    listeners.update(asking, listener.id, listener_fields.SCHEMA.updated(named, "test"))
    member_side = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True, "tls_container_ref": new()}
    pool = pools.create(asking, pool_fields.SCHEMA.created({"listener_id": listener.id, **member_side}, "test"))
    named = {"tls_container_ref": new(), "ca_tls_container_ref": new(), "crl_container_ref": new()}
    pools.update(asking, pool.id, pool_fields.SCHEMA.updated(named, "test"))


def test_what_a_request_named_is_there_when_the_store_is_not(site: flow_site.Site, store: Store) -> None:
    """It goes away between the answer and the push: all is served, also by a replacement, and can be deleted."""
    load_balancer_id = site.built()
    kinds = iter(("bundle", "ca", "crl", "bundle", "bundle", "bundle", "bundle", "bundle", "ca", "crl"))
    references: list[str] = []

    def new() -> str:
        kind = next(kinds)
        if kind == "bundle":
            references.append(store.store_bundle(PROJECT, "web", tls_material.issue(f"n{len(references)}.example").bundle))
        else:
            references.append(store.store_secret(PROJECT, kind, CA.pem if kind == "ca" else tls_material.revoke(CA)))
        return references[-1]

    _named_by_requests(_asking(site), load_balancer_id, new)
    assert len(references) == 10
    reads, store.away = store.reads, True
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert (site.state(load_balancer_id), store.reads) == (ProvisioningStatus.ACTIVE, reads)
    [serving] = site.snapshot(load_balancer_id).amphorae
    served = site.amphora.certificates(serving.id)
    assert len(served) == 4 + 1 + 2  # what the PUTs named; of the CA, one file serves both
    replacement = builders.an_id()
    role = status.Role.STANDALONE
    site.succeed(jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=serving.id, replacement_id=replacement, role=role))
    assert site.amphora.certificates(replacement) == served
    site.accept_delete(load_balancer_id)
    site.succeed(jobs.DeleteLoadBalancer(load_balancer_id=load_balancer_id))


def test_a_store_that_stays_away_is_told_of_once(site: flow_site.Site, store: Store) -> None:
    """Each of its refusals has another request id."""
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    store.away = True
    for _ in range(3):
        _renew(site, load_balancer_id, reference)
        site.succeed(flow_site.an_update(load_balancer_id))
    with site.db.read() as tx:
        told = [row["message"] for row in tx.faults.events(load_balancer_id) if row["code"] == tasks.NOT_READ]
    assert len(told) == 1, told
    assert reference in told[0]


def test_a_certificate_that_is_named_again_while_it_is_being_forgotten_is_kept(site: flow_site.Site, store: Store) -> None:
    """Housekeeping stands still between what it saw and what it deletes."""
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    listener_id = _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    site.accept(load_balancer_id, flow_site.gone(tables.listeners, listener_id))
    site.succeed(flow_site.an_update(load_balancer_id))

    def named_again() -> None:
        store.meanwhile = lambda: None
        _a_listener(site, load_balancer_id, reference, 8443)
        site.succeed(flow_site.an_update(load_balancer_id))

    store.meanwhile = named_again
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=10)
    keeping.look(lambda: True)
    with site.db.read() as tx:
        assert len(tx.tenant_certificates.of(load_balancer_id)) == 1, "a failover needs it while the store is away"
    keeping.look(lambda: True)
    assert store.users == {(reference, load_balancer_id)}


def test_no_key_is_in_any_row_in_the_clear(site: flow_site.Site, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    load_balancer_id = site.built()
    _a_listener(site, load_balancer_id, store.store_bundle(PROJECT, "web", WEB.bundle))
    site.succeed(flow_site.an_update(load_balancer_id))
    key = WEB.key_pem().decode().splitlines()[3]
    with site.db.read() as tx:
        rows = [str(tuple(row)) for table in tables.metadata.sorted_tables for row in tx.connection.execute(sa.select(table))]
    assert [row for row in rows if load_balancer_id in row]
    assert not [row for row in rows if key in row or "PRIVATE KEY" in row]
    assert key not in caplog.text
    assert "PRIVATE KEY" not in caplog.text


def test_what_nobody_names_is_forgotten_once_the_store_is_told(site: flow_site.Site, store: Store) -> None:
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    listener_id = _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=30 * 86400, page_size=10)
    keeping.look(lambda: True)
    with site.db.read() as tx:
        assert tx.tenant_certificates.of(load_balancer_id)
        told = [row["message"] for row in tx.faults.events(load_balancer_id) if row["code"] == tenant_certificates.ENDS]
    assert len(told) == 1
    assert reference in told[0]
    keeping.look(lambda: True)
    site.accept(load_balancer_id, flow_site.gone(tables.listeners, listener_id))
    site.succeed(flow_site.an_update(load_balancer_id))
    store.away = True
    keeping.look(lambda: True)
    with site.db.read() as tx:
        assert tx.tenant_certificates.of(load_balancer_id)
        assert len([row for row in tx.faults.events(load_balancer_id) if row["code"] == tenant_certificates.ENDS]) == 1
    store.away = False
    keeping.look(lambda: True)
    with site.db.read() as tx:
        assert not tx.tenant_certificates.of(load_balancer_id)
    assert store.users == set()


@pytest.mark.lengthy
def test_housekeeping_writes_only_what_it_has_not_told(site: flow_site.Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """More certificates than events are looked at by page: each is told once, however many rounds there are."""
    load_balancer_id = site.built()
    references = [store.store_bundle(PROJECT, "web", WEB.bundle) for _ in range(120)]
    values = {"default_tls_container_ref": references[0], "sni_container_refs": references[1:]}
    site.accept(load_balancer_id, flow_site.a_listener(443, protocol="TERMINATED_HTTPS", **values))
    site.succeed(flow_site.an_update(load_balancer_id))
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=30 * 86400, page_size=10)
    begun: list[tuple[Any, ...]] = []
    begin = site.db.begin

    def noted(*lease: Any) -> Any:
        begun.append(lease)
        return begin(*lease)

    monkeypatch.setattr(site.db, "begin", noted)
    for transactions in (1, 0, 0):
        begun.clear()
        keeping.look(lambda: True)
        assert len(begun) == transactions
    with site.db.read() as tx:
        told = [row["message"] for row in tx.faults.events(load_balancer_id, limit=1000) if row["code"] == tenant_certificates.ENDS]
    assert len(told) == len(references)
    assert all(any(reference in message for message in told) for reference in references)


def test_the_end_of_a_certificate_that_is_its_own_authority_is_told_once(site: flow_site.Site, store: Store) -> None:
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    ends = WEB.certificate.not_valid_after_utc
    copies = {tls.Need(reference, kind): (tls.Copy(name=kind, not_after=ends), b"") for kind in (tls.Kind.BUNDLE, tls.Kind.AUTHORITIES)}
    with site.db.begin() as tx:
        tx.tenant_certificates.keep(load_balancer_id, copies, since=0)
    tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=30 * 86400, page_size=10).look(lambda: True)
    with site.db.read() as tx:
        assert [row["code"] for row in tx.faults.events(load_balancer_id)].count(tenant_certificates.ENDS) == 1


def test_what_a_worker_reads_anew_is_shown_with_its_new_end(site: flow_site.Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = site.built()
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    _a_listener(site, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    for issued in (WEB, OTHER):
        monkeypatch.setattr(store, "get_bundle", lambda _project_id, _reference, issued=issued: issued.bundle)
        _renew(site, load_balancer_id, reference)
        site.succeed(flow_site.an_update(load_balancer_id))
        with site.db.read() as tx:
            ends = {one.protocol: one.certificate_expires_at for one in tx.listeners.of_load_balancer(load_balancer_id)}
        assert ends == {"HTTP": None, "TERMINATED_HTTPS": issued.certificate.not_valid_after_utc}


@pytest.mark.parametrize("written", [None, OTHER.certificate.not_valid_after_utc])
def test_housekeeping_tells_the_ends_that_an_older_api_did_not(
    site: flow_site.Site, store: Store, written: datetime.datetime | None
) -> None:
    """In a rolling upgrade workers go first: the API that makes a listener, or gives it another certificate, may know nothing of ends."""
    load_balancer_id = site.built()
    ends = {"loadbalancer_id": load_balancer_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
    reference = store.store_bundle(PROJECT, "web", WEB.bundle)
    named = {"default_tls_container_ref": reference}
    listener = listeners.create(_asking(site), listener_fields.SCHEMA.created({**ends, **named}, "test"))
    member_side = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True, "tls_container_ref": reference}
    pool = pools.create(_asking(site), pool_fields.SCHEMA.created({"loadbalancer_id": load_balancer_id, **member_side}, "test"))
    with site.db.begin() as tx:
        for table, one in ((tables.listeners, listener), (tables.pools, pool)):
            tx.connection.execute(sa.update(table).where(table.c.id == one.id).values(certificate_expires_at=written))
    site.succeed(flow_site.an_update(load_balancer_id))
    tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=10).look(lambda: True)
    with site.db.read() as tx:
        shown = [tx.listeners.get(listener.id).certificate_expires_at, tx.pools.get(pool.id).certificate_expires_at]
    assert shown == [WEB.certificate.not_valid_after_utc] * 2
