"""What a contract's tests need of a cloud: its drivers, and what its users and administrators do there beside them."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Callable, Sequence

from controller import exceptions
from controller.dev.client import eventually
from controller.drivers.compute import interface as compute_interface
from controller.drivers.network import interface as network_interface
from controller.model.network import AccessRule, Network, Port


class Cloud(abc.ABC):
    """One for each test, empty but for the management network; `close()` takes away what the test made.

    Services take their time: a test asks with `eventually()` for what a service does after it has answered, and asserts nothing of ports'
    statuses, nor of addresses that it did not ask for itself. Others may use the same cloud: a test looks at ids of its own.
    """

    network: network_interface.NetworkDriver
    compute: compute_interface.ComputeDriver
    project_id: str
    """The project of tenants."""
    flavor: str
    image_tag: str
    zone: str
    keeps_orders = True
    """Whether the network driver keeps the highest token of a lease beside what it writes, see `NetworkDriver`."""
    ends_of_ipv6_subnets_are_addresses = False
    """Whether the first and the last address of a subnet of IPv6 may be a port's: nothing is broadcast there (RFC 4291, section 2.6.1)."""
    shares_with_projects = True
    """Whether an object can be shared with one project alone."""
    patience = 120.0
    """Seconds after which what was asked for can be seen."""

    @abc.abstractmethod
    def create_network(self, mtu: int = 1500, *, secured: bool = True) -> str:
        """A network of the tenant's, `secured`: whose new ports have port security; its id."""

    @abc.abstractmethod
    def create_subnet(self, network_id: str, cidr: str) -> str:
        """A subnet, without DHCP, whose gateway may have an address of it; its id."""

    @abc.abstractmethod
    def create_port(
        self,
        network_id: str,
        *,
        security_groups: Sequence[str] = (),
        device_id: str = "",
        project_id: str | None = None,
        subnet_ids: Sequence[str] = (),
    ) -> Port:
        """A port with exactly these groups and an address on each of these subnets, or on the network's first one."""

    @abc.abstractmethod
    def delete_port(self, port_id: str) -> None:
        """As an administrator, whoever needs it."""

    @abc.abstractmethod
    def move_port(self, port_id: str, address: str) -> None:
        """Give a port this address of the subnet that it is on, instead of its own, as an administrator."""

    @abc.abstractmethod
    def take_address(self, port_id: str, address: str) -> None:
        """Take this address, one of several, from a port, as an administrator."""

    @abc.abstractmethod
    def create_security_group(self, name: str) -> str:
        """A group of the tenant's, which admits something; its id."""

    def share(self, kind: str, object_id: str, project_id: str) -> None:
        """Share a thing of the tenant's with this project, as an administrator; only where `shares_with_projects`."""
        raise NotImplementedError

    @abc.abstractmethod
    def groups_of(self, port_id: str) -> set[str]:
        """The security groups of a port, but for what a service may need beside them to let amphorae speak with each other."""

    @abc.abstractmethod
    def set_groups_of(self, port_id: str, group_ids: Sequence[str]) -> None:
        """Put exactly these groups on a port, as its owner."""

    def create_qos_policy(self) -> str:
        """A policy of the tenant's, which bounds something; its id. Only where the network driver `has_qos()`."""
        raise NotImplementedError

    def set_qos_of(self, port_id: str, policy_id: str | None) -> None:
        """Put a QoS policy on a port, or take it off, as an administrator; only where the network driver `has_qos()`."""
        raise NotImplementedError

    @abc.abstractmethod
    def admit(self, load_balancer_id: str, rule: AccessRule) -> None:
        """Open the group `lb-<load balancer id>` to this, too, as an administrator: no driver knows of it."""

    @abc.abstractmethod
    def refuse(self, load_balancer_id: str, rule: AccessRule) -> None:
        """Delete what lets this in, as an administrator."""

    @abc.abstractmethod
    def stop_machine(self, amphora_id: str) -> None:
        """As an administrator, by the service's own means: it goes on existing."""

    @abc.abstractmethod
    def delete_machine(self, amphora_id: str) -> None:
        """As an administrator, by the service's own means."""

    @abc.abstractmethod
    def close(self) -> None:
        """Take away everything that the test made, whatever it left."""

    # By these means

    def a_network(self, cidr: str, mtu: int = 1500) -> Network:
        """A network with one subnet."""
        made = self.create_network(mtu)
        self.create_subnet(made, cidr)
        return self.network.get_network(made)

    def ours(self, *device_ids: str) -> list[Port]:
        """The ports of these load balancers (`lb-<id>`) and amphorae that the driver says are ours."""
        return [port for port in self.network.list_ours() if port.device_id in device_ids]

    def a_request(self, amphora_id: str) -> compute_interface.BootRequest:
        """A machine to boot, with a port on the management network."""
        return compute_interface.BootRequest(
            amphora_id=amphora_id,
            name=f"amphora-{amphora_id}",
            files={"/etc/figlina/agent.json": b"{}", "/etc/figlina/certs/server.pem": b"secret"},
            ports=[self.network.ensure_management_port(amphora_id)],
            flavor=self.flavor,
            image_tag=self.image_tag,
            zone=self.zone,
        )

    def boot(self, amphora_id: str) -> compute_interface.Instance:
        """A machine that runs."""
        request = self.a_request(amphora_id)
        self.eventually(lambda: self._takes(request))
        return self.running(amphora_id)

    def _takes(self, request: compute_interface.BootRequest) -> bool:
        """A port is another machine's until that is gone altogether: the call may be repeated then."""
        try:
            self.compute.boot(request)
        except exceptions.Transient:
            return False
        return True

    def running(self, amphora_id: str) -> compute_interface.Instance:
        """The machine of an amphora, as soon as it runs."""
        self.eventually(lambda: getattr(self.compute.find(amphora_id), "status", None) is compute_interface.InstanceStatus.ACTIVE)
        machine = self.compute.find(amphora_id)
        assert machine is not None
        return machine

    def eventually(self, happened: Callable[[], bool]) -> None:
        """Wait until a service has done what it was asked for."""
        eventually(happened, self.patience)


def new_id() -> str:
    """Of a load balancer or an amphora of the test's own."""
    return str(uuid.uuid4())
