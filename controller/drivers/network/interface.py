"""The contract of a network driver. Every method is idempotent: a second call finds what the first one made."""

import abc
import functools
import typing
from collections.abc import Iterable, Mapping, Sequence

from controller import exceptions
from controller.drivers.network import remembered
from controller.model import load_balancer as model
from controller.model.network import NORMAL, AccessRule, Network, Port, QosPolicy, SecurityGroup, Subnet, VipRequest
from controller.model.order import Order


class NetworkDriver(abc.ABC):
    """Makes and removes ports; it never touches the inside of an amphora.

    Whatever a worker has changed comes with an `order`, which says under which lease it is written. A driver that can keep the highest
    token seen of a load balancer, beside what it writes and in the same transaction, refuses a lower one; nothing is changed then:

    :raises StaleOrder: a newer order was followed.

    A driver of a service that can't keep it (Neutron's resources have no place that is compared as it is written) passes over the order:
    the caller looks at the lease before and after each write, and has the newest state written again if it was lost meanwhile.
    """

    @functools.cached_property
    def remembered(self) -> remembered.RememberedNetworks:
        """Facts of networks and subnets, some seconds old: the same for all who are content with them."""
        return remembered.RememberedNetworks(self)

    @abc.abstractmethod
    def get_network(self, network_id: str) -> Network:
        """:raises NotFound: no such network; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def get_subnet(self, subnet_id: str) -> Subnet:
        """:raises NotFound: no such subnet; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def get_port(self, port_id: str) -> Port:
        """:raises NotFound: no such port; :raises Transient: the service did not answer."""

    @abc.abstractmethod
    def get_security_group(self, group_id: str) -> SecurityGroup:
        """:raises NotFound: no such group (kind `SecurityGroup`); :raises Transient: the service did not answer."""

    def get_qos_policy(self, policy_id: str) -> QosPolicy:
        """Asked only where `has_qos()`.

        :raises NotFound: no such policy (kind `QoS Policy`); :raises Transient: the service did not answer.
        """
        raise exceptions.NotFound("QoS Policy", policy_id)

    def has_qos(self) -> bool:
        """Whether the service knows QoS policies at all.

        :raises Transient: the service did not answer.
        """
        return False

    def is_shared_with(self, kind: str, object_id: str, project_id: str) -> bool:
        """Whether an object is shared with this project alone; asked only of what neither belongs to it nor is shared with everybody.

        `kind` is `network`, `qos_policy` or `security_group`, or `external_network`: one where a router of theirs may have its gateway. Who
        sees a network sees its subnets, but for those of an external one.

        :raises Transient: the service did not answer.
        """
        return False

    def free_addresses(self, network_id: str) -> Mapping[str, int] | None:
        """How many addresses each subnet of a network has left; None: the service can't tell.

        :raises NotFound: no such network; :raises Transient: the service did not answer.
        """
        return None

    @abc.abstractmethod
    def allocate_vip(self, load_balancer_id: str, project_id: str, request: VipRequest) -> model.Vip:
        """Make (or adopt) the VIP port `octavia-lb-<load balancer id>`, with all its addresses; called by the API, so that the 201
        answer shows them.

        The port bears the group `lb-<load balancer id>` (see `set_vip_access`); an adopted one beside those that it had.

        :raises NotFound: the port, network or subnet does not exist (kind `Port`, `Network`, `Subnet`).
        :raises AddressInUse: the address is taken.
        :raises AddressNotOnSubnet: no port can have it there.
        :raises SubnetFull: there is none left.
        :raises InvalidRequest: the parts of the request contradict each other, or the port is in use.
        """

    @abc.abstractmethod
    def deallocate_vip(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        """Delete the VIP port if it is ours, else release it, without a QoS policy that the load balancer put there, and delete
        its group `lb-<load balancer id>`; gone already is fine.
        """

    @abc.abstractmethod
    def restore_vip_address(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        """Let the VIP port have the VIP's addresses on their subnets, and, if it is ours, no others there; as it should be already is fine.

        :raises NotFound: the port does not exist.
        :raises AddressInUse: somebody else has the address.
        """

    @abc.abstractmethod
    def ensure_management_port(self, amphora_id: str, network_id: str | None = None, order: Order | None = None) -> Port:
        """The port by which the controller reaches the agent: on this network, or on the deployment's management network."""

    def check_management_network(self, network_id: str) -> None:
        """Whether amphorae can be reached by this network.

        :raises NotFound: no such network.
        :raises NotSupported: the controller is not on it.
        :raises Transient: the service did not answer.
        """
        self.get_network(network_id)

    @abc.abstractmethod
    def ensure_vrrp_port(self, amphora_id: str, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> Port:
        """The port `octavia-lb-vrrp-<amphora id>`: an own address on each subnet of the VIP, whose addresses are allowed on it.

        It has port security if the VIP port has and the network lets it, and never for a `direct` VIP; the port that is returned says so.

        :raises QuotaExceeded: the project may not have another port.
        """

    @abc.abstractmethod
    def ensure_member_port(
        self,
        amphora_id: str,
        network_id: str,
        subnet_ids: Sequence[str],
        order: Order | None = None,
        vnic_type: str = NORMAL,
        plug: str = "",
    ) -> Port:
        """The port `octavia-lb-member-<amphora id>` on a network of members, with an address on each of these subnets at least.

        One that is made is of this type; one that is there keeps its own, for a machine has it. A `direct` one has no security groups.
        `plug` is another one each time that the network is plugged anew. A service that takes its time to unplug gives the port a MAC
        address of it, so that nobody takes the former card, which is still there, for the new one.

        :raises SubnetFull: a subnet has no address left.
        """

    @abc.abstractmethod
    def member_ports(self, amphora_id: str) -> Sequence[Port]:
        """The ports that an amphora has on networks of members."""

    @abc.abstractmethod
    def release_member_port(self, port_id: str, subnet_ids: Sequence[str] = (), order: Order | None = None) -> None:
        """Let a member port keep its addresses on these subnets only; with none of them left, delete it. Gone already is fine.

        The amphora has let go of what goes, and the port that is to be deleted is unplugged.
        """

    @abc.abstractmethod
    def delete_amphora_ports(self, amphora_id: str, order: Order | None = None, port_ids: Sequence[str] = ()) -> None:
        """Delete every port of an amphora (management, VRRP, members); none left is fine. `port_ids`, if any, are those for management and
        VRRP, or all, as they are known otherwise, whatever they are called by now.
        """

    @abc.abstractmethod
    def set_vip_access(self, load_balancer_id: str, vip: model.Vip, rules: Sequence[AccessRule], order: Order | None = None) -> None:
        """Let the group `lb-<load balancer id>` admit exactly this traffic, as a set difference against what it admits now.

        The group is the service's, not the tenant's; it is a group like any other, and admits nothing to a VIP port whose list of security
        groups a tenant replaced. Rules `between_amphorae` belong to no group: they always hold.
        """

    def vip_access(self, load_balancer_id: str) -> frozenset[AccessRule] | None:
        """What may reach a load balancer's VIP now, to compare it with what is wanted; None: this driver can't tell.

        :raises Transient: the service did not answer.
        """
        return None

    def security_groups_of(self, port_id: str) -> frozenset[str] | None:
        """The ids of a port's security groups; None: this driver can't tell.

        :raises Transient: the service did not answer.
        """
        return None

    def floating_addresses(self, port_id: str) -> frozenset[str]:
        """Addresses that the network translates into one of a port's (floating IPs); none of a port that is gone.

        :raises Transient: the service did not answer.
        """
        return frozenset()

    @abc.abstractmethod
    def delete_vip_access(self, load_balancer_id: str, order: Order | None = None) -> None:
        """Delete the group `lb-<load balancer id>`, which ports that have it lose first; gone already is fine."""

    @abc.abstractmethod
    def set_vip_security_groups(self, load_balancer_id: str, vip: model.Vip, group_ids: Sequence[str], order: Order | None = None) -> None:
        """Put exactly these security groups of a tenant on the VIP port, and on the VRRP ports that carry its address, now and later.

        They alone decide then what reaches the VIP. An empty list brings the group `lb-<load balancer id>` back.

        :raises NotFound: a group (kind `SecurityGroup`) or the VIP port does not exist.
        """

    def set_vip_qos(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        """Let the VIP port, and the VRRP ports that carry its address, now and later, obey the VIP's QoS policy, or none.

        Asked only where `has_qos()`.

        :raises NotFound: the policy (kind `QoS Policy`) or the VIP port does not exist.
        """
        raise exceptions.NotFound("QoS Policy", str(vip.qos_policy_id))

    def stray_ports(self, load_balancer_id: str, vip: model.Vip) -> Sequence[str]:
        """What somebody changed of its ports on the networks of the VIP and of members, each in words: groups that are not the VIP port's,
        a VIP that a port may not bear any more, a port that is switched off, a QoS policy that is not the VIP's. A policy that a tenant put
        on the VIP port themselves, where the API was not asked for one, is theirs. None: all is as it was made, or this driver can't tell.

        :raises Transient: the service did not answer.
        """
        return ()

    def mend_ports(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        """Let those ports be again as they were made; see `stray_ports`.

        :raises NotFound: what is to be put on a port does not exist (such as a `QoS Policy`); all else is mended.
        """
        del load_balancer_id, vip, order

    def listed(self, load_balancers: Sequence[model.Snapshot]) -> "NetworkDriver":
        """A driver for whoever looks at many load balancers at once: it answers from a few lists, read now, of all that belongs to them.

        Outlines of the load balancers are enough. It is only looked with; nothing is changed by it. A driver that costs nothing to ask
        returns itself.

        :raises Transient: the service did not answer.
        """
        del load_balancers
        return self

    @abc.abstractmethod
    def list_ours(self) -> Iterable[Port]:
        """Every port that this driver made for us (VIP, VRRP, member, management) or adopted, to find the ones that no row explains.

        `device_id` is `lb-<load balancer id>` on VIP ports and the amphora id on the others.
        """

    def list_vip_groups(self) -> Iterable[str]:
        """Ids of load balancers of which there is a group `lb-<id>`, where a crash can leave one without its VIP port.

        :raises Transient: the service did not answer.
        """
        return ()


@typing.runtime_checkable
class FilterKeeper(typing.Protocol):
    """A driver that keeps its packet filter itself has this, too. Where a service guards its own (Neutron) nobody else mends it."""

    def mend_filter(self) -> frozenset[str]:
        """Let what passes and drops packets say again what the service's books say, wherever somebody else took something away.

        Returns the load balancers that had lost something.

        :raises Transient: it can't be compared now.
        """
