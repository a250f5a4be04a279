"""`figlina cloud prepare`: make what a cloud lacks for amphorae. What is there stays as it is, so that it can be run again, and go on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import ipaddress
import math
import pathlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from controller import exceptions
from controller.deployment import identity, machines
from controller.openstack import cloud, errors, lists

MARK = "Made by `figlina cloud prepare`."
"""The description of all that we make, by which `figlina cloud remove` knows it."""
PREFIX = "figlina_prefix"
"""A property of an image: with which prefix it was made, whatever it is called by now."""

DESCRIBED = "2.55"
"""Compute's version whose flavors have a description."""

_SUM = "figlina_sha512"
_NEW = "(new)"
_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_KEY_OF_USER = "2.10"  # ... in which an administrator makes key pairs of others
Document = Mapping[str, Any]
Tell = Callable[[str, str], None]
Settings = Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is to be there. Names begin with `prefix`; `project` and `user` None: those who we are.

    `password` is that of a new user, `known_password` what a former run wrote, which is that of a user who is there.
    """

    prefix: str = "figlina"
    project: str | None = None
    user: str | None = None
    password: str | None = None
    known_password: str | None = None
    cidr: str = "172.31.240.0/20"
    gateway: str | None = None
    network_type: str | None = None
    physical_network: str | None = None
    controllers: Sequence[str] = ()
    agent_port: int = 9443
    heartbeat_port: int = 5555
    memory: int = 512
    cpus: int = 1
    disk: int = 1
    image: pathlib.Path | None = None
    tag: str = "amphora"
    visibility: str = "private"
    public_key: pathlib.Path | None = None
    endpoint: str | None = None
    region: str | None = None
    skip: frozenset[str] = frozenset()
    dry: bool = False


class Preparation:
    """One run. `settings` are the lines for figlina.conf, by section, as far as they are known; `refused` what we may not do.

    What must not be lost is given to `keep` before it is used.
    """

    def __init__(self, where: cloud.Cloud, wishes: Wishes, tell: Tell, keep: Callable[[Settings], None]) -> None:
        self._cloud = where
        self._wishes = wishes
        self._tell = tell
        self._keep = keep
        self._project = ""
        self._user = ""
        self.settings: dict[str, dict[str, str]] = {"controller_worker": {"compute_driver": "nova", "network_driver": "neutron"}}
        self.refused: list[str] = []
        self.made = 0

    def run(self) -> None:
        """Every step; one that we have no right to is told, and the others are taken all the same.

        :raises ControllerError: a service does not do it for another reason; run it again when that is mended.
        """
        identity_service = self._cloud.service("identity")
        access = identity_service.translated("who we are", lambda proxy: proxy.session.auth.get_access(proxy.session))
        self._project, self._user = str(access.project_id), str(access.user_id)
        for name, step in STEPS.items():
            if name in self._wishes.skip:
                self._tell("skipped", name)
                continue
            try:
                step(self)
            except errors.NotAllowed as error:
                self.refused.append(name)
                self._tell("refused", f"{name}: {error}")

    # who

    def user(self) -> None:
        """The service user, in a project of its own, with the roles that it needs."""
        wishes = self._wishes
        if wishes.user is None or wishes.project is None:
            return
        project = self._one("identity", "projects", "project", {"name": wishes.project, "domain_id": "default"})
        url = str(self._cloud.service("identity").translated("its address", lambda proxy: proxy.get_endpoint_data().url)).rstrip("/")
        who = {"auth_type": "password", "auth_url": url, "username": wishes.user, "project_name": wishes.project}
        who |= {"user_domain_name": "Default", "project_domain_name": "Default"}
        who |= {"region_name": wishes.region} if wishes.region else {}
        named = {"name": wishes.user, "domain_id": "default"}
        if self._found("identity", "users", named):
            if wishes.known_password and wishes.password not in (None, wishes.known_password):
                self._tell(
                    "differs", f"the password of {wishes.user} is written already, and stays; if it was changed, change it there, too"
                )
            self._known_as(who, wishes.known_password or wishes.password)
            user = self._one("identity", "users", "user", named)
        else:
            password = wishes.password or wishes.known_password or secrets.token_urlsafe(24)
            random = wishes.dry and not (wishes.password or wishes.known_password)
            self._known_as(who, "(a random one)" if random else password)
            self._keep(self.settings)  # before it is made: if the answer is lost, or we are ended, the password is not
            user = self._one("identity", "users", "user", named, password=password)
        self._project, self._user = project["id"], user["id"]
        for name in ("admin", "service"):
            role = self._one("identity", "roles", "role", {"name": name})
            self._assigned(
                f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}", f"{name} of {wishes.project} for {wishes.user}"
            )

    def _known_as(self, who: Document, password: str | None) -> None:
        if password is None:
            name = who["username"]
            self._tell("unknown", f"the password of {name}: add it as `password`, or openstack user set --password-prompt {name}")
        who = {**who, **({} if password is None else {"password": password})}
        self.settings["service_auth"] = who
        self.settings["keystone_authtoken"] = {"www_authenticate_uri": who["auth_url"], **who}

    def _assigned(self, path: str, words: str) -> None:
        service = self._cloud.service("identity")
        try:
            if _NEW not in path:
                service.call("HEAD", path)
                self._tell("there", f"role {words}")
                return
        except errors.Missing:
            pass
        self._do(f"role {words}", lambda: service.put(path))

    def roles(self) -> None:
        """The roles that tenants are given."""
        for name in identity.ROLES:
            self._one("identity", "roles", "role", {"name": name})

    def catalogue(self) -> None:
        """Our place in the catalogue."""
        url = self._wishes.endpoint
        if url is None:
            return
        service = self._one("identity", "services", "service", {"type": "load-balancer"}, name=self._wishes.prefix, description=MARK)
        for interface in ("public", "internal", "admin"):
            wanted = {"service_id": service["id"], "interface": interface}
            region = {"region_id": self._wishes.region} if self._wishes.region else {}
            found = self._one("identity", "endpoints", "endpoint", wanted | region, url=url)
            if found.get("url", url) != url:
                self._tell("differs", f"it is {found['url']}; for another one: openstack endpoint set --url {url} {found['id']}")

    # networks

    def network(self) -> None:
        """The management network, with a subnet."""
        wishes, name = self._wishes, f"{self._wishes.prefix}-mgmt"
        provider = {"provider:network_type": wishes.network_type, "provider:physical_network": wishes.physical_network}
        more = {key: value for key, value in provider.items() if value} | {"description": MARK}
        found = self._one("network", "networks", "network", {"name": name, "project_id": self._project}, **more)
        version = ipaddress.ip_network(wishes.cidr).version
        subnet = {
            "cidr": wishes.cidr,
            "ip_version": version,
            "gateway_ip": wishes.gateway,
            "description": MARK,
            "project_id": self._project,
        }
        self._one("network", "subnets", "subnet", {"network_id": found["id"], "name": f"{name}-subnet"}, **subnet)
        self.settings["controller_worker"]["amp_boot_network_list"] = found["id"]

    def groups(self) -> None:
        """What may reach an amphora, and what may reach a health manager that has a port of the cloud's."""
        version = ipaddress.ip_network(self._wishes.cidr).version
        agent = [_rule("tcp", port, one) for port in self._ports() for one in self._wishes.controllers or (None,)]
        group = self._group("mgmt", [*agent, _rule("icmp", None, None)], version)
        self._group("heartbeats", [_rule("udp", self._wishes.heartbeat_port, None)], version)
        self.settings["controller_worker"]["amp_secgroup_list"] = group["id"]

    def _ports(self) -> Sequence[int]:
        return [self._wishes.agent_port, *[22] * (self._wishes.public_key is not None)]

    def _group(self, word: str, rules: Sequence[Document], version: int) -> Document:
        name = f"{self._wishes.prefix}-{word}"
        wanted = {"name": name, "project_id": self._project}
        group = self._one("network", "security-groups", "security_group", wanted, description=MARK)
        there = group.get("security_group_rules", [])
        for rule in rules:
            prefix = rule["remote_ip_prefix"]
            of = ipaddress.ip_network(prefix).version if prefix else version
            protocol = "ipv6-icmp" if rule["protocol"] == "icmp" and of == 6 else rule["protocol"]
            whole = {**rule, "protocol": protocol, "ethertype": f"IPv{of}", "direction": "ingress"}
            words = f"rule of {name}: {protocol} {rule['port_range_min'] or 'all'} from {prefix or 'anywhere'}"
            if any(all(one.get(key) == value for key, value in whole.items()) for one in there):
                self._tell("there", words)
                continue
            body = whole | {"security_group_id": group["id"], "project_id": self._project, "description": MARK}
            self._do(words, functools.partial(self._cloud.service("network").post, "/security-group-rules", {"security_group_rule": body}))
        return group

    # machines

    def flavor(self) -> None:
        """What an amphora has of memory, processors and disk; only our project may use it."""
        wishes, compute = self._wishes, self._cloud.service("compute")
        disk = max(wishes.disk, _shape(wishes.image)[1] if wishes.image else 0)
        size = {"ram": wishes.memory, "vcpus": wishes.cpus, "disk": disk, "os-flavor-access:is_public": False, "description": MARK}
        name = f"{wishes.prefix}-amphora"
        known = {one["name"]: one for one in lists.whole(compute, "/flavors/detail", {"is_public": "None"})}
        found = known.get(name)
        if found is not None:
            self._tell("there", f"flavor {name} ({found['id']})")
        else:
            post = {"flavor": {"name": name, **size}}
            found = self._do(f"flavor {name}", lambda: compute.post("/flavors", post, microversion=DESCRIBED)["flavor"])
        self._admit(found)
        self.settings["controller_worker"]["amp_flavor_id"] = found["id"]

    def _admit(self, flavor: Document) -> None:
        """Let our project use a flavor that is not for everybody."""
        compute, project = self._cloud.service("compute"), self._project
        if flavor.get("os-flavor-access:is_public"):
            return
        known = [] if flavor["id"] == _NEW else compute.get(f"/flavors/{flavor['id']}/os-flavor-access")["flavor_access"]
        if project in [one["tenant_id"] for one in known]:
            return
        body = {"addTenantAccess": {"tenant": project}}
        self._do("right of our project to that flavor", lambda: compute.post(f"/flavors/{flavor['id']}/action", body))

    def image(self) -> None:
        """The image of amphorae, with what it needs of virtual hardware."""
        file, tag, service = self._wishes.image, self._wishes.tag, self._cloud.service("image")
        self.settings["controller_worker"] |= {"amp_image_tag": tag, "amp_image_owner_id": self._project}
        if file is None:
            return
        digest, (kind, size) = _digest(file), _shape(file)
        newest = {"owner": self._project, "sort": "created_at:desc", "limit": 1000}
        owned = lists.whole(service, "/images", newest) if self._project != _NEW else []
        marked = [one for one in owned if one.get(_SUM) == digest]
        whole = [one for one in owned if one.get("status") == "active" and _is_whole(one, file, digest)]
        for one in marked:
            if one.get("status") == "active" and one not in whole:
                self._do(f"end of image {one['id']}, which came short", functools.partial(service.delete, f"/images/{one['id']}"))
        found = next(iter(whole + [one for one in marked if one.get("status") == "queued"]), None)
        if found is None:
            shape = {"disk_format": kind, "container_format": "bare", "visibility": self._wishes.visibility, "min_disk": size}
            marks = {"tags": [tag], _SUM: digest, "figlina_made": MARK, PREFIX: self._wishes.prefix, **machines.IMAGE_PROPERTIES}
            body = {"name": f"{self._wishes.prefix}-amphora", "owner": self._project, **shape, **marks}
            found = self._do(f"image {body['name']} of {file}", lambda: service.post("/images", body))
        elif found["status"] == "active":
            self._tell("there", f"image {found['name']} ({found['id']}) with the bits of {file}")
        if found.get("status") == "queued":  # also of a run that did not come to its end
            with file.open("rb") as content:
                self._do(f"upload of {file}", lambda: self._upload(service, found["id"], content, file, digest))
        self._fit(found, tag)

    def _upload(self, service: cloud.Service, image_id: str, content: BinaryIO, file: pathlib.Path, digest: str) -> None:
        service.upload(f"/images/{image_id}/file", content)
        if not _is_whole(service.get(f"/images/{image_id}"), file, digest):
            service.delete(f"/images/{image_id}")
            raise exceptions.Transient(f"not all of {file} arrived in image {image_id}, which is deleted again: run it again")

    def _fit(self, image: Document, tag: str) -> None:
        """Give an image that is there what it lacks."""
        service = self._cloud.service("image")
        if image["id"] == _NEW:
            return
        if tag not in image["tags"]:
            self._do(f"tag {tag} of that image", lambda: service.put(f"/images/{image['id']}/tags/{tag}"))
        lacking = {name: value for name, value in machines.IMAGE_PROPERTIES.items() if image.get(name) != value}
        if lacking:
            body = [{"op": "replace" if name in image else "add", "path": f"/{name}", "value": value} for name, value in lacking.items()]
            words = f"properties {', '.join(lacking)} of that image"
            self._do(words, lambda: service.call("PATCH", f"/images/{image['id']}", body, headers=_PATCH))

    def key(self) -> None:
        """The key pair with which operators log in to amphorae, of the user who boots them."""
        file, compute = self._wishes.public_key, self._cloud.service("compute")
        if file is None:
            return
        name = f"{self._wishes.prefix}-amphora"
        self.settings["controller_worker"]["amp_ssh_key_name"] = name
        whose = {"user_id": self._user}
        known = [] if self._user == _NEW else compute.get("/os-keypairs", whose, microversion=_KEY_OF_USER)["keypairs"]
        if name in [one["keypair"]["name"] for one in known]:
            self._tell("there", f"key pair {name}")
            return
        body = {"keypair": {"name": name, "type": "ssh", "public_key": file.read_text().strip(), **whose}}
        self._do(f"key pair {name}", lambda: compute.post("/os-keypairs", body, microversion=_KEY_OF_USER))

    # how

    def _one(self, service: str, collection: str, word: str, wanted: Document, **more: Any) -> Document:
        """What is there and looks as wanted, or a new one that has `more` as well.

        :raises Conflict: there are several.
        """
        asked, name = self._cloud.service(service), wanted.get("name") or more.get("name") or wanted.get("interface")
        words = f"{word.replace('_', ' ')} {name}"
        found = self._found(service, collection, wanted)
        if len(found) > 1:
            ids = ", ".join(one["id"] for one in found)
            raise exceptions.Conflict(f"There are several: {words} ({ids}). Delete or rename all but one, or choose another --prefix.")
        if found:
            self._tell("there", f"{words} ({found[0]['id']})")
            return dict(found[0])
        body = {word: {**wanted, **more}}
        return self._do(words, lambda: asked.post(f"/{collection}", body)[word])

    def _found(self, service: str, collection: str, wanted: Document) -> Sequence[Document]:
        if _NEW in wanted.values():
            return []
        return lists.whole(self._cloud.service(service), f"/{collection}", wanted)

    def _do(self, words: str, act: Callable[[], Any]) -> Document:
        self.made += 1
        if self._wishes.dry:
            self._tell("to make", words)
            return {"id": _NEW}
        done = act()
        made: Document = done if isinstance(done, dict) else {}
        self._tell("made", f"{words} ({made['id']})" if "id" in made else words)
        return made


STEPS: Mapping[str, Callable[[Preparation], None]] = {
    "user": Preparation.user,
    "roles": Preparation.roles,
    "catalogue": Preparation.catalogue,
    "network": Preparation.network,
    "groups": Preparation.groups,
    "flavor": Preparation.flavor,
    "image": Preparation.image,
    "key": Preparation.key,
}


def _rule(protocol: str, port: int | None, prefix: str | None) -> Document:
    return {"protocol": protocol, "port_range_min": port, "port_range_max": port, "remote_ip_prefix": prefix}


def _shape(file: pathlib.Path) -> tuple[str, int]:
    """Format of an image, and the GiB of its disk.

    The head of QCOW2 (QEMU's docs/interop/qcow2.txt) has its magic first, and at byte 24 the size of the disk.
    """
    with file.open("rb") as content:
        head = content.read(32)
    kind = "qcow2" if head[:4] == b"QFI\xfb" else "raw"
    size = int.from_bytes(head[24:32], "big") if kind == "qcow2" else file.stat().st_size
    return kind, math.ceil(size / 1024**3)


def _is_whole(image: Document, file: pathlib.Path, digest: str) -> bool:
    """By Glance's sum of its bits or, where that is another one or none, by their number."""
    if image.get("os_hash_algo") == "sha512":
        return bool(image["os_hash_value"] == digest)
    return image.get(_SUM) == digest and image.get("size") == file.stat().st_size


def _digest(file: pathlib.Path) -> str:
    """SHA-512, by which Glance knows the bits of an image."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha512").hexdigest()
