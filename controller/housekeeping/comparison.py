"""What the rows explain is compared with what is there: somebody may have deleted a port, a machine or a rule behind our back.

Orphans are things without a row; this is about rows without their thing. One page of load balancers a round, so that a fleet costs no more
at once than a page. A difference is an event, and mended where it can be: a VIP port is made again with its address or gets it back, an
amphora without its machine, one of its ports or an address is replaced, and all else is written again by a repair.
"""

import contextlib
import dataclasses
import ipaddress
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from controller import exceptions, jobs
from controller.db import database
from controller.drivers.compute import interface as compute_interface
from controller.drivers.network import interface, remembered
from controller.housekeeping import loops
from controller.jobs import owed
from controller.model import access
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model.network import NORMAL, AccessRule, Facts, Port, VipRequest, WantedAddress
from controller.model.status import AT_REST, ProvisioningStatus, Topology
from controller.tasks import facts, networks

LOG = logging.getLogger(__name__)

CODE, WAITING = "lost_outside", "replacements_wait"
_BOARD = 50
_HOUR = 3600.0
_UNANSWERED = 3  # load balancers one after the other of which the services say nothing: they are away


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What is missing or differs. `amphora` is the one that has to be replaced for it; without one, a repair mends it."""

    sentence: str
    amphora: amphora_model.Amphora | None = None
    vip_is_lost: bool = False
    vip_has_moved: bool = False
    whose: str = "changed by somebody else"
    what_next: str = "it is written again"


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """Through what one load balancer is compared: lists of a page, or the services themselves.

    `machine` gives a machine by its id. :raises NotFound: there is none.
    """

    network: interface.NetworkDriver
    machine: Callable[[str], compute_interface.Instance]


@dataclasses.dataclass(eq=False)
class Comparison:
    """`peer_port`: where the halves of a pair speak with each other, as in what may reach a VIP.

    At most `failovers_per_hour` amphorae are replaced: if more of them seem to lack something, the services' answers are wrong rather.
    """

    db: database.Database
    compute: compute_interface.ComputeDriver
    network: interface.NetworkDriver
    known: remembered.RememberedNetworks
    ring: Callable[[], None]
    _: dataclasses.KW_ONLY
    peer_port: int
    page_size: int
    failovers_per_hour: int

    def __post_init__(self) -> None:
        self._waiting = 0
        self._cursor = ""
        self._groups: frozenset[str] | None = None  # of servers, as they were seen for this page
        self._machines: Mapping[str, compute_interface.Instance] | None = None  # by their ids, as they were seen for these pages

    def compare(self, may_go_on: Callable[[], bool]) -> None:
        """Compare one page of load balancers; before the first page of a round, the network's packet filter as a whole.

        Where a list can't be had, each thing on it is asked for by itself, and the page ends early if these questions get no answer.
        """
        if not self._cursor:
            self._compare_filter()
            self._machines = None
        with self.db.read() as tx:
            ids, self._cursor = tx.housekeeping.settled(self._cursor, self.page_size)
            outlines = [tx.snapshots.outline(one) for one in ids]  # what is there is read after the rows that explain it
        waited, self._waiting, self._groups = self._waiting, 0, None
        lists = self._lists(outlines) if outlines else self._now
        unanswered = 0
        for outline in outlines:
            if not may_go_on():
                return
            try:
                self._compare_one(outline, lists)
                unanswered = 0
            except exceptions.ControllerError as exc:
                LOG.warning("Load balancer %s could not be compared with what is there: %s", outline.load_balancer.id, exc)
                unanswered = unanswered + 1 if isinstance(exc, exceptions.Transient) else 0
                if unanswered == _UNANSWERED:
                    self._cursor = outline.load_balancer.id  # the others are not passed over
                    break
        if self._waiting:
            self._tell_of_waiting(is_news=not waited)

    @property
    def _now(self) -> Sight:
        """Each thing by itself."""
        return Sight(self.network, self.compute.get)

    def _lists(self, outlines: Sequence[model.Snapshot]) -> Sight:
        """All that belongs to them, by a few lists; that of machines is one for all pages. A machine that is not on it is asked for by its
        id, and so is everything of which there is no list now (as from a Nova of which a cell is down)."""
        try:
            if self._machines is None:
                self._machines = {machine.id: machine for machine in self.compute.list_ours()}
        except exceptions.ControllerError as exc:
            LOG.warning("There is no list of machines to compare with, each is asked for: %s", exc)
        try:
            listed = self.network.listed(outlines)
        except exceptions.ControllerError as exc:
            LOG.warning("There are no lists of ports and groups to compare with, each is asked for: %s", exc)
            listed = self.network
        machines = self._machines or {}
        return Sight(listed, lambda compute_id: machines.get(compute_id) or self.compute.get(compute_id))

    def _tell_of_waiting(self, is_news: bool) -> None:
        """Once for as long as page after page has some."""
        message = (
            f"{self._waiting} amphorae seem to have lost something outside and are not replaced yet: {self.failovers_per_hour} were in "
            "the last hour: see whether the compute and network services tell the truth ([house_keeping] compare_failovers_per_hour)"
        )
        LOG.warning("%s", message)
        if is_news:
            with self.db.begin() as tx:
                tx.faults.add_event(None, "housekeeping", "comparison", model.Fault(code=WAITING, message=message))

    def _compare_filter(self) -> None:
        if not isinstance(self.network, interface.FilterKeeper):
            return
        try:
            lost = self.network.mend_filter()
        except exceptions.ControllerError as exc:
            LOG.warning("The network's packet filter could not be compared with its books: %s", exc)
            return
        for load_balancer_id in sorted(lost):
            with contextlib.suppress(exceptions.NotFound), self.db.begin() as tx:  # what no row explains is for the orphans
                tx.snapshots.outline(load_balancer_id)
                self._tell(tx, load_balancer_id, Difference("the packet filter of its ports is not what the network's books say"), None)

    def _compare_one(self, outline: model.Snapshot, lists: Sight) -> None:
        """What the lists show is believed if each thing by itself shows it, too: they are of some time ago, and may be incomplete."""
        with self.db.read() as tx:
            if _is_under_way(tx, outline.load_balancer.id):
                return
            snapshot = tx.snapshots.get(outline.load_balancer.id)
        if not _is_unchanged(outline, snapshot):
            return
        differs = next(self._differences(snapshot, lists), None) is not None
        if differs and (found := self._bounded(self._differences(snapshot, self._now))):
            self._mend(snapshot, found)
        elif not _is_in_error(snapshot):
            is_to_be_pushed = self._note_facts(snapshot, lists.network)
            if self._look_for_loops(snapshot, lists.network) or is_to_be_pushed:
                self.ring()

    def _note_facts(self, seen: model.Snapshot, listed: interface.NetworkDriver) -> bool:
        """For the next push, which does not ask, what leads to the VIP now; and what an older release has not written down.

        True if a repair was posted: a member is left out for an address that leads to the VIP no more, or is served at one that does now.
        """
        written, load_balancer_id = Facts.load(seen.load_balancer.network_facts), seen.load_balancer.id
        known = written if written.subnets else self._facts_of(seen, listed)
        known = dataclasses.replace(known, floating=self._leads_to(seen.load_balancer.vip, listed, written.floating))
        opens = self._is_known_to_be_open(seen, listed)
        if known == written and opens is None:
            return False
        is_to_be_pushed = seen.loops(written.floating or ()) != seen.loops(known.floating or ())
        with self.db.begin() as tx:
            tx.load_balancers.lock(load_balancer_id)
            if not _is_unchanged(seen, tx.snapshots.outline(load_balancer_id)) or _is_under_way(tx, load_balancer_id):
                return False
            tx.load_balancers.note_facts(load_balancer_id, known)
            if opens is not None:
                tx.load_balancers.note_access(load_balancer_id, opens)
            if is_to_be_pushed:
                tx.jobs.post(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
        return is_to_be_pushed

    def _is_known_to_be_open(self, seen: model.Snapshot, listed: interface.NetworkDriver) -> str | None:
        """What is to be written down of what may reach the VIP, which does not differ from what is asked for; None: it is, or can't be."""
        owner, rules = seen.load_balancer, access.rules(seen, self.peer_port)
        is_new = not access.is_open(owner, rules) and listed.vip_access(owner.id) is not None
        return access.digest(owner.vip.port_id, rules) if is_new else None

    def _facts_of(self, snapshot: model.Snapshot, listed: interface.NetworkDriver) -> Facts:
        asked = facts.RunFacts(snapshot, listed, self.known, anew=True)
        networks.of_vip(snapshot.load_balancer.vip, asked)
        for network_id in networks.of_members(snapshot, asked):
            asked.network(network_id)
        return asked.used

    def _leads_to(self, vip: model.Vip, listed: interface.NetworkDriver, written: tuple[str, ...] | None) -> tuple[str, ...]:
        """Which floating IPs lead to it; if the list says something new, the service itself is asked."""
        found = tuple(sorted(listed.floating_addresses(vip.port_id)))
        return found if written in (None, found) else tuple(sorted(self.network.floating_addresses(vip.port_id)))

    def _look_for_loops(self, snapshot: model.Snapshot, listed: interface.NetworkDriver) -> bool:
        """The same with floating IPs: if those of the list mean something new, the service is asked."""
        if not loops.is_news(self.db, snapshot, networks.floating(snapshot, listed, self.known)):
            return False
        return loops.look(self.db, snapshot, networks.floating(snapshot, self.network, self.known))

    def _bounded(self, found: Iterator[Difference]) -> list[Difference]:
        """Without the amphorae whose replacement has to wait."""
        chosen: list[Difference] = []
        recent: int | None = None
        for one in found:
            if one.amphora is not None:
                recent = self._recent() if recent is None else recent
                if recent >= self.failovers_per_hour:
                    self._waiting += 1
                    continue
                recent += 1
            chosen.append(one)
        return chosen

    def _recent(self) -> int:
        """How many amphorae were replaced for this, by whichever process, as events tell it."""
        with self.db.read() as tx:
            return tx.faults.count(CODE, "amphora", _HOUR)

    def _differences(self, snapshot: model.Snapshot, sight: Sight) -> Iterator[Difference]:
        """Of one in ERROR only what was there before the change that failed: how far that came nobody knows, and its next try writes it."""
        vip = snapshot.load_balancer.vip
        port = _port(vip.port_id, sight)
        if port is None:
            yield Difference(f"the VIP port {vip.port_id} is gone", vip_is_lost=True)
        elif lost_ones := [one.ip_address for one in vip.addresses if one.ip_address not in _addresses(port)]:
            has = ", ".join(_addresses(port)) or "none"
            yield Difference(f"the VIP port {vip.port_id} lost the address {', '.join(lost_ones)} (it has {has})", vip_has_moved=True)
        lost = [(amphora, words) for amphora in owed.serving(snapshot) if (words := self._lost_of(amphora, snapshot, sight)) is not None]
        for amphora, words in lost:
            yield Difference(f"the {amphora.role} lost {words}", amphora)
        if not _is_in_error(snapshot):
            yield from self._unapplied(snapshot, {amphora.id for amphora, _ in lost}, sight.network)

    def _unapplied(self, snapshot: model.Snapshot, broken: Collection[str], network: interface.NetworkDriver) -> Iterator[Difference]:
        """What is not as the newest generation asks for; `broken` amphorae are replaced anyway."""
        load_balancer = snapshot.load_balancer
        if groups := _lost_groups(load_balancer.vip, network):
            yield Difference(f"the VIP port lost the security group {', '.join(groups)}")
        for words in network.stray_ports(load_balancer.id, load_balancer.vip):
            yield Difference(words)
        if load_balancer.topology is Topology.ACTIVE_STANDBY and load_balancer.id not in self._grouped(load_balancer.id):
            next_one = "it is made again for the next one; fail the load balancer over to have those that run kept apart"
            yield Difference("the server group of its machines is gone", what_next=next_one)
        for words in facts.changed(Facts.load(load_balancer.network_facts), self.known):
            yield Difference(words)
        wanted = networks.of_members(snapshot, self.known)
        for amphora in owed.serving(snapshot):
            if amphora.id not in broken:
                yield from _unguarded(amphora, network)
                yield from self._towards_members(amphora, wanted, network)
        has = network.vip_access(snapshot.load_balancer.id)
        rules = frozenset(map(_in_one_spelling, access.rules(snapshot, self.peer_port)))
        if not broken and has is not None and frozenset(map(_in_one_spelling, has)) != rules:
            yield Difference("what may reach the VIP is not what its listeners ask for")

    def _towards_members(
        self, amphora: amphora_model.Amphora, wanted: Mapping[str, Sequence[str]], network: interface.NetworkDriver
    ) -> Iterator[Difference]:
        """What an amphora should have on networks of members, and has not, or has and should not."""
        ports = network.member_ports(amphora.id)
        if missing := wanted.keys() - {port.network_id for port in ports}:
            yield Difference(f"the {amphora.role} lost its port on the network {', '.join(sorted(missing))} of members")
        surplus = [
            f"the port {port.id} on the subnet {fixed.subnet_id}"
            for port in ports
            for fixed in networks.surplus(port, wanted.get(port.network_id, ()), self.known)
        ]
        if unplugged := [port.id for port in ports if port.network_id in wanted and _is_unplugged(port, amphora)]:
            yield Difference(f"the port {', '.join(unplugged)} of the {amphora.role} towards members is not in its machine any more")
        if surplus:
            yield Difference(
                f"the {amphora.role} has {' and '.join(surplus)}, where no member is any more",
                whose="left over",
                what_next="it is taken back",
            )

    def _grouped(self, load_balancer_id: str) -> frozenset[str]:
        """Load balancers whose machines are kept apart; asked once a page, and this one is among them if nobody wants that."""
        if self._groups is None:
            self._groups = frozenset(self.compute.list_server_groups()) if self.compute.keeps_apart() else frozenset()
        return self._groups if self.compute.keeps_apart() else frozenset({load_balancer_id})

    def _lost_of(self, amphora: amphora_model.Amphora, snapshot: model.Snapshot, sight: Sight) -> str | None:
        vip = snapshot.load_balancer.vip
        if (words := self._lost_machine(amphora, sight)) is not None:
            return words
        own = (amphora.vrrp_ip, *(one.ip_address for one in amphora.additional_vrrp_ips))
        if len(own) != len(vip.addresses):
            return "its addresses on the subnets of additional VIPs, or never had them: an older worker builds amphorae without"
        management = ("management", amphora.management_port_id, (amphora.management_address,))
        for word, port_id, wanted in (management, ("VRRP", amphora.vrrp_port_id, own)):
            if port_id is None:
                continue
            port = _port(port_id, sight)
            if port is None:
                return f"its {word} port {port_id}"
            addresses = _addresses(port)
            if lost := [one for one in wanted if one is not None and one not in addresses]:
                return f"the address {', '.join(lost)} of its {word} port {port_id}"
            if _is_unplugged(port, amphora):
                return f"its {word} port {port_id}, which is not in its machine any more"
            if word == "VRRP" and _is_held_by_nobody(amphora, port, snapshot):
                return f"the port security of its {word} port {port_id}, or never had it: an older worker builds amphorae without guards"
        return None

    def _lost_machine(self, amphora: amphora_model.Amphora, sight: Sight) -> str | None:
        """By the machine's id, which a service that has lost sight of a part of its machines can't take for a deleted one."""
        try:
            machine = sight.machine(amphora.compute_id) if amphora.compute_id is not None else None
        except exceptions.NotFound:
            machine = None
        if machine is None:
            return "its machine"
        if machine.status is compute_interface.InstanceStatus.SHUTOFF:
            return "its machine, which was stopped"
        if machine.status is compute_interface.InstanceStatus.ERROR:
            return f"its machine, of which the compute service says: {machine.fault or 'ERROR, without a reason'}"
        if amphora.image_id is not None and machine.image_id not in (None, amphora.image_id):
            return f"its machine, which was rebuilt from the image {machine.image_id}"
        if machine.zone not in (None, amphora.cached_zone):  # the compute service chose it, or has moved the machine
            with self.db.begin() as tx:
                tx.amphorae.update(amphora.id, cached_zone=machine.zone)
        return None

    def _mend(self, seen: model.Snapshot, found: list[Difference]) -> None:
        """Unless a worker was faster: whatever it does, it does by the newest rows, and the next round looks again."""
        load_balancer = seen.load_balancer
        made: model.Vip | str | None = None
        if any(one.vip_is_lost for one in found):
            made = self._make_vip_again(seen)
        elif any(one.vip_has_moved for one in found):
            made = self._give_address_back(seen)
        with self.db.begin() as tx:
            tx.load_balancers.lock(load_balancer.id)
            now = tx.snapshots.outline(load_balancer.id)
            if not _is_unchanged(seen, now) or _is_under_way(tx, load_balancer.id):
                return
            for one in found:
                self._tell(tx, load_balancer.id, one, made)
            if isinstance(made, model.Vip) and made.port_id != load_balancer.vip.port_id:
                tx.housekeeping.replace_vip_port(load_balancer.id, load_balancer.vip.port_id, made)
            doomed = [one.amphora for one in found if one.amphora is not None]
            for amphora in doomed:
                _post_failover(tx, load_balancer.id, amphora)
            hopeless = all(one.vip_has_moved for one in found)  # nothing that a repair could write would change it
            in_vain = isinstance(made, str) and (_is_in_error(now) or hopeless)  # its own next tries go on, more and more rarely
            tx.load_balancers.cross_access_out(load_balancer.id)  # somebody was at it; a repair may fail, and its next try is an update
            if not doomed and not in_vain:
                tx.jobs.post(jobs.RepairLoadBalancer(load_balancer_id=load_balancer.id))
        self.ring()

    def _make_vip_again(self, seen: model.Snapshot) -> model.Vip | str:
        """The VIP on a port of ours with the same addresses, or why there can't be one."""
        vip = seen.load_balancer.vip
        request = VipRequest(
            network_id=vip.network_id,
            subnet_id=vip.subnet_id,
            address=vip.address,
            qos_policy_id=vip.qos_policy_id,
            additional=tuple(WantedAddress(one.subnet_id, one.ip_address) for one in vip.addresses[1:]),
        )
        try:
            return self.network.allocate_vip(seen.load_balancer.id, seen.load_balancer.project_id, request)
        except exceptions.ControllerError as exc:
            return str(exc)

    def _give_address_back(self, seen: model.Snapshot) -> model.Vip | str:
        """The VIP, on its port again, or why it can't be there."""
        try:
            self.network.restore_vip_address(seen.load_balancer.id, seen.load_balancer.vip)
        except exceptions.ControllerError as exc:
            return str(exc)
        return seen.load_balancer.vip

    def _tell(self, tx: database.Transaction, load_balancer_id: str, one: Difference, made: model.Vip | str | None) -> None:
        what_next = one.what_next
        if one.amphora is not None:
            what_next = "it is replaced"
        elif one.vip_is_lost and isinstance(made, model.Vip):
            words = ", ".join(address.ip_address for address in made.addresses)
            what_next = f"it is made again as {made.port_id} with the address {words}; floating IPs have to be given to it anew"
        elif one.vip_has_moved:
            what_next = "it is given back" if isinstance(made, model.Vip) else f"it can't be given back: {made}"
        elif one.vip_is_lost:
            what_next = f"it can't be made again: {made}"
        event = model.Fault(code=CODE, message=f"{one.sentence}, {one.whose}: {what_next}")
        kind, object_id = ("amphora", one.amphora.id) if one.amphora is not None else ("load_balancer", load_balancer_id)
        tx.faults.add_news(load_balancer_id, kind, object_id, event)
        LOG.warning("load balancer %s: %s", load_balancer_id, event.message)


def _port(port_id: str, sight: Sight) -> Port | None:
    """None: there is no such port."""
    try:
        return sight.network.get_port(port_id)
    except exceptions.NotFound:
        return None


def _is_held_by_nobody(amphora: amphora_model.Amphora, vrrp_port: Port, snapshot: model.Snapshot) -> bool:
    """Whether listeners have lists of clients, and neither groups nor, as far as anybody knows, the amphora itself hold them."""
    is_guarded = vrrp_port.port_security_enabled or amphora.guards_itself is not None or vrrp_port.vnic_type != NORMAL
    return access.is_listed(snapshot) and not is_guarded


def _unguarded(amphora: amphora_model.Amphora, network: interface.NetworkDriver) -> Iterator[Difference]:
    """That security groups held on its VRRP port, and do so no more."""
    if amphora.guards_itself is False and amphora.vrrp_port_id is not None:
        with contextlib.suppress(exceptions.NotFound):
            if not network.get_port(amphora.vrrp_port_id).port_security_enabled:
                sentence = f"the VRRP port {amphora.vrrp_port_id} of the {amphora.role} has no port security any more"
                yield Difference(sentence, what_next="the amphora itself admits what may reach the VIP from now on")


def _addresses(port: Port) -> list[str]:
    return [fixed.ip_address for fixed in port.fixed_ips]


def _is_unplugged(port: Port, amphora: amphora_model.Amphora) -> bool:
    """Whether somebody took the port out of the amphora's machine: it is there, with its address, and leads to nobody."""
    return port.machine_id not in (None, amphora.compute_id)


def _lost_groups(vip: model.Vip, network: interface.NetworkDriver) -> list[str]:
    """Groups that the API was asked for and that the VIP port has not. What a tenant put on the port themselves is theirs."""
    has = network.security_groups_of(vip.port_id) if vip.sg_ids else None
    return [] if has is None else sorted(set(vip.sg_ids) - has)


def _in_one_spelling(rule: AccessRule) -> AccessRule:
    return rule if rule.cidr is None else dataclasses.replace(rule, cidr=str(ipaddress.ip_network(rule.cidr, strict=False)))


def _is_in_error(snapshot: model.Snapshot) -> bool:
    return snapshot.load_balancer.provisioning_status is ProvisioningStatus.ERROR


def _is_under_way(tx: database.Transaction, load_balancer_id: str) -> bool:
    """A worker is at it, or will be: a job that waits for a heartbeat holds no lease, and has done half of its work.

    The next try of a job that failed has done nothing yet, and fails again if what it needs is gone.
    """
    if tx.leases.is_live(load_balancer_id):
        return True
    waiting = tx.jobs.page(_BOARD, load_balancer_id=load_balancer_id)
    if not _is_in_error(tx.snapshots.outline(load_balancer_id)):
        return bool(waiting)
    return any(row["owner"] is not None or row["attempts"] for row in waiting)


def _is_unchanged(seen: model.Snapshot, now: model.Snapshot) -> bool:
    """Nobody accepted or finished anything since: what was missing was not missing on purpose."""
    before, after = seen.load_balancer.provisioning_status, now.load_balancer.provisioning_status
    if before is not after or after not in AT_REST or now.generation != seen.generation:
        return False
    return {(one.id, one.status) for one in now.amphorae} == {(one.id, one.status) for one in seen.amphorae}


def _post_failover(tx: database.Transaction, load_balancer_id: str, amphora: amphora_model.Amphora) -> None:
    if amphora.role is None:
        return
    job = jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=amphora.id, role=amphora.role)
    if not tx.jobs.is_posted(job.subject):
        tx.jobs.post(job, priority=jobs.URGENT)
