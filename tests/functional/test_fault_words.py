"""Whatever a driver raises, with whatever in it: what tenants read names no file, no inner address, and what comes next.

Every method of every driver that a flow comes to is made to fail, in every kind of flow, with errors that nobody foresaw.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller import services as services_module
from controller.db import tables
from controller.model import load_balancer as model
from controller.model import words
from controller.model.status import Role, Topology
from tests import pausing
from tests.functional import flow_site

FOLDER, INSIDE = "/srv/figlina-secrets", "198.19.77.9"
ERRORS: list[Callable[[], Exception]] = [
    lambda: NotADirectoryError(20, "Not a directory", f"{FOLDER}/amphorae/machine.json"),
    lambda: RuntimeError(f"{FOLDER}/x.sock at {INSIDE}:9443\nTraceback (most recent call last):\n  File {FOLDER}/y.py"),
    lambda: exceptions.Transient(f"the inventory {FOLDER}/network.db is locked"),
    lambda: exceptions.AmphoraRefused("a1", f"[Errno 28] No space left on device: '{FOLDER}/state.json'"),
]


class Failing:
    """Fails at the n-th call of a driver."""

    def __init__(self, at: int, error: Exception) -> None:
        self._left, self._error = at, error
        self.where = ""

    def __call__(self, name: str, count: int) -> None:
        self._left -= 1
        if self._left == 0:
            self.where = name
            raise self._error


def failing_services(site: flow_site.Site, failing: Failing) -> services_module.Services:
    watched = {kind: pausing.Watched(getattr(site, kind), kind, failing, also_looks=True) for kind in ("compute", "network", "amphora")}
    return services_module.Services(site.db, ca=site.services.ca, settings=site.services.settings, **watched)  # type: ignore[arg-type]


def a_job(site: flow_site.Site, kind: str) -> jobs.Job:
    if kind == jobs.CreateLoadBalancer.kind:
        load_balancer_id = site.accept_load_balancer()
        site.accept_tree(load_balancer_id)
        return flow_site.a_create(load_balancer_id, Topology.SINGLE)
    load_balancer_id = site.built()
    old, new = site.amphorae(load_balancer_id)[Role.STANDALONE], str(uuid.uuid4())
    if kind == jobs.DeleteLoadBalancer.kind:
        site.accept_delete(load_balancer_id)
    if kind == jobs.UpdateLoadBalancer.kind:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
    made: list[jobs.Job] = [
        flow_site.an_update(load_balancer_id),
        flow_site.a_deletion(load_balancer_id),
        jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id),
        jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=old, replacement_id=new, role=Role.STANDALONE),
        jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=Topology.SINGLE, replacement_ids=(new,)),
        jobs.ConfigureAmphora(load_balancer_id=load_balancer_id, amphora_id=old),
        jobs.RenewCertificate(load_balancer_id=load_balancer_id, amphora_id=old),
    ]
    return next(job for job in made if job.kind == kind)


def told(site: flow_site.Site) -> list[tuple[str, str]]:
    """Codes and sentences of all faults and events: the API shows them as they are."""
    with site.db.read() as tx:
        return [
            (row.code, row.message)
            for table in (tables.faults, tables.events)
            for row in tx.connection.execute(sa.select(table.c.code, table.c.message))
        ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(jobs.KINDS))
def test_no_fault_tells_a_path_or_an_address_of_ours(kind: str) -> None:
    met: set[str] = set()
    for at in itertools.count(1):
        for number, error in enumerate(ERRORS):
            site = flow_site.Site()
            try:
                failing = Failing(at, error())
                site.work(a_job(site, kind), services=failing_services(site, failing))
                if not failing.where:
                    break
                met.add(failing.where)
                said = told(site)
                for code, message in said:
                    context = f"{kind}, {failing.where} raised {error()!r}: {code}: {message}"
                    assert FOLDER not in message, context
                    assert INSIDE not in message, context
                    assert "Traceback" not in message, context
                    assert not re.search(r"(?<![\w./])/(srv|var|tmp|usr)/", message), context
                    assert code not in ("internal", "host") or words.ADVICE in message, context
                    assert number != 0 or "Not a directory" not in message or code == "host", context
            finally:
                site.close()
        if not failing.where:
            break
    assert met, "nothing failed"


def test_what_was_said_last_of_an_object_is_no_news_though_a_path_was_left_out_of_it() -> None:
    site = flow_site.Site()
    try:
        load_balancer_id = site.accept_load_balancer()
        event = model.Fault(code="agent_not_configured", message=f"no room for {FOLDER}/state.json")
        with site.db.begin() as tx:
            news = [tx.faults.add_news(load_balancer_id, "amphora", amphora_id, event) for amphora_id in ("a1", "a1", "a2", "a1")]
        assert news == [True, False, True, False]
        assert site.events(load_balancer_id).count(event.code) == 2
    finally:
        site.close()
