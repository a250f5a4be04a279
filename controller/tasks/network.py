"""Steps with the network service."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller import exceptions, jobs
from controller.jobs import owed
from controller.model import access, status
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model.amphora import VRRP_PRIORITY, VRRP_ROUTER_ID
from controller.model.network import AccessRule, Facts, Port
from controller.model.order import Order
from controller.services import Services
from controller.tasks import base, facts, networks, passes, push

LOG = logging.getLogger(__name__)

_VIP_INTERFACE = "eth1"


class PlugPorts(base.Step):
    """Make the two ports that an amphora is booted with: for its management, and on the VIP's subnets."""

    made: passes.Ports

    def execute(self, load_balancer_id: str, amphora_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            amphora = tx.amphorae.get(amphora_id)
            vip = tx.load_balancers.get(load_balancer_id).vip
            placement = tx.placements.get(load_balancer_id)
        if amphora.status in status.SERVING:
            return
        with self.services.fence.writing(lease) as order:
            management = self.services.network.ensure_management_port(amphora_id, placement.management_network_id, order=order)
            vrrp = self.services.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip, order=order)
        self.made.note(management, vrrp)
        paired = amphora.role is not None and amphora.role is not status.Role.STANDALONE
        with self.services.db.begin(lease) as tx:
            tx.amphorae.update(
                amphora_id,
                management_port_id=management.id,
                management_address=management.address_on().ip_address,
                vrrp_port_id=vrrp.id,
                vrrp_ip=vrrp.address_on(vip.subnet_id).ip_address,
                additional_vrrp_ips=[dataclasses.asdict(vrrp.address_on(one.subnet_id)) for one in vip.addresses[1:]],
                vrrp_mac=vrrp.mac_address,
                guards_itself=not vrrp.port_security_enabled,
                vrrp_interface=_VIP_INTERFACE,
                vrrp_id=VRRP_ROUTER_ID if paired else None,
                vrrp_priority=VRRP_PRIORITY[amphora.role] if amphora.role else None,
                ha_ip=vip.address,
                ha_port_id=vip.port_id,
            )


class OpenListenerPorts(base.Step):
    """Put the security groups and the QoS policy that the tenant wishes for on the VIP, and let the load balancer's own group admit its
    listeners' traffic. With `only_if_changed`, the network service is not asked if nothing that it is told has changed since the last
    generation; nor is it after a step of this flow has told it (`OpenWhileBooting`). Of amphorae that an older release made, it is asked
    whether groups hold on their ports, once there is a list to be held.
    """

    default_provides = "generation"
    snapshots: passes.Snapshots
    only_if_changed: bool = False

    def execute(self, load_balancer_id: str, lease: jobs.Lease, opened_generation: int = 0) -> int:
        snapshot = self.snapshots.get(load_balancer_id)
        told = max(opened_generation, snapshot.load_balancer.applied_generation if self.only_if_changed else 0)
        _open(self.services, snapshot, lease, told)
        if access.is_listed(snapshot):
            unknown = [one for one in snapshot.amphorae if one.status in status.SERVING and one.guards_itself is None]
            look_at_guards(self.services, self.snapshots, unknown, lease)
        return snapshot.generation


class OpenWhileBooting(base.Step):
    """Do what `OpenListenerPorts` does while machines boot, so that nobody waits for the network service once they are up.

    Whatever was written down, the network service is asked. What changes until they are up, `OpenListenerPorts` does.
    """

    default_provides = "opened_generation"

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> int:
        snapshot = self.services.snapshots.get(load_balancer_id)
        _open(self.services, snapshot, lease, told=0)
        return snapshot.generation


def _open(services: Services, snapshot: model.Snapshot, lease: jobs.Lease, told: int) -> None:
    """Have the network service let in what a load balancer of this state wants; `told`: the generation that it was told of, or 0."""
    owner, rules = snapshot.load_balancer, access.rules(snapshot, services.settings.render.peer_port)
    if owner.qos_generation > told:
        with services.fence.writing(lease) as order:
            services.network.set_vip_qos(owner.id, owner.vip, order=order)
    if not told or owner.vip_generation > told or _may_differ(snapshot, rules):
        with _opening(services, owner, rules, lease) as order:
            is_new = owner.vip_generation > max(told, owner.applied_generation)
            if owner.vip.sg_ids or is_new:  # what a tenant put on the port themselves stays
                services.network.set_vip_security_groups(owner.id, owner.vip, owner.vip.sg_ids, order=order)
            services.network.set_vip_access(owner.id, owner.vip, rules, order=order)


class CloseToPredecessors(base.Step):
    """Admit nothing any more from the addresses of amphorae that were replaced: others may get them."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        snapshot = self.services.snapshots.get(load_balancer_id)
        rules = access.rules(snapshot, self.services.settings.render.peer_port)
        if access.is_open(snapshot.load_balancer, rules):
            return  # only halves of a pair admit each other
        with _opening(self.services, snapshot.load_balancer, rules, lease) as order:
            self.services.network.set_vip_access(load_balancer_id, snapshot.load_balancer.vip, rules, order=order)


def _may_differ(snapshot: model.Snapshot, rules: tuple[AccessRule, ...]) -> bool:
    """Where an older release was the last to settle, which writes nothing down, only a listener that changed is a reason to look: each
    change of its members counts as one.
    """
    owner = snapshot.load_balancer
    if owner.access_generation != owner.applied_generation:
        return any(listener.generation > owner.applied_generation for listener in snapshot.listeners)
    return not access.is_open(owner, rules)


@contextlib.contextmanager
def _opening(services: Services, owner: model.LoadBalancer, rules: tuple[AccessRule, ...], lease: jobs.Lease) -> Iterator[Order]:
    """What may reach the VIP is crossed out before it is set, and written down after: a death between leaves nothing that is not so.

    :raises StaleLease: another worker took the load balancer over.
    """
    if owner.access_hash is not None:
        with services.db.begin(lease) as tx:
            tx.load_balancers.cross_access_out(owner.id)
    with services.fence.writing(lease) as order:
        yield order
    with services.db.begin(lease) as tx:
        tx.load_balancers.note_access(owner.id, access.digest(owner.vip.port_id, rules))


class PlugMemberNetworks(base.Step):
    """Give each amphora a port on every network of members other than the VIP's. Returns the networks, in the order of their NICs.

    What is plugged is written down after it is, and crossed out before it is taken back: what the row says is there, unless somebody
    took it away behind our back, which housekeeping notices. With `only_if_changed`, the cloud is not asked about what is written down.
    """

    default_provides = "member_network_ids"
    snapshots: passes.Snapshots
    joining: Sequence[str] = ()
    only_if_changed: bool = False

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> list[str]:
        snapshot = self.snapshots.get(load_balancer_id)
        subnets = networks.of_members(snapshot, _facts(self.services, snapshot, anew=not self.only_if_changed))
        if not subnets:
            return []
        for amphora in push.targets(snapshot, self.joining):
            known = {one.network_id: one for one in self._noted(amphora, lease)}
            plugged = dict(known)
            for network_id, subnet_ids in subnets.items():
                if not (self.only_if_changed and network_id in known and known[network_id].covers(subnet_ids)):
                    before = known[network_id].fixed_ips if network_id in known else ()
                    theirs = {*subnet_ids, *(fixed.subnet_id for fixed in before)}  # others are addresses that configure themselves
                    made = networks.noted(self._plugged(amphora, network_id, subnet_ids, snapshot, lease)).on(theirs)
                    plugged[network_id] = _as_first_plugged(made, known.get(network_id))
            if plugged != known or amphora.member_ports is None:
                note_member_ports(self.services, self.snapshots, amphora, tuple(plugged.values()), lease)
        return list(subnets)

    def _noted(self, amphora: amphora_model.Amphora, lease: jobs.Lease) -> tuple[amphora_model.MemberPort, ...]:
        """What is plugged, as it is written down. If a worker died as it gave ports back, that is done first: one that is being unplugged
        looks plugged until it is gone, and a network that is wanted again gets another.
        """
        noted = amphora.member_ports or ()
        if amphora_model.RELEASING not in noted:
            return noted
        left = tuple(one for one in noted if one != amphora_model.RELEASING)
        give_back(self.services, amphora, {one.network_id: [fixed.subnet_id for fixed in one.fixed_ips] for one in left}, lease)
        note_member_ports(self.services, self.snapshots, amphora, left, lease)
        return left

    def _plugged(
        self, amphora: amphora_model.Amphora, network_id: str, subnet_ids: Sequence[str], snapshot: model.Snapshot, lease: jobs.Lease
    ) -> Port:
        if amphora.compute_id is None:
            raise exceptions.NotFound("Machine of amphora", amphora.id)
        vnic_type, plug = networks.vnic_type(snapshot, subnet_ids), networks.first_member(snapshot, subnet_ids)
        with self.services.fence.writing(lease) as order:
            port = self.services.network.ensure_member_port(amphora.id, network_id, subnet_ids, order=order, vnic_type=vnic_type, plug=plug)
            self.services.compute.attach_port(amphora.compute_id, port)
        return port


def _as_first_plugged(port: amphora_model.MemberPort, known: amphora_model.MemberPort | None) -> amphora_model.MemberPort:
    """A NIC is guarded from its beginning or never: a repair is not to fail because an image of before knows of no guards."""
    if known is None or known.mac_address != port.mac_address:
        return port
    return dataclasses.replace(port, is_secured=known.is_secured)


class ReleaseMemberNetworks(base.Step):
    """Take back the ports and addresses on networks of members that no member asks for any more; the amphorae have let go of them. With
    `only_if_changed`, the network service is not asked if no member with a subnet has changed since the last generation.
    """

    snapshots: passes.Snapshots
    only_if_changed: bool = False

    def execute(self, load_balancer_id: str, generation: int, lease: jobs.Lease) -> None:
        snapshot = self.snapshots.get(load_balancer_id)
        if self.only_if_changed and not networks.may_have_shrunk(snapshot) and not _is_releasing(snapshot):
            return
        wanted = networks.of_members(snapshot, _facts(self.services, snapshot, anew=not self.only_if_changed), pushed=generation)
        for amphora in owed.serving(snapshot):
            known = amphora.member_ports
            left = None if known is None else tuple(one.on(wanted[one.network_id]) for one in known if one.network_id in wanted)
            if left == known and left is not None and self.only_if_changed:
                continue
            if left is not None and left != known:
                note_member_ports(self.services, self.snapshots, amphora, (*left, amphora_model.RELEASING), lease)
            give_back(self.services, amphora, wanted, lease)
            if left is not None and left != known:
                note_member_ports(self.services, self.snapshots, amphora, left, lease)


def _is_releasing(snapshot: model.Snapshot) -> bool:
    return any(amphora_model.RELEASING in (amphora.member_ports or ()) for amphora in snapshot.amphorae)


def give_back(services: Services, amphora: amphora_model.Amphora, wanted: Mapping[str, Sequence[str]], lease: jobs.Lease) -> None:
    """Unplug and delete what an amphora has on networks of members beyond these subnets of networks.

    :raises StaleLease: another worker took the load balancer over.
    """
    for port in services.network.member_ports(amphora.id):
        subnet_ids = wanted.get(port.network_id, ())
        if networks.surplus(port, subnet_ids, services.networks) or not subnet_ids:
            _release(services, amphora.compute_id, port, subnet_ids, lease)


def _release(services: Services, compute_id: str | None, port: Port, subnet_ids: Sequence[str], lease: jobs.Lease) -> None:
    stays = any(fixed.subnet_id in subnet_ids for fixed in port.fixed_ips)
    with services.fence.writing(lease) as order:
        if not stays and compute_id is not None:
            services.compute.detach_port(compute_id, port)
        services.network.release_member_port(port.id, subnet_ids, order=order)
    LOG.info("load balancer %s: port %s keeps the subnets %s", lease.load_balancer_id, port.id, ", ".join(subnet_ids) or "(none)")


class MendOutside(base.Step):
    """Write again what no other step looks at: the ports that bear the VIP or lead to members, and the group of a pair's machines. An
    amphora whose port is found to have no port security any more guards itself from then on.
    """

    snapshots: passes.Snapshots

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        snapshot = self.snapshots.get(load_balancer_id)
        load_balancer = snapshot.load_balancer
        told = Facts.load(load_balancer.network_facts)
        self.services.networks.expire([*told.networks, *told.subnets])  # this may be because they changed
        with self.services.fence.writing(lease) as order:
            self.services.network.mend_ports(load_balancer_id, load_balancer.vip, order=order)
            if load_balancer.topology is status.Topology.ACTIVE_STANDBY and self.services.compute.keeps_apart():
                self.services.compute.ensure_server_group(load_balancer_id)
        look_at_guards(self.services, self.snapshots, [one for one in owed.serving(snapshot) if one.guards_itself is False], lease)


class DeleteVip(base.Step):
    """Take the VIP away from the network: its access rules, and its port if it is ours."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            vip = tx.snapshots.outline(load_balancer_id).load_balancer.vip
        with self.services.fence.writing(lease) as order:
            self.services.network.deallocate_vip(load_balancer_id, vip, order=order)


def look_at_guards(services: Services, snapshots: passes.Snapshots, amphorae: Iterable[amphora_model.Amphora], lease: jobs.Lease) -> None:
    """Write down which of these have to guard themselves, for the steps of this run, too. A port that is gone tells nothing.

    :raises StaleLease: another worker took the load balancer over; :raises Transient: the network service does not answer.
    """
    for amphora in amphorae:
        if amphora.vrrp_port_id is None:
            continue
        with contextlib.suppress(exceptions.NotFound):
            guards_itself = not services.network.get_port(amphora.vrrp_port_id).port_security_enabled
            if guards_itself != amphora.guards_itself:
                with services.db.begin(lease) as tx:
                    tx.amphorae.update(amphora.id, guards_itself=guards_itself)
                if isinstance(snapshots, passes.Pass):
                    snapshots.note(dataclasses.replace(amphora, guards_itself=guards_itself))


def _facts(services: Services, snapshot: model.Snapshot, *, anew: bool) -> facts.RunFacts:
    return facts.RunFacts(snapshot, services.network, services.networks, anew=anew)


def note_member_ports(
    services: Services,
    snapshots: passes.Snapshots,
    amphora: amphora_model.Amphora,
    ports: tuple[amphora_model.MemberPort, ...],
    lease: jobs.Lease,
) -> None:
    """Write down what an amphora has on networks of members, for the steps of this run, too.

    :raises StaleLease: another worker took the load balancer over.
    """
    with services.db.begin(lease) as tx:
        tx.amphorae.note_member_ports(amphora.id, ports)
    if isinstance(snapshots, passes.Pass):
        snapshots.note(dataclasses.replace(amphora, member_ports=ports))
