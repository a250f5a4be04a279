"""How often a worker goes to the database for one change, from the bell to the quiet after it: each time costs the most of what it does."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import traceback
from collections.abc import Callable, Iterator

import pytest

from controller import jobs
from controller.db import database
from controller.flows import catalog
from controller.jobs import wakeup
from controller.model.status import ProvisioningStatus, Topology
from controller.worker import conductor
from tests.functional import flow_site

BEGIN, READ = "begin", "read"
QUIET = 600.0
"""Seconds: nothing but the bell wakes the worker, and nothing is renewed, while it is counted."""


class Counted:
    """The transactions of all threads but the one that made this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[tuple[str, str]] = []
        self._mine = threading.get_ident()
        for kind in (BEGIN, READ):
            monkeypatch.setattr(database.Database, kind, self._counting(kind, getattr(database.Database, kind)))

    def _counting(
        self, kind: str, real: Callable[..., contextlib.AbstractContextManager[database.Transaction]]
    ) -> Callable[..., contextlib.AbstractContextManager[database.Transaction]]:
        @contextlib.contextmanager
        def counted(db: database.Database, *lease: jobs.Lease) -> Iterator[database.Transaction]:
            if threading.get_ident() != self._mine:
                callers = [f"{pathlib.Path(one.filename).name}:{one.name}" for one in traceback.extract_stack(limit=6)[:-2]]
                self.begun.append((kind, " > ".join(callers)))
            with real(db, *lease) as tx:
                yield tx

        return counted

    def of(self, kind: str) -> int:
        return sum(one == kind for one, _ in self.begun)

    def told(self) -> str:
        return "\n".join(f"{kind:5} {callers}" for kind, callers in self.begun)


@contextlib.contextmanager
def a_worker(site: flow_site.Site, folder: pathlib.Path) -> Iterator[Callable[[], object]]:
    """A worker that has had its first looks; yields what wakes it. At the end, all that it had begun has ended."""
    bell = str(folder / "bell")
    options = conductor.Options(host="test", poll_interval=QUIET, claim_expiry=QUIET, coalesce_interval=0.0, wakeup_directory=bell)
    worker = conductor.Conductor(site.services, catalog, options)
    thread = threading.Thread(target=worker.run)
    looked = threading.Event()
    bell_waits = worker._bell.wait

    def waits(timeout: float) -> bool:
        looked.set()
        return bell_waits(timeout)

    worker._bell.wait = waits  # type: ignore[method-assign]
    thread.start()
    assert looked.wait(30)
    try:
        yield lambda: wakeup.ring(bell)
    finally:
        worker.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def change(site: flow_site.Site, load_balancer_id: str, number: int) -> None:
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.19.30.{number}"))
    with site.db.begin() as tx:
        tx.jobs.post(flow_site.an_update(load_balancer_id))


@pytest.mark.parametrize(("topology", "most"), [(Topology.SINGLE, 7), (Topology.ACTIVE_STANDBY, 9)])
def test_a_change_of_a_member_costs_two_writes_and_few_looks(
    site: flow_site.Site, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, topology: Topology, most: int
) -> None:
    """Looks: two at the board, one at the load balancer, and two at the lease around each amphora's push."""
    load_balancer_id = site.built(topology)
    with a_worker(site, tmp_path) as wake:
        change(site, load_balancer_id, 1)  # so that what follows is not the first of its kind
        wake()
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ACTIVE)
    with a_worker(site, tmp_path) as wake:
        counted = Counted(monkeypatch)
        change(site, load_balancer_id, 2)
        wake()
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ACTIVE)
        flow_site.eventually(lambda: len(counted.begun) >= most)  # the last look at the board comes after the flow
    assert site.is_whole(load_balancer_id)
    assert counted.of(BEGIN) == 2, counted.told()
    assert len(counted.begun) <= most, counted.told()
