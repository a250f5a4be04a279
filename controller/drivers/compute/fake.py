"""A compute service in this process's memory: machines that boot at once, and can be killed, or told to fail."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from oslo_config import cfg

from controller import exceptions
from controller.drivers import script
from controller.drivers.compute import interface
from controller.model.network import Port

OnBoot = Callable[[interface.Instance, interface.BootRequest], None]


@dataclasses.dataclass
class Machine:
    """A machine that does nothing. `plugged` are its ports, by id."""

    instance: interface.Instance
    request: interface.BootRequest
    plugged: dict[str, Port]


class Cloud:
    """What the drivers of one fake cloud share."""

    def __init__(self) -> None:
        self.script = script.Script()
        self.lock = threading.Lock()
        self.machines: dict[str, Machine] = {}  # by amphora id
        self.by_id: dict[str, Machine] = {}
        self.on_boot: OnBoot | None = None
        self.flavors = frozenset({"small", "large"})
        self.image_tags = frozenset({"amphora", "amphora-next"})
        self.zones = frozenset({"nova", "west"})
        self.groups: dict[str, str] = {}  # ids of server groups, by load balancer


@script.scripted(interface.ComputeDriver)
class FakeCompute(interface.ComputeDriver):
    """Drivers of the same `cloud` see the same machines. `on_boot` is called once for each new machine, in the thread that booted it."""

    _clouds: ClassVar[dict[str, Cloud]] = {}
    _lock = threading.Lock()

    def __init__(self, cloud: str = "default", on_boot: OnBoot | None = None) -> None:
        with self._lock:
            self._cloud = self._clouds.get(cloud) or self._clouds.setdefault(cloud, Cloud())
        self.script = self._cloud.script
        if on_boot is not None:
            self._cloud.on_boot = on_boot

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> FakeCompute:
        return cls()

    @classmethod
    def forget(cls, cloud: str = "default") -> None:
        """The next driver of this cloud finds it empty."""
        with cls._lock:
            cls._clouds.pop(cloud, None)

    def check_flavor(self, flavor: str) -> None:
        _one_of(self._cloud.flavors, "Compute flavor", flavor)

    def check_image_tag(self, tag: str) -> None:
        _one_of(self._cloud.image_tags, "Image with the tag", tag)

    def check_zone(self, zone: str) -> None:
        _one_of(self._cloud.zones, "Compute zone", zone)

    def boot(self, request: interface.BootRequest) -> interface.Instance:
        with self._cloud.lock:
            found = self._cloud.machines.get(request.amphora_id)
            if found is not None:
                return found.instance
            instance = interface.Instance(
                id=str(uuid.uuid4()),
                amphora_id=request.amphora_id,
                status=interface.InstanceStatus.ACTIVE,
                management_address=request.management_address,
                zone=request.zone,
                image_id=str(uuid.uuid5(uuid.NAMESPACE_OID, request.image_tag or "")),
                flavor=request.flavor,
            )
            machine = Machine(instance, request, {port.id: port for port in request.ports})
            self._cloud.machines[request.amphora_id] = self._cloud.by_id[instance.id] = machine
        if self._cloud.on_boot is not None:
            self._cloud.on_boot(instance, request)
        return dataclasses.replace(instance, status=interface.InstanceStatus.BUILD)  # when a cloud answers, nothing has begun yet

    def get(self, compute_id: str) -> interface.Instance:
        with self._cloud.lock:
            return self._machine(compute_id).instance

    def find(self, amphora_id: str) -> interface.Instance | None:
        with self._cloud.lock:
            found = self._cloud.machines.get(amphora_id)
            return found.instance if found else None

    def delete(self, amphora_id: str) -> None:
        with self._cloud.lock:
            gone = self._cloud.machines.pop(amphora_id, None)
            if gone is not None:
                del self._cloud.by_id[gone.instance.id]

    def attach_port(self, compute_id: str, port: Port) -> None:
        with self._cloud.lock:
            self._machine(compute_id).plugged[port.id] = port

    def detach_port(self, compute_id: str, port: Port) -> None:
        with self._cloud.lock:
            machine = self._cloud.by_id.get(compute_id)
            if machine is not None:
                machine.plugged.pop(port.id, None)

    def list_ours(self) -> Iterable[interface.Instance]:
        with self._cloud.lock:
            return [machine.instance for machine in self._cloud.machines.values()]

    def ensure_server_group(self, load_balancer_id: str) -> str | None:
        with self._cloud.lock:
            return self._cloud.groups.setdefault(load_balancer_id, str(uuid.uuid4()))

    def delete_server_group(self, load_balancer_id: str) -> None:
        with self._cloud.lock:
            self._cloud.groups.pop(load_balancer_id, None)

    def list_server_groups(self) -> Iterable[str]:
        with self._cloud.lock:
            return list(self._cloud.groups)

    # What a test does to a cloud

    def kill(self, amphora_id: str) -> None:
        """The machine stops, as by a power cut; it goes on existing."""
        self._replace(amphora_id, status=interface.InstanceStatus.SHUTOFF)

    def fail(self, amphora_id: str, fault: str) -> None:
        """The machine ends in ERROR, with these words."""
        self._replace(amphora_id, status=interface.InstanceStatus.ERROR, fault=fault)

    def rebuild(self, amphora_id: str, image_id: str) -> None:
        """Somebody has it built anew, from an image of theirs."""
        self._replace(amphora_id, image_id=image_id)

    def move(self, amphora_id: str, zone: str) -> None:
        """Somebody, or the service itself, has it run elsewhere."""
        self._replace(amphora_id, zone=zone)

    def request_of(self, amphora_id: str) -> interface.BootRequest:
        with self._cloud.lock:
            return self._cloud.machines[amphora_id].request

    def plugged(self, compute_id: str) -> list[Port]:
        with self._cloud.lock:
            return list(self._machine(compute_id).plugged.values())

    def _replace(self, amphora_id: str, **values: Any) -> None:
        with self._cloud.lock:
            machine = self._cloud.machines[amphora_id]
            machine.instance = dataclasses.replace(machine.instance, **values)

    def _machine(self, compute_id: str) -> Machine:
        try:
            return self._cloud.by_id[compute_id]
        except KeyError:
            raise exceptions.NotFound("Instance", compute_id) from None


def _one_of(known: frozenset[str], kind: str, name: str) -> None:
    if name not in known:
        raise exceptions.NotFound(kind, name)
