"""Checks of what amphorae are booted from and as: image, flavor, quota, key, and the hosts that keep a pair apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.deployment.report import Finding, failure, ok, warning
from controller.deployment.site import Document, Site
from controller.drivers.compute import nova
from controller.openstack import errors

IMAGE_PROPERTIES = {"hw_cdrom_bus": "scsi", "hw_scsi_model": "virtio-scsi"}
"""Our image's kernel has drivers for virtual hardware only; without these Nova may put the configuration drive on SATA."""

MEMORY = 256
"""MiB that an amphora of our image needs at least."""

FORMATS = ("qcow2", "raw")
_FEW = 10  # load balancers: below, somebody should ask for more quota
_GIB = 1024**3
_HOSTS = 4  # that a failover of a pair takes where none of its four amphorae may share one
_RULES = 6  # of a load balancer's security group: two for what goes out, those of VRRP, a listener or two
_PREPARE = "figlina cloud prepare --os-cloud ADMIN --image build/image/amphora.qcow2"


def image(site: Site) -> Iterator[Finding]:
    """Is there an image with the tag, and is it fit to be booted?"""
    worker = site.conf.controller_worker
    tag, owner = worker.amp_image_tag, worker.amp_image_owner_id
    found = site.image
    if found is None:
        yield _no_image(site, tag, owner)
        return
    who = f"{found['name']} ({found['id']})"
    if owner is None:
        word = "any project that may share images with everybody can give us the next one"
        yield warning("image-owner-unset", f"{who}: {word}", f"[controller_worker] amp_image_owner_id = {found['owner']}")
    wrong = {name: value for name, value in IMAGE_PROPERTIES.items() if found.get(name) != value}
    if wrong:
        options = " ".join(f"--property {name}={value}" for name, value in wrong.items())
        words = f"{who} lacks {', '.join(wrong)}: an amphora may not see its configuration drive"
        yield warning("image-properties", words, f"openstack image set {options} {found['id']}")
    if found["disk_format"] not in FORMATS:
        yield warning("image-format", f"{who} has the format {found['disk_format']}", f"upload it as qcow2: {_PREPARE}")
    yield ok(f"{who}, {found['disk_format']}, {(found['size'] or 0) / 1e6:.1f} MB, of project {found['owner']}")


def _no_image(site: Site, tag: str, owner: str | None) -> Finding:
    """Why not: there is none at all, it is somebody else's, or it isn't uploaded to its end."""
    if not site.images:
        return failure("image-missing", f"no image has the tag {tag}", f"{_PREPARE}; or openstack image set --tag {tag} IMAGE")
    active = [one for one in site.images if one["status"] == "active"]
    if not active:
        one = site.images[0]
        return failure("image-status", f"{one['name']} ({one['id']}) is {one['status']}", f"upload it again: {_PREPARE}")
    owners = ", ".join(sorted({str(one["owner"]) for one in active}))
    fix = f"[controller_worker] amp_image_owner_id = one of these; or {_PREPARE}"
    return failure("image-owner", f"images with the tag {tag} belong to {owners}, not to {owner}", fix)


def flavor(site: Site) -> Iterator[Finding]:
    """Is the flavor there, and large enough for the image?"""
    name = site.conf.controller_worker.amp_flavor_id
    if not name:
        yield failure("flavor-unset", "[controller_worker] amp_flavor_id is not set", "figlina cloud prepare --os-cloud ADMIN, or name one")
        return
    found = site.flavor
    if found is None:
        yield failure(
            "flavor-missing", f"there is no flavor {name} that we see", "openstack flavor list; [controller_worker] amp_flavor_id"
        )
        return
    who = f"{found['name']} ({found['vcpus']} CPU, {found['ram']} MiB, {found['disk']} GiB)"
    if found["ram"] < MEMORY:
        yield failure("flavor-memory", f"{who} has less than {MEMORY} MiB of memory", "another flavor")
    needed = _disk(site.image)
    if not _from_volumes(site) and found["disk"] and found["disk"] < needed:  # 0: as large as the image
        yield failure("flavor-disk", f"{who} is smaller than the image, which needs {needed} GiB", "a flavor with a larger disk")
    if not _from_volumes(site) and not found["disk"] and "admin" not in site.access.role_names:
        # Nova's policy os_compute_api:servers:create:zero_disk_flavor is role:admin by default (its configuration reference)
        words = f"{who} has no disk, with which compute lets administrators alone boot an image, unless its policy says otherwise"
        yield warning("flavor-no-disk", words, f"a flavor with a disk of {max(needed, 1)} GiB")
    yield ok(who)


def zone(site: Site) -> Finding:
    """Is the zone there that amphorae boot in?"""
    name = site.conf.nova.availability_zone
    if not name:
        return ok("none is named: compute chooses")
    known = {one["zoneName"]: one for one in site.compute.get("/os-availability-zone")["availabilityZoneInfo"]}
    found = known.get(name.partition(":")[0])  # an administrator may name a host, too: zone:host
    if found is None or not found["zoneState"]["available"]:
        words = f"compute has no zone {name}" if found is None else f"no host of the zone {name} is up"
        fix = f"[nova] availability_zone = one of {', '.join(sorted(known)) or 'none'}, or leave it out"
        return failure("zone", words, fix)
    return ok(name)


def volume(site: Site) -> Iterator[Finding]:
    """Are the volumes that amphorae boot from large enough, and of a type that is there?"""
    size, kind = site.conf.cinder.volume_size, site.conf.cinder.volume_type
    if not _from_volumes(site):
        yield ok("no amphora boots from one")
        return
    needed = _disk(site.image)
    if size < needed:
        yield failure("volume-size", f"volumes of {size} GiB are smaller than the image, which needs {needed}", "[cinder] volume_size")
    if kind:
        found = site.cloud.service("block_storage").get("/types")["volume_types"]
        if kind not in {one[key] for one in found for key in ("id", "name")}:
            fix = f"[cinder] volume_type = one of {', '.join(sorted(one['name'] for one in found))}, or leave it out"
            yield failure("volume-type", f"the volume service has no type {kind} that we see", fix)
    yield ok(f"{size} GiB{f', {kind}' if kind else ''}")


def _from_volumes(site: Site) -> bool:
    return bool(site.conf.controller_worker.volume_driver == nova.VOLUME_DRIVER)


def _disk(found: Document | None) -> int:
    """GiB that an image takes at least."""
    if found is None:
        return 0
    size = found.get("virtual_size") or (found["size"] if found["disk_format"] == "raw" else 0) or 0
    return max(int(found["min_disk"] or 0), math.ceil(size / _GIB))


def quota(site: Site) -> Finding:
    """How many load balancers fit into the quota of our project?"""
    rooms = {what: room // need for what, (room, need) in _rooms(site).items() if room is not None}
    if not rooms:
        return ok("nothing is limited")
    what = min(rooms, key=lambda one: rooms[one])
    option, _, kind = what.partition(" of type ")
    fix = f"openstack quota set --{option} NUMBER {f'--volume-type {kind} ' if kind else ''}{site.access.project_id}"
    words = f"room for {rooms[what]} load balancers ({what} is the narrowest)"
    if rooms[what] < 1:
        return failure("quota-full", words, fix)
    return warning("quota-low", words, fix) if rooms[what] < _FEW else ok(words)


def _rooms(site: Site) -> Mapping[str, tuple[int | None, int]]:
    """What is left of each quota, None if that has no end, and what one load balancer takes. By the options of `openstack quota set`."""
    amphorae = 2 if site.conf.controller_worker.loadbalancer_topology == "ACTIVE_STANDBY" else 1
    project = site.access.project_id
    machines = site.compute.get(f"/os-quota-sets/{project}/detail")["quota_set"]
    networks = site.network.get(f"/quotas/{project}/details")["quota"]
    size = site.flavor or {"vcpus": 1, "ram": MEMORY}
    rooms = {
        "instances": (_left(machines["instances"], "in_use"), amphorae),
        "cores": (_left(machines["cores"], "in_use"), amphorae * size["vcpus"]),
        "ram": (_left(machines["ram"], "in_use"), amphorae * size["ram"]),
        "ports": (_left(networks["port"], "used"), 2 * amphorae),  # management and VRRP; the VIP's port is its tenant's
        "secgroups": (_left(networks["security_group"], "used"), 1),
        "secgroup-rules": (_left(networks["security_group_rule"], "used"), _RULES),
    }
    if site.conf.nova.enable_anti_affinity and amphorae > 1:
        rooms["server-groups"] = (_left(machines["server_groups"], "in_use"), 1)
    if _from_volumes(site):
        rooms |= _volumes(site, amphorae)
    return rooms


def _volumes(site: Site, amphorae: int) -> Mapping[str, tuple[int | None, int]]:
    """The same of the volumes that amphorae boot from, of all and of their type."""
    size, kind = site.conf.cinder.volume_size, site.conf.cinder.volume_type
    quotas = site.cloud.service("block_storage").get(f"/os-quota-sets/{site.access.project_id}", {"usage": "true"})["quota_set"]
    rooms = {what: (_left(quotas[what], "in_use"), need) for what, need in (("volumes", amphorae), ("gigabytes", amphorae * size))}
    for what in tuple(rooms) if kind else ():
        if f"{what}_{kind}" in quotas:
            rooms[f"{what} of type {kind}"] = (_left(quotas[f"{what}_{kind}"], "in_use"), rooms[what][1])
    largest = quotas.get("per_volume_gigabytes", {"limit": -1})["limit"]
    if 0 <= largest < size:
        rooms["per-volume-gigabytes"] = (0, 1)
    return rooms


def _left(quotas: Mapping[str, int], used: str) -> int | None:
    return None if quotas["limit"] < 0 else max(0, quotas["limit"] - quotas[used] - quotas.get("reserved", 0))


def ssh_key(site: Site) -> Finding:
    """Is the SSH key there that the configuration names?"""
    name = site.conf.controller_worker.amp_ssh_key_name
    if not name:
        return ok("none is named: nobody logs in to amphorae")
    try:
        found: Any = site.compute.get(f"/os-keypairs/{name}")["keypair"]
    except errors.Missing:
        fix = f"openstack keypair create --public-key FILE {name}, as the user of [service_auth]"
        return failure("key-missing", f"{site.access.username} has no key pair {name}", fix)
    return ok(f"{name} {found['fingerprint']}")


def affinity(site: Site) -> Finding:
    """Can the two halves of a pair be kept on two hosts, and their successors, too?"""
    nova, worker = site.conf.nova, site.conf.controller_worker
    if not nova.enable_anti_affinity:
        return ok("[nova] enable_anti_affinity is off: the scheduler decides")
    hosts = _hosts(site)
    if hosts is not None and nova.anti_affinity_policy == "anti-affinity" and worker.loadbalancer_topology == "ACTIVE_STANDBY":
        soft = "[nova] anti_affinity_policy = soft-anti-affinity"
        if hosts < 2:
            return failure("affinity-hosts", f"there is {hosts} compute host that is up, and each pair needs two", soft)
        if hosts < _HOSTS:
            words = f"{hosts} compute hosts are up: a half is replaced only where there is a third one, both at once where there are four"
            return warning("affinity-successors", words, soft)
    return ok(f"{nova.anti_affinity_policy}, {'hosts not for us to see' if hosts is None else f'{hosts} hosts'}")


def _hosts(site: Site) -> int | None:
    """Compute hosts that are up; None where we may not see them."""
    try:
        found: Sequence[Document] = site.compute.get("/os-services", {"binary": "nova-compute"})["services"]
    except errors.NotAllowed:
        return None
    return len([one for one in found if one["state"] == "up" and one["status"] == "enabled"])


def numbers(version: str) -> tuple[int, ...]:
    """A version of an API, to compare it."""
    return tuple(int(part) for part in version.split(".")) if version else (0,)
