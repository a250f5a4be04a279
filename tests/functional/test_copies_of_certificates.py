"""Copies of tenants' certificates where something is in the way: the store hangs, a key is missing, or two have read at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from controller import jobs
from controller.changes import asking, listeners, pools
from controller.drivers.secrets import bundles, cipher
from controller.model.status import ProvisioningStatus, Role, Topology
from controller.resources import listener as listener_fields
from controller.resources import pool as pool_fields
from controller.worker import engine
from tests import builders, tls_material
from tests.functional import flow_site
from tests.functional import test_tenant_certificates as life

OLD = tls_material.issue("web.example")
NEW = tls_material.issue("web.example")
PROJECT = builders.PROJECT


class Store(life.Store):
    """Something happens once between the moment at which it has looked and its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.while_it_answers: Callable[[], None] | None = None

    def get_bundle(self, project_id: str, reference: str) -> Any:
        found = super().get_bundle(project_id, reference)
        if self.while_it_answers is not None:
            happens, self.while_it_answers = self.while_it_answers, None
            happens()
        return found

    def renew(self, reference: str) -> None:
        self._kept[PROJECT, reference] = NEW.bundle


@pytest.fixture
def store(site: flow_site.Site) -> Store:
    made = Store()
    site.services.made["secrets"] = made
    return made


def _served(site: flow_site.Site, load_balancer_id: str) -> list[set[bytes]]:
    """The contents of the certificates that belong to what each amphora runs."""
    found = []
    for amphora in site.snapshot(load_balancer_id).amphorae:
        running, sent = site.amphora.running(amphora.id, load_balancer_id), site.amphora.certificates(amphora.id)
        assert running is not None
        found.append({sent[name] for name in running.certificates})
    return found


def _failover(site: flow_site.Site, load_balancer_id: str) -> jobs.FailoverAmphora:
    [serving] = site.snapshot(load_balancer_id).amphorae
    return jobs.FailoverAmphora(
        load_balancer_id=load_balancer_id, amphora_id=serving.id, replacement_id=builders.an_id(), role=Role.STANDALONE
    )


def _several(site: flow_site.Site, store: Store, count: int) -> tuple[str, list[str]]:
    load_balancer_id = site.built()
    references = [store.store_bundle(PROJECT, "web", tls_material.issue(f"n{n}.example").bundle) for n in range(count)]
    for n, reference in enumerate(references):
        life._a_listener(site, load_balancer_id, reference, 8000 + n)
    site.succeed(flow_site.an_update(load_balancer_id))
    return load_balancer_id, references


def test_a_store_that_is_away_is_asked_once_by_a_push_and_never_by_a_failover(site: flow_site.Site, store: Store) -> None:
    """Each question may last as long as the store's time limit, and the load balancer's lease is held meanwhile."""
    load_balancer_id, references = _several(site, store, 4)
    for reference in references:
        life._renew(site, load_balancer_id, reference)
    store.away, asked = True, store.questions
    site.succeed(flow_site.an_update(load_balancer_id))
    assert store.questions - asked == 1
    asked = store.questions
    site.succeed(_failover(site, load_balancer_id))
    assert store.questions == asked
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    store.away, reads = False, store.reads
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert store.reads - reads == 4, "what was asked for is not forgotten"


def test_what_is_asked_for_before_a_failover_is_read_after_it(site: flow_site.Site, store: Store) -> None:
    """The failover brings the amphorae to the newest generation, but without having read what that asks for."""
    load_balancer_id, [reference] = _several(site, store, 1)
    store.renew(reference)
    life._renew(site, load_balancer_id, reference)
    reads = store.reads
    site.succeed(_failover(site, load_balancer_id))
    assert (store.reads, site.state(load_balancer_id)) == (reads, ProvisioningStatus.PENDING_UPDATE)
    site.settle(load_balancer_id)
    assert (store.reads - reads, site.state(load_balancer_id)) == (1, ProvisioningStatus.ACTIVE)
    assert _served(site, load_balancer_id) == [{bundles.pem(NEW.bundle)}]


@pytest.mark.parametrize("topology", Topology)
def test_a_copy_that_was_made_with_another_key_is_read_anew(site: flow_site.Site, store: Store, topology: Topology) -> None:
    """Such as by an API that was given a new key before the workers; or whose host doesn't share the workers' keys."""
    load_balancer_id = site.built(topology)
    theirs, site.services.made["cipher"] = cipher.ephemeral(), cipher.ephemeral()
    ours = site.services.cipher
    reference = store.store_bundle(PROJECT, "web", OLD.bundle)
    _keep_by(site, theirs, load_balancer_id, reference)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert _served(site, load_balancer_id) == [{bundles.pem(OLD.bundle)}] * len(topology.roles)
    reads = store.reads
    for amphora in site.snapshot(load_balancer_id).amphorae:
        replacement = builders.an_id()
        assert amphora.role is not None
        site.succeed(
            jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=amphora.id, replacement_id=replacement, role=amphora.role)
        )
    assert (store.reads, site.services.cipher) == (reads, ours), "it is kept with our key now"


def test_a_copy_that_nobody_can_open_or_read_anew_says_what_to_do(site: flow_site.Site, store: Store) -> None:
    load_balancer_id = site.built()
    theirs, site.services.made["cipher"] = cipher.ephemeral(), cipher.ephemeral()
    reference = store.store_bundle(PROJECT, "web", OLD.bundle)
    _keep_by(site, theirs, load_balancer_id, reference)
    lost = store._kept.pop((PROJECT, reference))
    result = site.work(flow_site.an_update(load_balancer_id))
    assert result is not None
    assert "put the key back" in result.words
    assert reference in result.words
    store.away = True  # which is over by itself, and calls for no key
    for _ in range(2):
        result = site.work(flow_site.an_update(load_balancer_id))
        assert result is not None
        assert result.outcome is engine.Outcome.FAILED
        assert "key" not in result.words
    store.away = False
    store._kept[PROJECT, reference] = lost
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE


def _keep_by(site: flow_site.Site, theirs: cipher.Cipher, load_balancer_id: str, reference: str) -> None:
    """A request to an API that has that key."""
    ours, site.services.made["cipher"] = site.services.cipher, theirs
    _a_tls_listener(life._asking(site), load_balancer_id, reference)
    site.services.made["cipher"] = ours


def _a_tls_listener(asks: asking.Asking, load_balancer_id: str, reference: str, port: int = 8443) -> str:
    ends = {"loadbalancer_id": load_balancer_id, "protocol": "TERMINATED_HTTPS", "protocol_port": port}
    return listeners.create(asks, listener_fields.SCHEMA.created({**ends, "default_tls_container_ref": reference}, "test")).id


def _a_tls_pool(asks: asking.Asking, load_balancer_id: str, reference: str) -> str:
    tls = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True, "tls_container_ref": reference}
    return pools.create(asks, pool_fields.SCHEMA.created({"loadbalancer_id": load_balancer_id, **tls}, "test")).id


@dataclasses.dataclass(frozen=True)
class Named:
    """A load balancer whose listener and pool name one secret."""

    asks: asking.Asking
    load_balancer_id: str
    reference: str
    listener_id: str
    pool_id: str

    def update_listener(self) -> None:
        listeners.update(self.asks, self.listener_id, listener_fields.SCHEMA.updated({"default_tls_container_ref": self.reference}, "test"))

    def update_pool(self) -> None:
        pools.update(self.asks, self.pool_id, pool_fields.SCHEMA.updated({"tls_container_ref": self.reference}, "test"))

    def create_listener(self) -> None:
        _a_tls_listener(self.asks, self.load_balancer_id, self.reference, 9443)

    def create_pool(self) -> None:
        _a_tls_pool(self.asks, self.load_balancer_id, self.reference)


_CHANGES = [Named.update_listener, Named.update_pool, Named.create_listener, Named.create_pool]


@pytest.fixture
def named(site: flow_site.Site, store: Store) -> Named:
    load_balancer_id, asks = site.built(), life._asking(site)
    reference = store.store_bundle(PROJECT, "web", OLD.bundle)
    listener_id = _a_tls_listener(asks, load_balancer_id, reference)
    made = Named(asks, load_balancer_id, reference, listener_id, _a_tls_pool(asks, load_balancer_id, reference))
    site.succeed(flow_site.an_update(load_balancer_id))
    return made


@pytest.mark.parametrize("slow", _CHANGES, ids=lambda change: change.__name__)
def test_what_was_read_earlier_does_not_win_by_being_written_later(
    site: flow_site.Site, store: Store, named: Named, slow: Callable[[Named], None]
) -> None:
    """One request has read, and stands still; the certificate is renewed, and another request takes it up; then the first one goes on."""

    def renewed() -> None:
        store.renew(named.reference)
        named.update_listener()

    store.while_it_answers = renewed
    slow(named)
    site.settle(named.load_balancer_id)
    assert _served(site, named.load_balancer_id) == [{bundles.pem(NEW.bundle)}]
    assert site.state(named.load_balancer_id) is ProvisioningStatus.ACTIVE


def test_what_a_worker_has_read_does_not_replace_what_a_request_read_later(site: flow_site.Site, store: Store, named: Named) -> None:
    def renewed() -> None:
        store.renew(named.reference)
        named.create_listener()  # which asks for nothing again

    life._renew(site, named.load_balancer_id, named.reference)
    store.while_it_answers = renewed
    site.work(flow_site.an_update(named.load_balancer_id))
    site.settle(named.load_balancer_id)
    assert _served(site, named.load_balancer_id) == [{bundles.pem(NEW.bundle)}]


@pytest.mark.parametrize("change", _CHANGES, ids=lambda change: change.__name__)
def test_a_reading_that_nobody_overtook_is_not_done_again_by_a_worker(
    site: flow_site.Site, store: Store, named: Named, change: Callable[[Named], None]
) -> None:
    def changed() -> None:  # otherwise, which does not matter
        site.accept(named.load_balancer_id, flow_site.a_listener(8080))

    store.renew(named.reference)
    store.while_it_answers = changed
    reads = store.reads
    change(named)
    site.settle(named.load_balancer_id)
    assert store.reads - reads == 1
    assert _served(site, named.load_balancer_id) == [{bundles.pem(NEW.bundle)}]
