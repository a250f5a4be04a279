"""Neutron: networks, subnets and ports, as far as drivers ask for them."""

from __future__ import annotations

import ipaddress
import typing
import uuid
from typing import Any

import flask

from tests.contract.simulated import identity

if typing.TYPE_CHECKING:
    from tests.contract.simulated import SimulatedCloud

_COLLECTIONS = {"networks": "network", "subnets": "subnet", "ports": "port"}


class Network:
    """`networks`, `subnets` and `ports` are Neutron's documents by id. Nova changes `device_id` of ports, see `bind` and `unbind`."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.networks: dict[str, dict[str, Any]] = {}
        self.subnets: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, Any]] = {}
        self.blueprint = flask.Blueprint("network", __name__)
        self.blueprint.get("/")(self._versions)
        self.blueprint.post("/v2.0/<collection>")(self._create)
        self.blueprint.get("/v2.0/<collection>")(self._list)
        self.blueprint.get("/v2.0/<collection>/<object_id>")(self._show)
        self.blueprint.put("/v2.0/<collection>/<object_id>")(self._update)
        self.blueprint.delete("/v2.0/<collection>/<object_id>")(self._delete)
        self.management_network = self.add("networks", name="lb-mgmt-net", project_id=identity.PROJECT)["id"]
        self.add("subnets", name="lb-mgmt-subnet", network_id=self.management_network, cidr="198.18.0.0/20")

    def add(self, collection: str, **values: Any) -> dict[str, Any]:
        """Put a document there."""
        document = {"id": str(uuid.uuid4()), "name": "", "project_id": identity.PROJECT, "tags": [], **values}
        if collection == "networks":
            document |= {"mtu": values.get("mtu", 1500), "shared": values.get("shared", False), "subnets": []}
        elif collection == "subnets":
            document |= {"ip_version": 4, "gateway_ip": None, "host_routes": [], "enable_dhcp": True}
            self.networks[values["network_id"]]["subnets"].append(document["id"])
        elif collection == "ports":
            document = {"device_id": "", "device_owner": "", "status": "DOWN", "security_groups": [], **document}
            document["mac_address"] = f"fa:16:3e:{uuid.uuid4().hex[:2]}:{uuid.uuid4().hex[:2]}:{uuid.uuid4().hex[:2]}"
            document["fixed_ips"] = [self._address(one) for one in self._wanted(values)]
        found: dict[str, dict[str, Any]] = getattr(self, collection)
        found[document["id"]] = document
        return document

    def bind(self, port_id: str, server_id: str, zone: str) -> None:
        """What Nova does when a server gets a port."""
        self.ports[port_id] |= {"device_id": server_id, "device_owner": f"compute:{zone}", "status": "ACTIVE"}

    def unbind(self, port_id: str) -> None:
        """What Nova does when a server loses a port that it did not make."""
        if port_id in self.ports:
            self.ports[port_id] |= {"device_id": "", "device_owner": "", "status": "DOWN"}

    def _wanted(self, values: dict[str, Any]) -> list[dict[str, str]]:
        subnets: list[str] = self.networks[values["network_id"]]["subnets"][:1]
        wanted: list[dict[str, str]] = values.get("fixed_ips") or [{"subnet_id": one} for one in subnets]
        return wanted

    def _address(self, wanted: dict[str, str]) -> dict[str, str]:
        subnet = self.subnets[wanted["subnet_id"]]
        taken = {each["ip_address"] for port in self.ports.values() for each in port["fixed_ips"]} | {subnet["gateway_ip"]}
        free = (str(one) for one in ipaddress.ip_network(subnet["cidr"]).hosts() if str(one) not in taken)
        return {"subnet_id": subnet["id"], "ip_address": wanted.get("ip_address") or next(free)}

    def _all(self, collection: str) -> dict[str, dict[str, Any]]:
        if collection not in _COLLECTIONS:
            flask.abort(404)
        found: dict[str, dict[str, Any]] = getattr(self, collection)
        return found

    def _one(self, collection: str, object_id: str) -> dict[str, Any]:
        found = self._all(collection).get(object_id)
        if found is None:
            word = _COLLECTIONS[collection].capitalize()
            error = {"type": f"{word}NotFound", "message": f"{word} {object_id} could not be found.", "detail": ""}
            flask.abort(flask.make_response(flask.jsonify({"NeutronError": error}), 404))
        return found

    def _create(self, collection: str) -> tuple[dict[str, Any], int]:
        word = _COLLECTIONS[collection]
        with self.cloud.lock:
            return {word: self.add(collection, **{"project_id": self.cloud.identity.project(), **flask.request.get_json()[word]})}, 201

    def _list(self, collection: str) -> dict[str, Any]:
        asked = {name: value for name, value in flask.request.args.items() if name not in ("limit", "marker", "fields")}
        found = [one for one in self._all(collection).values() if all(str(one.get(name)) == value for name, value in asked.items())]
        return {collection: found}

    def _show(self, collection: str, object_id: str) -> dict[str, Any]:
        return {_COLLECTIONS[collection]: self._one(collection, object_id)}

    def _update(self, collection: str, object_id: str) -> dict[str, Any]:
        found = self._one(collection, object_id)
        found |= flask.request.get_json()[_COLLECTIONS[collection]]
        return {_COLLECTIONS[collection]: found}

    def _delete(self, collection: str, object_id: str) -> tuple[str, int]:
        self._one(collection, object_id)
        del self._all(collection)[object_id]
        return "", 204

    def _versions(self) -> flask.Response:
        links = [{"rel": "self", "href": f"{self.cloud.url}/network/v2.0/"}]
        return flask.jsonify({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})
