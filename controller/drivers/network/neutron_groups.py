"""The security groups of a load balancer in Neutron, and what they admit.

`lb-<id>` admits what listeners ask for. `lb-<id>-amphorae` admits what the halves of a pair tell each other; only VRRP ports bear it,
beside whatever the VIP port's list says, so that no tenant can part the halves.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from controller import exceptions
from controller.drivers.network import neutron_shapes as shapes
from controller.drivers.network.neutron_api import Neutron, ours
from controller.drivers.network.neutron_shapes import Row
from controller.model.network import AccessRule
from controller.openstack import errors

_FIELDS = ("id", "name", "description", "project_id", "security_group_rules")
_ROUNDS = 3
_Key = tuple[str, str, int | None, int | None, str | None]
"""Ethertype, protocol, first and last port, and prefix of a rule."""


_DESCRIBED = re.compile(r"Load balancer (\S+): what its ")


class Groups:
    """Both groups of each load balancer; they belong to the service's project, and say of which deployment they are."""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    def of(self, load_balancer_id: str) -> tuple[Row | None, Row | None]:
        """The group of its listeners, and that of its amphorae among themselves; one call."""
        known = zip(_names(load_balancer_id), self._descriptions(load_balancer_id), strict=True)
        rows = self._rows(load_balancer_id)
        listeners, amphorae = (next((row for row in rows if _is_it(row, *one)), None) for one in known)
        return listeners, amphorae

    def _rows(self, load_balancer_id: str) -> list[Row]:
        """By their descriptions, for names can be changed; where none has ours, by their names.

        In the order of their ids, so that everybody takes the same one for the first.
        """
        asked: list[Mapping[str, Sequence[str]]] = [
            {"description": self._descriptions(load_balancer_id)},
            {"name": _names(load_balancer_id)},
        ]
        for one in asked:
            if found := self._neutron.list("security-groups", _FIELDS, project_id=self._neutron.project_id, **one):
                return sorted(found, key=lambda row: str(row["id"]))
        return []

    def _descriptions(self, load_balancer_id: str) -> tuple[str, str]:
        of, mark = f"Load balancer {load_balancer_id}:", self._neutron.mark
        return shapes.marked(mark, f"{of} what its listeners open"), shapes.marked(mark, f"{of} what its amphorae tell each other")

    def of_many(self, load_balancer_ids: Iterable[str]) -> list[Row]:
        """The groups of all of them."""
        names = [name for one in load_balancer_ids for name in _names(one)]
        return list(self._neutron.named("security-groups", names, _FIELDS, by="name", project_id=self._neutron.project_id))

    def make(self, load_balancer_id: str, *, of_amphorae: bool = False) -> Row:
        """A group that is not there; if its answer is lost, it is looked for."""
        name = _names(load_balancer_id)[of_amphorae]
        body = {"name": name, "description": self._descriptions(load_balancer_id)[of_amphorae]}
        try:
            made: Row = self._neutron.service.post("/security-groups", {"security_group": body})["security_group"]
        except exceptions.Transient:
            found = self.of(load_balancer_id)[of_amphorae]
            if found is None:
                raise
            return found
        return made

    def set_rules(self, group: Row, wanted: Collection[_Key]) -> None:
        """Admit exactly this; rules that stay keep their ids. What is new comes before what is old goes."""
        last: exceptions.ControllerError | None = None
        for _ in range(_ROUNDS):
            known = admitted(group)
            surplus = [rule_id for key, ids in known.items() for rule_id in ids[key in wanted :]]
            last = self._add(group["id"], sorted(set(wanted) - known.keys(), key=str))
            for rule_id in () if isinstance(last, exceptions.Transient) else surplus:
                self._neutron.service.delete(f"/security-group-rules/{rule_id}")
            if last is None:
                return
            group = self._neutron.get("security-groups", group["id"], "SecurityGroup", _FIELDS)
        if last is not None:
            raise last

    def _add(self, group_id: str, keys: Sequence[_Key]) -> exceptions.ControllerError | None:
        """Returns what kept it from adding all of them, if looking at the group again helps.

        Neutron takes rules "from anywhere" and "from 0.0.0.0/0" for the same, and a lost answer may have come after the rules.
        """
        rules = [
            {
                "security_group_id": group_id,
                "direction": "ingress",
                "ethertype": ethertype,
                "protocol": protocol,
                "port_range_min": first,
                "port_range_max": last,
                "remote_ip_prefix": prefix,
            }
            for ethertype, protocol, first, last, prefix in keys
        ]
        try:
            if rules:
                self._neutron.service.post("/security-group-rules", {"security_group_rules": rules})
        except errors.Contradicted as error:
            if error.kind != "SecurityGroupRuleExists":
                raise
            return error
        except exceptions.Transient as error:
            return error
        return None

    def delete(self, load_balancer_id: str) -> None:
        """Delete both, after every port that bears one of them let go of it; gone already is fine."""
        gone = {str(row["id"]) for row in self._rows(load_balancer_id)}
        for group_id in sorted(gone):
            try:
                self._neutron.service.delete(f"/security-groups/{group_id}")
            except errors.Contradicted:
                self._take_off(group_id, gone)
                self._neutron.service.delete(f"/security-groups/{group_id}")

    def _take_off(self, group_id: str, gone: Collection[str]) -> None:
        for port in self._neutron.list("ports", ("id", "security_groups"), security_groups=group_id):
            left = [one for one in port["security_groups"] if one not in gone]
            try:
                with ours(port["id"]):
                    self._neutron.service.put(f"/ports/{port['id']}", {"port": {"security_groups": left}})
            except exceptions.NotFound:
                continue  # gone meanwhile, with its groups

    def load_balancers(self) -> Iterable[str]:
        """Ids of those of which there is a group."""
        rows = self._neutron.list("security-groups", ("name", "description"), project_id=self._neutron.project_id)
        found = [row for row in rows if shapes.is_marked(self._neutron.mark, row)]
        described = (_DESCRIBED.match(str(row["description"])) for row in found)
        names = [row["name"].removesuffix("-amphorae") for row in found if row["name"].startswith("lb-")]
        ids = dict.fromkeys([*(one[1] for one in described if one), *(name.removeprefix("lb-") for name in names)])
        return [one for one in ids if one.count("-") == 4]  # an operator's own groups may be named `lb-mgmt-sec-grp`


def _is_it(row: Row, name: str, description: str) -> bool:
    """Whether it is the group of this name, be it renamed."""
    return bool(row["name"] == name or row["description"] == description)


def _names(load_balancer_id: str) -> tuple[str, str]:
    return f"lb-{load_balancer_id}", f"lb-{load_balancer_id}-amphorae"


# Rules


def keys_of(rules: Iterable[AccessRule], versions: Collection[int]) -> set[_Key]:
    """The rules of a group that admit this to a VIP of these versions of IP."""
    found: set[_Key] = set()
    for rule in rules:
        network = None if rule.cidr is None else ipaddress.ip_network(rule.cidr, strict=False)
        for version in versions if network is None else (network.version,):
            found.add((f"IPv{version}", rule.protocol, rule.port, rule.port, None if network is None else str(network)))
    return found


def admitted(group: Row) -> dict[_Key, list[str]]:
    """What a group admits, and the ids of the rules that say so."""
    found: dict[_Key, list[str]] = {}
    for rule in group["security_group_rules"]:
        if rule["direction"] == "ingress":
            found.setdefault(_key(rule), []).append(rule["id"])
    return found


def _key(rule: Row) -> _Key:
    protocol = _PROTOCOLS.get(str(rule["protocol"]), rule["protocol"]) or "any"
    if source := rule.get("remote_group_id") or rule.get("remote_address_group_id"):
        protocol = f"{protocol} from {source}"  # somebody else's: such a rule is never wanted
    return rule["ethertype"], protocol, rule["port_range_min"], rule["port_range_max"], rule["remote_ip_prefix"]


_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp", "112": "vrrp"}


def access(listeners: Row | None, amphorae: Row | None) -> frozenset[AccessRule]:
    """What both groups admit, as rules."""
    return frozenset(
        AccessRule(protocol, first, prefix, between_amphorae=group is amphorae)
        for group in (listeners, amphorae)
        if group is not None
        for _, protocol, first, _, prefix in admitted(group)
    )
