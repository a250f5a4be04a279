"""Services that answer 200 with anything: every call of every method of the drivers for an OpenStack, each answer without a thing that it
should have, or with another in its place.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller import exceptions
from controller.drivers.compute import nova
from controller.drivers.network import neutron
from controller.drivers.secrets import barbican
from controller.openstack import cloud as openstack
from controller.openstack import errors
from tests import builders, simulated, tls_material
from tests.contract import openstack_cloud
from tests.contract.cloud import new_id
from tests.contract.test_neutron_faults import METHODS, World, _clean_up, _plug, _vip, world  # noqa: F401  (a fixture)

_WHOLE = ("{}", "[]", "null", "7", '"text"', "")
_LACKING = object()
_INSTEAD: tuple[Any, ...] = (_LACKING, None, 7, [], {}, "text", [None], [7])
Place = tuple[str | int, ...]


class Answers:
    """Counts answers, keeps them, and has one of them changed."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.at: int | None = None
        self.change: Callable[[bytes], bytes] = bytes

    def begin(self, at: int | None = None, change: Callable[[bytes], bytes] = bytes) -> None:
        self.seen, self.at, self.change = [], at, change

    def pass_on(self, real: Callable[..., bytes], response: Any, *arguments: Any) -> bytes:
        content = real(response, *arguments)
        self.seen.append(content)
        return self.change(content) if len(self.seen) - 1 == self.at and response.status_code < 300 else content


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    made = Answers()
    monkeypatch.setattr(openstack, "content_of", functools.partial(made.pass_on, openstack.content_of))
    monkeypatch.setattr(openstack, "_PAUSE", 0.0)
    return made


@pytest.fixture(scope="module")
def simulation() -> Iterator[openstack_cloud.Simulated]:
    cloud = openstack_cloud.Simulated("[controller_worker]\nvolume_driver = volume_cinder_driver\n[cinder]\nvolume_size = 3\n")
    cloud.services.identity.offer("block-storage", "/volume/v3")
    cloud.services.compute.build_time = cloud.services.compute.delete_time = 0.0
    yield cloud
    cloud.close()


def _places(value: Any, here: Place = ()) -> Iterator[Place]:
    """All that an answer has, of lists their first element."""
    found = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, inner in found:
        yield (*here, key)
        yield from _places(inner, (*here, key))


def _with(answer: Any, place: Place, instead: Any) -> bytes:
    made = copy.deepcopy(answer)
    within = functools.reduce(lambda found, key: found[key], place[:-1], made)
    if instead is _LACKING:
        del within[place[-1]]
    else:
        within[place[-1]] = instead
    return json.dumps(made).encode()


def _changes(content: bytes, turn: int, every: int) -> Iterator[Callable[[bytes], bytes]]:
    """Whole answers, and each place of it without its key or with something else, in turn; of all of these every so manieth."""
    answer = json.loads(content) if content.startswith(b"{") else {}
    found: list[Callable[[bytes], bytes]] = [functools.partial(_whole, whole) for whole in _WHOLE]
    for number, place in enumerate(_places(answer)):
        found.append(functools.partial(_changed, place, _INSTEAD[(number + turn) % len(_INSTEAD)]))
    yield from found[turn % every :: every]


def _whole(whole: str, _: bytes) -> bytes:
    return whole.encode()


def _changed(place: Place, instead: Any, content: bytes) -> bytes:
    try:
        return _with(json.loads(content), place, instead)
    except (LookupError, TypeError):  # after a change it may be another call
        return content


@dataclasses.dataclass
class Trial:
    """One method: what is there before, and what is done with it. Whatever `prepare` makes, `after` takes away. `every`: which share of
    changes is tried, where many methods make the same calls.
    """

    prepare: Callable[[], Any]
    step: Callable[[Any], object]
    after: Callable[[Any], object] = lambda there: None
    every: int = 1

    def run(self, answers: Answers, turn: int) -> None:
        """Each call with each change of its answer; nothing but errors of ours comes of it."""
        told = [found for at, content in enumerate(self._contents(answers)) for found in self._told(answers, at, content, turn)]
        unreadable = [str(one) for one in told if isinstance(one, errors.Unreadable)]
        assert unreadable or self.every > 1, "what was asked for can't be told of nothing"
        assert all("the answer " in one and "endpoint_override" in one for one in unreadable)

    def _contents(self, answers: Answers) -> list[bytes]:
        there = self.prepare()
        answers.begin()
        self.step(there)
        contents = list(answers.seen)
        self.after(there)
        return contents

    def _told(self, answers: Answers, at: int, content: bytes, turn: int) -> Iterator[exceptions.ControllerError]:
        for change in _changes(content, turn + at, self.every):
            there = self.prepare()
            answers.begin(at, change)
            try:
                self.step(there)
            except exceptions.ControllerError as error:
                yield error
            answers.begin()
            self.after(there)


# The network service

Step = Callable[[World], object]
_READS: dict[str, tuple[list[Step], Step]] = {
    "get_network": ([], lambda w: w.network.get_network(w.network_id)),
    "get_subnet": ([], lambda w: w.network.get_subnet(w.subnet_ids[0])),
    "get_port": ([World.allocate], lambda w: w.network.get_port(_vip(w).port_id)),
    "get_security_group": ([], lambda w: w.network.get_security_group(w.tenants_group)),
    "get_qos_policy": ([], lambda w: w.network.get_qos_policy(w.policy)),
    "is_shared_with": ([], lambda w: w.network.is_shared_with("network", w.network_id, w.project_id)),
    "free_addresses": ([], lambda w: w.network.free_addresses(w.network_id)),
    "list_ours": ([World.allocate, _plug], lambda w: list(w.network.list_ours())),
    "list_vip_groups": ([World.allocate], lambda w: list(w.network.list_vip_groups())),
    "listed": ([World.allocate], lambda w: _listed(w)),
    "member_ports": (
        [lambda w: w.network.ensure_member_port(w.amphora_id, w.network_id, w.subnet_ids)],
        lambda w: w.network.member_ports(w.amphora_id),
    ),
    "stray_ports": ([World.allocate, _plug], lambda w: w.network.stray_ports(w.load_balancer_id, _vip(w))),
    "mend_ports": ([World.allocate, _plug], lambda w: w.network.mend_ports(w.load_balancer_id, _vip(w))),
    "restore_vip_address": ([World.allocate], lambda w: w.network.restore_vip_address(w.load_balancer_id, _vip(w))),
    "vip_access": ([World.allocate], lambda w: w.network.vip_access(w.load_balancer_id)),
    "security_groups_of": ([World.allocate], lambda w: w.network.security_groups_of(_vip(w).port_id)),
    "floating_addresses": ([World.allocate], lambda w: w.network.floating_addresses(_vip(w).port_id)),
}
_NETWORK = {**METHODS, **_READS}


def _listed(there: World) -> object:
    load_balancer = builders.a_load_balancer(id=there.load_balancer_id, vip=_vip(there))
    return there.network.listed([builders.a_snapshot(load_balancer=load_balancer)])


@pytest.mark.slow
@pytest.mark.parametrize("method", _NETWORK)
def test_the_network_driver_understands_anything(answers: Answers, world: World, method: str) -> None:  # noqa: F811
    before, step = _NETWORK[method]

    def prepare() -> World:
        driver = neutron.NeutronNetwork(world.network._asked, [world.services.network.management_network])  # which remembers nothing
        ids = {name: new_id() for name in ("load_balancer_id", "amphora_id", "second_id")}
        made = dataclasses.replace(world, network=driver, adopted=None, vip=None, **ids)  # type: ignore[arg-type]
        for one in before:
            one(made)
        return made

    trial = Trial(functools.cache(prepare), step) if method in _READS else Trial(prepare, step, _clean_up, every=12)
    trial.run(answers, list(_NETWORK).index(method))


# Nova and Glance

_MACHINES: dict[str, Callable[[openstack_cloud.Simulated, str], object]] = {
    "boot": lambda cloud, _: cloud.compute.boot(cloud.a_request(new_id())),
    "boot again": lambda cloud, amphora_id: cloud.compute.boot(cloud.a_request(amphora_id)),
    "get": lambda cloud, amphora_id: cloud.compute.get(_server_of(cloud, amphora_id)),
    "find": lambda cloud, amphora_id: cloud.compute.find(amphora_id),
    "list_ours": lambda cloud, _: list(cloud.compute.list_ours()),
    "check_image_tag": lambda cloud, _: cloud.compute.check_image_tag(cloud.image_tag),
    "check_zone": lambda cloud, _: cloud.compute.check_zone("nova"),
    "attach_port": lambda cloud, amphora_id: cloud.compute.attach_port(_server_of(cloud, amphora_id), _a_port(cloud)),
    "delete": lambda cloud, _: _boot_and_delete(cloud),
    "ensure_server_group": lambda cloud, _: cloud.compute.ensure_server_group(new_id()),
    "delete_server_group": lambda cloud, amphora_id: cloud.compute.delete_server_group(amphora_id),
    "list_server_groups": lambda cloud, _: list(cloud.compute.list_server_groups()),
}


def _server_of(cloud: openstack_cloud.Simulated, amphora_id: str) -> str:
    return str(cloud.services.compute.named(f"amphora-{amphora_id}")[0]["id"])


def _a_port(cloud: openstack_cloud.Simulated) -> Any:
    return cloud.network.ensure_management_port(new_id())


def _boot_and_delete(cloud: openstack_cloud.Simulated) -> None:
    amphora_id = new_id()
    cloud.compute.boot(cloud.a_request(amphora_id))
    cloud.compute.delete(amphora_id)


@pytest.mark.slow
@pytest.mark.parametrize("method", _MACHINES)
def test_the_compute_driver_understands_anything(answers: Answers, simulation: openstack_cloud.Simulated, method: str) -> None:
    amphora_id = new_id()
    driver = simulation.compute
    assert isinstance(driver, nova.NovaCompute)
    driver.boot(simulation.a_request(amphora_id))
    driver.ensure_server_group(new_id())

    def prepare() -> str:
        driver._versions.clear()
        driver._images.forget(simulation.image_tag)
        return amphora_id

    Trial(prepare, functools.partial(_MACHINES[method], simulation)).run(answers, list(_MACHINES).index(method))


# Barbican

WEB = tls_material.issue("web.example")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["get_bundle", "get_secret", "admit", "store_bundle", "store_secret"])
def test_the_secret_store_understands_anything(answers: Answers, simulation: openstack_cloud.Simulated, method: str) -> None:
    tenant = openstack.Cloud.from_conf(openstack_cloud.configuration(simulated.access(simulation.services, "tenants")))
    store, theirs = (barbican.BarbicanSecrets(one) for one in (openstack.Cloud.from_conf(simulation.conf), tenant))
    token = str(tenant._connection.auth_token)
    reference = theirs.store_bundle(simulation.project_id, "web", WEB.bundle)
    store.admit(reference, token)
    steps: dict[str, Callable[[Any], object]] = {
        "get_bundle": lambda _: store.get_bundle(simulation.project_id, reference),
        "get_secret": lambda _: store.get_secret(simulation.project_id, reference),
        "admit": lambda _: store.admit(reference, token),
        "store_bundle": lambda _: theirs.store_bundle(simulation.project_id, "web", WEB.bundle),
        "store_secret": lambda _: theirs.store_secret(simulation.project_id, "web", b"secret"),
    }
    Trial(lambda: None, steps[method]).run(answers, 0)
    tenant.close()
