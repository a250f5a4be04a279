"""Ports and security groups in Neutron, as a user of it that may act in the projects of tenants.

A port of an amphora is found in the service's own project by its description, by its name where it has none of ours, and by its id where
that is known: its `device_id` is Nova's while a machine has it. Neutron has no place for an order that would be compared as something is
written; see `NetworkDriver`.
"""

import contextlib
import copy
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from oslo_config import cfg

from controller import exceptions
from controller.drivers.network import interface, neutron_groups, vips
from controller.drivers.network import neutron_shapes as shapes
from controller.drivers.network.neutron_api import BY_MAC, Neutron, Read, ours
from controller.drivers.network.neutron_shapes import PORT_FIELDS, Row
from controller.model import load_balancer as model
from controller.model.network import DIRECT, NORMAL, AccessRule, Network, Port, QosPolicy, SecurityGroup, Subnet, VipRequest
from controller.model.order import Order
from controller.openstack import cloud, errors

LOG = logging.getLogger(__name__)

_MTU = 1500  # bytes, of a network that is gone
_LOOKS = 3  # at a tenant's port that changes meanwhile


class NeutronNetwork(interface.NetworkDriver):
    """`management_networks` are ids, of which the first is the one of a port that names none; `management_groups` are on such ports.

    `deployment` stands in the description of all that is made, see `[controller_worker] deployment`.
    """

    def __init__(
        self,
        asked: cloud.Cloud,
        management_networks: Sequence[str] = (),
        management_groups: Sequence[str] = (),
        deployment: str = "figlina",
    ) -> None:
        self._asked, self._deployment = asked, deployment
        self._neutron = Neutron(asked, deployment)
        self._groups = neutron_groups.Groups(self._neutron)
        self._management_networks = tuple(management_networks)
        self._management_groups = tuple(management_groups)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        """The driver as `[service_auth]`, `[neutron]` and `[controller_worker]` say.

        :raises Misconfigured: it is not said as whom the cloud is asked.
        """
        worker = conf.controller_worker
        return cls(cloud.Cloud.from_conf(conf), worker.amp_boot_network_list, worker.amp_secgroup_list, worker.deployment)

    # Looking

    def get_network(self, network_id: str) -> Network:
        return shapes.network(self._neutron.get("networks", network_id, "Network", shapes.NETWORK_FIELDS))

    def get_subnet(self, subnet_id: str) -> Subnet:
        return shapes.subnet(self._neutron.get("subnets", subnet_id, "Subnet", shapes.SUBNET_FIELDS))

    def get_port(self, port_id: str) -> Port:
        return self._port(self._port_row(port_id))

    def get_security_group(self, group_id: str) -> SecurityGroup:
        return shapes.security_group(self._neutron.get("security-groups", group_id, "SecurityGroup", ("id", "name", "project_id")))

    def has_qos(self) -> bool:
        try:
            return bool(self._neutron.service.get("/extensions/qos"))
        except errors.Missing:
            return False

    def get_qos_policy(self, policy_id: str) -> QosPolicy:
        return shapes.qos_policy(self._neutron.get("qos/policies", policy_id, "QoS Policy"))

    def is_shared_with(self, kind: str, object_id: str, project_id: str) -> bool:
        action = "access_as_external" if kind == "external_network" else "access_as_shared"
        sought = {"object_type": kind.removeprefix("external_"), "object_id": object_id, "action": action}
        return bool(self._neutron.list("rbac-policies", ("id",), **sought, target_tenant=[project_id, "*"]))

    def free_addresses(self, network_id: str) -> Mapping[str, int] | None:
        try:
            found = self._neutron.service.get(f"/network-ip-availabilities/{network_id}")["network_ip_availability"]
        except errors.NotAllowed:
            return None
        except errors.Missing as error:
            if error.kind != "NetworkNotFound":
                return None  # Neutron has no such extension
            raise exceptions.NotFound("Network", network_id) from error
        return {row["subnet_id"]: max(0, row["total_ips"] - row["used_ips"]) for row in found["subnet_ip_availability"]}

    def listed(self, load_balancers: Sequence[model.Snapshot]) -> interface.NetworkDriver:
        vip_ports = [one.load_balancer.vip.port_id for one in load_balancers]
        kinds = (shapes.MANAGEMENT, shapes.VRRP, shapes.MEMBER)
        names = [shapes.name_of_port(kind, amphora.id) for one in load_balancers for amphora in one.amphorae for kind in kinds]
        named, own = self._neutron.named, self._neutron.project_id
        ports = [*named("ports", vip_ports, PORT_FIELDS), *named("ports", names, PORT_FIELDS, by="name", project_id=own)]
        self._ports(ports)  # which has their networks remembered
        subnets = list(dict.fromkeys(fixed["subnet_id"] for row in ports for fixed in row["fixed_ips"]))
        self.remembered.note(subnets=map(shapes.subnet, named("subnets", subnets, shapes.SUBNET_FIELDS)))
        rows = {
            "ports": ports,
            "security-groups": self._groups.of_many(one.load_balancer.id for one in load_balancers),
            "floatingips": self._neutron.floating_ips(vip_ports),
        }
        found = copy.copy(self)
        found._neutron = Read(self._asked, self._deployment, rows)
        found._groups = neutron_groups.Groups(found._neutron)
        return found

    def list_ours(self) -> Iterable[Port]:
        """A tenant's port keeps its own description: it is ours while a group of ours says so of its load balancer."""
        service = self._neutron.project_id
        rows = [row for row in self._neutron.list("ports", PORT_FIELDS, project_id=service) if shapes.amphora_of(row)]
        owned = self._neutron.list("ports", PORT_FIELDS, device_owner=vips.DEVICE_OWNER)
        found = [*rows, *(row for row in owned if row["device_id"].startswith("lb-"))]
        made = [row for row in found if shapes.is_marked(self._neutron.mark, row)]
        others = [row for row in found if row not in made and row["device_id"].startswith("lb-")]
        known = {f"lb-{one}" for one in self._groups.load_balancers()} if others else set()
        return self._ports([*made, *(row for row in others if row["device_id"] in known)])

    def list_vip_groups(self) -> Iterable[str]:
        return self._groups.load_balancers()

    def _port_row(self, port_id: str) -> Row:
        found: Row = self._neutron.get("ports", port_id, "Port", PORT_FIELDS)
        return found

    def _port(self, row: Row) -> Port:
        return self._ports([row])[0]

    def _ports(self, rows: Sequence[Row]) -> list[Port]:
        """The networks of all of them are asked for their MTU at once, unless it is known."""
        networks = self.remembered.networks((row["network_id"] for row in rows), self._networks)
        mtus = {one.id: one.mtu for one in networks.values()}
        return [shapes.port(row, mtus.get(row["network_id"], _MTU), self._neutron.project_id) for row in rows]

    def _networks(self, network_ids: list[str]) -> list[Network]:
        return [shapes.network(row) for row in self._neutron.named("networks", network_ids, shapes.NETWORK_FIELDS)]

    # VIPs

    def allocate_vip(self, load_balancer_id: str, project_id: str, request: VipRequest) -> model.Vip:
        if request.port_id is not None:
            return self._adopt(load_balancer_id, request.port_id, request)
        row, is_new, subnet_id = self._vip_port(load_balancer_id, project_id, request)
        path = f"/ports/{row['id']}"
        made = [path] if is_new else []
        try:
            if not row["security_groups"] and shapes.is_secured(row):
                group_id = self._own_group(load_balancer_id, made, is_first=is_new and not request.address)
                row = self._neutron.change_port(row["id"], security_groups=[group_id])
            port = self._bare(row)
            asked = [one for one in port.fixed_ips if request.address in (None, one.ip_address) and one.subnet_id == subnet_id]
            if not asked:
                made.insert(0, path)  # whoever made it: it would be in the way of the next try
                raise exceptions.AddressInUse(f"The address {request.address} can't be had: its MAC address is another port's.")
            return vips.vip(port, asked[0], request, ours=True)
        except exceptions.ControllerError:
            self._take_back(load_balancer_id, made)
            raise

    def _bare(self, row: Row) -> Port:
        """Of which nobody needs the MTU."""
        return shapes.port(row, _MTU, self._neutron.project_id)

    def _own_group(self, load_balancer_id: str, made: list[str], *, is_first: bool = False) -> str:
        """`is_first`: there never was a VIP port. One that was lost is made again with its address, which is asked for then.

        A group that has to be made is added to what this call `made`.
        """
        group = None if is_first else self._groups.of(load_balancer_id)[0]
        if group is None:
            group = self._groups.make(load_balancer_id)
            made.append(f"/security-groups/{group['id']}")
        return str(group["id"])

    def _vip_port(self, load_balancer_id: str, project_id: str, request: VipRequest) -> tuple[Row, bool, str]:
        """It is made without its group, which would be left over if the port can't be."""
        network_id, subnet_id = request.network_id, request.subnet_id
        if network_id is None or subnet_id is None:
            subnet = vips.subnet_for(request, self.get_network, self.get_subnet)
            network_id, subnet_id = subnet.network_id, subnet.id
        wanted = request.addresses_from(subnet_id)
        fixed_ips = [{"subnet_id": subnet} | ({"ip_address": address} if address else {}) for subnet, address in wanted]
        asked_for = ", ".join(address for _, address in wanted if address)
        body = {
            "name": vips.name_of(load_balancer_id),
            "description": shapes.description_of(self._neutron.mark, load_balancer_id),
            "network_id": network_id,
            "project_id": project_id,
            "device_id": f"lb-{load_balancer_id}",
            "device_owner": vips.DEVICE_OWNER,
            "admin_state_up": False,
            "fixed_ips": fixed_ips,
            "security_groups": [],
        } | ({"qos_policy_id": request.qos_policy_id} if request.qos_policy_id else {})
        with ours(subnet_of=self._range_of(*(subnet for subnet, _ in wanted)), address=asked_for or None):
            try:
                return (*self._create(body), subnet_id)
            except errors.ServiceRefused as error:
                if error.kind != BY_MAC or (values := self._by_mac(fixed_ips)) is None:
                    raise
                return (*self._create(body | values), subnet_id)

    def _by_mac(self, fixed_ips: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
        """What a port has to have for these addresses, of which some are made of its MAC address; None: no port can have them."""
        macs: set[str | None] = set()
        found: list[Mapping[str, str]] = []
        for fixed in fixed_ips:
            if "ip_address" in fixed and self.get_subnet(fixed["subnet_id"]).is_automatic:
                macs.add(shapes.mac_behind(fixed["ip_address"]))
                found.append({"subnet_id": fixed["subnet_id"]})
            else:
                found.append(fixed)
        return None if len(macs) != 1 or None in macs else {"mac_address": macs.pop(), "fixed_ips": found}

    def _take_back(self, load_balancer_id: str, made: Sequence[str]) -> None:
        """Delete what a call made that failed, and nothing else: the load balancer may have served before, and its other ports still do.

        A group that a port bears by now is not taken off it. What stays is found by housekeeping.
        """
        try:
            for path in made:
                self._neutron.service.delete(path)
        except exceptions.ControllerError as error:
            LOG.warning("Of load balancer %s, which got no VIP, %s is left to housekeeping: %s", load_balancer_id, ", ".join(made), error)

    def _adopt(self, load_balancer_id: str, port_id: str, request: VipRequest) -> model.Vip:
        row = self._port_row(port_id)
        vips.address_of(self._bare(row), request, load_balancer_id)
        made: list[str] = []
        try:
            return self._adopted(load_balancer_id, row, self._own_group(load_balancer_id, made), request)
        except exceptions.ControllerError:
            self._take_back(load_balancer_id, made)
            raise

    def _adopted(self, load_balancer_id: str, row: Row, group_id: str, request: VipRequest) -> model.Vip:
        for _ in range(_LOOKS):
            fixed = vips.address_of(self._bare(row), request, load_balancer_id)
            adopted = vips.vip(self._bare(row), fixed, request, ours=False)
            wanted: dict[str, Any] = {"device_id": f"lb-{load_balancer_id}", "device_owner": vips.DEVICE_OWNER}
            if shapes.is_secured(row):
                wanted["security_groups"] = [*dict.fromkeys([*row["security_groups"], group_id])]
            if all(row[key] == value for key, value in wanted.items()) or self._changed(row, wanted):
                return adopted
            row = self._port_row(row["id"])
        raise exceptions.InvalidRequest(f"The vip_port_id {row['id']} is changed by somebody else again and again; ask once more.")

    def _changed(self, row: Row, wanted: Mapping[str, Any]) -> bool:
        """Change a port, unless somebody else did since it was read: that may have been an earlier try of ours."""
        unchanged = {"If-Match": f"revision_number={row['revision_number']}"}
        try:
            with ours(row["id"]):
                self._neutron.service.call("PUT", f"/ports/{row['id']}", {"port": wanted}, headers=unchanged)
        except errors.ServiceRefused as error:
            if error.status != 412:
                raise
            return False
        return True

    def _range_of(self, *subnet_ids: str) -> Callable[[], tuple[str, str]]:
        """Asked only to tell of a refusal."""

        def told() -> tuple[str, str]:
            named = ", ".join(subnet_ids)
            with contextlib.suppress(exceptions.ControllerError):
                return named, ", ".join(self.get_subnet(one).cidr for one in subnet_ids)
            return named, "its range is not known"

        return told

    def deallocate_vip(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        found = self._neutron.list("ports", PORT_FIELDS, device_id=f"lb-{load_balancer_id}")
        if vip.port_is_ours and all(row["id"] != vip.port_id for row in found):
            self._neutron.service.delete(f"/ports/{vip.port_id}")  # what its tenant may have changed of it does not make it theirs
        for row in found:
            if row["id"] != vip.port_id and row["device_owner"] != vips.DEVICE_OWNER:
                continue
            is_ours = row["description"] == shapes.description_of(self._neutron.mark, load_balancer_id)
            if is_ours or row["name"] == vips.name_of(load_balancer_id) or (row["id"] == vip.port_id and vip.port_is_ours):
                self._neutron.service.delete(f"/ports/{row['id']}")
            else:
                self._release(load_balancer_id, row, vip)
        self._groups.delete(load_balancer_id)

    def _release(self, load_balancer_id: str, row: Row, vip: model.Vip) -> None:
        released: dict[str, Any] = {"device_id": "", "device_owner": ""}
        gone = {group["id"] for group in self._groups.of(load_balancer_id) if group is not None}
        if gone.intersection(row["security_groups"]):
            released["security_groups"] = [one for one in row["security_groups"] if one not in gone]
        if row["id"] == vip.port_id and vip.limits_its_port and row.get("qos_policy_id") == vip.qos_policy_id:
            released["qos_policy_id"] = None
        with contextlib.suppress(exceptions.NotFound):
            self._neutron.change_port(row["id"], **released)

    def restore_vip_address(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        row = self._port_row(vip.port_id)
        port = self._bare(row)
        going = vips.beside(vip, port)
        wanted = [*vip.addresses, *(one for one in port.fixed_ips if one not in (*vip.addresses, *going))]
        if set(wanted) != set(port.fixed_ips):
            asked = ", ".join(one.ip_address for one in vip.addresses)
            fixed_ips = [dataclasses.asdict(one) for one in wanted]
            with ours(subnet_of=self._range_of(*(one.subnet_id for one in vip.addresses)), address=asked):
                try:
                    self._neutron.put_port(row["id"], {"fixed_ips": fixed_ips})
                except errors.ServiceRefused as error:
                    if error.kind != BY_MAC or (values := self._by_mac(fixed_ips)) is None:
                        raise
                    self._neutron.put_port(row["id"], values)

    # Ports of amphorae

    def ensure_management_port(self, amphora_id: str, network_id: str | None = None, order: Order | None = None) -> Port:
        if network_id is None and not self._management_networks:
            raise exceptions.Misconfigured(
                "[controller_worker] amp_boot_network_list names no network on which amphorae can be reached; "
                "`figlina cloud prepare` makes one"
            )
        body: dict[str, Any] = self._of_amphora(shapes.MANAGEMENT, amphora_id, network_id or self._management_networks[0])
        if self._management_groups:
            body["security_groups"] = list(self._management_groups)
        with ours(subnet_of=lambda: (body["network_id"], "the management network")):
            row = self._create(body)[0]
        if not row["fixed_ips"]:
            raise exceptions.Misconfigured(
                f"The port {row['id']} on the management network {body['network_id']} got no address: the network needs a subnet, and none "
                "that belongs to the segment of single hosts; `figlina-status check` looks at it"
            )
        return self._port(row)

    def ensure_vrrp_port(self, amphora_id: str, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> Port:
        body: dict[str, Any] = self._of_amphora(shapes.VRRP, amphora_id, vip.network_id)
        of_vip, carriers = self._bearers(load_balancer_id, vip)
        for row in carriers:
            if shapes.is_named(row, shapes.VRRP, amphora_id):
                return self._port(row)
        subnet_ids = [one.subnet_id for one in vip.addresses]
        body |= {"description": shapes.description_of(self._neutron.mark, load_balancer_id)}
        body |= {"fixed_ips": [{"subnet_id": one} for one in subnet_ids]}
        body |= {"qos_policy_id": vip.qos_policy_id} if vip.qos_policy_id else {}
        if vip.vnic_type == DIRECT:
            body |= shapes.DIRECT
        elif shapes.is_secured(of_vip):
            beside_vip = any(set(row["security_groups"]) - set(of_vip["security_groups"]) for row in carriers)
            amphorae = self._groups.of(load_balancer_id)[1] if beside_vip else None  # it may have the address of a half that was lost
            beside = [amphorae["id"]] if amphorae is not None else []
            pairs = [{"ip_address": one.ip_address} for one in vip.addresses]
            body |= {"security_groups": [*of_vip["security_groups"], *beside], "allowed_address_pairs": pairs}
        else:
            body |= {"port_security_enabled": False}
        with ours(subnet_of=self._range_of(*subnet_ids)):
            return self._port(self._create(body)[0])

    def ensure_member_port(
        self,
        amphora_id: str,
        network_id: str,
        subnet_ids: Sequence[str],
        order: Order | None = None,
        vnic_type: str = NORMAL,
        plug: str = "",
    ) -> Port:
        body = self._of_amphora(shapes.MEMBER, amphora_id, network_id)
        body |= shapes.DIRECT if vnic_type == DIRECT else {}
        body |= {"fixed_ips": [{"subnet_id": one} for one in subnet_ids]} if subnet_ids else {}
        with ours(subnet_of=self._range_of(*subnet_ids)):
            row = self._member_port_on(network_id, amphora_id) or self._create(body, plug)[0]
            has = {fixed["subnet_id"] for fixed in row["fixed_ips"]}
            if missing := [one for one in subnet_ids if one not in has]:
                fixed_ips = [*row["fixed_ips"], *({"subnet_id": one} for one in missing)]
                row = self._neutron.put_port(row["id"], {"fixed_ips": fixed_ips})
        return self._port(row)

    def _of_amphora(self, kind: str, amphora_id: str, network_id: str) -> dict[str, Any]:
        description = shapes.description_of_port(self._neutron.mark, amphora_id)
        named = {"name": shapes.name_of_port(kind, amphora_id), "description": description}
        return {**named, "network_id": network_id, "device_owner": vips.DEVICE_OWNER}

    def _create(self, body: Mapping[str, Any], plug: str = "") -> tuple[Row, bool]:
        return self._neutron.create_port({"mac_address": shapes.mac_of(body["name"], body["network_id"], plug), **body})

    def member_ports(self, amphora_id: str) -> Sequence[Port]:
        return self._ports(self._towards_members([amphora_id]))

    def _member_port_on(self, network_id: str, amphora_id: str) -> Row | None:
        description, own = shapes.description_of_port(self._neutron.mark, amphora_id), self._neutron.project_id
        found = self._neutron.list("ports", PORT_FIELDS, description=description, network_id=network_id, project_id=own)
        return min(filter(self._is_towards_members, found), key=lambda row: str(row["id"]), default=None)

    def _towards_members(self, amphora_ids: Sequence[str]) -> list[Row]:
        """All of their ports have descriptions like that, but for those on the networks of VIPs; where none has, they have names."""
        descriptions = [shapes.description_of_port(self._neutron.mark, one) for one in amphora_ids]
        if not descriptions:
            return []
        found = self._neutron.list("ports", PORT_FIELDS, description=descriptions, project_id=self._neutron.project_id)
        return list(filter(self._is_towards_members, found)) if found else self._rows_of(amphora_ids, shapes.MEMBER)

    def _rows_of(self, amphora_ids: Sequence[str], *kinds: str) -> list[Row]:
        names = [shapes.name_of_port(kind, one) for one in amphora_ids for kind in kinds]
        return self._neutron.list("ports", PORT_FIELDS, name=names, project_id=self._neutron.project_id) if names else []

    def release_member_port(self, port_id: str, subnet_ids: Sequence[str] = (), order: Order | None = None) -> None:
        with contextlib.suppress(exceptions.NotFound):
            row = self._port_row(port_id)
            if not self._is_towards_members(row):
                raise exceptions.Conflict(f"The port {port_id} is not one towards members.")
            kept = [fixed for fixed in row["fixed_ips"] if fixed["subnet_id"] in subnet_ids]
            if not kept:
                self._neutron.service.delete(f"/ports/{port_id}")
            elif len(kept) < len(row["fixed_ips"]):
                self._neutron.change_port(port_id, fixed_ips=kept)

    def _is_towards_members(self, row: Row) -> bool:
        """By its name, or by its description: then it is no port for management, which has the same one."""
        if row["project_id"] != self._neutron.project_id:
            return False
        if row["name"].startswith(shapes.name_of_port(shapes.MEMBER, "")):
            return True
        amphora_id = str(shapes.amphora_of(row))
        described = row["description"] == shapes.description_of_port(self._neutron.mark, amphora_id)
        is_management = shapes.is_named(row, shapes.MANAGEMENT, amphora_id) or row["network_id"] in self._management_networks
        return described and not is_management

    def delete_amphora_ports(self, amphora_id: str, order: Order | None = None, port_ids: Sequence[str] = ()) -> None:
        description = shapes.description_of_port(self._neutron.mark, amphora_id)
        rows = self._neutron.list("ports", ("id",), description=description, project_id=self._neutron.project_id)
        if not rows or not port_ids:
            rows += self._rows_of([amphora_id], shapes.MANAGEMENT, shapes.VRRP, shapes.MEMBER)
        for port_id in dict.fromkeys((*(row["id"] for row in rows), *port_ids)):
            self._neutron.service.delete(f"/ports/{port_id}")

    def set_vip_qos(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        """The VIP port first: a policy that does not exist is refused there, before anything is changed."""
        of_vip, carriers = self._bearers(load_balancer_id, vip)
        for row in (of_vip, *carriers):
            if row.get("qos_policy_id") != vip.qos_policy_id:
                self._neutron.change_port(row["id"], qos_policy_id=vip.qos_policy_id)

    def stray_ports(self, load_balancer_id: str, vip: model.Vip) -> Sequence[str]:
        return [words for _, _, words in self._strayed(load_balancer_id, vip)]

    def mend_ports(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        missing: exceptions.NotFound | None = None
        for port_id, values, words in self._strayed(load_balancer_id, vip):
            LOG.info("load balancer %s: %s: it is written again", load_balancer_id, words)
            try:
                self._neutron.change_port(port_id, **values)
            except exceptions.NotFound as error:
                if error.kind != "Port":
                    missing = error
        if missing is not None:
            raise missing

    def _strayed(self, load_balancer_id: str, vip: model.Vip) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Ports, what they should have, and what they have instead. Without a VIP port, nobody knows."""
        try:
            of_vip, carriers = self._bearers(load_balancer_id, vip)
        except exceptions.NotFound:
            return
        amphorae = self._groups.of(load_balancer_id)[1]
        groups = [*of_vip["security_groups"], *([amphorae["id"]] if amphorae is not None else [])]
        for row in carriers:
            if not shapes.is_secured(row):
                continue
            # a VIP port that has none for want of port security is to be reached by all, not by nobody
            if shapes.is_secured(of_vip) and set(row["security_groups"]) != set(groups):
                yield row["id"], {"security_groups": groups}, f"the security groups of the VRRP port {row['id']} are not the VIP port's"
            pairs = row["allowed_address_pairs"]
            borne = {pair["ip_address"] for pair in pairs}
            if missing := [one.ip_address for one in vip.addresses if one.ip_address not in borne]:
                wanted = [*pairs, *({"ip_address": one} for one in missing)]
                words = f"the VRRP port {row['id']} may not bear the VIP {', '.join(missing)}"
                yield row["id"], {"allowed_address_pairs": wanted}, words
        for row in [*([of_vip] if vip.limits_its_port else []), *carriers]:
            if row.get("qos_policy_id") != vip.qos_policy_id:
                yield row["id"], {"qos_policy_id": vip.qos_policy_id}, vips.strayed_qos(row["id"])
        for row in [*carriers, *self._towards_members([one for one in map(shapes.amphora_of, carriers) if one is not None])]:
            if not row["admin_state_up"]:
                yield row["id"], {"admin_state_up": True}, f"the port {row['id']} is switched off"

    # Access

    def set_vip_access(self, load_balancer_id: str, vip: model.Vip, rules: Sequence[AccessRule], order: Order | None = None) -> None:
        between = neutron_groups.keys_of((rule for rule in rules if rule.between_amphorae), vip.versions)
        wanted = neutron_groups.keys_of((rule for rule in rules if not rule.between_amphorae), vip.versions)
        listeners, amphorae = self._groups.of(load_balancer_id)
        if listeners is None:  # somebody deleted it
            listeners = self._groups.make(load_balancer_id)
            if not vip.sg_ids:
                self._set_groups(load_balancer_id, vip, [listeners["id"]], amphorae)
        self._groups.set_rules(listeners, wanted)
        if between and amphorae is None:
            amphorae = self._groups.make(load_balancer_id, of_amphorae=True)
        if amphorae is not None:
            if between - neutron_groups.admitted(amphorae).keys():  # a half is new: its port comes first, then its rules
                self._add_to_carriers(load_balancer_id, vip, amphorae["id"])
            self._groups.set_rules(amphorae, between)

    def vip_access(self, load_balancer_id: str) -> frozenset[AccessRule]:
        return neutron_groups.access(*self._groups.of(load_balancer_id))

    def security_groups_of(self, port_id: str) -> frozenset[str]:
        try:
            return frozenset(self._neutron.get("ports", port_id, "Port", ("security_groups",))["security_groups"])
        except exceptions.NotFound:
            return frozenset()

    def floating_addresses(self, port_id: str) -> frozenset[str]:
        return frozenset(row["floating_ip_address"] for row in self._neutron.floating_ips([port_id]))

    def delete_vip_access(self, load_balancer_id: str, order: Order | None = None) -> None:
        self._groups.delete(load_balancer_id)

    def set_vip_security_groups(self, load_balancer_id: str, vip: model.Vip, group_ids: Sequence[str], order: Order | None = None) -> None:
        listeners, amphorae = self._groups.of(load_balancer_id)
        if not group_ids and listeners is None:
            listeners = self._groups.make(load_balancer_id)
        self._set_groups(load_balancer_id, vip, list(group_ids) or [str((listeners or {})["id"])], amphorae)

    def _set_groups(self, load_balancer_id: str, vip: model.Vip, wanted: Sequence[str], amphorae: Row | None) -> None:
        """The VIP port first: a group that does not exist is refused there, before anything is changed."""
        of_vip, carriers = self._bearers(load_balancer_id, vip)
        for row in (of_vip, *carriers):
            beside = [amphorae["id"]] if amphorae is not None and row is not of_vip else []
            groups = [*wanted, *beside]
            if set(row["security_groups"]) == set(groups):
                continue
            try:
                self._neutron.change_port(row["id"], security_groups=groups)
            except exceptions.InvalidRequest:
                if shapes.is_secured(row) or vip.sg_ids:
                    raise
                LOG.info("port %s has no port security, and so no groups", row["id"])

    def _add_to_carriers(self, load_balancer_id: str, vip: model.Vip, group_id: str) -> None:
        for row in self._bearers(load_balancer_id, vip)[1]:
            if group_id not in row["security_groups"] and shapes.is_secured(row):
                with contextlib.suppress(exceptions.NotFound):
                    self._neutron.change_port(row["id"], security_groups=[*row["security_groups"], group_id])

    def _bearers(self, load_balancer_id: str, vip: model.Vip) -> tuple[Row, list[Row]]:
        """The VIP port, and the VRRP ports that bear its address: whoever else says so in a description is none of ours.

        :raises NotFound: the VIP port does not exist.
        """
        description = shapes.description_of(self._neutron.mark, load_balancer_id)
        rows = self._neutron.list("ports", PORT_FIELDS, description=description, network_id=vip.network_id)
        of_vip = next((row for row in rows if row["id"] == vip.port_id), None) or self._port_row(vip.port_id)
        own = self._neutron.project_id
        others = (vip.port_id, f"lb-{load_balancer_id}")
        return of_vip, [row for row in rows if row["project_id"] == own and not {row["id"], row["device_id"]}.intersection(others)]
