"""kill -9 of the worker after every task of every flow, on the embedded cloud: the cases come from the flows themselves."""

from __future__ import annotations

import pathlib
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from taskflow import flow as taskflow_flow
from taskflow import task as taskflow_task

from controller import jobs
from controller.db import database
from controller.dev.client import eventually
from controller.flows import catalog
from controller.model.status import AmphoraStatus, Topology
from tests.functional import flow_site
from tests.integration.site import Balancer, Site

CRASHING_WORKER = pathlib.Path(__file__).parent.parent / "crashing_worker.py"
WITHIN = 60.0


def _tasks(flow: Any) -> Iterator[str]:
    for node, _ in flow.iter_nodes():
        if isinstance(node, taskflow_task.Task):
            yield node.name
        elif isinstance(node, taskflow_flow.Flow):
            yield from _tasks(node)


def task_names(topology: Topology) -> dict[str, list[str]]:
    """The tasks of each kind of job, in the order of the flow's definition."""
    some = [str(uuid.uuid4()) for _ in topology.roles]
    load_balancer_id = str(uuid.uuid4())
    every: list[jobs.Job] = [
        jobs.CreateLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, amphora_ids=tuple(some)),
        jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id),
        jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id),
        jobs.ConfigureAmphora(load_balancer_id=load_balancer_id, amphora_id="a"),
        jobs.RenewCertificate(load_balancer_id=load_balancer_id, amphora_id="a"),
        jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id="a", replacement_id=some[0], role=topology.roles[0]),
        jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=tuple(some)),
        jobs.DeleteLoadBalancer(load_balancer_id=load_balancer_id),
    ]
    assert {type(job) for job in every} == set(jobs.KINDS.values()), "a kind of job is not killed here"
    cloud = flow_site.Site()
    try:
        return {job.kind: list(_tasks(catalog.build(cloud.services, job))) for job in every}
    finally:
        cloud.close()


def cases(topology: Topology) -> list[tuple[str, int, str]]:
    """Kind of job, which task is the last, its name."""
    return [(kind, number, name) for kind, names in task_names(topology).items() for number, name in enumerate(names, 1)]


def each_third(cases: list[tuple[str, int, str]], first: int) -> list[ParameterSet]:
    """All of them as parameters; but for each third one they are for `make test-matrices`."""
    return [
        pytest.param(*case, id="-".join(map(str, case)), marks=[] if place % 3 == first else pytest.mark.matrix)
        for place, case in enumerate(cases)
    ]


class Killer:
    """Lets a worker die after its n-th task, starts the next one, and looks."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.balancer: Balancer | None = None
        self.told: tuple[str, int] | None = None  # the amphora whose agent is to be told, and the last event before that

    def kill(self, kind: str, after: int) -> None:
        """One case."""
        prepare, act = self._acts()[kind]
        prepare()
        self.site.machine.stop("worker")
        command = [sys.executable, str(CRASHING_WORKER), "--after", str(after), "--config-file", str(self.site.folder / "figlina.conf")]
        self.site.machine.processes.start("worker", command, self.site.machine.settings.namespace("controller"))
        act()
        dead = lambda: not self.site.machine.processes.running("worker")  # noqa: E731
        eventually(dead, WITHIN, lambda: f"the worker did not come to task {after} of {kind}:\n{self.site.log('worker')[-3000:]}")
        self.site.machine.start("worker")
        self._settled(kind)
        eventually(lambda: self.unexplained() == [], WITHIN, lambda: "\n".join(self.unexplained()))
        eventually(lambda: self._jobs() == [], WITHIN, lambda: f"jobs are left: {self._jobs()}")

    def _acts(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """What has to stand before the worker that will die is started, and what sets it going."""
        return {
            jobs.CreateLoadBalancer.kind: (self._nothing, self._create),
            jobs.UpdateLoadBalancer.kind: (self._something, self._change),
            jobs.RepairLoadBalancer.kind: (self._something, self._repair),
            jobs.ConfigureAmphora.kind: (self._something_untold, self._configure_amphora),
            jobs.RenewCertificate.kind: (self._something_untold, self._renew),
            jobs.FailoverAmphora.kind: (self._something, self._fail_amphora_over),
            jobs.FailoverLoadBalancer.kind: (self._something, self._fail_over),
            jobs.DeleteLoadBalancer.kind: (self._something, self._delete),
        }

    def _nothing(self) -> None:
        if self.balancer is not None:
            self.balancer.delete()
            self.balancer = None

    def _something(self) -> None:
        if self.balancer is None:
            self.balancer = self.site.balancer(("web-1", "web-2"))

    def _create(self) -> None:
        pool = {
            "name": "p",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [{"name": one, "address": self.site.web[one], "protocol_port": 80} for one in ("web-1", "web-2")],
        }
        listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        body = {"vip_subnet_id": self.site.subnet_id, "listeners": [listener]}
        self.balancer = Balancer(self.site, self.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"])

    def _change(self) -> None:
        balancer = self._balancer()
        (member, *_) = balancer.members().values()
        self.site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"weight": member["weight"] % 200 + 1}})

    def _repair(self) -> None:
        """What the health manager posts when a report differs."""
        self._post(jobs.RepairLoadBalancer(load_balancer_id=self._balancer().id))

    def _renew(self) -> None:
        """What housekeeping posts when a certificate is due."""
        self._post(jobs.RenewCertificate(load_balancer_id=self._balancer().id, amphora_id=self._first_amphora()))

    def _post(self, job: jobs.Job) -> None:
        db = database.Database(self.site.machine.database_url)
        try:
            with db.begin() as tx:
                tx.jobs.post(job)
        finally:
            db.close()

    def _something_untold(self) -> None:
        self._something()
        amphora_id = self._first_amphora()
        self._kept_by(amphora_id).unlink(missing_ok=True)
        self.told = amphora_id, max((event["id"] for event in self._events()), default=0)

    def _configure_amphora(self) -> None:
        self.site.api.put(f"/v2/octavia/amphorae/{self._first_amphora()}/config")

    def _fail_amphora_over(self) -> None:
        self.site.api.put(f"/v2/octavia/amphorae/{self._first_amphora()}/failover")

    def _first_amphora(self) -> str:
        amphorae = self.site.api.get(f"/v2/octavia/amphorae?loadbalancer_id={self._balancer().id}")["amphorae"]
        (first, *_) = [one["id"] for one in amphorae if one["role"] in ("STANDALONE", "MASTER") and one["status"] == "ALLOCATED"]
        return str(first)

    def _kept_by(self, amphora_id: str) -> pathlib.Path:
        """Where an agent keeps what it was told."""
        return self.site.folder / "embedded" / "amphorae" / amphora_id / "state" / "agent.json"

    def _events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.site.api.get(f"/loadbalancers/{self._balancer().id}/events")["events"]
        return found

    def _fail_over(self) -> None:
        self.site.api.put(f"/loadbalancers/{self._balancer().id}/failover")

    def _delete(self) -> None:
        self.site.api.delete(f"/loadbalancers/{self._balancer().id}?cascade=true")

    def _balancer(self) -> Balancer:
        assert self.balancer is not None
        return self.balancer

    def _settled(self, kind: str) -> None:
        """ACTIVE and serving, ERROR with a reason, or gone."""
        if kind == jobs.DeleteLoadBalancer.kind:
            self.site.api.wait_gone(f"/loadbalancers/{self._balancer().id}", WITHIN)
            self.balancer = None
            return
        if kind == jobs.ConfigureAmphora.kind:
            eventually(self._was_told, WITHIN, lambda: f"{self.told}: {self._events()}\n{self.site.log('worker')[-3000:]}")
        if kind == jobs.RenewCertificate.kind:
            eventually(self._was_renewed, WITHIN, lambda: f"{self.told}: {self._events()}\n{self.site.log('worker')[-3000:]}")
        balancer = self._balancer()
        seen: dict[str, Any] = {}

        def settled() -> bool:
            seen.update(balancer.show())
            return seen["provisioning_status"] == "ACTIVE" or (seen["provisioning_status"] == "ERROR" and bool(seen["fault"]["message"]))

        eventually(settled, WITHIN, lambda: f"{seen}\n{self.site.log('worker')[-3000:]}")
        balancer.wait_active(WITHIN)  # the embedded cloud is up, so even an ERROR does not stay
        balancer.serves({"web-1", "web-2"})

    def _was_told(self) -> bool:
        """The agent keeps a configuration again, and the load balancer's story says so."""
        assert self.told is not None
        return self._kept_by(self.told[0]).exists() and "agent_configured" in self._said_since()

    def _was_renewed(self) -> bool:
        """The agent keeps another certificate than it was booted with, and the load balancer's story says so."""
        assert self.told is not None
        return self._kept_by(self.told[0]).with_name("identity.json").exists() and "certificate_renewed" in self._said_since()

    def _said_since(self) -> list[str]:
        """Codes of events of the amphora since the worker was to die."""
        assert self.told is not None
        amphora_id, before = self.told
        return [event["code"] for event in self._events() if event["id"] > before and event["object_id"] == amphora_id]

    def _jobs(self) -> list[str]:
        """What is still to be done."""
        return self._column("SELECT kind FROM jobs")

    def _column(self, query: str) -> list[str]:
        db = database.Database(self.site.machine.database_url)
        try:
            with db.read() as tx:
                return list(tx.connection.exec_driver_sql(query).scalars())
        finally:
            db.close()

    def unexplained(self) -> list[str]:
        """What the cloud has and the database does not explain, and the other way round."""
        machine = self.site.machine
        db = database.Database(self.site.machine.database_url)
        try:
            with db.read() as tx:
                rows = tx.connection.exec_driver_sql("SELECT id, status FROM amphorae WHERE status != 'DELETED'").all()
                balancers = tx.connection.exec_driver_sql(
                    "SELECT id FROM load_balancers WHERE provisioning_status NOT IN ('DELETED')"
                ).scalars()
                wanted = {f"lb-{one}" for one in balancers}
        finally:
            db.close()
        known = {one.id for one in rows}
        found = [f"amphora {one.id} is {one.status}" for one in rows if one.status != AmphoraStatus.ALLOCATED]
        machines = {one.amphora_id for one in machine.compute.list_ours()}
        owners = {port.device_id for port in machine.network.list_ours() if not port.device_id.startswith("dev-")}
        found += [f"machine {one} has no row" for one in machines - known]
        found += [f"amphora {one} has no machine" for one in known - machines]
        found += [f"a port of {one} has no row" for one in owners - known - wanted]
        found += [f"{one} has no port" for one in (known | wanted) - owners]
        return found
