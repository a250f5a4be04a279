"""A worker is stopped (SIGSTOP) just before a write to the outside, another one finishes, and it goes on: the newest state stays.

The twin of the tests that kill workers, on the embedded cloud: real agents, real filter. The cases of each flow are those of
`tests/functional/test_flows_paused.py`, which has all of them on the fakes; here a cut is run, and all with FIGLINA_ALL_PAUSES=1.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from typing import Any

import pytest

from controller import jobs
from controller.db import database
from controller.dev.client import eventually
from controller.model.status import Role
from tests.functional import flow_site, test_flows_paused
from tests.integration import killing
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OPTIONS = {"controller_worker.claim_expiry": "3"}
WITHIN = 60.0
PAUSING_WORKER = killing.CRASHING_WORKER.with_name("pausing_worker.py")
CUT = {
    jobs.UpdateLoadBalancer.kind: ("network.set_vip_access (1)", "amphora.apply (1)"),
    jobs.FailoverAmphora.kind: ("compute.boot (1)", "amphora.remove (1)", "amphora.apply (2)"),
}


def writes(kind: str) -> list[str]:
    """Where a worker that does such a job stands still."""
    if not os.environ.get("FIGLINA_ALL_PAUSES"):
        return list(CUT[kind])
    site = flow_site.Site()
    said: list[str] = []
    try:
        load_balancer_id = site.built()
        site.accept(load_balancer_id, flow_site.a_listener(8080))
        old = site.amphorae(load_balancer_id)[Role.STANDALONE]
        made: list[jobs.Job] = [
            flow_site.an_update(load_balancer_id),
            jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=old, replacement_id=str(uuid.uuid4()), role=Role.STANDALONE),
        ]
        job = next(one for one in made if one.kind == kind)
        telling = test_flows_paused.watched_services(site, lambda name, count: said.append(f"{name} ({count})"))
        site.work(job, services=telling)
        return said
    finally:
        site.close()


class Paused:
    """One load balancer, over all cases."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.balancer: Balancer = site.balancer(("web-1", "web-2"))

    def case(self, kind: str, where: str) -> None:
        name, _, count = where.partition(" ")
        machine = self.site.machine
        self._open_to(None)
        self.balancer.wait_active(WITHIN)
        eventually(lambda: self._column("SELECT kind FROM jobs") == [], WITHIN)
        machine.stop("worker")
        late = f"late-{uuid.uuid4().hex[:6]}"
        arguments = ["--before", name, "--count", count.strip("()"), "--config-file", str(self.site.folder / "figlina.conf")]
        machine.processes.start(late, [sys.executable, str(PAUSING_WORKER), *arguments], machine.settings.namespace("controller"))
        if kind == jobs.UpdateLoadBalancer.kind:
            self._open_to(["0.0.0.0/0"])
        else:
            (amphora,) = [one for one in self._amphorae() if one["status"] == "ALLOCATED"]
            self.site.api.put(f"/v2/octavia/amphorae/{amphora['id']}/failover")
        eventually(lambda: "stands still" in self.site.log(late), WITHIN, lambda: self.site.log(late)[-3000:])
        pid = machine.processes.pids(late)[0]
        self._open_to(["203.0.113.7/32"])  # the client is excluded from now on
        machine.start("worker")
        self.balancer.wait_active(WITHIN)
        eventually(lambda: self._column("SELECT kind FROM jobs") == [], WITHIN, lambda: self.site.log("worker")[-3000:])
        assert self.site.fetch(self.balancer.vip) == ""
        os.kill(pid, signal.SIGCONT)
        lost = ("was left, because another worker", "lease was lost around a write", "another worker has taken")
        eventually(lambda: any(words in self.site.log(late) for words in lost), WITHIN, lambda: self.site.log(late)[-3000:])
        machine.processes.stop([late])
        eventually(lambda: self._column("SELECT kind FROM jobs") == [], WITHIN)
        self.balancer.wait_active(WITHIN)
        assert self.site.fetch(self.balancer.vip) == "", f"{kind}, {where}: the VIP is open again"
        eventually(lambda: self._states() == self._confirmed(), WITHIN, lambda: f"{self._states()} is not {self._confirmed()}")
        killer = killing.Killer(self.site)
        eventually(lambda: killer.unexplained() == [], WITHIN, lambda: "\n".join(killer.unexplained()))

    def _open_to(self, cidrs: list[str] | None) -> None:
        self.site.api.put(f"/listeners/{self.balancer.listener_id}", {"listener": {"allowed_cidrs": cidrs}})

    def _amphorae(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.site.api.get(f"/v2/octavia/amphorae?loadbalancer_id={self.balancer.id}")["amphorae"]
        return found

    def _states(self) -> dict[str, str]:
        """The hash of what each amphora runs, as its agent keeps it."""
        paths = {path.parent.parent.name: path for path in self.site.folder.glob("embedded/amphorae/*/state/state.json")}
        return {amphora_id: json.loads(path.read_bytes())["wanted"]["hash"] for amphora_id, path in paths.items()}

    def _confirmed(self) -> dict[str, str]:
        db = database.Database(self.site.machine.database_url)
        try:
            with db.read() as tx:
                return {one.id: one.confirmed_hash or "" for one in tx.amphorae.of_load_balancer(self.balancer.id)}
        finally:
            db.close()

    def _column(self, query: str) -> list[str]:
        db = database.Database(self.site.machine.database_url)
        try:
            with db.read() as tx:
                return list(tx.connection.exec_driver_sql(query).scalars())
        finally:
            db.close()


@pytest.fixture(scope="module")
def paused(site: Site) -> Paused:
    return Paused(site)


@pytest.mark.parametrize("kind", sorted(CUT))
def test_a_worker_that_was_stopped_undoes_nothing_when_it_goes_on(paused: Paused, kind: str) -> None:
    for where in writes(kind):
        try:
            paused.case(kind, where)
        except Exception as exc:
            exc.add_note(f"{kind}, before {where}")
            raise
