"""`figlina cloud remove`: delete what `figlina cloud prepare` made for one project, once nothing uses it any more."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from controller import exceptions
from controller.deployment.prepare import DESCRIBED, MARK, PREFIX, Document, Tell
from controller.openstack import cloud, errors, lists

_MANY = 1000  # of a list that is answered at once
_SOME = 5  # users that are named
_OF_NEUTRON = ("network:dhcp", "network:distributed")
"""Owners of ports that Neutron deletes with their network."""

Step = tuple[str, Callable[[], Any]]


def remove(where: cloud.Cloud, prefix: str, tell: Tell, *, project: str | None, dry: bool) -> None:
    """Delete what `prepare` made with that prefix in that project (None: ours), and nothing else.

    Users, projects, roles and key pairs stay: others may use them. A flavor and a place in the catalogue stay for other projects of ours.

    :raises Conflict: it is in use, and nothing was deleted.
    :raises ControllerError: a service does not do it; what was deleted before is gone.
    """
    ours = _Ours(where, prefix, project, tell)
    users = list(ours.users())
    if users:
        more = f" and {len(users) - _SOME} more" if len(users) > _SOME else ""
        words = f"It is in use by {', '.join(users[:_SOME])}{more}"
        raise exceptions.Conflict(f"{words}. Nothing was deleted: delete the load balancers and the controllers' ports there before.")
    steps = list(ours.steps())
    if not steps:
        tell("nothing", f"of {prefix} was made in the project {project or ours.project}; --project names another one")
    for words, act in steps:
        if not dry:
            act()
        tell("to delete" if dry else "deleted", words)


class _Ours:
    """All that bears our mark and prefix: of one project, and what other projects have of it."""

    def __init__(self, where: cloud.Cloud, prefix: str, project: str | None, tell: Tell) -> None:
        self._cloud = where
        self._prefix = prefix
        self._tell = tell
        self.project = where.project_id if project is None else self._project(project)
        self._elsewhere: set[str] = set()  # other projects with something of ours
        self._groups = self._of_network("security-groups", ("mgmt", "heartbeats"))
        self._networks = self._of_network("networks", ("mgmt",))
        self._images = self._of_glance()
        flavors = lists.whole(where.service("compute"), "/flavors/detail", {"is_public": "None"}, microversion=DESCRIBED)
        self._flavors = [one for one in flavors if one.get("description") == MARK and one["name"] == f"{prefix}-amphora"]
        try:
            self._admitted = {one["id"]: self._projects_of(one) for one in self._flavors}
        except errors.NotAllowed as error:
            tell("refused", f"flavor: {error}")
            self._flavors, self._admitted = [], {}

    def _project(self, name: str) -> str:
        found = self._cloud.service("identity").get("/projects", {"name": name, "domain_id": "default"})["projects"]
        if not found:
            raise exceptions.Misconfigured(f"There is no project {name}: --project names that of amphorae.")
        return str(found[0]["id"])

    def _of_network(self, collection: str, names: Sequence[str]) -> Sequence[Document]:
        wanted = {"name": [f"{self._prefix}-{name}" for name in names]}
        found = lists.whole(self._cloud.service("network"), f"/{collection}", wanted)
        return self._split([one for one in found if one["description"] == MARK and one["name"] in wanted["name"]], "project_id")

    def _of_glance(self) -> Sequence[Document]:
        """Images of this project alone are ours, whatever others show us, and whatever ours are called by now."""
        name, glance = f"{self._prefix}-amphora", self._cloud.service("image")
        asked = ({"name": name, "limit": _MANY}, {"owner": self.project, "limit": _MANY})
        found = {one["id"]: one for wanted in asked for one in lists.whole(glance, "/images", wanted)}
        marked = [one for one in found.values() if one.get("figlina_made") == MARK]
        return self._split([one for one in marked if one["name"] == name or one.get(PREFIX) == self._prefix], "owner")

    def _split(self, found: Sequence[Document], owner: str) -> Sequence[Document]:
        """Those of our project; whose the others are is remembered."""
        self._elsewhere |= {one[owner] for one in found} - {self.project}
        return [one for one in found if one[owner] == self.project]

    def _projects_of(self, flavor: Document) -> set[str]:
        """Who may use a flavor, and those who have something else of ours if everybody may."""
        if flavor.get("os-flavor-access:is_public"):
            return set(self._elsewhere)
        access = self._cloud.service("compute").get(f"/flavors/{flavor['id']}/os-flavor-access")["flavor_access"]
        return {one["tenant_id"] for one in access}

    # What uses it

    def users(self) -> Iterator[str]:
        """Servers that were booted from our image or in our flavor, and ports on our network or with our groups."""
        yield from (f"server {one['name']} ({one['id']})" for one in self._servers() if self._is_booted_of_ours(one))
        network = self._cloud.service("network")
        groups = {one["id"] for one in self._groups}
        asked = [{"network_id": one["id"]} for one in self._networks] + [{"project_id": self.project}] * bool(groups)
        found = {one["id"]: one for wanted in asked for one in lists.whole(network, "/ports", wanted)}
        networks = {one["id"] for one in self._networks}
        for one in found.values():
            if one["device_owner"] in _OF_NEUTRON:
                continue
            if one["network_id"] in networks or groups.intersection(one.get("security_groups") or ()):
                yield f"port {one['name'] or one['device_owner']} ({one['id']})"

    def _is_booted_of_ours(self, server: Document) -> bool:
        metadata = server.get("metadata") or {}
        images, flavors = {one["id"] for one in self._images}, {one["id"] for one in self._flavors}
        return metadata.get("figlina_image") in images or metadata.get("figlina_flavor") in flavors

    def _servers(self) -> Sequence[Document]:
        """Of the project of amphorae."""
        compute = self._cloud.service("compute")
        wanted: dict[str, Any] = {"limit": _MANY}
        if self.project != self._cloud.project_id:
            wanted |= {"all_tenants": "True", "project_id": self.project}
        return [one for one in lists.whole(compute, "/servers/detail", wanted) if one["tenant_id"] == self.project]

    # What is to be done

    def steps(self) -> Iterator[Step]:
        """In an order in which what load balancers need to be replaced goes last."""
        for one in self._groups:
            yield self._end("network", "security-groups", f"security group {one['name']}", one)
        for one in self._networks:
            yield self._end("network", "networks", f"network {one['name']}", one)
        for one in self._flavors:
            yield from self._end_of_flavor(one)
        for one in self._images:
            yield self._end("image", "images", f"image {one['name']}", one)
        yield from self._end_of_place()

    def _end(self, service: str, collection: str, words: str, one: Document, more: str = "") -> Step:
        path = f"/{collection}/{one['id']}"
        return f"{words} ({one['id']}){more}", functools.partial(self._cloud.service(service).delete, path)

    def _end_of_flavor(self, flavor: Document) -> Iterator[Step]:
        others = self._admitted[flavor["id"]] - {self.project}
        words = f"flavor {flavor['name']}"
        if not others:
            yield self._end("compute", "flavors", words, flavor)
            return
        self._stays(f"{words} ({flavor['id']})", others)
        if self.project in self._admitted[flavor["id"]]:
            body = {"removeTenantAccess": {"tenant": self.project}}
            act = functools.partial(self._cloud.service("compute").post, f"/flavors/{flavor['id']}/action", body)
            yield f"right of the project {self.project} to that flavor", act

    def _end_of_place(self) -> Iterator[Step]:
        others = set(self._elsewhere).union(*self._admitted.values()) - {self.project}
        with contextlib.suppress(errors.NotAllowed):
            for one in self._cloud.service("identity").get("/services", {"type": "load-balancer"})["services"]:
                if one.get("description") != MARK or one["name"] != self._prefix:
                    continue
                if others:
                    self._stays(f"service {one['name']} ({one['id']})", others)
                else:
                    yield self._end("identity", "services", f"service {one['name']}", one, ", with its endpoints")

    def _stays(self, words: str, others: Collection[str]) -> None:
        self._tell("stays", f"{words}, which other projects use: {', '.join(sorted(others))}")
