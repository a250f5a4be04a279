"""Neutron, as one of Zed (2022.2) was seen to behave: networks, subnets, ports, groups and what drivers ask of them besides.

Recorded there, and kept here: a MAC address is refused before an IP address is looked at; the gateway's address may be a port's, as may
the first and last address of a subnet of IPv6; a list of groups is refused (400), and an address pair, too (409), where port security is
off, which ports inherit from their network; a rule "from anywhere" and one from 0.0.0.0/0 are the same; a list of rules is made whole or
not at all; a group that a port bears is not deleted; a quota is asked before anything else.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import typing
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

import flask

from tests.simulated import documents, identity

if typing.TYPE_CHECKING:
    from tests.simulated import SimulatedCloud

Row = dict[str, Any]

WORDS = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
    "floatingips": "floatingip",
    "rbac-policies": "rbac_policy",
    "qos/policies": "policy",
}
_NOT_FOUND = {
    "networks": ("NetworkNotFound", "Network {} could not be found."),
    "subnets": ("SubnetNotFound", "Subnet {} could not be found."),
    "ports": ("PortNotFound", "Port {} could not be found."),
    "security-groups": ("SecurityGroupNotFound", "Security group {} does not exist"),
    "security-group-rules": ("SecurityGroupRuleNotFound", "Security group rule {} does not exist"),
    "qos/policies": ("QosPolicyNotFound", "QoS policy {} could not be found."),
}
_EVERYWHERE = (None, "0.0.0.0/0", "::/0")
_EXTENSIONS = ("allowed-address-pairs", "security-group", "standard-attr-tag", "port-security")


class Network:
    """Neutron's documents, by collection and id. Nova changes `device_id` of ports, see `bind` and `unbind`.

    `port_quota` is how many ports a project may have, `page` the longest list that is answered at once, `has_qos` and `has_routers` whether
    these extensions are there.
    """

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.rows: dict[str, dict[str, Row]] = {collection: {} for collection in WORDS}
        self.rows["extensions"] = {alias: {"id": alias, "alias": alias, "name": alias} for alias in _EXTENSIONS}
        self.port_quota: int | None = None
        self.page: int | None = None
        self.has_qos = True
        self.has_routers = True
        self.used_elsewhere = 0  # addresses of each subnet
        self.blueprint = flask.Blueprint("network", __name__)
        self.blueprint.get("/")(self._versions)
        self.blueprint.get("/v2.0/extensions", endpoint="extensions")(lambda: {"extensions": list(self.rows["extensions"].values())})
        self.blueprint.get("/v2.0/extensions/<alias>")(self._extension)
        self.blueprint.get("/v2.0/quotas/<project>/details", endpoint="quotas")(lambda project: {"quota": self._quotas()})
        self.blueprint.get("/v2.0/network-ip-availabilities/<network_id>")(self._availability)
        for collection in WORDS:
            endpoint, path = collection.replace("/", "-"), f"/v2.0/{collection}"
            of = {"collection": collection}
            self.blueprint.add_url_rule(path, f"create-{endpoint}", self._create, methods=["POST"], defaults=of)
            self.blueprint.add_url_rule(path, f"list-{endpoint}", self._list, methods=["GET"], defaults=of)
            for method, view in (("GET", self._show), ("PUT", self._update), ("DELETE", self._delete)):
                self.blueprint.add_url_rule(f"{path}/<object_id>", f"{method}-{endpoint}", view, methods=[method], defaults=of)

    def furnish(self) -> None:
        """A network for management."""
        self.management_network: str = self.add("networks", name="lb-mgmt-net")["id"]
        self.add("subnets", name="lb-mgmt-subnet", network_id=self.management_network, cidr="198.18.0.0/20")

    # What Nova does

    @property
    def ports(self) -> dict[str, Row]:
        """By their ids."""
        return self.rows["ports"]

    def bind(self, port_id: str, server_id: str, zone: str) -> None:
        """When a server gets a port."""
        self.ports[port_id] |= {"device_id": server_id, "device_owner": f"compute:{zone}", "status": "ACTIVE"}

    def unbind(self, port_id: str) -> None:
        """When a server loses a port that it did not make."""
        if port_id in self.ports:
            self.ports[port_id] |= {"device_id": "", "device_owner": "", "status": "DOWN"}

    # Making

    def add(self, collection: str, **values: Any) -> Row:
        """Put a document there.

        :raises werkzeug.exceptions.HTTPException: in Neutron's words.
        """
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document: documents.Row = {"id": str(uuid.uuid4()), "name": "", "description": "", "project_id": identity.PROJECT}
        document |= {"created_at": now, "revision_number": 0, "tags": [], **values}
        getattr(self, "_new_" + WORDS[collection])(document)
        self.rows[collection][document["id"]] = document
        return document

    def _new_network(self, row: Row) -> None:
        plain = {"mtu": 1500, "shared": False, "port_security_enabled": True, "admin_state_up": True, "router:external": False}
        row |= {key: row.get(key, value) for key, value in plain.items()}

    def subnets_of(self, network_id: str) -> list[Row]:
        """In the order in which they were made."""
        return [one for one in self.rows["subnets"].values() if one["network_id"] == network_id]

    def rules_of(self, group_id: str) -> list[Row]:
        """Of a security group."""
        return [one for one in self.rows["security-group-rules"].values() if one["security_group_id"] == group_id]

    def _shown(self, collection: str, row: Row) -> Row:
        if collection == "networks":
            return {**row, "subnets": [one["id"] for one in self.subnets_of(row["id"])]}
        return {**row, "security_group_rules": self.rules_of(row["id"])} if collection == "security-groups" else row

    def _new_subnet(self, row: Row) -> None:
        hosts = ipaddress.ip_network(row["cidr"])
        gateway = row.get("gateway_ip", str(hosts[1] if hosts.version == 4 else hosts[0]))
        last = -2 if hosts.version == 4 else -1
        pool = {"start": str(hosts[2] if gateway == str(hosts[1]) else hosts[1]), "end": str(hosts[last])}
        row |= {"ip_version": hosts.version, "gateway_ip": gateway, "host_routes": row.get("host_routes", [])}
        row |= {"allocation_pools": row.get("allocation_pools", [pool]), "enable_dhcp": row.get("enable_dhcp", True)}
        self._get("networks", row["network_id"])

    def _new_port(self, row: Row) -> None:
        having = [port for port in self.ports.values() if port["project_id"] == row["project_id"]]
        if self.port_quota is not None and len(having) >= self.port_quota:
            _refuse(409, "OverQuota", "Quota exceeded for resources: ['port'].")
        network = self._get("networks", row["network_id"])
        taken = {port["mac_address"] for port in self.ports.values() if port["network_id"] == network["id"]}
        drawn = (":".join(["fa", "16", "3e", *(uuid.uuid4().hex[:2] for _ in range(3))]) for _ in itertools.count())
        mac = row.setdefault("mac_address", next(one for one in drawn if one not in taken))
        if mac in taken:
            words = f"Unable to complete operation for network {network['id']}. The mac address {mac} is in use."
            _refuse(409, "MacAddressInUse", words)
        row |= {
            key: row.get(key, value)
            for key, value in {"device_id": "", "device_owner": "", "status": "DOWN", "qos_policy_id": None, "admin_state_up": True}.items()
        }
        row.setdefault("port_security_enabled", network["port_security_enabled"])
        row.setdefault("allowed_address_pairs", [])
        row.setdefault("binding:vnic_type", "normal")
        default = self._default_group(row["project_id"])  # made with a project's first port, whoever asks for it
        if row["port_security_enabled"] and "security_groups" not in row:
            row["security_groups"] = [default]
        self._check_security(row)
        self._check_qos(row)
        row["fixed_ips"] = self._addresses(
            network, row.get("fixed_ips") or [{"subnet_id": one["id"]} for one in self.subnets_of(network["id"])[:1]], [], mac
        )

    def _default_group(self, project_id: str) -> str:
        for group in self.rows["security-groups"].values():
            if (group["name"], group["project_id"]) == ("default", project_id):
                return str(group["id"])
        return str(self.add("security-groups", name="default", project_id=project_id)["id"])

    def _check_security(self, row: Row, *, names_groups: bool = True) -> None:
        if not row["port_security_enabled"]:
            if row["allowed_address_pairs"]:
                words = "Port Security must be enabled in order to have allowed address pairs on a port."
                _refuse(409, "AddressPairAndPortSecurityRequired", words)
            if row.setdefault("security_groups", []):
                words = "Port security must be enabled and port must have an IP address in order to use security groups."
                _refuse(400, "PortSecurityAndIPRequiredForSecurityGroups", words)
        for group_id in row["security_groups"] if names_groups else ():
            self._get("security-groups", group_id)

    def _check_qos(self, row: Row) -> None:
        if row["qos_policy_id"] is not None:
            self._get("qos/policies", row["qos_policy_id"])

    def _addresses(self, network: Row, wanted: list[Row], old: list[Row], mac: str) -> list[Row]:
        """Of these, those that have an address stay; the others get the next one of their subnet, or that of the MAC address."""
        automatic = {one["id"]: one for one in self.subnets_of(network["id"]) if one.get("ipv6_address_mode") == "slaac"}
        asked = [one for one in wanted if self._subnet_of(network, one)["id"] in automatic and "ip_address" in one and one not in old]
        for one in asked:
            words = f"IPv6 address {one['ip_address']} cannot be directly assigned to a port on subnet {one.get('subnet_id')}"
            _refuse(400, "AllocationOnAutoAddressSubnet", f"Invalid input for operation: {words}")
        wanted = [one for one in wanted if self._subnet_of(network, one)["id"] not in automatic]
        wanted += [{"subnet_id": one["id"], "ip_address": _of_mac(mac, one["cidr"])} for one in automatic.values()]
        taken = {fixed["ip_address"] for port in self.ports.values() for fixed in port["fixed_ips"]} - {one["ip_address"] for one in old}
        found: list[Row] = []
        for one in wanted:
            subnet = self._subnet_of(network, one)
            cidr = ipaddress.ip_network(subnet["cidr"])
            address = one.get("ip_address") or next((free for free in _pool(subnet) if free not in taken), None)
            if address is None:
                _refuse(409, "IpAddressGenerationFailure", f"No more IP addresses available on network {network['id']}.")
            place = ipaddress.ip_address(address)
            if place not in cidr or (cidr.version == 4 and place in (cidr[0], cidr[-1])):
                _refuse(400, "InvalidIpForSubnet", f"IP address {address} is not a valid IP for the specified subnet.")
            if address in taken:
                _refuse(409, "IpAddressAlreadyAllocated", f"IP address {address} already allocated in subnet {subnet['id']}")
            taken.add(address)
            found.append({"subnet_id": subnet["id"], "ip_address": str(place)})
        return found

    def _subnet_of(self, network: Row, wanted: Row) -> Row:
        if "subnet_id" in wanted:
            subnet = self._get("subnets", wanted["subnet_id"])
            if subnet["network_id"] != network["id"]:
                words = f"Failed to create port on network {network['id']}, because fixed_ips included invalid subnet {subnet['id']}."
                _refuse(400, "InvalidInput", f"Invalid input for operation: {words}")
            return subnet
        place = ipaddress.ip_address(wanted["ip_address"])
        found = next((subnet for subnet in self.subnets_of(network["id"]) if place in ipaddress.ip_network(subnet["cidr"])), None)
        if found is None:
            _refuse(400, "InvalidIpForNetwork", f"IP address {place} is not a valid IP for any of the subnets on the specified network.")
        return found

    def _new_security_group(self, row: Row) -> None:
        for ethertype in ("IPv4", "IPv6"):
            made, of = str(uuid.uuid4()), {"security_group_id": row["id"], "project_id": row["project_id"]}
            self.rows["security-group-rules"][made] = {"id": made, "direction": "egress", "ethertype": ethertype, **of, **_ANY}

    def _new_security_group_rule(self, row: Row) -> None:
        self._get("security-groups", row["security_group_id"])
        row |= {"ethertype": row.get("ethertype", "IPv4"), **{key: row.get(key, value) for key, value in _ANY.items()}}
        for rule in self.rules_of(row["security_group_id"]):
            if _said(rule) == _said(row):
                _refuse(409, "SecurityGroupRuleExists", f"Security group rule already exists. Rule id is {rule['id']}.")

    def _new_floatingip(self, row: Row) -> None:
        row.setdefault("port_id", None)

    def _new_rbac_policy(self, row: Row) -> None:
        self._get(
            {"network": "networks", "qos_policy": "qos/policies", "security_group": "security-groups"}[row["object_type"]], row["object_id"]
        )

    def _new_policy(self, row: Row) -> None:
        row.setdefault("shared", False)

    # Routes

    def _get(self, collection: str, object_id: str) -> Row:
        found = self.rows[collection].get(object_id)
        if found is None or not self._sees(collection, found):
            kind, words = _NOT_FOUND.get(collection, ("HTTPNotFound", "The resource could not be found."))
            _refuse(404, kind, words.format(object_id))
        return found

    def _sees(self, collection: str, row: Row) -> bool:
        if not flask.has_request_context() or self.cloud.identity.is_admin() or row["project_id"] == self.cloud.identity.project():
            return True
        if collection == "subnets":
            return self._sees("networks", self.rows["networks"][row["network_id"]])
        project = self.cloud.identity.project()
        shared = ((one["object_id"], one["target_tenant"]) for one in self.rows["rbac-policies"].values())
        return bool(row.get("shared")) or (row["id"], project) in shared

    def _create(self, collection: str) -> tuple[Row, int]:
        word = WORDS[collection]
        with self.cloud.lock:
            body = flask.request.get_json()
            owner = {"project_id": self.cloud.identity.project()}
            wanted = [body[word]] if word in body else body[f"{word}s"]
            if not self.cloud.identity.is_admin() and any((owner | one)["project_id"] != owner["project_id"] for one in wanted):
                _refuse(403, "AdminRequired", "Cannot create resource for another tenant")
            known = dict(self.rows[collection])
            try:
                made = [self._shown(collection, self.add(collection, **(owner | one))) for one in wanted]
            except Exception:
                self.rows[collection] = known
                raise
            return {word: made[0]} if word in body else {f"{word}s": made}, 201

    def _list(self, collection: str) -> Row:
        if collection == "floatingips" and not self.has_routers:
            _refuse(404, "HTTPNotFound", "The resource could not be found.")
        asked = flask.request.args
        filters = {name: asked.getlist(name) for name in asked if name not in ("limit", "marker", "fields")}
        key = {"qos/policies": "policies", "rbac-policies": "rbac_policies"}.get(collection, f"{WORDS[collection]}s")
        with self.cloud.lock:
            found = [row for row in self.rows[collection].values() if self._sees(collection, row) and _matches(row, filters)]
            answer: Row = {}
            if self.page is not None:
                found.sort(key=lambda row: str(row["id"]))
                found = list(itertools.dropwhile(lambda row: row["id"] <= asked.get("marker", ""), found))
                if len(found) > self.page:
                    answer = {f"{key}_links": [{"rel": "next", "href": f"{flask.request.url}&marker={found[self.page - 1]['id']}"}]}
                found = found[: self.page]
            return {key: [_fields(self._shown(collection, row)) for row in found], **answer}

    def _show(self, collection: str, object_id: str) -> Row:
        with self.cloud.lock:
            return {WORDS[collection]: _fields(self._shown(collection, self._get(collection, object_id)))}

    def _update(self, collection: str, object_id: str) -> Row:
        with self.cloud.lock:
            row = self._get(collection, object_id)
            expected = flask.request.headers.get("If-Match", f"revision_number={row['revision_number']}")
            if expected != f"revision_number={row['revision_number']}":
                _refuse(
                    412, "RevisionNumberConstraintFailed", f"Constrained to {expected}, but current revision is {row['revision_number']}"
                )
            wanted = flask.request.get_json()[WORDS[collection]]
            changed = {**row, **wanted}
            if collection == "ports":  # groups that it has already may be others', whom the caller does not see
                self._check_security(changed, names_groups="security_groups" in wanted)
                self._check_qos(changed if "qos_policy_id" in wanted else {"qos_policy_id": None})
                network = self._get("networks", row["network_id"])
                changed["fixed_ips"] = self._addresses(network, changed["fixed_ips"], row["fixed_ips"], changed["mac_address"])
            row |= changed | {"revision_number": row["revision_number"] + 1}
            return {WORDS[collection]: self._shown(collection, row)}

    def _delete(self, collection: str, object_id: str) -> tuple[str, int]:
        with self.cloud.lock:
            row = self._get(collection, object_id)
            if collection == "security-groups" and any(object_id in port["security_groups"] for port in self.ports.values()):
                _refuse(409, "SecurityGroupInUse", f"Security Group {object_id} in use.")
            if collection == "networks" and any(port["network_id"] == object_id for port in self.ports.values()):
                words = f"Unable to complete operation on network {object_id}. There are one or more ports still in use on the network."
                _refuse(409, "NetworkInUse", words)
            for below, key in (("security-group-rules", "security_group_id"), ("subnets", "network_id")):
                if collection == {"security_group_id": "security-groups", "network_id": "networks"}[key]:
                    for one in [one for one in self.rows[below].values() if one[key] == row["id"]]:
                        del self.rows[below][one["id"]]
            del self.rows[collection][object_id]
            return "", 204

    def _extension(self, alias: str) -> Row:
        if alias != "qos" or not self.has_qos:
            _refuse(404, "ExtensionNotFound", "The resource could not be found.")
        return {"extension": {"alias": alias, "name": "Quality of Service"}}

    def _availability(self, network_id: str) -> Row:
        with self.cloud.lock:
            network = self._get("networks", network_id)
            used = [fixed["ip_address"] for port in self.ports.values() for fixed in port["fixed_ips"]]
            rows = []
            for subnet in self.subnets_of(network["id"]):
                pool = set(_pool(subnet))
                taken = len(pool.intersection(used)) + self.used_elsewhere
                rows.append({"subnet_id": subnet["id"], "subnet_name": subnet["name"], "total_ips": len(pool), "used_ips": taken})
            return {"network_ip_availability": {"network_id": network_id, "subnet_ip_availability": rows}}

    def _quotas(self) -> Row:
        limits = {name: self.cloud.compute.quotas.get(name, (-1, 0)) for name in ("port", "security_group", "security_group_rule")}
        return {name: {"limit": limit, "used": used, "reserved": 0} for name, (limit, used) in limits.items()}

    def _versions(self) -> flask.Response:
        links = [{"rel": "self", "href": f"{self.cloud.url}/network/v2.0/"}]
        return flask.jsonify({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


_ANY = {"protocol": None, "port_range_min": None, "port_range_max": None, "remote_ip_prefix": None, "remote_group_id": None}


def _said(rule: Row) -> tuple[Any, ...]:
    prefix = None if rule["remote_ip_prefix"] in _EVERYWHERE else rule["remote_ip_prefix"]
    same = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_group_id")
    return (*(rule[name] for name in same), prefix)


def _pool(subnet: Row) -> Iterator[str]:
    """At most some thousands of its addresses, as they come."""
    for pool in subnet["allocation_pools"]:
        first, last = (int(ipaddress.ip_address(pool[end])) for end in ("start", "end"))
        kind = ipaddress.IPv4Address if subnet["ip_version"] == 4 else ipaddress.IPv6Address
        yield from (str(kind(place)) for place in range(first, min(last, first + 5000) + 1))


def _of_mac(mac: str, cidr: str) -> str:
    """RFC 4291, appendix A."""
    first, *others = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((first ^ 2, *others[:2], 0xFF, 0xFE, *others[2:]))
    return str(ipaddress.ip_network(cidr)[int.from_bytes(identifier, "big")])


def _matches(row: Row, filters: dict[str, list[str]]) -> bool:
    """A list of values matches who has one of them; one of groups who bears it."""
    for name, wanted in filters.items():
        if name == "fixed_ips":
            addresses = [one["ip_address"] for one in row["fixed_ips"]]
            if not set(addresses).intersection(one.removeprefix("ip_address=") for one in wanted):
                return False
            continue
        value = row.get(name)
        has = value if isinstance(value, list) else [str(value)]
        if not set(map(str, has)).intersection(wanted):
            return False
    return True


def _fields(row: Row) -> Row:
    wanted = flask.request.args.getlist("fields")
    return {name: row[name] for name in wanted if name in row} if wanted else dict(row)


def _refuse(status: int, kind: str, words: str) -> NoReturn:
    answer = flask.jsonify({"NeutronError": {"type": kind, "message": words, "detail": ""}})
    flask.abort(flask.make_response(answer, status))
