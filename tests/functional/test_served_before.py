"""Who was changed to a secret that nobody can read serves on as before, or is left out; all else of the load balancer goes live."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import sqlalchemy as sa

from controller import conf as configuration
from controller import exceptions, jobs
from controller.changes import asking, listeners, load_balancers, pools, settings
from controller.db import tables
from controller.drivers.secrets import fake
from controller.housekeeping import tenant_certificates
from controller.model import load_balancer as model
from controller.model import status
from controller.model.status import ProvisioningStatus, Topology
from controller.providers import amphora
from controller.resources import kinds
from controller.resources import listener as listener_fields
from controller.resources import load_balancer as load_balancer_fields
from controller.resources import pool as pool_fields
from tests import builders, tls_material
from tests.functional import flow_site
from tests.functional.changes.conftest import Caller

PROJECT = builders.PROJECT
CA = tls_material.issue("ca.example", is_ca=True)
_SCHEMAS = {"listener": listener_fields.SCHEMA, "pool": pool_fields.SCHEMA, "access_log": load_balancer_fields.ACCESS_LOG}
NAMING = sorted(
    (word, name) for word, schema in _SCHEMAS.items() for name in schema.fields if name.endswith(("container_ref", "container_refs"))
)
"""Every field that names secrets."""
LOG = {"protocol": "TLS", "address": "198.19.10.9", "port": 6514, "host_name": "log.example"}


class Store(fake.FakeSecrets):
    """May be away, and gives new secrets of the kind that a field names."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self._count = itertools.count()

    def for_field(self, name: str) -> Any:
        if name.endswith("refs"):
            return [self.for_field("tls_container_ref")]
        if "ca_" in name:
            return self.store_secret(PROJECT, "ca", CA.pem)
        if "crl_" in name:
            return self.store_secret(PROJECT, "crl", tls_material.revoke(CA))
        return self.store_bundle(PROJECT, "web", tls_material.issue(f"n{next(self._count)}.example").bundle)

    def lose(self, reference: str) -> Any:
        return self._kept.pop((PROJECT, reference))

    def find(self, reference: str, lost: Any) -> None:
        self._kept[PROJECT, reference] = lost

    def _find(self, project_id: str, reference: str) -> Any:
        if self.away:
            raise exceptions.Transient("the secret store is away")
        return super()._find(project_id, reference)


class Served:
    """A load balancer that serves with a secret in every field that can name one."""

    def __init__(self, site: flow_site.Site, store: Store, topology: Topology = Topology.SINGLE) -> None:
        self.site, self.store = site, store
        options = settings.load(configuration.load([], []))
        providers = {"amphora": amphora.AmphoraProvider()}
        self.asking = asking.Asking(caller=Caller(), may=lambda *_: True, settings=options, services=site.services, providers=providers)
        self.id = site.built(topology)
        first = {word: {name: store.for_field(name) for other, name in NAMING if other == word} for word in _SCHEMAS}
        ends = {"loadbalancer_id": self.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "client_authentication": "MANDATORY"}
        self.listener = listeners.create(self.asking, listener_fields.SCHEMA.created({**ends, **first["listener"]}, "test")).id
        spoken = {"loadbalancer_id": self.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
        self.pool = pools.create(self.asking, pool_fields.SCHEMA.created({**spoken, **first["pool"]}, "test")).id
        self.change("listener", default_pool_id=self.pool)
        self.change("access_log", **first["access_log"])
        site.accept(self.id, flow_site.a_member(self.pool))
        self.update()
        self._seen_at_work()

    def _seen_at_work(self) -> None:
        with self.site.db.begin() as tx:
            for table in (tables.listeners, tables.pools):
                tx.connection.execute(sa.update(table).values(operating_status="ONLINE"))

    def change(self, word: str, **values: Any) -> None:
        """A PUT."""
        match word:
            case "listener":
                listeners.update(self.asking, self.listener, listener_fields.SCHEMA.updated(values, "test"))
            case "pool":
                pools.update(self.asking, self.pool, pool_fields.SCHEMA.updated(values, "test"))
            case "access_log":
                given = {"access_log": LOG | values}
                load_balancers.update(self.asking, self.id, load_balancer_fields.SCHEMA.updated(given, "test"))

    def put(self, word: str, name: str) -> str:
        """Name another secret in a field, with another change beside it; the reference."""
        given = self.store.for_field(name)
        beside: dict[str, dict[str, Any]] = {
            "listener": {"hsts_max_age": 77},
            "pool": {"lb_algorithm": "LEAST_CONNECTIONS"},
            "access_log": {"port": 6515},
        }
        self.change(word, **{name: given}, **beside[word])
        return str(given[0] if isinstance(given, list) else given)

    def put_while_it_is_there(self, word: str, name: str) -> str:
        """The same, with the store there for the request alone."""
        self.store.away = False
        try:
            return self.put(word, name)
        finally:
            self.store.away = True

    def forget_copies(self, *references: str) -> None:
        """As where the API has no key to keep any."""
        with self.site.db.begin() as tx:
            tx.connection.execute(sa.delete(tables.tenant_certificates).where(tables.tenant_certificates.c.reference.in_(references)))

    def update(self) -> None:
        self.site.succeed(flow_site.an_update(self.id))

    def object_id(self, word: str) -> str:
        return {"listener": self.listener, "pool": self.pool, "access_log": self.id}[word]

    def texts(self) -> list[str]:
        """What each amphora runs, without its own names."""
        found = (self.site.amphora.running(one.id, self.id) for one in self.site.snapshot(self.id).amphorae)
        return [running.programs["haproxy"] for running in found if running is not None]

    def contents(self) -> list[set[bytes]]:
        return [set(self.site.amphora.certificates(one.id).values()) for one in self.site.snapshot(self.id).amphorae]

    def status_of(self, object_id: str) -> ProvisioningStatus:
        snapshot = self.site.snapshot(self.id)
        everything = (snapshot.load_balancer, *snapshot.listeners, *snapshot.pools)
        return next(one.provisioning_status for one in everything if one.id == object_id)

    def told(self, object_id: str) -> list[str]:
        with self.site.db.read() as tx:
            events = tx.faults.events(self.id)
        return [row["message"] for row in events if (row["code"], row["object_id"]) == (model.LEFT_OUT, object_id)]

    def kept_before(self) -> list[str]:
        with self.site.db.read() as tx:
            return list(tx.connection.execute(sa.select(tables.served_before.c.object_id)).scalars())

    def is_in(self, what: str) -> bool:
        return all(what in text for text in self.texts())


BESIDE = {"listener": "max-age=77", "pool": "balance leastconn", "access_log": "198.19.10.9:6515"}
"""What is in a configuration once the change of each is applied."""


@pytest.fixture
def store(site: flow_site.Site) -> Store:
    made = Store()
    site.services.made["secrets"] = made
    return made


def test_all_fields_that_name_secrets_are_known() -> None:
    """By their kind, too."""
    references = {
        (word, name) for word, schema in _SCHEMAS.items() for name, field in schema.fields.items() if field.kind is kinds.reference
    }
    assert references <= set(NAMING)
    assert len(NAMING) == 8


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "away"])
@pytest.mark.parametrize(("word", "name"), NAMING)
def test_who_is_changed_to_what_can_not_be_read_serves_on_as_before(
    site: flow_site.Site, store: Store, word: str, name: str, gone: bool
) -> None:
    served = Served(site, store)
    before, child = served.contents(), served.object_id(word)
    reference = served.put(word, name)
    served.forget_copies(reference)
    lost = store.lose(reference) if gone else None
    store.away = not gone
    keeping = tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=10)
    for port in (9000, 9001):
        site.accept(served.id, flow_site.a_listener(port))
        served.update()
        assert served.is_in(f":{port}")
        assert served.contents() == before
        assert not served.is_in(BESIDE[word]), "a part of the change"
        assert site.state(served.id) is ProvisioningStatus.ACTIVE
        assert served.status_of(child) is (ProvisioningStatus.ACTIVE if word == "access_log" else ProvisioningStatus.ERROR)
        fault = site.faults(served.id)[child]
        assert fault.code == model.LEFT_OUT
        assert reference in fault.message
        assert "served as it was before" in fault.message
        keeping.look(lambda: True)  # what serves now is not forgotten
    assert len(served.told(child)) == 1
    assert [one for one in site.faults(served.id) if one != child] == []
    [serving] = site.snapshot(served.id).amphorae
    replacement, role = builders.an_id(), status.Role.STANDALONE
    site.succeed(jobs.FailoverAmphora(load_balancer_id=served.id, amphora_id=serving.id, replacement_id=replacement, role=role))
    assert served.contents() == before
    assert served.is_in(":9001")
    if gone:
        store.find(reference, lost)
    store.away = False
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=served.id))
    assert served.is_in(BESIDE[word])
    assert served.status_of(child) is ProvisioningStatus.ACTIVE
    assert not site.faults(served.id)
    assert not served.kept_before()


@pytest.mark.parametrize("word", ["listener", "pool", "access_log"])
def test_who_is_changed_once_more_during_the_push_serves_on_as_before(
    site: flow_site.Site, store: Store, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """The push that left it out is settled when the second change is accepted, which names no secret."""
    served = Served(site, store)
    before, child = served.contents(), served.object_id(word)
    reference = served.put(word, next(name for other, name in NAMING if other == word))
    served.forget_copies(reference)
    lost = store.lose(reference)
    apply = site.amphora.apply

    def changed_meanwhile(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(site.amphora, "apply", apply)
        if word == "access_log":
            load_balancers.update(served.asking, served.id, load_balancer_fields.SCHEMA.updated({"description": "7"}, "test"))
        else:
            served.change(word, description="7")
        return apply(*arguments, **named)

    monkeypatch.setattr(site.amphora, "apply", changed_meanwhile)
    site.accept(served.id, flow_site.a_listener(9000))
    for port in (9001, 9002):
        served.update()
        site.accept(served.id, flow_site.a_listener(port))
    served.update()
    assert site.amphora.apply == apply
    assert served.is_in(":9002")
    assert served.contents() == before
    assert site.state(served.id) is ProvisioningStatus.ACTIVE
    assert "served as it was before" in site.faults(served.id)[child].message
    store.find(reference, lost)
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=served.id))
    assert served.is_in(BESIDE[word])
    assert not site.faults(served.id)
    assert not served.kept_before()


@pytest.mark.parametrize(("word", "name"), NAMING)
def test_who_has_nothing_of_before_either_is_left_out(site: flow_site.Site, store: Store, word: str, name: str) -> None:
    served = Served(site, store)
    marks = {"listener": served.listener, "pool": f"{served.pool}-ca.pem", "access_log": "198.19.10.9"}
    assert served.is_in(marks[word])
    reference, child = served.put(word, name), served.object_id(word)
    with site.db.read() as tx:
        [fields] = tx.connection.execute(sa.select(tables.served_before.c.fields)).scalars()
    served.forget_copies(reference, *re.findall("fake:[0-9a-f-]+", str(fields)))
    store.away = True
    site.accept(served.id, flow_site.a_listener(9000))
    served.update()
    assert served.is_in(":9000")
    assert not served.is_in(marks[word])
    assert site.state(served.id) is ProvisioningStatus.ACTIVE
    assert set(site.faults(served.id)) == {child}
    assert "served as it was before" not in site.faults(served.id)[child].message
    store.away = False
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=served.id))
    assert served.is_in(marks[word])
    assert served.is_in(BESIDE[word])
    assert not site.faults(served.id)
    assert not served.kept_before()


def test_the_newest_state_whose_secrets_are_read_is_served(site: flow_site.Site, store: Store) -> None:
    """Two changes before a push: only the second one can't be read."""
    served = Served(site, store)
    served.change("listener", default_tls_container_ref=store.for_field("tls_container_ref"), hsts_max_age=5)
    reference = served.put("listener", "default_tls_container_ref")
    served.forget_copies(reference)
    store.away = True
    served.update()
    assert served.is_in("max-age=5")
    reference = served.put_while_it_is_there("listener", "default_tls_container_ref")
    served.forget_copies(reference)
    served.update()
    assert served.is_in("max-age=5"), "what was never read is nothing to go back to"
    assert reference in site.faults(served.id)[served.listener].message


def test_tls_to_members_that_is_switched_on_waits_too(site: flow_site.Site, store: Store) -> None:
    """Its certificates were named while nobody needed them."""
    served = Served(site, store)
    served.change("pool", tls_enabled=False)
    served.update()
    served.change("pool", tls_enabled=True)
    with site.db.read() as tx:
        pool = tx.pools.get(served.pool)
    served.forget_copies(*(one for one in (pool.tls_container_ref, pool.ca_tls_container_ref, pool.crl_container_ref) if one))
    store.away = True
    served.update()
    assert not served.is_in(f"{served.pool}-ca.pem")
    assert served.is_in("198.19.10.101:80")
    assert set(site.faults(served.id)) == {served.pool}


def test_both_halves_of_a_pair_serve_on_and_both_are_replaced(site: flow_site.Site, store: Store) -> None:
    served = Served(site, store, Topology.ACTIVE_STANDBY)
    before = served.contents()
    served.forget_copies(served.put("listener", "client_crl_container_ref"))
    store.away = True
    served.update()
    assert served.contents() == before
    for role, amphora_id in site.amphorae(served.id).items():
        assert role is not None
        replacement = builders.an_id()
        site.succeed(jobs.FailoverAmphora(load_balancer_id=served.id, amphora_id=amphora_id, replacement_id=replacement, role=role))
        assert served.contents() == before
    assert site.state(served.id) is ProvisioningStatus.ACTIVE
    assert set(site.faults(served.id)) == {served.listener}


@pytest.mark.parametrize("way", ["named again", "deleted"])
def test_who_waits_can_be_changed_and_deleted(site: flow_site.Site, store: Store, way: str) -> None:
    served = Served(site, store)
    with site.db.read() as tx:
        first = tx.listeners.get(served.listener).default_tls_container_ref
    served.forget_copies(served.put("listener", "default_tls_container_ref"))
    store.away = True
    served.update()
    if way == "deleted":
        listeners.delete(served.asking, served.listener)
    else:
        store.away = False
        served.change("listener", default_tls_container_ref=first)
        store.away = True
    served.update()
    assert not site.faults(served.id)
    assert not served.kept_before()
    assert served.is_in("max-age=77") is (way != "deleted")


@pytest.mark.parametrize("step", ["Push", "Settle"])
def test_a_change_during_a_push_still_knows_what_to_go_back_to(site: flow_site.Site, store: Store, step: str) -> None:
    """Whether or not what is being pushed was read yet; its settlement forgets only what is of its own generation."""
    served = Served(site, store)
    served.forget_copies(served.put("listener", "default_tls_container_ref"))
    references: list[str] = []
    site.work(
        flow_site.an_update(served.id),
        spoil=flow_site.before(step, lambda: references.append(served.put("listener", "default_tls_container_ref"))),
    )
    assert len(references) == 1
    served.forget_copies(*references)
    store.away = True
    served.update()
    assert set(site.faults(served.id)) == {served.listener}
    assert "served as it was before" in site.faults(served.id)[served.listener].message


def test_with_a_load_balancer_goes_what_it_was_before(site: flow_site.Site, store: Store) -> None:
    served = Served(site, store)
    for word, name in (("listener", "sni_container_refs"), ("access_log", "ca_tls_container_ref")):
        served.forget_copies(served.put(word, name))
    store.away = True
    served.update()
    assert sorted(served.kept_before()) == sorted([served.listener, served.id])
    site.accept_delete(served.id)
    site.succeed(flow_site.a_deletion(served.id))
    assert not served.kept_before()
