"""The contract of a compute driver, and its values. No method waits for a machine to boot."""

import abc
import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence

from controller.model.network import Port


class InstanceStatus(enum.StrEnum):
    """What the compute service says of a machine."""

    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    SHUTOFF = "SHUTOFF"  # it exists, and does not run
    ERROR = "ERROR"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BootRequest:
    """A machine to boot. `files` maps absolute paths inside the machine to their content; the agent starts on them.

    The first of `ports` is the management port. `name` is `amphora-<amphora id>`. `server_group_id`: see `ensure_server_group`.
    """

    amphora_id: str
    name: str
    files: Mapping[str, bytes]
    ports: Sequence[Port]
    flavor: str | None = None
    image_tag: str | None = None
    zone: str | None = None
    server_group_id: str | None = None

    @property
    def management_address(self) -> str | None:
        """By which its agent is spoken to."""
        return self.ports[0].address_on().ip_address if self.ports and self.ports[0].fixed_ips else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine as the compute service knows it; `fault` is the service's own words when it is in ERROR."""

    id: str
    amphora_id: str
    status: InstanceStatus
    management_address: str | None = None
    zone: str | None = None
    image_id: str | None = None
    flavor: str | None = None
    fault: str | None = None


class ComputeDriver(abc.ABC):
    """Boots and deletes machines, and plugs ports into them."""

    @abc.abstractmethod
    def check_flavor(self, flavor: str) -> None:
        """Whether machines can have this flavor. :raises NotFound: no; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def check_image_tag(self, tag: str) -> None:
        """Whether an image has this tag. :raises NotFound: none has; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def check_zone(self, zone: str) -> None:
        """Whether machines can be in this zone. :raises NotFound: no; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def boot(self, request: BootRequest) -> Instance:
        """Start a machine and return at once; the amphora's first heartbeat tells that it is up. A second call finds the first machine.

        :raises QuotaExceeded: the project may not have another machine.
        :raises ComputeFault: the service refused, with its words.
        :raises Transient: the service did not answer; the call may be repeated.
        """

    @abc.abstractmethod
    def get(self, compute_id: str) -> Instance:
        """A machine by its id; one that is being deleted counts as gone.

        :raises NotFound: no such machine; :raises Transient: the service did not answer, or does not know what the machine does.
        """

    @abc.abstractmethod
    def find(self, amphora_id: str) -> Instance | None:
        """The machine of an amphora, whatever somebody else named it meanwhile; None if there is none."""

    @abc.abstractmethod
    def delete(self, amphora_id: str) -> None:
        """Delete every machine of an amphora, in whatever state, and all that is inside; gone already is fine. It may take its time to go.

        :raises Transient: the service did not answer; the call may be repeated.
        """

    @abc.abstractmethod
    def attach_port(self, compute_id: str, port: Port) -> None:
        """Plug a port into a running machine: an interface with the port's MAC appears inside. Plugged already is fine.

        :raises NotFound: no such machine.
        :raises ComputeFault: the service refused, with its words.
        :raises Transient: the service did not answer, or the machine takes no port in the state that it is in.
        """

    @abc.abstractmethod
    def detach_port(self, compute_id: str, port: Port) -> None:
        """Unplug a port; not plugged is fine, and so is a machine that is gone."""

    @abc.abstractmethod
    def list_ours(self) -> Iterable[Instance]:
        """Every machine that this driver made for us, to find the ones that no row explains."""

    @abc.abstractmethod
    def ensure_server_group(self, load_balancer_id: str) -> str | None:
        """Have a group that keeps the machines of a load balancer on different hosts; its id, for `BootRequest`. A second call finds it.

        None: the service has one host, or nobody wants them kept apart.

        :raises QuotaExceeded: the project may not have another group.
        :raises Transient: the service did not answer; the call may be repeated.
        """

    def keeps_apart(self) -> bool:
        """Whether the machines of a pair are to be in a group."""
        return False

    @abc.abstractmethod
    def delete_server_group(self, load_balancer_id: str) -> None:
        """Delete the group of a load balancer, whether or not groups are wanted now; none is fine.

        :raises Transient: the service did not answer; the call may be repeated.
        """

    @abc.abstractmethod
    def list_server_groups(self) -> Iterable[str]:
        """The ids of the load balancers that have a group, to find the groups that no row explains."""
