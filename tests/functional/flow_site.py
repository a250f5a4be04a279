"""A whole site in one process: a real database and the fakes, with flows run by the worker's own engine, one at a time, by the test.

The test decides when a step fails or its worker dies; so every way through a flow can be walked without a sleep.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow import flow as taskflow_flow
from taskflow import task as taskflow_task

from controller import exceptions, jobs
from controller import services as services_module
from controller.db import database, tables
from controller.drivers.amphora import fake as fake_amphora
from controller.drivers.ca import fake as fake_ca
from controller.drivers.compute import fake as fake_compute
from controller.drivers.compute import interface as compute_interface
from controller.flows import catalog
from controller.jobs import owed, wakeup
from controller.model import load_balancer as model
from controller.model import status
from controller.model.network import VipRequest, WantedAddress
from controller.model.status import AmphoraStatus, ProvisioningStatus, Topology
from controller.worker import conductor, engine, persistence
from tests import databases, fake_network

PROJECT = "b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d"
NOT_QUICK = pytest.param(False, marks=pytest.mark.slow)
"""A value of a long matrix that `make test` has, and quick runs have not."""
Spoil = Callable[[taskflow_task.Task], None]
"""Changes a step of a flow before it runs."""


class Site:
    """Database, fake cloud, and a worker that does one job when it is told."""

    def __init__(self, boot_timeout: float = 600.0) -> None:
        self._database = databases.lent()
        self.db = self._database.__enter__()
        self._cloud = str(uuid.uuid4())
        self.compute = fake_compute.FakeCompute(self._cloud, self._booted)
        self.network = fake_network.FakeNetwork(self._cloud)
        self.amphora = fake_amphora.FakeAmphora()
        self.beats_at_boot = True
        settings = services_module.Settings(
            deployment_key=b"a deployment's key", health_managers=(("198.19.0.2", 5555),), boot_timeout=boot_timeout
        )
        self.services = services_module.Services(
            self.db, self.compute, self.network, self.amphora, fake_ca.FakeCertificateAuthority(), settings=settings
        )
        self._pool = futures.ThreadPoolExecutor(8)

    def close(self) -> None:
        self._pool.shutdown()
        self.services.close()
        self._database.__exit__(None, None, None)
        fake_compute.FakeCompute.forget(self._cloud)
        fake_network.FakeNetwork.forget(self._cloud)

    def _booted(self, instance: compute_interface.Instance, request: compute_interface.BootRequest) -> None:
        if self.beats_at_boot:
            self.beat(request.amphora_id)

    def beat(self, amphora_id: str) -> None:
        """What the health manager does at an amphora's first heartbeat."""
        with self.db.begin() as tx:
            tx.health.first({amphora_id: time.time()})

    # What the API does

    def accept_load_balancer(self, topology: Topology = Topology.SINGLE) -> str:
        """A pair has an additional VIP, so that each way through a flow is walked with one address and with two."""
        load_balancer_id = str(uuid.uuid4())
        vip = self.network.allocate_vip(
            load_balancer_id, PROJECT, VipRequest(subnet_id=self.network.subnet_id, additional=self._additional(topology))
        )
        values = self._resource(load_balancer_id, 1) | {
            "provider": "amphora",
            "topology": topology,
            "vip_address": vip.address,
            "vip_port_id": vip.port_id,
            "vip_subnet_id": vip.subnet_id,
            "vip_network_id": vip.network_id,
            "additional_vips": vip.additional,
            "vip_sg_ids": [],
        }
        with self.db.begin() as tx:
            tx.connection.execute(sa.insert(tables.load_balancers).values(values))
        return load_balancer_id

    def _additional(self, topology: Topology) -> tuple[WantedAddress, ...]:
        if topology is Topology.SINGLE:
            return ()
        return (WantedAddress(self.network.create_subnet(fake_network.TENANT_NETWORK, "six", "2001:db8::/64")),)

    def accept(self, load_balancer_id: str, *rows: tuple[sa.Table, dict[str, Any]]) -> int:
        """New or changed rows below a load balancer: one change, as one request of the API is. Returns the generation."""
        with self.db.begin() as tx:
            generation = tx.load_balancers.advance(load_balancer_id)
            for table, values in rows:
                if "id" in values:
                    state = values.pop("provisioning_status", ProvisioningStatus.PENDING_UPDATE)
                    changed = values | {"generation": generation, "provisioning_status": state}
                    tx.connection.execute(sa.update(table).where(table.c.id == values["id"]).values(changed))
                else:
                    new = self._resource(values.pop("new_id", str(uuid.uuid4())), generation) | {"load_balancer_id": load_balancer_id}
                    tx.connection.execute(sa.insert(table).values(new | values))
        return generation

    def accept_qos(self, load_balancer_id: str, policy_id: str | None) -> None:
        """A QoS policy for the VIP, or none, as the API accepts it."""
        with self.db.begin() as tx:
            generation = tx.load_balancers.advance(load_balancer_id)
            tx.load_balancers.change(load_balancer_id, {"vip_qos_policy_id": policy_id, "qos_generation": generation}, generation)

    def accept_tree(self, load_balancer_id: str, listeners: int = 1, pools: int = 1, members: int = 2) -> None:
        """Listeners, each with its default pool; members in every pool."""
        rows: list[tuple[sa.Table, dict[str, Any]]] = []
        pool_ids = [str(uuid.uuid4()) for _ in range(pools)]
        rows += [(tables.pools, {"new_id": pool_id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}) for pool_id in pool_ids]
        rows += [a_listener(80 + i, default_pool_id=pool_ids[i % pools]) for i in range(listeners)]
        rows += [a_member(pool_id, f"198.19.{20 + k // 250}.{1 + k % 250}") for pool_id in pool_ids for k in range(members)]
        self.accept(load_balancer_id, *rows)

    def accept_delete(self, load_balancer_id: str) -> None:
        with self.db.begin() as tx:
            tx.load_balancers.delete(load_balancer_id)

    def _resource(self, object_id: str, generation: int) -> dict[str, Any]:
        return {
            "id": object_id,
            "project_id": PROJECT,
            "provisioning_status": ProvisioningStatus.PENDING_CREATE,
            "operating_status": status.OperatingStatus.OFFLINE,
            "generation": generation,
            "created_at": datetime.datetime.now(datetime.UTC),
        }

    # What the worker does

    def work(
        self,
        job: jobs.Job,
        job_id: str | None = None,
        spoil: Spoil = lambda _: None,
        services: services_module.Services | None = None,
    ) -> engine.Result | None:
        """Do a job as the worker would, with a step or two spoiled, by another worker's services; None if nothing of it is owed."""
        worker = persistence.Records(self.db)  # a new one each time: what it had in memory died with it
        with self.db.begin() as tx:
            tx.connection.execute(sa.update(tables.load_balancers).values(lease_expires_at=0.0))  # whoever had it is long dead
            lease = tx.leases.take(job.load_balancer_id, "worker", 30.0)
        assert lease is not None
        with self.db.read() as tx:
            look = catalog.look(services or self.services, tx, job)
        wanted = catalog.admit(look.snapshot, job)
        if wanted is None:
            with self.db.begin() as tx:
                tx.leases.release(lease)
            return None
        flow = catalog.build(services or self.services, wanted, look)
        for step in steps(flow):
            spoil(step)
        opened = worker.open(
            job_id or str(uuid.uuid4()), flow.name, engine.definition(flow, wanted), lease, getattr(flow, "recorded", True)
        )
        flow_engine = engine.FlowEngine(flow, opened, self._pool)
        facts = {name: getattr(wanted, name) for name in jobs.dump(wanted)}
        flow_engine.storage.inject({**facts, "lease": lease, "request_id": "req-1"}, transient=True)
        result = flow_engine.advance()
        if result.outcome is not engine.Outcome.LOST:
            with self.db.begin() as tx:
                if result.outcome in (engine.Outcome.FAILED, engine.Outcome.BROKEN):
                    tx.leases.note_failure(lease, time.time() + 5)
                tx.leases.release(lease)
        return result

    def succeed(self, job: jobs.Job) -> None:
        """Do a job that has to succeed."""
        result = self.work(job)
        assert result is not None
        assert result.outcome is engine.Outcome.SUCCEEDED, result

    def settle(self, load_balancer_id: str, rounds: int = 4) -> None:
        """Do whatever is owed, until nothing is, or it has failed as often as there are rounds."""
        for _ in range(rounds):
            job = owed.outstanding(self.snapshot(load_balancer_id))
            if job is None:
                return
            self.work(job)

    def built(self, topology: Topology = Topology.SINGLE) -> str:
        """A load balancer that is ACTIVE, with a listener, a pool and two members."""
        load_balancer_id = self.accept_load_balancer(topology)
        self.accept_tree(load_balancer_id)
        self.succeed(a_create(load_balancer_id, topology))
        assert self.snapshot(load_balancer_id).load_balancer.provisioning_status is ProvisioningStatus.ACTIVE
        return load_balancer_id

    # What can be seen

    def snapshot(self, load_balancer_id: str) -> model.Snapshot:
        with self.db.read() as tx:
            return tx.snapshots.get(load_balancer_id)

    def state(self, load_balancer_id: str) -> ProvisioningStatus:
        return self.snapshot(load_balancer_id).load_balancer.provisioning_status

    def amphorae(self, load_balancer_id: str) -> dict[status.Role | None, str]:
        """Ids of the amphorae that serve, by role."""
        return {one.role: one.id for one in owed.serving(self.snapshot(load_balancer_id))}

    def faults(self, load_balancer_id: str) -> dict[str, model.Fault]:
        with self.db.read() as tx:
            return tx.faults.of_load_balancer(load_balancer_id)

    def events(self, load_balancer_id: str) -> list[str]:
        with self.db.read() as tx:
            return [row["code"] for row in tx.faults.events(load_balancer_id)]

    def runs_generation(self, amphora_id: str, load_balancer_id: str) -> int | None:
        running = self.amphora.running(amphora_id, load_balancer_id)
        return None if running is None else running.generation

    def leaks(self) -> list[str]:
        """What is in the cloud and in no row."""
        with self.db.read() as tx:
            living = tx.connection.execute(sa.select(tables.amphorae.c.id).where(tables.amphorae.c.status != AmphoraStatus.DELETED))
            there = sa.select(tables.load_balancers.c.id).where(tables.load_balancers.c.provisioning_status != ProvisioningStatus.DELETED)
            explained = {*living.scalars(), *(f"lb-{one}" for one in tx.connection.execute(there).scalars())}
        found = [(f"machine of {one.amphora_id}", one.amphora_id) for one in self.compute.list_ours()]
        found += [(f"port {port.name}", port.device_id) for port in self.network.list_ours()]
        return [words for words, owner in found if owner not in explained]

    def is_settled(self, load_balancer_id: str) -> bool:
        """ACTIVE, at the newest generation."""
        snapshot = self.snapshot(load_balancer_id)
        is_active = snapshot.load_balancer.provisioning_status is ProvisioningStatus.ACTIVE
        return is_active and snapshot.load_balancer.applied_generation == snapshot.generation

    def is_whole(self, load_balancer_id: str) -> bool:
        """ACTIVE, every role serves the newest generation, and the cloud holds exactly that."""
        snapshot = self.snapshot(load_balancer_id)
        amphora_ids = {one.id for one in snapshot.amphorae}
        ports = sorted(port.device_id for port in self.network.list_ours())
        return (
            snapshot.load_balancer.provisioning_status is ProvisioningStatus.ACTIVE
            and snapshot.load_balancer.applied_generation == snapshot.generation
            and len(snapshot.amphorae) == len(snapshot.load_balancer.topology.roles)
            and all(one.status is AmphoraStatus.ALLOCATED for one in snapshot.amphorae)
            and all(self.runs_generation(one, load_balancer_id) == snapshot.generation for one in amphora_ids)
            and {one.amphora_id for one in self.compute.list_ours()} == amphora_ids
            and ports == sorted([*amphora_ids, *amphora_ids, f"lb-{load_balancer_id}"])
            and not self.faults(load_balancer_id)
        )


@contextlib.contextmanager
def working(site: Site, folder: pathlib.Path) -> Iterator[Callable[[jobs.Job], None]]:
    """The real worker at work, in a thread; yields what posts a job and rings."""
    bell = str(folder / "bell")
    options = conductor.Options(
        host="test", max_workers=8, poll_interval=0.2, claim_expiry=10.0, retry_backoff=0.1, retry_backoff_max=0.4, wakeup_directory=bell
    )
    worker = conductor.Conductor(site.services, catalog, options)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def post(job: jobs.Job) -> None:
        with site.db.begin() as tx:
            tx.jobs.post(job, request_id="req-1")
        wakeup.ring(bell)

    try:
        yield post
    finally:
        worker.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def eventually(is_so: Callable[[], bool], within: float = 60.0, pause: float = 0.02) -> None:
    """Wait until something has happened by itself."""
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause)


def a_create(load_balancer_id: str, topology: Topology) -> jobs.CreateLoadBalancer:
    """As the API posts it."""
    return jobs.CreateLoadBalancer(
        load_balancer_id=load_balancer_id, topology=topology, amphora_ids=jobs.amphora_ids(load_balancer_id, topology)
    )


def an_update(load_balancer_id: str) -> jobs.UpdateLoadBalancer:
    return jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id)


def a_deletion(load_balancer_id: str) -> jobs.DeleteLoadBalancer:
    return jobs.DeleteLoadBalancer(load_balancer_id=load_balancer_id)


def a_listener(port: int = 80, **values: Any) -> tuple[sa.Table, dict[str, Any]]:
    defaults = {
        "protocol": "HTTP",
        "protocol_port": port,
        "timeout_client_data": 50000,
        "timeout_member_connect": 5000,
        "timeout_member_data": 50000,
        "timeout_tcp_inspect": 0,
    }
    return tables.listeners, defaults | values


def a_member(pool_id: str, address: str = "198.19.10.101", **values: Any) -> tuple[sa.Table, dict[str, Any]]:
    return tables.members, {"pool_id": pool_id, "address": address, "protocol_port": 80} | values


def gone(table: sa.Table, object_id: str) -> tuple[sa.Table, dict[str, Any]]:
    """An accepted deletion of an object below a load balancer."""
    return table, {"id": object_id, "provisioning_status": ProvisioningStatus.PENDING_DELETE}


def steps(flow: taskflow_flow.Flow) -> Iterator[taskflow_task.Task]:
    """All steps of a flow, in order."""
    for child, _ in flow.iter_nodes():
        if isinstance(child, taskflow_flow.Flow):
            yield from steps(child)
        else:
            yield child


def failing(names: Collection[str], error: Exception, after: bool = False) -> Spoil:
    """These steps fail; `after` they have done their work, or before."""

    def spoil(step: taskflow_task.Task) -> None:
        if step.name in names:
            _wrap(step, error, after)

    return spoil


def dying(name: str, in_the_middle: bool) -> Spoil:
    """The worker dies when this step has done its work and before that is recorded, or before it did any."""
    return failing([name], exceptions.StaleLease("(the worker died here)"), after=in_the_middle)


def before(name: str, happens: Callable[[], object]) -> Spoil:
    """Something happens just before this step begins."""

    def spoil(step: taskflow_task.Task) -> None:
        if step.name == name:
            work = step.execute

            def execute(**arguments: Any) -> Any:
                happens()
                return work(**arguments)

            step.execute = execute

    return spoil


def _wrap(step: taskflow_task.Task, error: Exception, after: bool) -> None:
    work = step.execute

    def execute(**arguments: Any) -> Any:
        if after:
            work(**arguments)
        raise error

    step.execute = execute


def step_names(job: jobs.Job) -> list[str]:
    """The steps of a job's flow, to make a test of each."""
    cloud = "names of steps"
    services = services_module.Services(
        database.Database("sqlite:///never-opened.db"),
        fake_compute.FakeCompute(cloud),
        fake_network.FakeNetwork(cloud),
        fake_amphora.FakeAmphora(),
        fake_ca.FakeCertificateAuthority(),
    )
    return [step.name for step in steps(catalog.build(services, job))]
