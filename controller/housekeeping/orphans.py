"""Machines, their groups and ports of ours that no row explains, left by a crash at the worst moment: found twice with time between, then
deleted.

Rows are written before anything is made and say DELETED only when nothing is left, so an orphan is always somebody's accident. Against the
opposite accident, a database that is not the cloud's, nothing is deleted while the database knows no load balancer at all.
"""

import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Sequence

from controller import exceptions
from controller.db import database
from controller.drivers.compute import interface as compute_interface
from controller.drivers.network import interface as network_interface
from controller.drivers.network import vips
from controller.model import load_balancer as model
from controller.model.network import FixedIp, Port
from controller.model.status import AmphoraStatus

LOG = logging.getLogger(__name__)

_VIP_OWNER = "lb-"
_PAGE = 200


@dataclasses.dataclass(slots=True)
class _Suspect:
    first_seen: float
    times: int = 0
    is_told: bool = False


@dataclasses.dataclass(eq=False)
class Orphans:
    """`grace` in seconds. With `delete` off, orphans are only reported."""

    db: database.Database
    compute: compute_interface.ComputeDriver
    network: network_interface.NetworkDriver
    _: dataclasses.KW_ONLY
    grace: float
    delete: bool = True
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._suspects: dict[tuple[str, str], _Suspect] = {}

    def collect(self, may_go_on: Callable[[], bool]) -> None:
        """Delete the machines, ports and groups of ours that no row explains, each once it was seen long enough; stop when told so.

        :raises Transient: a service or the database did not answer; the next round goes on.
        """
        amphora_ids, vip_ports, amphora_ports = self._ours()
        owners = vip_ports.keys() | set(self.compute.list_server_groups()) | set(self.network.list_vip_groups())
        with self.db.read() as tx:
            if not tx.housekeeping.knows_any_load_balancer():
                if amphora_ids or owners:
                    LOG.warning("The database knows no load balancer, and the cloud holds some of ours: nothing is deleted")
                return
            lost = {("amphora", key) for key in amphora_ids - tx.housekeeping.living_amphorae(amphora_ids)}
            lost |= {("load_balancer", key) for key in owners - tx.housekeeping.living_load_balancers(owners)}
            changed_before = datetime.datetime.fromtimestamp(self.db.now() - self.grace, datetime.UTC)
            lost |= {("amphora", key) for key in tx.housekeeping.bereft_amphorae(changed_before, _PAGE)}
        for kind, object_id in self._ripe(lost):
            if not may_go_on():
                return
            try:
                self._remove(kind, object_id, vip_ports.get(object_id), amphora_ports.get(object_id, ()))
            except exceptions.Transient as exc:
                LOG.warning("The orphans of %s %s are tried again: %s", kind, object_id, exc)

    def _ours(self) -> tuple[set[str], dict[str, Port], dict[str, list[str]]]:
        """Ids of amphorae that own a machine or a port, VIP ports by their load balancer's id, and ids of others by their amphora's."""
        amphora_ids = {instance.amphora_id for instance in self.compute.list_ours()}
        vip_ports: dict[str, Port] = {}
        amphora_ports: dict[str, list[str]] = {}
        for port in self.network.list_ours():
            if port.device_id.startswith(_VIP_OWNER):
                vip_ports[port.device_id.removeprefix(_VIP_OWNER)] = port
            elif port.device_id:
                amphora_ports.setdefault(port.device_id, []).append(port.id)
        return amphora_ids | amphora_ports.keys(), vip_ports, amphora_ports

    def _ripe(self, lost: set[tuple[str, str]]) -> list[tuple[str, str]]:
        now = self.clock()
        self._suspects = {key: suspect for key, suspect in self._suspects.items() if key in lost}
        ripe = []
        for key in sorted(lost):
            suspect = self._suspects.setdefault(key, _Suspect(now))
            suspect.times += 1
            if suspect.times >= 2 and now - suspect.first_seen >= self.grace:
                ripe.append(key)
        return ripe

    def _remove(self, kind: str, object_id: str, vip_port: Port | None, amphora_ports: Sequence[str]) -> None:
        with self.db.read() as tx:  # once more: it may have been begun anew since
            look = tx.housekeeping.living_amphorae if kind == "amphora" else tx.housekeeping.living_load_balancers
            if look([object_id]):
                return
        words = "deleted what no row explains" if self.delete else "no row explains it, and deleting is turned off"
        if not self.delete:
            if not self._suspects[kind, object_id].is_told:
                self._say(kind, object_id, words)
                self._suspects[kind, object_id].is_told = True
            return
        if kind == "amphora":
            self.compute.delete(object_id)
            if self.compute.find(object_id) is not None:
                raise exceptions.Transient("its machine is not gone yet")
            self.network.delete_amphora_ports(object_id, port_ids=amphora_ports)
            with self.db.begin() as tx:
                tx.amphorae.set_status([object_id], AmphoraStatus.PENDING_DELETE)
                tx.amphorae.mark_deleted(object_id)
        else:
            self.compute.delete_server_group(object_id)
            if vip_port is not None:  # first: a port that was adopted is known to be ours by the group alone
                self.network.deallocate_vip(object_id, _vip(object_id, vip_port))
            self.network.delete_vip_access(object_id)
        self._suspects.pop((kind, object_id), None)
        self._say(kind, object_id, words)

    def _say(self, kind: str, object_id: str, words: str) -> None:
        LOG.warning("Orphans of %s %s: %s", kind, object_id, words)
        owner = object_id if kind == "load_balancer" else None
        with self.db.begin() as tx:
            tx.faults.add_event(owner, kind, object_id, model.Fault(code="orphan", message=words))


def _vip(load_balancer_id: str, port: Port) -> model.Vip:
    """A VIP that is good for nothing but being given back. A port that does not have our name is its tenant's, and is only released."""
    first = port.fixed_ips[0] if port.fixed_ips else FixedIp("", "")
    return model.Vip(
        addresses=(first,),
        port_id=port.id,
        network_id=port.network_id,
        port_is_ours=port.name == vips.name_of(load_balancer_id),
    )
