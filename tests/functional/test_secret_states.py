"""Every field that names a secret (by their declarations), in every state of the secret, by every flow: what must happen.

Beside it: what was changed and can't be read (`test_served_before.py`), who is left out (`test_left_out.py`), and how a store that hangs is
asked (`test_tenant_certificates.py`, `test_copies_of_certificates.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.changes import listeners, load_balancers, pools
from controller.db import tables
from controller.drivers.secrets import interface
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.resources import listener as listener_fields
from controller.resources import load_balancer as load_balancer_fields
from controller.resources import pool as pool_fields
from controller.worker import engine
from tests import tls_material
from tests.functional import flow_site
from tests.functional.test_left_out import Asked, fail_over
from tests.functional.test_served_before import BESIDE, CA, LOG, NAMING, PROJECT, Served

Field = tuple[str, str]
BELOW = [(word, name) for word, name in NAMING if word != "access_log"]
WAYS = [True, flow_site.NOT_QUICK]
"""Why a secret can't be read: the store is away, or (False) it does not have it."""
MARKS: dict[str, Callable[[Served], str]] = {
    "listener": lambda served: served.listener,
    "pool": lambda served: f"{served.pool}-ca.pem",
    "access_log": lambda _: str(LOG["address"]),
}
"""What is in a configuration while each is served."""


@pytest.fixture
def store(site: flow_site.Site) -> Asked:
    made = Asked()
    site.services.made["secrets"] = made
    return made


def _update(served: Served) -> None:
    served.site.accept(served.id, flow_site.a_listener(9000 + len(served.site.snapshot(served.id).listeners)))
    served.update()


def _repair(served: Served) -> None:
    served.site.succeed(jobs.RepairLoadBalancer(load_balancer_id=served.id))


FLOWS: dict[str, Callable[[Served], None]] = {"update": _update, "repair": _repair, "failover": fail_over}


def _named(served: Served) -> Mapping[Field, str]:
    """The reference in each field."""
    snapshot = served.site.snapshot(served.id)
    nouns: dict[str, Any] = {one.id: one for one in (*snapshot.listeners, *snapshot.pools)}
    nouns |= {"listener": nouns[served.listener], "pool": nouns[served.pool], "access_log": snapshot.load_balancer.access_log}
    values = {(word, name): getattr(nouns[word], name) for word, name in NAMING}
    return {field: value if isinstance(value, str) else value[0] for field, value in values.items()}


def _renewed(name: str) -> interface.CertificateBundle | bytes:
    """Another one of the kind that a field names; what it belongs to need not be renewed."""
    issued = tls_material.issue("renewed.example", is_ca="ca_" in name)
    return CA.pem + issued.pem if "ca_" in name else tls_material.revoke(CA, issued) if "crl_" in name else issued.bundle


def _unreadable(store: Asked, away: bool, references: Collection[str]) -> Callable[[], None]:
    """From now on these can't be read: the store is away, or has them no more. What ends that."""
    store.away = away
    lost = {} if away else {reference: store.lose(reference) for reference in set(references)}

    def end() -> None:
        store.away = False
        for reference, secret in lost.items():
            store.find(reference, secret)

    return end


def _files(served: Served) -> set[bytes]:
    """The contents of what its one amphora serves with."""
    [serving] = served.site.snapshot(served.id).amphorae
    running, has = served.site.amphora.running(serving.id, served.id), served.site.amphora.certificates(serving.id)
    assert running is not None
    return {has[name] for name in running.certificates}


def _is_well(served: Served) -> bool:
    return served.site.state(served.id) is ProvisioningStatus.ACTIVE and not served.site.faults(served.id)


@pytest.mark.parametrize("away", WAYS, ids=["away", "deleted"])
@pytest.mark.parametrize("flow", FLOWS)
def test_what_was_read_serves_on_without_a_question(site: flow_site.Site, store: Asked, flow: str, away: bool) -> None:
    served = Served(site, store)
    before = _files(served)
    assert len(before) == 6, "all but the CA, which serves three fields, are others"
    _unreadable(store, away, _named(served).values())
    asked = store.questions
    FLOWS[flow](served)
    assert (_files(served), store.questions) == (before, asked)
    assert _is_well(served)


@pytest.mark.parametrize("flow", FLOWS)
def test_what_was_renewed_is_read_where_it_is_asked_for_and_by_no_failover(site: flow_site.Site, store: Asked, flow: str) -> None:
    """All at once, as `figlina secrets refresh` asks for it."""
    served = Served(site, store)
    before = _files(served)
    for (_, name), reference in _named(served).items():
        store.find(reference, _renewed(name))
    FLOWS[flow](served)
    assert _files(served) == before, "nobody has asked for it"
    with site.db.begin() as tx:
        tx.tenant_certificates.ask_again(served.id, None, tx.load_balancers.advance(served.id))
    store.away = True
    FLOWS[flow](served)
    assert _files(served) == before
    assert not site.faults(served.id)
    store.away, asked = False, store.questions
    FLOWS[flow](served)
    assert (_files(served) == before, store.questions == asked) == ((flow == "failover"),) * 2
    _repair(served)
    assert not _files(served) & before
    assert _is_well(served)


@pytest.mark.parametrize(("word", "name"), NAMING)
def test_a_renewed_secret_that_is_named_again_is_read_by_the_request(site: flow_site.Site, store: Asked, word: str, name: str) -> None:
    served = Served(site, store)
    before, reference = _files(served), _named(served)[word, name]
    store.find(reference, _renewed(name))
    served.change(word, **{name: [reference] if name.endswith("refs") else reference})
    store.away = True
    served.update()
    assert len(_files(served) - before) == 1
    assert _is_well(served)


@pytest.mark.parametrize("flow", FLOWS)
def test_copies_that_are_lost_are_made_again(site: flow_site.Site, store: Asked, flow: str) -> None:
    served = Served(site, store)
    before = _files(served)
    for _ in range(2):
        served.forget_copies(*_named(served).values())
        FLOWS[flow](served)
        assert _files(served) == before
        assert _is_well(served)
    asked = store.questions
    FLOWS[flow](served)
    assert store.questions == asked


@pytest.mark.parametrize("away", WAYS, ids=["away", "deleted"])
@pytest.mark.parametrize(("word", "name"), BELOW)
def test_who_serves_and_lost_its_copy_is_never_taken_away(site: flow_site.Site, store: Asked, word: str, name: str, away: bool) -> None:
    """Neither in whole nor in part, by no flow: nothing is changed until it can be read, and a replacement that lacks it serves nobody."""
    served = Served(site, store)
    reference = _named(served)[word, name]
    served.forget_copies(reference)
    back = _unreadable(store, away, [reference])
    before, [serving] = served.texts(), site.snapshot(served.id).amphorae
    running = site.amphora.running(serving.id, served.id)
    for port, job in ((9000, flow_site.an_update(served.id)), (9001, jobs.RepairLoadBalancer(load_balancer_id=served.id))):
        site.accept(served.id, flow_site.a_listener(port))
        result = site.work(job)
        assert result is not None
        assert result.outcome is engine.Outcome.FAILED
        assert served.texts() == before
    fail_over(served)
    assert site.amphora.running(serving.id, served.id) == running
    back()
    site.settle(served.id)
    assert served.is_in(":9001")
    assert served.is_in(MARKS[word](served))
    assert _is_well(served)


@pytest.mark.parametrize("flow", ["update", "failover"])
def test_an_access_log_that_lost_its_copy_holds_up_nobody(site: flow_site.Site, store: Asked, flow: str) -> None:
    served = Served(site, store)
    other = store.for_field("ca_tls_container_ref")  # which nobody else names
    store.find(other, _renewed("ca_tls_container_ref"))
    served.change("access_log", ca_tls_container_ref=other)
    served.update()
    served.forget_copies(other)
    store.away = True
    FLOWS[flow](served)
    assert not served.is_in(MARKS["access_log"](served))
    assert site.state(served.id) is ProvisioningStatus.ACTIVE
    assert set(site.faults(served.id)) == {served.id}
    assert served.is_in(MARKS["listener"](served))
    store.away = False
    _repair(served)
    assert served.is_in(MARKS["access_log"](served))
    assert _is_well(served)


@pytest.mark.parametrize("has_former", [True, False])
@pytest.mark.parametrize(("word", "name"), NAMING)
def test_a_failover_comes_before_the_update_that_can_not_be_read(
    site: flow_site.Site, store: Asked, word: str, name: str, has_former: bool
) -> None:
    """Whoever is changed to it is served as it was before, or is left out, and the store is asked once."""
    served = Served(site, store)
    before, former = _files(served), _named(served)[word, name]
    reference = served.put(word, name)
    served.forget_copies(reference, *([] if has_former else [former]))
    store.away, asked = True, store.questions
    for _ in range(2):
        fail_over(served)
        assert store.questions - asked == 1, "by the first one"
        assert not served.is_in(BESIDE[word])
        assert served.is_in(MARKS[word](served)) is has_former
        assert site.faults(served.id)[served.object_id(word)].code == model.LEFT_OUT
    if has_former:
        assert _files(served) == before
    store.away = False
    _repair(served)
    assert served.is_in(BESIDE[word])
    assert served.is_in(MARKS[word](served))
    assert _is_well(served)


def _a_new_one(served: Served, store: Asked, word: str) -> tuple[str, str]:
    """One with a secret in every field; its id, and what is in a configuration while it is served."""
    given = {name: store.for_field(name) for other, name in NAMING if other == word}
    if word == "listener":
        ends = {"loadbalancer_id": served.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443, "client_authentication": "MANDATORY"}
        made = listeners.create(served.asking, listener_fields.SCHEMA.created({**ends, **given}, "test")).id
        return made, made
    spoken = {"loadbalancer_id": served.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
    made = pools.create(served.asking, pool_fields.SCHEMA.created({**spoken, **given}, "test")).id
    on = {"loadbalancer_id": served.id, "protocol": "HTTP", "protocol_port": 8081, "default_pool_id": made}
    listeners.create(served.asking, listener_fields.SCHEMA.created(on, "test"))
    served.site.accept(served.id, flow_site.a_member(made))
    return made, f"{made}-ca.pem"


@pytest.mark.parametrize("away", WAYS, ids=["away", "deleted"])
@pytest.mark.parametrize("flow", ["update", pytest.param("repair", marks=pytest.mark.slow), "failover"])
@pytest.mark.parametrize(("word", "name"), BELOW)
def test_what_is_new_and_was_never_read_is_left_out(
    site: flow_site.Site, store: Asked, word: str, name: str, flow: str, away: bool
) -> None:
    served = Served(site, store)
    before = _files(served)
    made, mark = _a_new_one(served, store, word)
    with site.db.read() as tx:
        value = getattr((tx.listeners if word == "listener" else tx.pools).get(made), name)
    reference = value if isinstance(value, str) else value[0]
    served.forget_copies(reference)
    back = _unreadable(store, away, [reference])
    FLOWS[flow](served)
    asked = store.questions
    fail_over(served)
    assert store.questions == asked
    assert not served.is_in(mark)
    assert before <= _files(served)
    fault = site.faults(served.id)
    assert (set(fault), fault[made].code) == ({made}, model.LEFT_OUT)
    assert reference in fault[made].message
    assert served.status_of(made) is ProvisioningStatus.ERROR
    back()
    _repair(served)
    assert served.is_in(mark)
    assert _is_well(served)


@pytest.mark.parametrize("away", WAYS, ids=["away", "deleted"])
def test_a_new_load_balancer_is_built_without_the_access_log_whose_secret_was_never_read(
    site: flow_site.Site, store: Asked, away: bool
) -> None:
    load_balancer_id = site.accept_load_balancer()
    reference = store.for_field("ca_tls_container_ref")
    back = _unreadable(store, away, [reference])
    with site.db.begin() as tx:
        target = {"ca_tls_container_ref": reference, **LOG}
        tx.connection.execute(sa.update(tables.load_balancers).values(access_log=target))
    site.accept(load_balancer_id, flow_site.a_listener(80))
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    assert site.faults(load_balancer_id)[load_balancer_id].code == model.LEFT_OUT
    back()
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    [serving] = site.snapshot(load_balancer_id).amphorae
    running = site.amphora.running(serving.id, load_balancer_id)
    assert running is not None
    assert str(LOG["address"]) in running.programs["haproxy"]
    assert not site.faults(load_balancer_id)


@pytest.mark.parametrize(("word", "name"), NAMING)
def test_a_secret_of_another_tenant_is_as_good_as_none(site: flow_site.Site, store: Asked, word: str, name: str) -> None:
    """By no request, and not if it has come into a row in another way."""
    served = Served(site, store)
    before, generation = _files(served), site.snapshot(served.id).load_balancer.generation
    ours = store.for_field(name)
    reference = ours if isinstance(ours, str) else ours[0]
    store._kept["a" * 32, reference] = store.lose(reference)
    with pytest.raises(exceptions.InvalidRequest, match=reference):
        served.change(word, **{name: ours})
    assert site.snapshot(served.id).load_balancer.generation == generation
    asks = {"access_log": LOG, "listener": {}, "pool": {}}[word]
    named = {other: store.for_field(other) for of, other in NAMING if of == word} | {name: ours} | asks
    with pytest.raises(exceptions.InvalidRequest, match=reference):
        _created(served, word, named)
    child = served.object_id(word)
    with site.db.begin() as tx:
        tx.served_before.keep_nothing(served.id, [child], generation)
        if word == "access_log":
            tx.load_balancers.change(served.id, {"access_log": named}, tx.load_balancers.advance(served.id))
    if word != "access_log":
        site.accept(served.id, (tables.listeners if word == "listener" else tables.pools, {"id": child, name: ours}))
    _update(served)
    assert _files(served) <= before
    assert site.faults(served.id)[child].code == model.LEFT_OUT


def _created(served: Served, word: str, named: Mapping[str, Any]) -> None:
    match word:
        case "listener":
            ends = {"loadbalancer_id": served.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 8443}
            listeners.create(served.asking, listener_fields.SCHEMA.created({**ends, "client_authentication": "MANDATORY", **named}, "test"))
        case "pool":
            spoken = {"loadbalancer_id": served.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
            pools.create(served.asking, pool_fields.SCHEMA.created({**spoken, **named}, "test"))
        case "access_log":
            wanted = {"vip_subnet_id": served.site.network.subnet_id, "access_log": named, "project_id": PROJECT}
            load_balancers.create(served.asking, load_balancer_fields.SCHEMA.created(wanted, "test"))


@pytest.mark.parametrize("changed", [False, True], ids=["new", "changed"])
@pytest.mark.parametrize("word", ["listener", "pool"])
def test_what_was_never_read_while_all_was_off_holds_up_nobody_when_it_is_switched_on(
    site: flow_site.Site, store: Asked, word: str, changed: bool
) -> None:
    """While a load balancer is off, nothing below it is served, so nothing is taken away."""
    served = Served(site, store)
    switch = load_balancer_fields.SCHEMA.updated
    load_balancers.update(served.asking, served.id, switch({"admin_state_up": False}, "test"))
    served.update()
    name = "default_tls_container_ref" if word == "listener" else "tls_container_ref"
    if changed:
        child, mark, reference = served.object_id(word), MARKS[word](served), served.put(word, name)
    else:
        child, mark = _a_new_one(served, store, word)
        with site.db.read() as tx:
            reference = getattr((tx.listeners if word == "listener" else tx.pools).get(child), name)
    served.forget_copies(reference)
    store.away = True
    served.update()
    load_balancers.update(served.asking, served.id, switch({"admin_state_up": True}, "test"))
    served.update()
    assert not served.is_in(mark)
    assert set(site.faults(served.id)) == {child}
    if not changed:
        assert served.is_in(MARKS[word](served)), "who was read is served"
    store.away = False
    _repair(served)
    assert served.is_in(mark)
    assert _is_well(served)
    assert not served.kept_before()
