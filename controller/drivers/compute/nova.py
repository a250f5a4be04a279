"""An amphora as a server of OpenStack's compute service (Nova), booted from an image of its image service (Glance).

A server is found by its name, `amphora-<amphora id>`, and by its tag, the name of this deployment: others in the same project (a second
Figlina, an Octavia) name theirs alike. Whose it is stands in its metadata, too: names can be changed, and tags taken off. So does what was
asked for, since Nova does not show all of it. Paths and fields are those of Nova's API reference
(https://docs.openstack.org/api-ref/compute/).
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import cachetools
from oslo_config import cfg

from amphora_agent.protocol import boot
from controller import exceptions
from controller.drivers.compute import glance, interface, user_data
from controller.model.network import Port
from controller.openstack import cloud, errors

LOG = logging.getLogger(__name__)
T = TypeVar("T")

OLDEST, NEWEST = (2, 64), (2, 72)
"""The versions of the compute API (Rocky, Train) for which this is written. From 2.69 on, servers of a cell that does not answer say so."""
_VOLUME_TYPES = (2, 67)
_KEPT = 300.0
"""Seconds for which versions are believed: a service may be upgraded while we run. One that it refuses is forgotten at once."""

_LONGEST_USER_DATA = 65535  # characters of base64; Nova's API reference, "Create Server"
_PAGE = 500
_SMALLEST_PAGE = 20
"""Groups: a longer page may have been cut at `[api] max_limit` of the service, and is followed by another one."""
VOLUME_DRIVER = "volume_cinder_driver"
"""The value of `[controller_worker] volume_driver` by which machines boot from volumes."""

_STATUS = {
    "ACTIVE": interface.InstanceStatus.ACTIVE,
    "PASSWORD": interface.InstanceStatus.ACTIVE,
    "RESIZE": interface.InstanceStatus.ACTIVE,
    "VERIFY_RESIZE": interface.InstanceStatus.ACTIVE,
    "REVERT_RESIZE": interface.InstanceStatus.ACTIVE,
    "MIGRATING": interface.InstanceStatus.ACTIVE,
    "BUILD": interface.InstanceStatus.BUILD,
    "REBUILD": interface.InstanceStatus.BUILD,
    "REBOOT": interface.InstanceStatus.BUILD,
    "HARD_REBOOT": interface.InstanceStatus.BUILD,
    "ERROR": interface.InstanceStatus.ERROR,
}
"""What is in none of these does not run: SHUTOFF, PAUSED, SUSPENDED, SHELVED, RESCUE."""
_GOING = {"deleting", "soft-deleting"}
_GONE = {"DELETED", "SOFT_DELETED"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The disk of a machine as a volume; `size` in GiB."""

    size: int
    type: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all servers have in common. `deployment` is their tag; `more_networks` follow the management network `management_network`;
    `policy` None: no groups.
    """

    deployment: str = "figlina"
    zone: str | None = None
    ssh_key: str | None = None
    policy: str | None = None
    volume: Volume | None = None
    management_network: str | None = None
    more_networks: tuple[str, ...] = ()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Settings:
        """The settings that `[nova]`, `[cinder]` and `[controller_worker]` say."""
        worker = conf.controller_worker
        from_volume = worker.volume_driver == VOLUME_DRIVER
        networks = worker.amp_boot_network_list
        return cls(
            deployment=worker.deployment,
            zone=conf.nova.availability_zone,
            ssh_key=worker.amp_ssh_key_name,
            policy=conf.nova.anti_affinity_policy if conf.nova.enable_anti_affinity else None,
            volume=Volume(size=conf.cinder.volume_size, type=conf.cinder.volume_type) if from_volume else None,
            management_network=next(iter(networks), None),
            more_networks=tuple(networks[1:]),
        )


class NovaCompute(interface.ComputeDriver):
    """`services` gives a service by openstacksdk's name for it."""

    def __init__(
        self,
        services: Callable[[str], cloud.Service],
        settings: Settings,
        image_owner: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._versions = cachetools.TTLCache[str, tuple[int, int], float](1, _KEPT, clock)
        self._nova = services("compute")
        self._images = glance.Images(services("image"), image_owner)
        self._settings = settings

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> NovaCompute:
        """The driver as the configuration says.

        :raises Misconfigured: it is not said as whom the cloud is asked.
        """
        return cls(cloud.Cloud.from_conf(conf).service, Settings.from_conf(conf), conf.controller_worker.amp_image_owner_id)

    @property
    def _version(self) -> tuple[int, int]:
        """The newest that both sides know; the oldest of ours, where the service's are not told.

        :raises Misconfigured: this compute service is too old, or too new.
        """
        found = self._versions.get("compute")
        if found is None:
            self._versions["compute"] = found = self._agreed()
        return found

    def _agreed(self) -> tuple[int, int]:
        told = self._nova.microversions()
        if told is None:
            LOG.info("compute: the service does not tell its versions: it is asked in %s", _dotted(OLDEST))
            return OLDEST
        oldest, newest = map(_numbers, told)
        if newest < OLDEST or oldest > NEWEST:
            raise exceptions.Misconfigured(
                f"the compute service speaks versions {_dotted(oldest)} to {_dotted(newest)} of its API, and Figlina {_dotted(OLDEST)} to "
                f"{_dotted(NEWEST)}: upgrade the older one (Nova to Rocky or newer), or let [nova] endpoint_override name a v2.1 endpoint"
            )
        return min(newest, NEWEST)

    def _has_volumes(self) -> bool:
        try:
            return self._services("block_storage").microversions() != ("", "")
        except exceptions.Misconfigured:
            return False

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._in_our_version(lambda version: self._nova.get(path, params, microversion=version))

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._in_our_version(lambda version: self._nova.post(path, body, microversion=version))

    def _in_our_version(self, ask: Callable[[str], T]) -> T:
        """Once more in another one where the service does not speak it any more; it has done nothing then."""
        try:
            return ask(_dotted(self._version))
        except errors.ServiceRefused as error:
            if error.status != 406:
                raise
            self._versions.clear()
            return ask(_dotted(self._version))

    # What can be chosen

    def check_flavor(self, flavor: str) -> None:
        try:
            self._get(f"/flavors/{flavor}")
        except errors.Missing as error:
            raise exceptions.NotFound("Compute flavor", flavor) from error

    def check_image_tag(self, tag: str) -> None:
        self._images.newest(tag)

    def check_zone(self, zone: str) -> None:
        if zone not in {one["zoneName"] for one in self._get("/os-availability-zone")["availabilityZoneInfo"]}:
            raise exceptions.NotFound("Compute zone", zone)

    # Boot

    def boot(self, request: interface.BootRequest) -> interface.Instance:
        """Two servers of one amphora are only there if an answer was lost for longer than anybody waits: the better one stays."""
        found = self._named(request.amphora_id)
        for surplus in found[1:]:
            LOG.warning("amphora %s has a server too many, %s: it is deleted", request.amphora_id, surplus["id"])
            self._nova.delete(f"/servers/{surplus['id']}")
        if found:
            return _instance(found[0])
        body = self._body(request)
        try:
            made = self._post("/servers", body)["server"]
        except (errors.QuotaMet, errors.NotAllowed, exceptions.Transient):
            raise
        except errors.Contradicted as error:  # such as a port that a server has which is being deleted
            raise exceptions.Transient(str(error)) from error
        except errors.ServiceRefused as error:
            self._images.forget(request.image_tag or "")
            raise exceptions.ComputeFault(f"{error} Look at the options and the flavor that name what it speaks of") from error
        wanted = body["server"]
        return interface.Instance(
            id=str(made["id"]),
            amphora_id=request.amphora_id,
            status=interface.InstanceStatus.BUILD,
            management_address=wanted["metadata"].get("figlina_address"),
            zone=wanted.get("availability_zone"),
            image_id=wanted["metadata"]["figlina_image"],
            flavor=request.flavor,
        )

    def _body(self, request: interface.BootRequest) -> dict[str, Any]:
        if not request.flavor:
            raise exceptions.Misconfigured("[controller_worker] amp_flavor_id: name the compute service's flavor for amphorae")
        if not request.image_tag:
            raise exceptions.Misconfigured("[controller_worker] amp_image_tag: name the tag of the image for amphorae")
        image = self._images.newest(request.image_tag)
        settings = self._settings
        more = self._more_networks(request)
        metadata = {"figlina_amphora": request.amphora_id, "figlina_flavor": request.flavor, "figlina_image": image}
        server: dict[str, Any] = {
            "name": request.name,
            "flavorRef": request.flavor,
            "config_drive": True,
            "user_data": _user_data(request, more),
            "networks": [*({"port": port.id} for port in request.ports), *({"uuid": one} for one in more)],
            "metadata": metadata | ({"figlina_address": request.management_address} if request.management_address else {}),
            "tags": [self._settings.deployment],
            **self._disk(image),
        }
        optional = {"availability_zone": request.zone or settings.zone, "key_name": settings.ssh_key}
        server |= {name: value for name, value in optional.items() if value}
        hints = {"os:scheduler_hints": {"group": request.server_group_id}} if request.server_group_id else {}
        return {"server": server, **hints}

    def _more_networks(self, request: interface.BootRequest) -> tuple[str, ...]:
        """Not where an availability zone has a management network of its own: that one replaces all of them."""
        own = request.ports and request.ports[0].network_id == self._settings.management_network
        return self._settings.more_networks if own else ()

    def _disk(self, image: str) -> dict[str, Any]:
        volume = self._settings.volume
        if volume is None:
            return {"imageRef": image}
        if not self._has_volumes():
            raise exceptions.Misconfigured(
                "[controller_worker] volume_driver asks for volumes, and the catalog of this cloud has no volume service: leave it at "
                "volume_noop_driver, or register one"
            )
        if volume.type is not None and self._version < _VOLUME_TYPES:
            raise exceptions.Misconfigured(
                f"[cinder] volume_type needs version {_dotted(_VOLUME_TYPES)} of the compute API, and there is {_dotted(self._version)}: "
                "let the volume service's own default decide"
            )
        source = {"boot_index": 0, "uuid": image, "source_type": "image", "destination_type": "volume", "delete_on_termination": True}
        kind = {"volume_type": volume.type} if volume.type else {}
        return {"block_device_mapping_v2": [{**source, "volume_size": volume.size, **kind}]}

    # Looking

    def get(self, compute_id: str) -> interface.Instance:
        try:
            server = self._get(f"/servers/{compute_id}")["server"]
        except errors.Missing as error:
            raise exceptions.NotFound("Instance", compute_id) from error
        if server["status"] == "UNKNOWN":
            raise exceptions.Transient(f"compute: nobody knows what server {compute_id} does: the database of its cell does not answer")
        if _is_gone(server):
            raise exceptions.NotFound("Instance", compute_id)
        return _instance(server)

    def find(self, amphora_id: str) -> interface.Instance | None:
        found = self._of(amphora_id)
        return _instance(found[0]) if found else None

    def list_ours(self) -> Iterable[interface.Instance]:
        return [_instance(server) for server in self._pages(self._tagged) if not _is_gone(server)]

    @property
    def _tagged(self) -> Mapping[str, str]:
        return {"tags": self._settings.deployment}

    def _of(self, amphora_id: str) -> list[Mapping[str, Any]]:
        """The servers of an amphora. Where none has its name, somebody may have changed that: ours are looked through."""
        return self._named(amphora_id) or _best_first(self._pages(self._tagged), amphora_id)

    def _named(self, amphora_id: str) -> list[Mapping[str, Any]]:
        """Those that have its name, and are no other one's."""
        name = f"amphora-{amphora_id}"
        found = self._pages({"name": f"^{name}$"})
        return _best_first((server for server in found if server["name"] == name and self._is_ours(server, amphora_id)), amphora_id)

    def _is_ours(self, server: Mapping[str, Any], amphora_id: str) -> bool:
        """By its tag; or it has lost that, and its metadata tell. One with another tag is another deployment's, such as a copy of this."""
        tags = server.get("tags") or ()
        return self._settings.deployment in tags or (not tags and (server.get("metadata") or {}).get("figlina_amphora") == amphora_id)

    def _pages(self, params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """All servers, page by page. If that is deleted where a page ended, from the beginning, without those that were told."""
        marker: dict[str, Any] = {}
        told: set[str] = set()
        before = 0
        while True:
            try:
                page = self._get("/servers/detail", {**params, "limit": _PAGE, **marker})
            except errors.ServiceRefused as exc:
                if not marker or exc.status != 400 or len(told) == before:
                    raise
                marker, before = {}, len(told)
                continue
            yield from (one for one in page["servers"] if one["id"] not in told)
            told.update(one["id"] for one in page["servers"])
            if not page.get("servers_links"):
                return
            marker = {"marker": page["servers"][-1]["id"]}

    # Ports

    def attach_port(self, compute_id: str, port: Port) -> None:
        try:
            self._post(f"/servers/{compute_id}/os-interface", {"interfaceAttachment": {"port_id": port.id}})
        except (errors.QuotaMet, errors.NotAllowed, exceptions.Transient):
            raise
        except errors.ServiceRefused as error:
            if port.id not in self._plugged(compute_id):
                self.get(compute_id)
                raise _not_plugged(error, compute_id) from error

    def detach_port(self, compute_id: str, port: Port) -> None:
        try:
            path = f"/servers/{compute_id}/os-interface/{port.id}"
            self._in_our_version(lambda version: self._nova.delete(path, microversion=version))
        except errors.Contradicted as error:
            with contextlib.suppress(exceptions.NotFound):  # with the machine its plugs go
                self.get(compute_id)
                raise exceptions.Transient(str(error)) from error

    def _plugged(self, compute_id: str) -> set[str]:
        try:
            return {str(one["port_id"]) for one in self._get(f"/servers/{compute_id}/os-interface")["interfaceAttachments"]}
        except errors.Missing as error:
            raise exceptions.NotFound("Instance", compute_id) from error

    # The end

    def delete(self, amphora_id: str) -> None:
        for server in self._of(amphora_id):
            try:
                self._nova.delete(f"/servers/{server['id']}")
            except errors.Contradicted as error:  # it is being moved, or an administrator has locked it
                raise exceptions.Transient(str(error)) from error

    # Groups

    def ensure_server_group(self, load_balancer_id: str) -> str | None:
        policy = self._settings.policy
        if policy is None:
            return None
        for group in self._groups():
            if group["name"] == self._group_name(load_balancer_id):
                return str(group["id"])
        wanted = {"name": self._group_name(load_balancer_id), "policy": policy}
        return str(self._post("/os-server-groups", {"server_group": wanted})["server_group"]["id"])

    def keeps_apart(self) -> bool:
        return self._settings.policy is not None

    def delete_server_group(self, load_balancer_id: str) -> None:
        for group in list(self._groups()):
            if group["name"] == self._group_name(load_balancer_id):
                self._nova.delete(f"/os-server-groups/{group['id']}")

    def list_server_groups(self) -> Iterable[str]:
        first = self._group_name("")
        return [str(group["name"]).removeprefix(first) for group in self._groups() if str(group["name"]).startswith(first)]

    def _group_name(self, load_balancer_id: str) -> str:
        """Groups of servers have neither tags nor descriptions."""
        return f"{self._settings.deployment}-lb-{load_balancer_id}"

    def _groups(self) -> Iterator[Mapping[str, Any]]:
        offset = 0
        while page := self._get("/os-server-groups", {"limit": _PAGE, "offset": offset})["server_groups"]:
            yield from page
            if len(page) < min(_PAGE, _SMALLEST_PAGE):
                return
            offset += len(page)


_RANK = {status: place for place, status in enumerate(("ACTIVE", "BUILD", "SHUTOFF", "ERROR"))}


def _best_first(servers: Iterable[Mapping[str, Any]], amphora_id: str) -> list[Mapping[str, Any]]:
    """An amphora's own of these, and of equals the oldest first."""
    found = [server for server in servers if not _is_gone(server) and _instance(server).amphora_id == amphora_id]
    return sorted(found, key=lambda server: (_RANK[_status(server)], server["created"], server["id"]))


def _status(server: Mapping[str, Any]) -> interface.InstanceStatus:
    return _STATUS.get(server["status"], interface.InstanceStatus.SHUTOFF)


def _instance(server: Mapping[str, Any]) -> interface.Instance:
    metadata = server.get("metadata") or {}
    image = server.get("image") or {}  # "" where it booted from a volume
    return interface.Instance(
        id=str(server["id"]),
        amphora_id=str(metadata.get("figlina_amphora") or str(server["name"]).removeprefix("amphora-")),
        status=_status(server),
        management_address=metadata.get("figlina_address"),
        zone=server.get("OS-EXT-AZ:availability_zone") or None,
        image_id=image.get("id") or metadata.get("figlina_image"),
        flavor=metadata.get("figlina_flavor"),
        fault=(server.get("fault") or {}).get("message"),
    )


def _is_gone(server: Mapping[str, Any]) -> bool:
    """Or going: nothing brings it back."""
    return server["status"] in _GONE or server.get("OS-EXT-STS:task_state") in _GOING


def _user_data(request: interface.BootRequest, more_networks: Sequence[str]) -> str:
    """With the networks whose cards the machine itself has to configure: all others are tenants'."""
    more = {boot.BOOT_NETWORKS_PATH: json.dumps(more_networks).encode()} if more_networks else {}
    encoded = base64.b64encode(user_data.of_files({**request.files, **more}).encode()).decode()
    if len(encoded) > _LONGEST_USER_DATA:
        raise exceptions.Misconfigured(
            f"what an amphora gets at its boot takes {len(encoded)} characters, and Nova takes {_LONGEST_USER_DATA}: give [certificates] "
            "smaller keys or fewer roots"
        )
    return encoded


def _not_plugged(error: errors.ServiceRefused, compute_id: str) -> exceptions.ControllerError:
    """Its server is in a state that takes no port now, or the port still belongs to another one: both pass. All else does not."""
    if isinstance(error, errors.Contradicted):
        return exceptions.Transient(str(error))
    return exceptions.ComputeFault(f"server {compute_id}: {error}")


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (2, 1)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
