"""Checks of who we are in the cloud: credentials, endpoints, what we may do (tried, not guessed), and our place in the catalogue."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import requests

from controller import exceptions
from controller.deployment import machines
from controller.deployment.report import Finding, failure, ok, warning
from controller.deployment.site import Site
from controller.drivers.compute import nova
from controller.openstack import cloud, errors, sessions

ROLES = tuple(f"load-balancer_{word}" for word in ("member", "observer", "global_observer", "quota_admin", "admin"))
"""Those of the older policy, which holds beside reader, member and admin."""

EXTENSIONS = {"allowed-address-pairs": "a VIP can't move between amphorae", "security-group": "nobody guards a VIP"}
"""What Neutron has to have, and what is wrong without it."""

QUESTIONS = {"compute": "/flavors", "network": "/networks", "image": "/images", "key_manager": "/secrets", "block_storage": "/volumes"}
"""What each service is asked to see whether it answers: everybody may ask it, and it is answered shortly."""

_OLDEST = ".".join(map(str, nova.OLDEST))
_GIVE = "openstack role add --project {project} --user {user} admin"
_PATIENCE = 10.0  # seconds
_AGAIN = "ask again when it answers: nothing was found out"
_OLD = 3600  # seconds that no check lasts
_NAME = "figlina-status-check-"
_SHORTLY = {"fields": ["id", "name", "project_id"]}
_OURS = re.compile(_NAME + r"(?:([0-9a-f]+)-)?[0-9a-f]{8}")


def credentials(site: Site) -> Finding:
    """Does Keystone take us for who we say we are?"""
    try:
        access = site.access
    except exceptions.Misconfigured as error:
        fix = "[service_auth] cloud, or auth_type, auth_url, username, password, project_name and both domains: is the project missing?"
        return failure("credentials", str(error), fix)
    except exceptions.Transient as error:
        fix = "[service_auth] auth_url, or that of clouds.yaml: is it right, and does Keystone answer there when this host asks?"
        return failure("credentials", str(error), fix)
    who = f"{access.username} of project {access.project_name} ({access.project_id})"
    return ok(f"{who}, roles {', '.join(sorted(access.role_names))}")


def endpoints(site: Site) -> Iterator[Finding]:
    """Are the services in the catalogue, and do they answer?"""
    worker = site.conf.controller_worker
    more = {"key_manager": worker.secrets_driver == "barbican", "block_storage": worker.volume_driver == nova.VOLUME_DRIVER}
    for name in ["compute", "network", "image", *(name for name, used in more.items() if used)]:
        section = cloud.SECTIONS[name]
        try:
            site.cloud.service(name).get(QUESTIONS[name], {"limit": 1})  # finding a service in the catalogue asks it nothing
            told = site.cloud.service(name).microversions()
            if name == "compute" and told is None:
                told = yield from _silent(site)
        except exceptions.ControllerError as error:
            fix = f"openstack endpoint create --region REGION {name.replace('_', '-')} public URL, or [{section}] endpoint_override = URL"
            yield failure("endpoint", str(error), _AGAIN if isinstance(error, errors.TryAgain) else fix)
            continue
        newest = (told or ("", ""))[1]
        if name == "compute" and machines.numbers(newest) < nova.OLDEST:
            yield failure(
                "compute-old", f"compute speaks up to version {newest or '2.1'}, and {_OLDEST} is needed", "upgrade Nova to Rocky or newer"
            )
        yield ok(f"{name} answers{f', up to version {newest}' if newest else ''}")


def _silent(site: Site) -> Generator[Finding, None, tuple[str, str]]:
    """The compute service does not tell its versions. Returns the one in which it is asked then, by the driver, too.

    :raises ServiceRefused: it does not speak it.
    """
    site.compute.get(QUESTIONS["compute"], {"limit": 1}, microversion=_OLDEST)
    words = f"compute does not say at its endpoint which versions it speaks, and is asked in {_OLDEST}"
    yield warning(
        "compute-silent", words, "[nova] endpoint_override = the URL below which Nova itself answers to `GET /`, such as .../v2.1"
    )
    return _OLDEST, _OLDEST


def extensions(site: Site) -> Iterator[Finding]:
    """Has the network service what load balancers need?"""
    known = {one["alias"] for one in site.network.get("/extensions")["extensions"]}
    for alias, why in EXTENSIONS.items():
        if alias not in known:
            yield failure(
                "extension", f"Neutron has no extension {alias}: {why}", f"enable the service plug-in or driver for {alias} there"
            )
    yield ok(", ".join(sorted(EXTENSIONS.keys() & known)) or "none")


def rights(site: Site) -> Iterator[Finding]:
    """May the service user do what making a load balancer takes? Tried: what is made for that is deleted at once."""
    fix = _GIVE.format(project=site.access.project_name, user=site.access.username)
    tries = {code: one for code, one in TRIES.items() if code != "rights-server-group" or site.conf.nova.enable_anti_affinity}
    for code, (words, attempt) in tries.items():
        try:
            attempt(site)
        except exceptions.Transient as error:
            yield failure("unanswered", f"no answer whether {site.access.username} can {words}: {error}", _AGAIN)
        except errors.QuotaMet as error:
            yield failure(code, f"the quota does not let it {words}: {error.words}", "openstack quota set, see the check `quota`")
        except (errors.NotAllowed, errors.ServiceRefused) as error:
            yield failure(code, f"{site.access.username} can't {words}: {error}", fix)
    yield ok(f"{site.access.username} can {', '.join(words for words, _ in tries.values())}")


def _try_server(site: Site) -> None:
    """With a flavor that is none: whoever may boot is told that it is none, others are told that they may not."""
    wanted = {"name": _name(), "flavorRef": str(uuid.uuid4()), "imageRef": str(uuid.uuid4()), "networks": []}
    try:
        site.compute.post("/servers", {"server": wanted})
    except errors.ServiceRefused as error:
        if isinstance(error, errors.TryAgain) or error.status not in (400, 404):
            raise


def _try_port(site: Site) -> None:
    network = next((one for one in site.networks.values() if one), None)
    if network is None:
        return  # the check of networks says so
    project_id = uuid.uuid4().hex
    wanted = {"name": _name(), "network_id": network["id"], "project_id": project_id, "admin_state_up": False}
    if network.get("port_security_enabled", True):  # elsewhere Neutron takes neither, and nobody needs them
        wanted |= {"security_groups": [], "allowed_address_pairs": [{"ip_address": "192.0.2.1"}]}  # RFC 5737: nobody's
    trial = _Trial(site.network, "/ports", "port", {"network_id": network["id"], **_SHORTLY})
    for left in trial.sweep():
        _forget_groups_of(site, left["project_id"])
    try:
        with trial.made(wanted):
            pass
    except exceptions.Transient:
        _forget_groups_of(site, project_id)
        raise
    _forget_groups_of(site, project_id)


def _forget_groups_of(site: Site, project_id: str) -> None:
    """Neutron gives a project its group `default` with its first port, also one that does not exist. Who may not delete it leaves it.

    Called only where there was a port, or may have been: to ask for the groups of a project makes that group, too.
    """
    with contextlib.suppress(errors.ServiceRefused, exceptions.Transient):
        for group in site.network.get("/security-groups", {"project_id": project_id, "fields": ["id", "name", "project_id"]})[
            "security_groups"
        ]:
            if (group["project_id"], group["name"]) == (project_id, "default"):
                site.network.delete(f"/security-groups/{group['id']}")


def _try_group(site: Site) -> None:
    trial = _Trial(site.network, "/security-groups", "security_group", {"project_id": site.access.project_id, **_SHORTLY})
    trial.sweep()
    with trial.made({"name": _name()}) as made:
        rule = {"security_group_id": made["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
        site.network.post("/security-group-rules", {"security_group_rule": rule})


def _try_server_group(site: Site) -> None:
    trial = _Trial(site.compute, "/os-server-groups", "server_group", {"limit": 1000})
    trial.sweep()
    with trial.made({"name": _name(), "policies": ["anti-affinity"]}):
        pass


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Things of one kind that are made to see whether they can be; `among` is where they are listed."""

    service: cloud.Service
    path: str
    word: str
    among: Mapping[str, Any]

    @contextlib.contextmanager
    def made(self, wanted: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """One that is there meanwhile. Where its answer is lost, it is looked for and deleted."""
        try:
            made = self.service.post(self.path, {self.word: dict(wanted)})[self.word]
        except exceptions.Transient:
            self._delete_those(lambda name: name == wanted["name"])
            raise
        try:
            yield made
        finally:
            self.service.delete(f"{self.path}/{made['id']}")

    def sweep(self) -> Sequence[Mapping[str, Any]]:
        """Delete what checks of long ago have left, whose end or whose answers were lost. Those that run now are let alone."""
        return self._delete_those(_is_old)

    def _delete_those(self, which: Callable[[str], bool]) -> Sequence[Mapping[str, Any]]:
        """What can't be deleted now is left for the next check. Returns what is gone."""
        gone = []
        with contextlib.suppress(errors.ServiceRefused, exceptions.Transient):
            for one in self.service.get(self.path, self.among)[f"{self.word}s"]:
                if _OURS.fullmatch(one["name"]) and which(one["name"]):
                    self.service.delete(f"{self.path}/{one['id']}")
                    gone.append(one)
        return gone


def _name() -> str:
    """Of something that is made for a moment: since when, and what no other one has."""
    return f"{_NAME}{int(time.time()):x}-{secrets.token_hex(4)}"


def _is_old(name: str) -> bool:
    """Names of former releases tell no time."""
    match = _OURS.fullmatch(name)
    return match is not None and (match[1] is None or time.time() - int(match[1], 16) > _OLD)


TRIES: Mapping[str, tuple[str, Callable[[Site], None]]] = {
    "rights-server": ("boot a server", _try_server),
    "rights-port": ("make a port for another project's load balancer", _try_port),
    "rights-group": ("make a security group", _try_group),
    "rights-server-group": ("make a server group", _try_server_group),
}
"""What is tried, by the word for its failure."""


def catalogue(site: Site) -> Iterator[Finding]:
    """Do clients find our API in the catalogue, and is it us who answer there?"""
    make = "openstack service create --name figlina load-balancer; openstack endpoint create --region REGION load-balancer public URL"
    urls = site.access.service_catalog.get_urls(service_type="load-balancer", interface="public")
    if not urls:
        yield warning("catalogue-missing", "no endpoint of type load-balancer", f"{make}, or figlina cloud prepare --endpoint URL")
        return
    for url in urls:
        try:
            versions = _told(url)["versions"]
        except (requests.RequestException, errors.NoAnswer, ValueError, KeyError, TypeError, RecursionError) as error:
            fix = "start figlina-api, or correct the address: openstack endpoint set --url URL ID"
            yield warning("catalogue-silent", f"{url} is no load-balancer API that answers: {type(error).__name__}", fix)
            continue
        yield ok(f"{url} answers, {len(versions)} versions")


def _told(url: str) -> Any:
    """What whoever is at an address of the catalogue says, as JSON."""
    with sessions.bound(requests.Session()) as asking:
        begun = time.monotonic()
        answer = asking.get(url, timeout=_PATIENCE, stream=True)
        return json.loads(cloud.content_of(answer, url, begun + _PATIENCE))


def roles(site: Site) -> Finding:
    """Do the roles exist that tenants are given?"""
    try:
        known = {one["name"] for one in site.cloud.service("identity").get("/roles")["roles"]}
    except errors.NotAllowed:
        return ok("not for this user to see; reader, member and admin work in any case")
    missing = [name for name in ROLES if name not in known]
    if missing:
        return warning("roles", f"missing: {', '.join(missing)}; reader, member and admin work", f"openstack role create {missing[0]} ...")
    return ok("all five of load-balancer_*")
