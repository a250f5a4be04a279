"""A small OpenStack in this process, over real HTTP: Keystone, Nova, Neutron and Glance, as far as they list, make and delete things.

Documents look as a real cloud (Zed) showed them; `tests/cloud` asks the same questions there. Who may do what is as small: `admin` may do
everything, others what is in their project; `refused` says what is answered otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import ipaddress
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

PASSWORD = "a-password-of-tests"
_COLLECTIONS = {
    "identity": ("roles", "services", "endpoints", "projects", "users", "domains"),
    "compute": ("flavors", "servers", "os-keypairs", "os-server-groups", "os-services"),
    "network": ("networks", "subnets", "ports", "security-groups", "security-group-rules", "extensions"),
    "image": ("images",),
}
_WORDS = {"os-keypairs": "keypair", "os-server-groups": "server_group", "os-services": "service"}
_PLAIN: dict[str, dict[str, Any]] = {
    "ports": {"device_id": "", "device_owner": "", "mac_address": "02:00:00:00:00:01", "qos_policy_id": None, "revision_number": 1},
    "networks": {"mtu": 1500},
    "security-groups": {"description": ""},
}
"""What every document of a kind has."""
_MICROVERSION = {"version": "2.93", "min_version": "2.1"}


class Cloud(http.server.ThreadingHTTPServer):
    """`store[collection][id]` are the documents. `refused`: (method, pattern of path, status, body) that come first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.store: dict[str, dict[str, dict[str, Any]]] = {name: {} for names in _COLLECTIONS.values() for name in names}
        self.files: dict[str, bytes] = {}
        self.assigned: set[tuple[str, str, str]] = set()  # project, user, role
        self.tokens: dict[str, tuple[str, str]] = {}
        self.fails_at: int | None = None  # after so many more writes one is not carried out
        self.cut: int | None = None  # after so many more writes the answer is lost
        self.refused: list[tuple[str, str, int, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.microversion: dict[str, str] = dict(_MICROVERSION)
        self.quotas: dict[str, tuple[int, int]] = {}  # of the names that Nova and Neutron have for them: limit, used
        self.used_addresses = 0
        self._lock = threading.Lock()
        self._found()

    def add(self, collection: str, **values: Any) -> dict[str, Any]:
        """Put a document there as it is."""
        document = {"id": uuid.uuid4().hex, **_PLAIN.get(collection, {}), **values}
        self.store[collection][document["id"]] = document
        return document

    def drop(self, collection: str, **like: Any) -> None:
        """Take documents away that look so."""
        for one in [one for one in self.store[collection].values() if all(one.get(name) == value for name, value in like.items())]:
            del self.store[collection][one["id"]]

    def inventory(self) -> dict[str, set[str]]:
        """The ids of all that is there."""
        return {name: set(found) for name, found in self.store.items()}

    def named(self, collection: str, name: str) -> dict[str, Any]:
        """The document of that name."""
        return next(one for one in self.store[collection].values() if one["name"] == name)

    def writes(self) -> list[tuple[str, str]]:
        """What was asked for that changes something; tokens are not counted."""
        return [one for one in self.asked if one[0] not in ("GET", "HEAD") and not one[1].endswith("/auth/tokens")]

    def _found(self) -> None:
        self.add("domains", name="Default", id="default")
        for role in ("admin", "member", "reader", "service"):
            self.add("roles", name=role)
        for project, user, roles in (
            ("admin", "admin", ["admin"]),
            ("service", "figlina", ["admin", "service"]),
            ("red", "red", ["member"]),
        ):
            owner, who = self.add("projects", name=project, domain_id="default"), self.add("users", name=user, domain_id="default")
            who["password"] = PASSWORD
            self.assigned |= {(owner["id"], who["id"], self.named("roles", role)["id"]) for role in roles}
        for name, kind, path in (("nova", "compute", "compute/v2.1"), ("neutron", "network", "network"), ("glance", "image", "image")):
            service = self.add("services", name=name, type=kind)
            self.add("endpoints", service_id=service["id"], interface="public", region="R", region_id="R", url=f"{self.url}/{path}")
        keystone = self.add("services", name="keystone", type="identity")
        self.add("endpoints", service_id=keystone["id"], interface="public", region="R", region_id="R", url=f"{self.url}/identity/v3")
        for alias in ("allowed-address-pairs", "security-group", "standard-attr-tag", "port-security"):
            self.add("extensions", alias=alias, name=alias)
        self.add("os-services", binary="nova-compute", state="up", status="enabled", host="one")
        self.add("os-services", binary="nova-compute", state="up", status="enabled", host="two")

    def roles_of(self, user: str, project: str) -> list[str]:
        """Names of the roles."""
        return [self.store["roles"][role]["name"] for where, who, role in self.assigned if (where, who) == (project, user)]


@contextlib.contextmanager
def running() -> Iterator[Cloud]:
    """One that answers meanwhile."""
    cloud = Cloud()
    thread = threading.Thread(target=cloud.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        cloud.shutdown()
        cloud.server_close()


class Answer(Exception):
    """An answer other than the usual one."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Quietly."""

    def _serve(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        content = self._content()
        self.server.asked.append((self.command, split.path))
        try:
            for method, pattern, status, body in self.server.refused:
                if method in (self.command, "*") and re.search(pattern, split.path):
                    raise Answer(status, body)
            if self._counts("fails_at"):
                raise Answer(500, {"message": "out of order"})
            done = self._routed(split.path.strip("/").split("/"), dict(urllib.parse.parse_qsl(split.query)), content)
            self._answer(*((504, {"message": "the gateway has waited long enough"}) if self._counts("cut") else done))
        except Answer as answer:
            self._answer(answer.status, answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve

    def _counts(self, what: str) -> bool:
        """Whether this is the write that is counted down to."""
        left = getattr(self.server, what)
        if left is None or self.command in ("GET", "HEAD") or self.path.endswith("/auth/tokens"):
            return False
        setattr(self.server, what, left - 1)
        return bool(left == 1)

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(content)),
            "x-openstack-request-id": f"req-{uuid.uuid4()}",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _routed(self, words: list[str], query: dict[str, str], content: bytes) -> tuple[Any, ...]:
        service, rest = words[0], words[1:]
        if service == "load-balancer":
            return 200, {"versions": [{"id": "v2.0", "status": "CURRENT"}]}
        if len(rest) < 2:
            return self._versions(service)
        rest = rest[1:]
        if rest == ["auth", "tokens"]:
            return self._tokens(content)
        user, project = self._caller()
        if service == "image" and rest[-1] == "file":
            return self._upload(rest[1], content)
        body = json.loads(content) if content else {}
        if rest[0] == "projects" and len(rest) == 6:
            return self._assign(rest)
        if rest[0] in ("os-quota-sets", "quotas"):
            return self._quotas(service)
        if rest[0] == "network-ip-availabilities":
            return self._availability(rest[1])
        if service == "image" and "tags" in rest:
            self.server.store["images"][rest[1]]["tags"].append(rest[3])
            return 204, None
        if rest[0] == "flavors" and rest[2:]:
            return self._flavor_access(rest[1], body)
        if rest[0] not in _COLLECTIONS.get(service, ()):
            raise Answer(404, {"error": {"message": f"no {self.path}"}})
        admin = "admin" in self.server.roles_of(user, project)
        return Resources(self.server, service, rest[0], project, admin).answer(self.command, rest[1:], query, body)

    def _versions(self, service: str) -> tuple[Any, ...]:
        version = {"identity": "v3.14", "compute": "v2.1", "network": "v2.0", "image": "v2.15"}[service]
        path = {"identity": "identity/v3", "compute": "compute/v2.1", "network": "network/v2.0", "image": "image/v2"}[service]
        said: dict[str, Any] = {"id": version, "status": "stable" if service == "identity" else "CURRENT"}
        said["links"] = [{"rel": "self", "href": f"{self.server.url}/{path}/"}]
        if service == "compute":
            said |= self.server.microversion
        if self.path.rstrip("/").endswith(path) and service in ("identity", "compute"):
            return 200, {"version": said}
        return 200, {"versions": {"values": [said]} if service == "identity" else [said]}

    def _tokens(self, content: bytes) -> tuple[Any, ...]:
        if self.command == "GET":
            caller, project = self._caller()
            user, where = self.server.tokens[self.headers["X-Subject-Token"]]
            if user != caller and not {"admin", "service"} & set(self.server.roles_of(caller, project)):
                raise Answer(403, {"error": {"message": "You are not authorized", "title": "Forbidden"}})
            return 200, {"token": self._token(user, where)}
        auth = json.loads(content)["auth"]
        given = auth["identity"]["password"]["user"]
        found = [
            one for one in self.server.store["users"].values() if one["name"] == given["name"] and one["password"] == given["password"]
        ]
        if not found:
            raise Answer(401, {"error": {"message": "The request you have made requires authentication.", "title": "Unauthorized"}})
        scope = auth.get("scope", {}).get("project", {}).get("name")
        project = self.server.named("projects", scope)["id"] if scope else ""
        token = uuid.uuid4().hex
        self.server.tokens[token] = (found[0]["id"], project)
        return 201, {"token": self._token(found[0]["id"], project)}, {"X-Subject-Token": token}

    def _token(self, user: str, project: str) -> dict[str, Any]:
        store, domain = self.server.store, {"id": "default", "name": "Default"}
        said: dict[str, Any] = {
            "methods": ["password"],
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "issued_at": "2020-01-01T00:00:00.000000Z",
        }
        said["user"] = {"id": user, "name": store["users"][user]["name"], "domain": domain}
        if project:
            said["project"] = {"id": project, "name": store["projects"][project]["name"], "domain": domain}
            said["roles"] = [{"id": name, "name": name} for name in self.server.roles_of(user, project)]
            said["catalog"] = [
                {**one, "endpoints": [end for end in store["endpoints"].values() if end["service_id"] == one["id"]]}
                for one in store["services"].values()
            ]
        return said

    def _caller(self) -> tuple[str, str]:
        try:
            return self.server.tokens[self.headers["X-Auth-Token"]]
        except KeyError:
            raise Answer(401, {"error": {"message": "who are you?"}}) from None

    def _upload(self, image: str, content: bytes) -> tuple[Any, ...]:
        found = self.server.store["images"][image]
        if found["status"] != "queued":
            raise Answer(409, {"message": f"Image status transition from {found['status']} to saving is not allowed"})
        self.server.files[image] = content
        found |= {"status": "active", "size": len(content), "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(content).hexdigest()}
        return 204, None

    def _assign(self, words: list[str]) -> tuple[Any, ...]:
        one = (words[1], words[3], words[5])
        if self.command == "HEAD":
            return (204 if one in self.server.assigned else 404), None
        self.server.assigned.add(one)
        return 204, None

    def _flavor_access(self, flavor: str, body: Any) -> tuple[Any, ...]:
        found = self.server.store["flavors"][flavor].setdefault("access", [])
        if body:
            found.append(body["addTenantAccess"]["tenant"])
        return 200, {"flavor_access": [{"flavor_id": flavor, "tenant_id": one} for one in found]}

    def _quotas(self, service: str) -> tuple[Any, ...]:
        names = (
            ("instances", "cores", "ram", "server_groups") if service == "compute" else ("port", "security_group", "security_group_rule")
        )
        used = "in_use" if service == "compute" else "used"
        limits = {name: self.server.quotas.get(name, (-1, 0)) for name in names}
        said = {name: {"limit": limit, used: taken, "reserved": 0} for name, (limit, taken) in limits.items()}
        return 200, {"quota_set" if service == "compute" else "quota": said}

    def _availability(self, network: str) -> tuple[Any, ...]:
        subnets = [one for one in self.server.store["subnets"].values() if one["network_id"] == network]
        said = [
            {
                "subnet_id": one["id"],
                "subnet_name": one["name"],
                "cidr": one["cidr"],
                "total_ips": 241,
                "used_ips": self.server.used_addresses,
            }
            for one in subnets
        ]
        return 200, {"network_ip_availability": {"network_id": network, "subnet_ip_availability": said}}


class Resources:
    """One collection, as one caller sees it."""

    def __init__(self, cloud: Cloud, service: str, name: str, project: str, admin: bool) -> None:
        self._cloud = cloud
        self._service = service
        self._name = name
        self._all = cloud.store[name]
        self._project = project
        self._admin = admin
        self._plural = {"os-keypairs": "keypairs", "os-server-groups": "server_groups", "os-services": "services"}.get(
            name, name.replace("-", "_")
        )
        self._word = _WORDS.get(name, self._plural[:-1])

    def answer(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> tuple[Any, ...]:
        if method == "POST":
            return self._made(body if self._service == "image" else body[self._word])
        if not rest or rest == ["detail"]:
            shown = [self._shown(one) for one in self._seen() if self._fits(one, query)]
            return 200, {self._plural: [{"keypair": one} for one in shown] if self._name == "os-keypairs" else shown}
        found = next((one for one in self._seen() if rest[0] in (one["id"], self._name == "os-keypairs" and one["name"])), None)
        if found is None:
            raise Answer(404, {"error": {"message": f"{self._word} {rest[0]} could not be found"}})
        if method == "DELETE":
            self._deleted(found)
            return 204, None
        if method in ("PUT", "PATCH"):
            found |= {one["path"][1:]: one["value"] for one in body} if self._service == "image" else body[self._word]
        return 200, self._shown(found) if self._service == "image" else {self._word: self._shown(found)}

    def _seen(self) -> Iterator[dict[str, Any]]:
        for one in self._all.values():
            shared = one.get("shared") or one.get("visibility") == "public" or ("project_id" not in one and "owner" not in one)
            if self._admin or shared or self._project in (one.get("project_id"), one.get("owner")):
                yield one

    @staticmethod
    def _fits(one: Mapping[str, Any], query: Mapping[str, str]) -> bool:
        for name, value in query.items():
            if name in ("tag", "tags") and value not in one["tags"]:
                return False
            if name == "fixed_ips" and value.removeprefix("ip_address=") not in [each["ip_address"] for each in one["fixed_ips"]]:
                return False
            if name in one and name not in ("tag", "tags", "fixed_ips") and str(one[name]) != value:
                return False
        return True

    def _shown(self, one: dict[str, Any]) -> dict[str, Any]:
        if self._name == "security-groups":
            rules = [rule for rule in self._cloud.store["security-group-rules"].values() if rule["security_group_id"] == one["id"]]
            return {**one, "security_group_rules": rules}
        if self._name == "networks":
            return {**one, "subnets": [each["id"] for each in self._cloud.store["subnets"].values() if each["network_id"] == one["id"]]}
        return {name: value for name, value in one.items() if name != "password"}

    def _made(self, wanted: dict[str, Any]) -> tuple[Any, ...]:
        if self._service == "identity" and not self._admin:
            raise Answer(
                403, {"error": {"message": f"You are not authorized to perform identity:create_{self._word}", "title": "Forbidden"}}
            )
        if self._name == "servers":
            raise Answer(400, {"badRequest": {"message": f"Flavor {wanted['flavorRef']} could not be found.", "code": 400}})
        if not self._admin and wanted.get("project_id", self._project) != self._project:
            raise Answer(403, {"NeutronError": {"message": "Cannot create resource for another tenant", "type": "AdminRequired"}})
        if not self._admin and self._name == "flavors":
            raise Answer(403, {"forbidden": {"message": "Policy doesn't allow os_compute_api:os-flavor-manage:create", "code": 403}})
        if any(self._clashes(one, wanted) for one in self._all.values()):
            raise Answer(409, {"conflictingRequest": {"message": f"{self._word} {wanted.get('name')} already exists", "code": 409}})
        one = self._cloud.add(self._name, **self._defaults(wanted), **wanted)
        if self._name == "security-groups":
            for kind in ("IPv4", "IPv6"):
                self._cloud.add("security-group-rules", **_rule(one["id"], ethertype=kind, direction="egress"))
        return 201, self._shown(one) if self._service == "image" else {self._word: self._shown(one)}

    def _clashes(self, one: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        if self._name == "security-group-rules":
            full = {**_rule(wanted["security_group_id"]), **wanted}
            return all(one[name] == value for name, value in full.items() if name != "description")
        return self._name in ("flavors", "roles", "projects", "users", "os-keypairs") and one["name"] == wanted["name"]

    def _defaults(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "networks": {"admin_state_up": True, "shared": False, "port_security_enabled": True, "tags": []},
            "subnets": {
                "host_routes": [],
                "gateway_ip": None,
                "enable_dhcp": True,
                "tags": [],
                "allocation_pools": _pools(wanted.get("cidr")),
            },
            "ports": {"fixed_ips": [], "security_groups": [], "port_security_enabled": True, "device_id": "", "tags": []},
            "security-groups": {"tags": []},
            "security-group-rules": _rule(""),
            "images": {"status": "queued", "size": None, "tags": [], "visibility": "shared", "min_disk": 0, "virtual_size": None},
            "flavors": {"os-flavor-access:is_public": True},
            "os-keypairs": {"fingerprint": "aa:bb"},
        }.get(self._name, {})
        whose = {"image": "owner", "network": "project_id"}.get(self._service)
        found |= {whose: self._project} if whose else {}
        return {name: value for name, value in found.items() if name not in wanted}

    def _deleted(self, one: Mapping[str, Any]) -> None:
        del self._all[one["id"]]
        for name, of in (("security-groups", "security-group-rules"), ("networks", "subnets")):
            if self._name == name:
                key = "security_group_id" if of == "security-group-rules" else "network_id"
                for each in [each for each in self._cloud.store[of].values() if each[key] == one["id"]]:
                    del self._cloud.store[of][each["id"]]


def _rule(group: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id"))
    return {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", **empty, **values}


def _pools(cidr: str | None) -> list[dict[str, str]]:
    if cidr is None:
        return []
    network = ipaddress.ip_network(cidr)
    return [{"start": str(network[10]), "end": str(network[-6])}]
