"""What the driver `nova` asks a cloud for, how often, and what it makes of all that a cloud may answer; the simulated cloud answers."""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amphora_agent import config_drive
from controller import exceptions
from controller.drivers.compute import glance, interface, nova
from controller.model.network import Port
from controller.openstack import cloud as openstack
from controller.openstack import errors
from tests import simulated
from tests.contract import openstack_cloud
from tests.simulated import identity

NAME = "/servers$"
Cloud = openstack_cloud.Simulated


@pytest.fixture(autouse=True)
def hasty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openstack, "_PAUSE", 0.01)
    if "silence" in request.node.name:
        monkeypatch.setattr(openstack, "_PATIENCE", 1.0)


@pytest.fixture
def make() -> Iterator[Callable[[str], Cloud]]:
    made: list[Cloud] = []

    def one(more: str = "") -> Cloud:
        made.append(openstack_cloud.Simulated(more))
        return made[-1]

    yield one
    for cloud in made:
        cloud.services.faults.clear()
        cloud.close()


@pytest.fixture
def cloud(make: Callable[[], Cloud]) -> Cloud:
    return make()


@pytest.fixture
def amphora_id() -> str:
    return str(uuid.uuid4())


def name(amphora_id: str) -> str:
    return f"amphora-{amphora_id}"


def a_port(cloud: Cloud, amphora_id: str) -> Port:
    network = cloud.a_network("198.18.7.0/28")
    return cloud.network.ensure_member_port(amphora_id, network.id, network.subnet_ids)


def asked(cloud: Cloud, does: Callable[[], object]) -> list[tuple[str, str]]:
    """What doing this asks of the cloud, ids left out."""
    before = len(cloud.services.asked)
    does()
    return [
        (method, "/".join("ID" if len(word) == 36 else word for word in path.split("/"))) for method, path in cloud.services.asked[before:]
    ]


# How often


def test_no_call_is_made_twice_or_in_vain(cloud: Cloud, amphora_id: str) -> None:
    compute, request = cloud.compute, cloud.a_request(amphora_id)
    look, detail, groups = ("GET", "/images"), ("GET", "/servers/detail"), ("GET", "/os-server-groups")
    assert asked(cloud, lambda: compute.boot(request)) == [detail, look, ("POST", "/servers")]
    machine, port, other = cloud.running(amphora_id), a_port(cloud, amphora_id), cloud.a_request(str(uuid.uuid4()))
    plug, unplug = ("POST", "/servers/ID/os-interface"), ("DELETE", "/servers/ID/os-interface/ID")
    expected = {
        "boot of another one": (lambda: compute.boot(other), [detail, ("POST", "/servers")]),
        "boot again": (lambda: compute.boot(request), [detail]),
        "get": (lambda: compute.get(machine.id), [("GET", "/servers/ID")]),
        "find": (lambda: compute.find(amphora_id), [detail]),
        "attach": (lambda: compute.attach_port(machine.id, port), [plug]),
        "attach again": (lambda: compute.attach_port(machine.id, port), [plug, ("GET", "/servers/ID/os-interface")]),
        "detach": (lambda: compute.detach_port(machine.id, port), [unplug]),
        "detach again": (lambda: compute.detach_port(machine.id, port), [unplug]),
        "delete": (lambda: compute.delete(amphora_id), [detail, ("DELETE", "/servers/ID")]),
        "delete again": (lambda: compute.delete(amphora_id), [detail, detail]),  # none has its name: was one renamed?
        "list": (lambda: compute.list_ours(), [detail]),
        "group": (lambda: compute.ensure_server_group("lb-1"), [groups, ("POST", "/os-server-groups")]),
        "group again": (lambda: compute.ensure_server_group("lb-1"), [groups]),
        "groups": (lambda: compute.list_server_groups(), [groups]),
        "group's end": (lambda: compute.delete_server_group("lb-1"), [groups, ("DELETE", "/os-server-groups/ID")]),
        "flavor": (lambda: compute.check_flavor(cloud.flavor), [("GET", "/flavors/ID")]),
        "zone": (lambda: compute.check_zone(cloud.zone), [("GET", "/os-availability-zone")]),
    }
    assert {what: asked(cloud, does) for what, (does, _) in expected.items()} == {what: calls for what, (_, calls) in expected.items()}
    assert cloud.services.discoveries.count("compute") <= 2, "versions are asked for once: by the catalog's endpoint, and what it names"
    assert cloud.services.identity.issued <= 2, "one token of ours, one of the tenant's"


def _look_twice(cloud: Cloud, tag: str) -> None:
    """The first look may still know what is gone; the second one knows nothing."""
    cloud.compute.check_image_tag(tag)
    cloud.compute._images.forget(tag)  # type: ignore[attr-defined]
    cloud.compute.check_image_tag(tag)


def test_a_new_image_is_booted_soon_and_one_that_is_gone_is_forgotten_at_once(make: Callable[[str], Cloud], amphora_id: str) -> None:
    cloud = make(f"[controller_worker]\namp_image_owner_id = {identity.PROJECT}\n")
    images, now = cloud.services.images, [0.0]
    service = openstack.Cloud.from_conf(cloud.conf).service("image")
    cloud.compute._images = glance.Images(service, identity.PROJECT, lambda: now[0])  # type: ignore[attr-defined]
    first = images.images[0]["id"]
    assert cloud.compute.boot(cloud.a_request(amphora_id)).image_id == first
    images.add("amphora", owner=identity.TENANT)
    images.add("amphora", status="queued")
    images.add("another-tag")
    newest = images.add("amphora")
    now[0] = 11.0
    assert cloud.compute.boot(cloud.a_request(str(uuid.uuid4()))).image_id == newest, "ours, whole, with the tag"
    images.remove(newest)
    with pytest.raises(exceptions.ComputeFault, match="Can not find requested image"):
        cloud.compute.boot(cloud.a_request(str(uuid.uuid4())))
    assert cloud.compute.boot(cloud.a_request(str(uuid.uuid4()))).image_id == first
    images.remove(first)
    with pytest.raises(exceptions.NotFound, match="Image with the tag amphora"):
        _look_twice(cloud, "amphora")


# With what


@pytest.mark.lengthy
def test_a_server_has_all_that_was_asked_for(make: Callable[[str], Cloud], amphora_id: str, tmp_path: pathlib.Path) -> None:
    more = "[controller_worker]\namp_boot_network_list = {}, {}\namp_ssh_key_name = operators\n"
    cloud = make("")
    network, other = cloud.services.network.management_network, cloud.create_network()
    cloud.create_subnet(other, "198.18.9.0/24")
    settings = nova.Settings.from_conf(openstack_cloud.configuration(more.format(network, other)))
    assert settings.more_networks == (other,)
    cloud.services.add("os-keypairs", name="operators")
    compute = nova.NovaCompute(openstack.Cloud.from_conf(cloud.conf).service, settings)
    group = cloud.compute.ensure_server_group("lb-1")
    files = {"/etc/figlina/agent.json": b'{"a": 1}', "/etc/figlina/certs/server.pem": b"\x00\xffsecret"}
    request = dataclasses.replace(cloud.a_request(amphora_id), files=files, server_group_id=group)
    compute.boot(request)
    body = cloud.services.compute.asked_for(request.name)
    server = body["server"]
    assert body["os:scheduler_hints"] == {"group": group}
    assert server["networks"] == [{"port": request.ports[0].id}, {"uuid": other}]
    assert (server["flavorRef"], server["availability_zone"], server["key_name"]) == (cloud.flavor, cloud.zone, "operators")
    assert (server["config_drive"], server["imageRef"]) == (True, cloud.services.images.images[0]["id"])
    latest = tmp_path / "openstack" / "latest"
    latest.mkdir(parents=True)
    (latest / "meta_data.json").write_text("{}")
    (latest / "user_data").write_bytes(base64.b64decode(server["user_data"]))
    networks = {"/etc/figlina/boot_networks.json": json.dumps([other]).encode()}
    assert config_drive.read(tmp_path).files == files | networks, "our image reads what was sent"


def test_what_another_deployment_made_in_the_same_project_is_theirs(cloud: Cloud, amphora_id: str) -> None:
    other = nova.NovaCompute(openstack.Cloud.from_conf(cloud.conf).service, nova.Settings(deployment="other", policy="soft-anti-affinity"))
    cloud.compute.boot(cloud.a_request(amphora_id))
    cloud.compute.ensure_server_group("lb-1")
    assert other.find(amphora_id) is None
    other.delete(amphora_id)
    other.delete_server_group("lb-1")
    assert (list(other.list_ours()), list(other.list_server_groups())) == ([], [])
    assert cloud.compute.find(amphora_id) is not None
    assert list(cloud.compute.list_server_groups()) == ["lb-1"]


def test_a_management_network_of_a_zone_replaces_all_boot_networks(cloud: Cloud, amphora_id: str) -> None:
    settings = nova.Settings(management_network="another", more_networks=("one-more",))
    nova.NovaCompute(openstack.Cloud.from_conf(cloud.conf).service, settings).boot(cloud.a_request(amphora_id))
    assert len(cloud.services.compute.asked_for(name(amphora_id))["server"]["networks"]) == 1


def test_the_zone_of_the_configuration_is_that_of_who_chose_none(make: Callable[[str], Cloud], amphora_id: str) -> None:
    cloud = make("[nova]\navailability_zone = east\n")
    cloud.services.compute.zones.append("east")
    cloud.compute.boot(dataclasses.replace(cloud.a_request(amphora_id), zone=None))
    assert cloud.running(amphora_id).zone == "east"


@pytest.mark.parametrize(("missing", "option"), [("flavor", "amp_flavor_id"), ("image_tag", "amp_image_tag")])
def test_what_nobody_chose_is_named_with_its_option(cloud: Cloud, amphora_id: str, missing: str, option: str) -> None:
    with pytest.raises(exceptions.Misconfigured, match=option):
        cloud.compute.boot(dataclasses.replace(cloud.a_request(amphora_id), **{missing: None}))


def test_files_that_are_too_large_are_refused_before_anything_is_made(cloud: Cloud, amphora_id: str) -> None:
    for size, fits in ((48_900, True), (49_300, False)):  # 65,535 characters of base64 are 49,151 bytes, with a little JSON around them
        request = dataclasses.replace(cloud.a_request(amphora_id), files={"/etc/figlina/roots.pem": b"x" * size})
        if fits:
            cloud.compute.boot(request)
            cloud.compute.delete(amphora_id)
        else:
            with pytest.raises(exceptions.Misconfigured, match="Nova takes 65535: give \\[certificates\\] smaller keys"):
                cloud.compute.boot(request)
    assert len(cloud.services.calls("POST", NAME)) == 1


VOLUMES = "[controller_worker]\nvolume_driver = volume_cinder_driver\n[cinder]\nvolume_size = 3\nvolume_type = fast\n"


def test_a_volume_is_asked_for_where_there_is_a_volume_service(make: Callable[[str], Cloud], amphora_id: str) -> None:
    cloud = make(VOLUMES)
    cloud.services.identity.offer("block-storage", "/volume/v3")
    image = cloud.services.images.images[0]["id"]
    assert cloud.compute.boot(cloud.a_request(amphora_id)).image_id == image
    server = cloud.services.compute.asked_for(name(amphora_id))["server"]
    (disk,) = server["block_device_mapping_v2"]
    assert "imageRef" not in server
    assert (disk["uuid"], disk["volume_size"], disk["volume_type"], disk["delete_on_termination"]) == (image, 3, "fast", True)
    assert cloud.running(amphora_id).image_id == image


def test_volumes_are_refused_with_a_sentence_where_there_is_none(make: Callable[[str], Cloud], amphora_id: str) -> None:
    cloud = make(VOLUMES)
    with pytest.raises(exceptions.Misconfigured, match="no volume service: leave it at volume_noop_driver"):
        cloud.compute.boot(cloud.a_request(amphora_id))
    assert cloud.services.calls("POST", NAME) == []


@pytest.mark.parametrize(("oldest", "newest"), [("2.1", "2.60"), ("2.1", "2.1"), ("2.80", "2.99")])
def test_a_gap_between_versions_is_told_with_what_to_do(cloud: Cloud, oldest: str, newest: str) -> None:
    cloud.services.compute.oldest, cloud.services.compute.newest = oldest, newest
    with pytest.raises(exceptions.Misconfigured, match=f"versions {oldest} to {newest} .* Figlina 2.64 to 2.72: upgrade"):
        cloud.compute.check_flavor(cloud.flavor)
    assert cloud.services.asked == []


_NO_VERSIONS: list[tuple[int, object]] = [
    (404, {"itemNotFound": {"message": "nothing here"}}),
    (200, {}),
    (401, {"error": "x"}),
]


@pytest.mark.parametrize(("status", "body"), _NO_VERSIONS, ids=["missing", "empty", "forbidden"])
def test_a_service_that_does_not_tell_its_versions_is_asked_in_the_oldest_of_ours(
    make: Callable[[str], Cloud], amphora_id: str, monkeypatch: pytest.MonkeyPatch, status: int, body: object
) -> None:
    """At an endpoint that the configuration names, too, behind a gateway that keeps `GET /` for itself."""
    monkeypatch.setattr(openstack, "_PAUSE", 0.0)
    cloud = make("")
    cloud.services.refused.append(("GET", "/compute/v2.1/?$", status, body))
    named = openstack_cloud.configuration(
        simulated.access(cloud.services) + f"[nova]\nendpoint_override = {cloud.services.url}/compute/v2.1\n"
    )
    for conf in (cloud.conf, named):
        driver = nova.NovaCompute.from_conf(conf)
        driver.boot(cloud.a_request(amphora_id))
        assert driver.find(amphora_id) is not None
        assert cloud.services.compute.spoken == "2.64"
    cloud.services.compute.newest = "2.60"
    with pytest.raises(errors.ServiceRefused, match=r"Version 2\.64 is not supported by the API"):
        nova.NovaCompute.from_conf(cloud.conf).find(amphora_id)
    cloud.services.compute.newest = "2.93"


@pytest.mark.lengthy
@pytest.mark.parametrize("newest", ["2.64", "2.72", "2.99"])
def test_the_newest_version_that_both_know_is_spoken(cloud: Cloud, amphora_id: str, newest: str) -> None:
    cloud.services.compute.newest = newest
    assert cloud.boot(amphora_id).flavor == cloud.flavor


@pytest.mark.lengthy
def test_a_service_that_was_changed_while_we_run_is_spoken_to_in_a_version_that_it_knows(cloud: Cloud, amphora_id: str) -> None:
    """An older one refuses what it does not speak, and is asked for its versions then; a newer one within five minutes."""
    compute, now = cloud.services.compute, [0.0]
    driver = nova.NovaCompute(openstack.Cloud.from_conf(cloud.conf).service, nova.Settings.from_conf(cloud.conf), clock=lambda: now[0])

    def spoken() -> str:
        driver.find(amphora_id)
        return compute.spoken

    assert spoken() == "2.72"
    compute.newest = "2.65"
    assert spoken() == "2.65"
    compute.newest = "2.70"
    assert spoken() == "2.65", "what it knows still"
    now[0] += 301
    assert spoken() == "2.70"
    compute.newest = "2.60"
    with pytest.raises(exceptions.Misconfigured, match=r"versions 2\.1 to 2\.60"):
        driver.find(amphora_id)
    compute.newest = "2.93"
    assert spoken() == "2.72"


# What may come back

WORDS = "what this cloud says"
FAULTS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "429 for long": (simulated.refusal(429, WORDS, headers={"Retry-After": "60"}), exceptions.Transient),
    "413 for long": (simulated.refusal(413, WORDS, "overLimit", {"Retry-After": "60"}), exceptions.Transient),
    "500": (simulated.refusal(500, WORDS, "computeFault"), exceptions.Transient),
    "502": (simulated.refusal(502, WORDS), exceptions.Transient),
    "503": (simulated.refusal(503, WORDS), exceptions.Transient),
    "504": (simulated.refusal(504, WORDS), exceptions.Transient),
    "reset": (simulated.reset, exceptions.Transient),
    "silence": (simulated.silence(1.3), exceptions.Transient),
    "policy": (simulated.refusal(403, WORDS, "forbidden"), exceptions.Misconfigured),
    "conflict": (simulated.refusal(409, WORDS, "conflictingRequest"), exceptions.Transient),
}
CALLS: dict[str, tuple[str, Callable[[Cloud, interface.Instance, Port], object]]] = {
    "check_flavor": ("GET", lambda cloud, _, __: cloud.compute.check_flavor(cloud.flavor)),
    "check_image_tag": ("GET", lambda cloud, _, __: cloud.compute.check_image_tag("amphora")),
    "check_zone": ("GET", lambda cloud, _, __: cloud.compute.check_zone(cloud.zone)),
    "boot": ("POST", lambda cloud, _, __: cloud.compute.boot(cloud.a_request(str(uuid.uuid4())))),
    "get": ("GET", lambda cloud, machine, _: cloud.compute.get(machine.id)),
    "find": ("GET", lambda cloud, _, __: cloud.compute.find("nobody")),
    "delete": ("DELETE", lambda cloud, machine, _: cloud.compute.delete(machine.amphora_id)),
    "attach_port": ("POST", lambda cloud, machine, port: cloud.compute.attach_port(machine.id, port)),
    "detach_port": ("DELETE", lambda cloud, machine, port: cloud.compute.detach_port(machine.id, port)),
    "list_ours": ("GET", lambda cloud, _, __: cloud.compute.list_ours()),
    "ensure_server_group": ("POST", lambda cloud, _, __: cloud.compute.ensure_server_group("lb-1")),
    "delete_server_group": ("GET", lambda cloud, _, __: cloud.compute.delete_server_group("lb-1")),
    "list_server_groups": ("GET", lambda cloud, _, __: cloud.compute.list_server_groups()),
}
ONLY_WRITES = {"conflict"}


def test_every_method_of_the_contract_is_in_the_matrix() -> None:
    assert set(CALLS) == interface.ComputeDriver.__abstractmethods__


@pytest.mark.lengthy
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_cloud_answers_is_an_error_of_ours_with_its_words(
    cloud: Cloud, amphora_id: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of the driver: the fault stays, then it is over, and the same call does what it should."""
    monkeypatch.setattr(glance.Images, "newest", glance.Images._look)  # remembered, it would not ask again
    answer, expected = FAULTS[fault]
    machine, port = cloud.boot(amphora_id), a_port(cloud, amphora_id)
    for call, (method, does) in CALLS.items():
        if fault in ONLY_WRITES and (method == "GET" or call == "ensure_server_group"):
            continue
        if fault == "silence" and call not in ("get", "boot", "attach_port"):
            continue  # each takes seconds
        cloud.services.fail(method, r"^/(servers|flavors|images|os-)", answer, times=10)
        with pytest.raises(expected) as caught:
            does(cloud, machine, port)
        assert fault in ("reset", "silence") or WORDS in str(caught.value), call
        assert "127.0.0.1" not in str(caught.value), "tenants read it"
        cloud.services.faults.clear()
        if call != "delete":
            does(cloud, machine, port)


@pytest.mark.parametrize("answer", [simulated.refusal(503, WORDS), simulated.refusal(429, WORDS, headers={"Retry-After": "0.01"})])
def test_who_asks_for_a_moment_gets_it(cloud: Cloud, amphora_id: str, answer: Callable[[], Any]) -> None:
    request = cloud.a_request(amphora_id)
    cloud.services.fail("POST", NAME, answer)
    cloud.compute.boot(request)
    assert len(cloud.services.calls("POST", NAME)) == 2
    assert len(cloud.services.compute.named(request.name)) == 1


@pytest.mark.lengthy
@pytest.mark.parametrize(
    "answer", [simulated.reset, simulated.refusal(500, WORDS), simulated.silence(1.3)], ids=["reset", "500", "silence"]
)
def test_a_server_whose_making_was_not_confirmed_is_found_and_not_made_twice(
    cloud: Cloud, amphora_id: str, answer: Callable[[], Any]
) -> None:
    request = cloud.a_request(amphora_id)
    cloud.services.fail("POST", NAME, answer, after=True)
    with pytest.raises(exceptions.Transient):
        cloud.compute.boot(request)
    made = cloud.compute.boot(request)
    assert [one["id"] for one in cloud.services.compute.named(request.name)] == [made.id]
    assert len(cloud.services.calls("POST", NAME)) == 1


def test_a_plug_that_was_not_confirmed_is_found(cloud: Cloud, amphora_id: str) -> None:
    machine, port = cloud.boot(amphora_id), a_port(cloud, amphora_id)
    cloud.services.fail("POST", "os-interface", simulated.reset, after=True)
    with pytest.raises(exceptions.Transient):
        cloud.compute.attach_port(machine.id, port)
    cloud.compute.attach_port(machine.id, port)
    assert cloud.services.compute.plugged(name(amphora_id)).count(port.id) == 1


def test_of_two_servers_of_one_amphora_the_better_one_stays(cloud: Cloud, amphora_id: str) -> None:
    request = cloud.a_request(amphora_id)
    first = cloud.boot(amphora_id)
    body = cloud.services.compute.asked_for(request.name)
    for port_id in cloud.services.compute.plugged(request.name):
        cloud.services.network.unbind(port_id)
    cloud.services.compute.next_fault = "Build of instance aborted: Port is still in use."
    cloud.admin.service("compute").post("/servers", body)
    cloud.eventually(lambda: [one["status"] for one in cloud.services.compute.named(request.name)] == ["ACTIVE", "ERROR"])
    assert cloud.compute.find(amphora_id) == first
    assert cloud.compute.boot(request).id == first.id
    cloud.eventually(lambda: [one["id"] for one in cloud.services.compute.named(request.name)] == [first.id])


def test_quota_is_told_in_the_clouds_words(cloud: Cloud, amphora_id: str) -> None:
    cloud.services.compute.quota = 0
    with pytest.raises(
        exceptions.QuotaExceeded, match=r"Quota exceeded for instances: Requested 1, but already used 0 of 0.*raise the quota"
    ):
        cloud.compute.boot(cloud.a_request(amphora_id))


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ({"flavor": "no-such"}, "Flavor no-such could not be found"),
        ({"zone": "nowhere"}, "The requested availability zone is not available"),
        ({"server_group_id": "no-group"}, "Instance group no-group could not be found"),
    ],
)
def test_what_the_cloud_does_not_know_is_a_fault_in_its_words(cloud: Cloud, amphora_id: str, spoiled: dict[str, str], words: str) -> None:
    with pytest.raises(exceptions.ComputeFault, match=words):
        cloud.compute.boot(dataclasses.replace(cloud.a_request(amphora_id), **spoiled))


def test_a_port_that_another_server_has_is_waited_for(cloud: Cloud, amphora_id: str) -> None:
    cloud.boot(amphora_id)
    ports = [cloud.network.get_port(cloud.services.compute.plugged(name(amphora_id))[0])]
    other = dataclasses.replace(cloud.a_request(str(uuid.uuid4())), ports=ports)
    with pytest.raises(exceptions.Transient, match="is still in use"):
        cloud.compute.boot(other)
    cloud.compute.delete(amphora_id)
    cloud.eventually(lambda: not cloud.services.compute.named(name(amphora_id)))
    cloud.compute.boot(other)


def test_no_valid_host_is_told_and_leaves_nothing(make: Callable[[str], Cloud], amphora_id: str) -> None:
    cloud, other = make("[nova]\nanti_affinity_policy = anti-affinity\n"), str(uuid.uuid4())
    group = cloud.compute.ensure_server_group("lb-1")
    for one in (amphora_id, other):
        cloud.compute.boot(dataclasses.replace(cloud.a_request(one), server_group_id=group))
        cloud.eventually(lambda one=one: cloud.services.compute.named(name(one))[0]["status"] != "BUILD")  # type: ignore[misc]
    failed = cloud.compute.find(other)
    assert failed is not None
    assert failed.status is interface.InstanceStatus.ERROR
    assert failed.fault == "No valid host was found. There are not enough hosts available."
    cloud.compute.delete(other)
    cloud.eventually(lambda: cloud.services.compute.named(name(other)) == [])


def test_a_server_that_is_being_built_is_deleted_as_well(cloud: Cloud, amphora_id: str) -> None:
    cloud.services.compute.build_time = 60.0
    cloud.compute.boot(cloud.a_request(amphora_id))
    cloud.compute.delete(amphora_id)
    assert cloud.compute.find(amphora_id) is None, "what is going is not there"
    cloud.eventually(lambda: cloud.services.compute.named(name(amphora_id)) == [])


def test_a_locked_server_is_deleted_when_it_is_unlocked(cloud: Cloud, amphora_id: str) -> None:
    cloud.boot(amphora_id)
    (server,) = cloud.services.compute.named(name(amphora_id))
    server["locked"] = True
    with pytest.raises(exceptions.Transient, match="is locked"):
        cloud.compute.delete(amphora_id)
    server["locked"] = False
    cloud.compute.delete(amphora_id)


def test_a_port_is_not_plugged_into_a_machine_that_is_not_up_yet_but_later(cloud: Cloud, amphora_id: str) -> None:
    cloud.services.compute.build_time = 600.0
    machine, port = cloud.compute.boot(cloud.a_request(amphora_id)), a_port(cloud, amphora_id)
    with pytest.raises(exceptions.Transient, match="while it is in"):
        cloud.compute.attach_port(machine.id, port)
    cloud.services.compute.finish(name(amphora_id))
    cloud.running(amphora_id)
    cloud.compute.attach_port(machine.id, port)


def test_a_port_that_is_gone_is_a_fault_with_the_clouds_words(cloud: Cloud, amphora_id: str) -> None:
    machine, port = cloud.boot(amphora_id), a_port(cloud, amphora_id)
    cloud.services.network.ports.pop(port.id)
    with pytest.raises(exceptions.ComputeFault, match=f"Port id {port.id} could not be found"):
        cloud.compute.attach_port(machine.id, port)


def test_a_token_that_is_worth_nothing_any_more_is_replaced(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.boot(amphora_id)
    before = cloud.services.identity.issued
    cloud.services.identity.revoke()
    assert cloud.compute.get(machine.id) == machine
    assert cloud.services.identity.issued == before + 1


# What others do to servers


def test_a_server_that_somebody_renamed_is_the_amphoras_still(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.boot(amphora_id)
    cloud.compute.boot(cloud.a_request(str(uuid.uuid4())))
    (server,) = cloud.services.compute.named(name(amphora_id))
    server["name"] = "renamed-by-an-operator"
    cloud.services.compute.most_per_page = 1
    found = cloud.compute.find(amphora_id)
    assert found is not None
    assert found.id == machine.id
    detail = ("GET", "/servers/detail")
    assert asked(cloud, lambda: cloud.compute.delete(amphora_id)) == [detail, *[detail] * 2, ("DELETE", "/servers/ID")]
    assert cloud.compute.find(amphora_id) is None
    cloud.eventually(lambda: cloud.services.compute.named("renamed-by-an-operator") == [])
    assert len(cloud.services.compute.servers) == 1, "the other amphora's stays"


def test_a_server_that_got_the_name_of_another_one_is_not_taken_for_it(cloud: Cloud, amphora_id: str) -> None:
    """Neither deleted in its stead, nor as one too many."""
    mine, other_id = cloud.boot(amphora_id), str(uuid.uuid4())
    other = cloud.boot(other_id)
    cloud.services.compute.servers[other.id]["name"] = name(amphora_id)
    assert cloud.compute.boot(cloud.a_request(amphora_id)).id == mine.id
    cloud.compute.delete(amphora_id)
    cloud.eventually(lambda: [one["id"] for one in cloud.services.compute.named(name(amphora_id))] == [other.id])
    assert cloud.compute.find(amphora_id) is None
    assert cloud.compute.get(other.id).amphora_id == other_id


def test_what_others_do_to_a_server_is_seen(cloud: Cloud, amphora_id: str) -> None:
    machine, compute = cloud.boot(amphora_id), cloud.services.compute
    compute.stop(name(amphora_id))
    assert cloud.compute.get(machine.id).status is interface.InstanceStatus.SHUTOFF
    compute.rebuild(name(amphora_id), "another-image")
    assert cloud.compute.get(machine.id).image_id == "another-image"
    compute.lose_cell(name(amphora_id))
    with pytest.raises(exceptions.Transient, match="its cell does not answer"):
        cloud.compute.get(machine.id)
    compute.remove(name(amphora_id))
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(machine.id)


def test_only_ours_are_listed_and_all_of_them_however_many(cloud: Cloud) -> None:
    ids = {str(uuid.uuid4()) for _ in range(5)}
    for one in ids:
        cloud.compute.boot(cloud.a_request(one))
    body: dict[str, Any] = cloud.services.compute.asked_for(name(next(iter(ids))))
    cloud.admin.service("compute").post("/servers", {"server": {**body["server"], "name": "somebody's", "tags": [], "networks": []}})
    cloud.services.compute.most_per_page = 2
    assert sorted(one.amphora_id for one in cloud.compute.list_ours()) == sorted(ids)


def test_a_server_that_goes_while_they_are_listed_hides_no_others(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {str(uuid.uuid4()) for _ in range(5)}
    for one in ids:
        cloud.compute.boot(cloud.a_request(one))
    cloud.services.compute.most_per_page = 2
    ask, gone = nova.NovaCompute._get, list[str]()

    def ask_and_remove(compute: nova.NovaCompute, path: str, *more: Any) -> Any:
        page = ask(compute, path, *more)
        if not gone:
            gone.append(page["servers"][-1]["name"])
            cloud.services.compute.remove(gone[0])  # the next page begins behind it
        return page

    monkeypatch.setattr(nova.NovaCompute, "_get", ask_and_remove)
    assert sorted(one.amphora_id for one in cloud.compute.list_ours()) == sorted(ids)
    assert len(list(cloud.compute.list_ours())) == 4


def test_groups_are_found_beyond_the_first_page_and_deleted_though_nobody_wants_them_now(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nova, "_PAGE", 2)
    ids = [f"lb-{number}" for number in range(5)]
    made = [cloud.compute.ensure_server_group(one) for one in ids]
    assert [cloud.compute.ensure_server_group(one) for one in ids] == made
    assert list(cloud.compute.list_server_groups()) == ids
    without = nova.NovaCompute(openstack.Cloud.from_conf(cloud.conf).service, nova.Settings())
    assert without.ensure_server_group("lb-9") is None
    for one in ids:
        without.delete_server_group(one)
    assert cloud.services.compute.groups == {}


def test_not_allowed_names_the_user_and_never_the_keys(cloud: Cloud, amphora_id: str, caplog: pytest.LogCaptureFixture) -> None:
    cloud.services.fail("POST", NAME, simulated.refusal(403, "Policy doesn't allow os_compute_api:servers:create", "forbidden"))
    with pytest.raises(errors.NotAllowed, match=r"Policy doesn't allow.*service_auth"):
        cloud.compute.boot(cloud.a_request(amphora_id))
    cloud.compute.boot(cloud.a_request(amphora_id))
    encoded = cloud.services.compute.asked_for(name(amphora_id))["server"]["user_data"]
    assert encoded[:40] not in caplog.text
    assert "secret" not in caplog.text
