"""Nova: servers that take their time to come and to go, groups of servers, interfaces; words and codes as a Nova of Zed has them."""

from __future__ import annotations

import re
import time
import typing
import uuid
from typing import Any

import flask

from tests.simulated import documents, identity

if typing.TYPE_CHECKING:
    from tests.simulated import SimulatedCloud

FLAVOR, ZONE = "8a0db5c4-9ee3-4aaf-92be-100b94cf9c4a", "nova"
_LONGEST_USER_DATA = 65535
_NEVER = float("inf")


class Compute:
    """`servers` and `groups` are Nova's documents by id. `build_time` and `delete_time` in seconds, as `detach_time`, for which
    a guest still has a card that Nova was told to unplug: until then its port, if Neutron still has it, belongs to the server, and is
    plugged, as Nova says. `hosts` is how many there are.

    A server that has no host to go to, whose port has another server, or for which `next_fault` is set, ends in ERROR with a fault.
    """

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.servers: documents.Rows = {}
        self.groups: documents.Rows = {}
        self.rows: dict[str, documents.Rows] = {"servers": self.servers, "os-server-groups": self.groups}
        self.rows |= {"flavors": {}, "os-keypairs": {}, "os-services": {}}
        self.zones = [ZONE]
        self.quotas: dict[str, tuple[int, int]] = {}  # limit and what is used, by the names that Nova and Neutron have for them
        self.hosts = 1
        self.quota = 1000
        self.newest, self.oldest = "2.93", "2.1"
        self.spoken = ""  # the version in which it was asked last
        self.build_time = self.delete_time = 0.05
        self.detach_time = 0.0
        self.next_fault: str | None = None
        self.most_per_page = 1000
        self._moments: dict[str, tuple[float, float]] = {}  # when a server is built, and when it is gone
        self._asked: dict[str, dict[str, Any]] = {}  # what servers were made of
        self._plugged: dict[str, list[str]] = {}
        self._leaving: dict[tuple[str, str], tuple[str, float]] = {}  # by server and port: the MAC address of a card, and when that is gone
        self.blueprint = self._routes()

    def _routes(self) -> flask.Blueprint:
        blueprint = flask.Blueprint("compute", __name__)
        blueprint.before_request(self._before)
        blueprint.get("/v2.1")(self._version)
        blueprint.post("/v2.1/servers")(self._create)
        blueprint.get("/v2.1/servers/detail")(self._list)
        blueprint.get("/v2.1/servers/<server_id>")(lambda server_id: {"server": self._server(server_id)})
        blueprint.delete("/v2.1/servers/<server_id>")(self._delete)
        blueprint.post("/v2.1/servers/<server_id>/action")(self._act)
        blueprint.get("/v2.1/servers/<server_id>/os-interface")(self._interfaces)
        blueprint.post("/v2.1/servers/<server_id>/os-interface")(self._attach)
        blueprint.delete("/v2.1/servers/<server_id>/os-interface/<port_id>")(self._detach)
        documents.Documents(self, "flavors", "flavor", unique=True, page=lambda: self.most_per_page).serve(blueprint, "/v2.1/flavors")
        blueprint.get("/v2.1/flavors/<flavor_id>/os-flavor-access")(self._access)
        blueprint.post("/v2.1/flavors/<flavor_id>/action")(self._access)
        documents.Documents(self, "os-keypairs", "keypair", unique=True, wrapped=True, plural="keypairs").serve(
            blueprint, "/v2.1/os-keypairs"
        )
        blueprint.get("/v2.1/os-services", endpoint="os-services")(
            lambda: {"services": [*filter(documents.fits, self.rows["os-services"].values())]}
        )
        blueprint.get("/v2.1/os-quota-sets/<project>/detail", endpoint="quotas")(lambda project: {"quota_set": self._quotas()})
        blueprint.get("/v2.1/os-availability-zone")(self._zones)
        blueprint.get("/v2.1/os-server-groups")(self._list_groups)
        blueprint.post("/v2.1/os-server-groups")(self._create_group)
        blueprint.delete("/v2.1/os-server-groups/<group_id>")(self._delete_group)
        return blueprint

    def furnish(self) -> None:
        """A flavor."""
        self.cloud.add("flavors", id=FLAVOR, name="lb.tiny", ram=256, disk=1, vcpus=1)

    def may_make(self, word: str) -> None:
        """:raises werkzeug.exceptions.HTTPException: only administrators make flavors."""
        if word == "flavor" and not self.cloud.identity.is_admin():
            words = "Policy doesn't allow os_compute_api:os-flavor-manage:create"
            documents.abort(403, {"forbidden": {"message": words, "code": 403}})

    def made(self, word: str, row: documents.Row) -> documents.Row:
        """With what Nova finds by itself."""
        plain: dict[str, documents.Row] = {
            "flavor": {"os-flavor-access:is_public": True},
            "keypair": {"fingerprint": "aa:bb"},
            "servers": {"created": "2026-01-01T00:00:00Z", "OS-EXT-STS:task_state": None, "tags": []},
        }
        return {**plain.get(word, {}), **row}

    def shown(self, row: documents.Row) -> documents.Row:
        """As it is."""
        return row

    # What administrators and accidents do

    def named(self, name: str) -> list[dict[str, Any]]:
        """Servers of that name, with what time has done to them."""
        with self.cloud.lock:
            self._pass_time()
            return [one for one in self.servers.values() if one["name"] == name]

    def going(self) -> list[str]:
        """Ids of servers that are being deleted still, whatever they are called."""
        with self.cloud.lock:
            self._pass_time()
            return [one["id"] for one in self.servers.values() if one["OS-EXT-STS:task_state"] == "deleting"]

    def stop(self, name: str) -> None:
        """`openstack server stop`."""
        self._change(name, {"status": "SHUTOFF", "OS-EXT-STS:vm_state": "stopped", "OS-EXT-STS:power_state": 4})

    def rebuild(self, name: str, image_id: str) -> None:
        """`openstack server rebuild --image`, when it is done."""
        self._change(name, {"image": {"id": image_id}})

    def lose_cell(self, name: str) -> None:
        """The database of its cell does not answer: nobody can say what the server does (microversion 2.69)."""
        self._change(name, {"status": "UNKNOWN"})

    def finish(self, name: str) -> None:
        """What is being built will be there with the next look."""
        for one in self.named(name):
            self._moments[one["id"]] = (0.0, _NEVER)

    def remove(self, name: str) -> None:
        """`openstack server delete`, when it is done."""
        for one in self.named(name):
            self._vanish(one["id"])

    def asked_for(self, name: str) -> dict[str, Any]:
        """The body by which the newest server of that name was made."""
        return self._asked[self.named(name)[-1]["id"]]

    def plugged(self, name: str) -> list[str]:
        """Ids of its ports."""
        return self._plugged[self.named(name)[-1]["id"]]

    def cards(self, name: str) -> list[str]:
        """The MAC addresses of all cards in the newest server of that name, those that are going, too."""
        server_id, now = self.named(name)[-1]["id"], time.monotonic()
        going = {port_id: mac for (of, port_id), (mac, gone) in self._leaving.items() if of == server_id and gone > now}
        stay = [one for one in self._plugged[server_id] if one not in going]
        return [*going.values(), *(self.cloud.network.ports[one]["mac_address"] for one in stay)]

    def stays_plugged(self, name: str, port_id: str) -> bool:
        """Whether the newest server of that name has this port, and was not told to unplug it."""
        server_id = self.named(name)[-1]["id"]
        return port_id in self._plugged[server_id] and (server_id, port_id) not in self._leaving

    def _change(self, name: str, values: dict[str, Any]) -> None:
        for one in self.named(name):
            one |= values

    # Time

    def _pass_time(self) -> None:
        now = time.monotonic()
        for server_id, (built, gone) in list(self._moments.items()):
            if gone <= now:
                self._vanish(server_id)
            elif built <= now:
                self._moments[server_id] = (_NEVER, gone)
                self._build(self.servers[server_id])
        for (server_id, port_id), (_, gone) in list(self._leaving.items()):
            if gone <= now:
                self._unplug(server_id, port_id)

    def _unplug(self, server_id: str, port_id: str) -> None:
        del self._leaving[server_id, port_id]
        self._plugged[server_id].remove(port_id)
        if self.cloud.network.ports.get(port_id, {}).get("device_id") == server_id:
            self.cloud.network.unbind(port_id)

    def _build(self, server: dict[str, Any]) -> None:
        fault = self._why_not(server)
        if fault is not None:
            failed = {"status": "ERROR", "OS-EXT-STS:vm_state": "error", "OS-EXT-STS:task_state": None}
            server |= {**failed, "fault": {"code": 500, "created": "2026-01-01T00:00:00Z", "message": fault}}
            return
        wanted = self._asked[server["id"]]["server"]
        for port_id in self._plugged[server["id"]]:
            self.cloud.network.bind(port_id, server["id"], self.zones[0])
        running = {"status": "ACTIVE", "OS-EXT-STS:vm_state": "active", "OS-EXT-STS:task_state": None, "OS-EXT-STS:power_state": 1}
        server |= {**running, "OS-EXT-AZ:availability_zone": wanted.get("availability_zone") or self.zones[0]}

    def _why_not(self, server: dict[str, Any]) -> str | None:
        fault, self.next_fault = self.next_fault, None
        group = self.groups.get(self._asked[server["id"]].get("os:scheduler_hints", {}).get("group", ""))
        if group is not None:
            group["members"] = [one for one in group["members"] if one in self.servers and self.servers[one]["status"] == "ACTIVE"]
            if group["policy"] == "anti-affinity" and len(group["members"]) >= self.hosts:
                return "No valid host was found. There are not enough hosts available."
            group["members"].append(server["id"])
        for port_id in self._plugged[server["id"]]:
            if self.cloud.network.ports[port_id]["device_id"] not in ("", server["id"]):
                return f"Build of instance {server['id']} aborted: Port {port_id} is still in use."
        return fault

    def _vanish(self, server_id: str) -> None:
        self.servers.pop(server_id, None)
        self._moments.pop(server_id, None)
        for port_id in self._plugged[server_id]:
            if self.cloud.network.ports.get(port_id, {}).get("device_id") == server_id:
                self.cloud.network.unbind(port_id)

    # Requests

    def _before(self) -> tuple[dict[str, Any], int] | None:
        with self.cloud.lock:
            self._pass_time()
        asked = flask.request.headers.get("OpenStack-API-Version", "").removeprefix("compute ")
        if asked and asked != "latest" and not _numbers(self.oldest) <= _numbers(asked) <= _numbers(self.newest):
            words = f"Version {asked} is not supported by the API. Minimum is {self.oldest} and maximum is {self.newest}."
            return {"computeFault": {"message": words, "code": 406}}, 406
        self.spoken = asked or self.spoken
        return None

    def _version(self) -> dict[str, Any]:
        links = [{"rel": "self", "href": f"{self.cloud.url}/compute/v2.1/"}]
        version = {"id": "v2.1", "status": "CURRENT", "version": self.newest, "min_version": self.oldest, "links": links}
        return {"version": version}

    def _create(self) -> tuple[dict[str, Any], int]:
        body = flask.request.get_json()
        wanted = body["server"]
        self._check(wanted, body.get("os:scheduler_hints", {}))
        server_id = str(uuid.uuid4())
        ports = [one["port"] if "port" in one else self._port_on(one["uuid"]) for one in wanted["networks"]]
        with self.cloud.lock:
            self._asked[server_id], self._plugged[server_id] = body, ports
            self._moments[server_id] = (time.monotonic() + self.build_time, _NEVER)
            self.servers[server_id] = {
                "id": server_id,
                "name": wanted["name"],
                "status": "BUILD",
                "tenant_id": identity.PROJECT,
                "metadata": wanted.get("metadata", {}),
                "tags": wanted.get("tags", []),
                "image": {"id": wanted["imageRef"]} if "imageRef" in wanted else "",
                "flavor": {"vcpus": 1, "ram": 256, "disk": 1, "original_name": "lb.tiny"},
                "created": f"2026-01-01T00:{len(self._asked):02d}:00Z",
                "addresses": {},
                "OS-EXT-AZ:availability_zone": "",
                "OS-EXT-STS:vm_state": "building",
                "OS-EXT-STS:task_state": "scheduling",
                "OS-EXT-STS:power_state": 0,
            }
        return {"server": {"id": server_id, "adminPass": "secret", "security_groups": [{"name": "default"}]}}, 202

    def _check(self, wanted: dict[str, Any], hints: dict[str, Any]) -> None:
        bad = None
        if wanted["flavorRef"] not in self.rows["flavors"]:
            bad = f"Flavor {wanted['flavorRef']} could not be found."
        elif "imageRef" in wanted and wanted["imageRef"] not in {one["id"] for one in self.cloud.images.images}:
            bad = "Can not find requested image"
        elif wanted.get("availability_zone", self.zones[0]) not in self.zones:
            bad = "The requested availability zone is not available"
        elif wanted.get("key_name") is not None and wanted["key_name"] not in [one["name"] for one in self.rows["os-keypairs"].values()]:
            bad = "Invalid key_name provided."
        elif "group" in hints and hints["group"] not in self.groups:
            bad = f"Instance group {hints['group']} could not be found."
        elif len(wanted.get("user_data") or "") > _LONGEST_USER_DATA:
            bad = f"Invalid input for field/attribute user_data. Value: {wanted['user_data']}. is too long"
        for one in wanted["networks"]:
            port = self.cloud.network.ports.get(one.get("port", ""))
            if "port" in one and port is None:
                bad = f"Port id {one['port']} could not be found."
            elif port is not None and port["device_id"]:
                flask.abort(flask.make_response(_error("conflictingRequest", 409, f"Port {port['id']} is still in use.")))
        if bad is not None:
            flask.abort(flask.make_response(_error("badRequest", 400, bad)))
        if len(self.servers) >= self.quota:
            words = f"Quota exceeded for instances: Requested 1, but already used {len(self.servers)} of {self.quota} instances"
            flask.abort(flask.make_response(_error("forbidden", 403, words)))

    def _port_on(self, network_id: str) -> str:
        """A port that Nova makes itself."""
        made = str(uuid.uuid4())
        self.cloud.network.ports[made] = {"id": made, "network_id": network_id, "device_id": "", "device_owner": "", "name": ""}
        return made

    def _list(self) -> dict[str, Any]:
        asked = flask.request.args
        found = sorted(self.servers.values(), key=lambda one: (one["created"], one["id"]), reverse=True)
        found = [one for one in found if re.search(asked.get("name", ""), one["name"])]
        found = [one for one in found if not asked.get("tags") or asked["tags"] in one["tags"]]
        found = [one for one in found if one["status"] != "UNKNOWN"]  # servers of a lost cell are not in what is filtered
        if marker := asked.get("marker"):
            ids = [one["id"] for one in found]
            if marker not in ids:
                flask.abort(flask.make_response(_error("badRequest", 400, f"marker [{marker}] not found")))
            found = found[ids.index(marker) + 1 :]
        most = min(self.most_per_page, int(asked.get("limit", self.most_per_page)))
        answer: dict[str, Any] = {"servers": found[:most]}
        if len(found) > most:
            answer["servers_links"] = [
                {"rel": "next", "href": f"{self.cloud.url}/compute/v2.1/servers/detail?marker={found[most - 1]['id']}"}
            ]
        return answer

    def _server(self, server_id: str) -> dict[str, Any]:
        found = self.servers.get(server_id)
        if found is None:
            flask.abort(flask.make_response(_error("itemNotFound", 404, f"Instance {server_id} could not be found.")))
        return found

    def _delete(self, server_id: str) -> tuple[str, int]:
        server = self._server(server_id)
        if server.get("locked"):
            flask.abort(flask.make_response(_error("conflictingRequest", 409, f"Instance {server_id} is locked")))
        with self.cloud.lock:
            server["OS-EXT-STS:task_state"] = "deleting"
            self._moments[server_id] = (_NEVER, min(time.monotonic() + self.delete_time, self._moments[server_id][1]))
        return "", 204

    def _act(self, server_id: str) -> tuple[str, int]:
        server = self._server(server_id)
        if "os-stop" not in flask.request.get_json():
            flask.abort(501)
        self.stop(server["name"])
        return "", 202

    def _interfaces(self, server_id: str) -> dict[str, Any]:
        self._server(server_id)
        ports = [self.cloud.network.ports[one] for one in self._plugged[server_id] if one in self.cloud.network.ports]
        return {"interfaceAttachments": [{"port_id": one["id"], "net_id": one["network_id"], "port_state": "ACTIVE"} for one in ports]}

    def _attach(self, server_id: str) -> Any:
        server, port_id = self._server(server_id), flask.request.get_json()["interfaceAttachment"]["port_id"]
        if (task := server["OS-EXT-STS:task_state"]) is not None:
            words = f"Cannot 'attach_interface' instance {server_id} while it is in task_state {task}"
            return _error("conflictingRequest", 409, words)
        if server["OS-EXT-STS:vm_state"] not in ("active", "stopped", "paused"):
            words = f"Cannot 'attach_interface' instance {server_id} while it is in vm_state {server['OS-EXT-STS:vm_state']}"
            return _error("conflictingRequest", 409, words)
        port = self.cloud.network.ports.get(port_id)
        if port is None:
            return _error("itemNotFound", 404, f"Port id {port_id} could not be found.")
        if port["device_id"]:
            return _error("conflictingRequest", 409, f"Port {port_id} is still in use.")
        with self.cloud.lock:
            self._plugged[server_id].append(port_id)
            self.cloud.network.bind(port_id, server_id, self.zones[0])
        return {"interfaceAttachment": {"port_id": port_id, "net_id": port["network_id"], "port_state": "ACTIVE"}}

    def _detach(self, server_id: str, port_id: str) -> Any:
        server = self._server(server_id)
        if (task := server["OS-EXT-STS:task_state"]) is not None or server["OS-EXT-STS:vm_state"] not in ("active", "stopped", "paused"):
            state = f"task_state {task}" if task else f"vm_state {server['OS-EXT-STS:vm_state']}"
            return _error("conflictingRequest", 409, f"Cannot 'detach_interface' instance {server_id} while it is in {state}")
        if port_id not in self._plugged[server_id]:
            return _error("itemNotFound", 404, f"Instance {server_id} does not have a port with id {port_id}")
        with self.cloud.lock:
            if (server_id, port_id) not in self._leaving:
                mac = self.cloud.network.ports[port_id]["mac_address"]
                self._leaving[server_id, port_id] = mac, time.monotonic() + self.detach_time
            self._pass_time()
        return "", 202

    def _access(self, flavor_id: str) -> dict[str, Any]:
        access = self.rows["flavors"][flavor_id].setdefault("access", [])
        if flask.request.method == "POST":
            ((action, of),) = flask.request.get_json().items()
            {"addTenantAccess": access.append, "removeTenantAccess": access.remove}[action](of["tenant"])
        return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": one} for one in access]}

    def _quotas(self) -> dict[str, dict[str, int]]:
        limits = {name: self.quotas.get(name, (-1, 0)) for name in ("instances", "cores", "ram", "server_groups")}
        return {name: {"limit": limit, "in_use": used, "reserved": 0} for name, (limit, used) in limits.items()}

    def _zones(self) -> dict[str, Any]:
        return {"availabilityZoneInfo": [{"zoneName": one, "zoneState": {"available": True}, "hosts": None} for one in self.zones]}

    def _list_groups(self) -> dict[str, Any]:
        first = int(flask.request.args.get("offset", 0))
        most = min(self.most_per_page, int(flask.request.args.get("limit", self.most_per_page)))
        return {"server_groups": list(self.groups.values())[first : first + most]}

    def _create_group(self) -> dict[str, Any]:
        wanted = flask.request.get_json()["server_group"]
        made = {"id": str(uuid.uuid4()), "rules": {}, "members": [], "project_id": identity.PROJECT, **wanted}
        self.groups[made["id"]] = made
        return {"server_group": made}

    def _delete_group(self, group_id: str) -> Any:
        if self.groups.pop(group_id, None) is None:
            return _error("itemNotFound", 404, f"Instance group {group_id} could not be found.")
        return "", 204


def _error(kind: str, status: int, words: str) -> tuple[dict[str, Any], int]:
    return {kind: {"code": status, "message": words}}, status


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
