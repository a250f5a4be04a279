"""`figlina cloud prepare` and `remove` before a small cloud: what is made, what stays, and that it goes on wherever it was interrupted."""

from __future__ import annotations

import configparser
import hashlib
import os
import pathlib
import stat
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from controller import conf as configuration
from controller.cmd import figlina
from controller.deployment import checks, identity, prepare, report
from controller.deployment.site import Site
from controller.drivers import files
from controller.openstack import cloud as clouds
from tests import simulated
from tests.functional.test_status_check import OneAddress
from tests.simulated import identity as keystone

_CLOUDS = """
clouds:
  admin: &one
    auth: {{auth_url: "{url}/identity/v3", username: {user}, password: {password}, project_name: {project},
      user_domain_name: Default, project_domain_name: Default}}
    region_name: R
"""
_QCOW2 = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 3 * 2**29) + b"bits of an image"


@pytest.fixture
def cloud(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[simulated.SimulatedCloud]:
    with simulated.running(furnished=False) as running:
        _log_in(running, tmp_path, "admin", "admin")
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        (tmp_path / "amphora.qcow2").write_bytes(_QCOW2)
        (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA operator\n")
        (tmp_path / "figlina.conf").write_text("")
        yield running


def _log_in(cloud: simulated.SimulatedCloud, folder: pathlib.Path, user: str, project: str) -> None:
    words = {"url": cloud.url, "user": user, "project": project, "password": keystone.PASSWORD}
    (folder / "clouds.yaml").write_text(_CLOUDS.format(**words))


def _prepare(folder: pathlib.Path, *more: str, image: str = "amphora.qcow2") -> int:
    who = ["--os-cloud", "admin", "--project", "load-balancing", "--user", "balancer", "--region", "R"]
    what = ["--cidr", "198.51.100.0/24", "--image", str(folder / image), "--public-key", str(folder / "key.pub")]
    where = ["--endpoint", "http://api.example:9876", "--config-file", str(folder / "figlina.conf"), "--write", str(folder / "cloud.conf")]
    return figlina.main(["cloud", "prepare", *who, *what, *where, *more])


def _remove(folder: pathlib.Path, *more: str, project: str = "load-balancing") -> int:
    words = ["cloud", "remove", "--os-cloud", "admin", "--config-file", str(folder / "figlina.conf")]
    return figlina.main([*words, "--project", project, *more])


def _shape(cloud: simulated.SimulatedCloud) -> dict[str, Any]:
    """All that is there, without ids, passwords and times."""
    ids = {one["id"]: f"{name}/{one.get('name')}" for name, found in cloud.store.items() for one in found.values()}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if key not in ("id", "password", "url", "created_at")}
        return [plain(each) for each in value] if isinstance(value, list) else ids.get(value, value) if isinstance(value, str) else value

    found = {name: sorted((plain(one) for one in found.values()), key=repr) for name, found in cloud.store.items()}
    return found | {"assigned": sorted([ids[each] for each in one] for one in cloud.identity.assigned)}


def test_a_dry_run_makes_nothing_and_tells_everything(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any) -> None:
    assert _prepare(tmp_path, "--dry-run") == 0
    assert cloud.writes() == []
    assert not (tmp_path / "cloud.conf").exists()
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("to make")]
    assert _prepare(tmp_path) == 0
    made = [line for line in capsys.readouterr().out.splitlines() if line.startswith("made ")]
    assert [line.split()[2:4] for line in told] == [line.split()[1:3] for line in made if line.split()[1] != "upload"]


def test_the_second_run_makes_nothing(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    assert _prepare(tmp_path) == 0
    assert cloud.writes() != []
    cloud.requests.clear()
    first = (tmp_path / "cloud.conf").read_text()
    assert _prepare(tmp_path) == 0
    assert cloud.writes() == []
    assert (tmp_path / "cloud.conf").read_text() == first
    assert stat.S_IMODE((tmp_path / "cloud.conf").stat().st_mode) == 0o600
    assert "password = " in first


def test_what_was_made_is_what_the_checks_want(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    """With the file that was written, as the service user that was made."""
    assert _prepare(tmp_path) == 0
    own = tmp_path / "figlina.conf"
    own.write_text("[health_manager]\nbind_ip = 198.51.100.2\ncontroller_ip_port_list = 198.51.100.2:5555\n")
    conf = configuration.load(["--config-file", str(own), "--config-file", str(tmp_path / "cloud.conf")])
    told = list(report.run(checks.CHECKS, Site(conf, OneAddress()), conf))
    ours = {"database", "heartbeat-key", "certificates", "secrets"}  # of which nothing was made here
    wrong = {one.check: one for one in told if one.finding.level is not report.Level.OK}
    assert wrong.keys() == {*ours, "catalogue", "strangers"}, wrong
    assert {one.check for one in told} == {one.name for one in checks.CHECKS}


def test_image_and_flavor_are_what_amphorae_need(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    assert _prepare(tmp_path) == 0
    image, flavor = cloud.named("images", "figlina-amphora"), cloud.named("flavors", "figlina-amphora")
    owner = cloud.named("projects", "load-balancing")["id"]
    assert cloud.images.files[image["id"]] == _QCOW2
    expected = {"status": "active", "tags": ["amphora"], "disk_format": "qcow2", "min_disk": 2, "owner": owner, "visibility": "private"}
    expected |= {"hw_cdrom_bus": "scsi", "hw_scsi_model": "virtio-scsi"}
    assert {name: image[name] for name in expected} == expected
    assert (flavor["os-flavor-access:is_public"], flavor["access"], flavor["ram"]) == (False, [owner], 512)
    user = cloud.named("users", "balancer")
    assert cloud.named("os-keypairs", "figlina-amphora")["user_id"] == user["id"]
    assert sorted(cloud.identity.roles_of(user["id"], owner)) == ["admin", "service"]
    assert {one["name"] for one in cloud.store["roles"].values()} >= set(identity.ROLES)


@pytest.mark.lengthy
def test_other_bits_become_another_image_and_the_same_bits_get_what_they_lack(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path
) -> None:
    assert _prepare(tmp_path) == 0
    first = cloud.named("images", "figlina-amphora")
    first["tags"].clear()
    del first["hw_cdrom_bus"]
    assert _prepare(tmp_path) == 0
    assert (first["tags"], first["hw_cdrom_bus"]) == (["amphora"], "scsi")
    (tmp_path / "next.raw").write_bytes(b"no qcow2")
    assert _prepare(tmp_path, image="next.raw") == 0
    second = next(one for one in cloud.store["images"].values() if one is not first)
    assert (second["disk_format"], second["os_hash_value"]) == ("raw", hashlib.sha512(b"no qcow2").hexdigest())


def test_a_token_that_is_refused_midway_makes_no_short_image(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    """The file was read to its end by then: the next try begins anew."""
    cloud.images.refused = 1
    assert _prepare(tmp_path) == 0
    assert cloud.images.uploads == [_QCOW2, _QCOW2]
    assert cloud.images.files == {cloud.images.images[0]["id"]: _QCOW2}


@pytest.mark.parametrize("knows_sums", [True, False], ids=["by-its-sum", "by-its-size"])
def test_an_image_that_came_short_is_told_and_deleted(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any, knows_sums: bool
) -> None:
    cloud.images.knows_sums, cloud.images.lost = knows_sums, 3
    assert _prepare(tmp_path) == 1
    assert "run it again" in capsys.readouterr().err
    assert not cloud.images.rows
    cloud.images.lost = 0
    assert _prepare(tmp_path) == 0
    assert cloud.images.files[cloud.images.images[0]["id"]] == _QCOW2


def test_a_short_image_of_a_run_that_died_is_not_taken_for_whole(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    assert _prepare(tmp_path) == 0
    (image,) = cloud.images.images
    image |= {"os_hash_value": hashlib.sha512(b"").hexdigest(), "size": 0}
    assert _prepare(tmp_path) == 0
    assert image["id"] not in cloud.images.rows
    assert cloud.images.files[cloud.images.images[0]["id"]] == _QCOW2


def _writes_of_a_run() -> int:
    """How many requests change something; the tests below see to it that the number is true."""
    return 26


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer-lost"])
@pytest.mark.parametrize("write", range(1, _writes_of_a_run() + 1))
def test_it_goes_on_wherever_it_was_interrupted(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, write: int, lost: bool, capsys: Any
) -> None:
    """The n-th write fails: before it is carried out, or after that, when only the answer is lost. The second run leaves what one does."""
    with simulated.running(furnished=False) as other:
        whole = tmp_path / "whole"
        whole.mkdir()
        for name in ("amphora.qcow2", "key.pub", "figlina.conf"):
            (whole / name).write_bytes((tmp_path / name).read_bytes())
        _log_in(other, tmp_path, "admin", "admin")
        assert _prepare(whole) == 0
        assert len(other.writes()) == _writes_of_a_run()
        method, path = other.writes()[write - 1]
        expected = _shape(other)
    _log_in(cloud, tmp_path, "admin", "admin")
    cloud.fails_at, cloud.cut = (None, write) if lost else (write, None)
    first = _prepare(tmp_path)
    repeated = method in ("PUT", "DELETE")  # by the connection itself, at once
    assert first == (0 if repeated and not path.endswith("/file") else 1), (method, path, capsys.readouterr().err)
    cloud.fails_at = cloud.cut = None
    assert _prepare(tmp_path) == 0
    assert _shape(cloud) == expected
    written = configuration.load(["--config-file", str(tmp_path / "cloud.conf")])
    assert Site(written).access.username == "balancer", "the password that was written is the one that it has"


def test_what_one_may_not_make_is_told_and_the_rest_is_made(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any) -> None:
    _log_in(cloud, tmp_path, "red", "red")
    assert figlina.main(["cloud", "prepare", "--os-cloud", "admin", "--config-file", str(tmp_path / "figlina.conf")]) == 1
    said = capsys.readouterr().out
    assert [line.split()[1].strip(":") for line in said.splitlines() if line.startswith("refused")] == ["roles", "flavor"]
    assert cloud.named("networks", "figlina-mgmt")["project_id"] == cloud.named("projects", "red")["id"]


def test_several_of_one_name_are_not_guessed_at(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any) -> None:
    owner = cloud.named("projects", "admin")["id"]
    for _ in range(2):
        cloud.add("networks", name="figlina-mgmt", project_id=owner, description="", tags=[])
    assert figlina.main(["cloud", "prepare", "--os-cloud", "admin", "--config-file", str(tmp_path / "figlina.conf")]) == 1
    assert "There are several: network figlina-mgmt" in capsys.readouterr().err


def test_remove_deletes_what_prepare_made_and_nothing_else(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    strangers = [
        cloud.add("networks", name="figlina-mgmt", description="mine", project_id="p"),
        cloud.add("images", name="figlina-amphora", tags=[]),
    ]
    strangers += [cloud.add("security-groups", name="figlina-mgmt", description="", project_id="p")]
    before = cloud.inventory()
    assert _prepare(tmp_path) == 0
    made = cloud.inventory()
    assert _remove(tmp_path, "--dry-run") == 0
    assert cloud.inventory() == made
    cloud.requests.clear()
    assert _remove(tmp_path) == 0
    deleted = [path.split("/")[3] for method, path in cloud.requests if method == "DELETE"]
    assert deleted == ["security-groups", "security-groups", "networks", "flavors", "images", "services"]
    stays = {"users", "projects", "roles", "os-keypairs", "endpoints"}
    assert {name: found for name, found in cloud.inventory().items() if name not in stays} == {
        name: found for name, found in before.items() if name not in stays
    }
    assert all(one["id"] in {each for found in cloud.inventory().values() for each in found} for one in strangers)


@pytest.mark.parametrize("visibility", ["private", "shared", "community", "public"])
def test_remove_takes_our_image_by_whatever_name_and_no_other_projects(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, visibility: str
) -> None:
    assert _prepare(tmp_path) == 0
    (ours,) = cloud.store["images"].values()
    theirs = cloud.add("images", **{**ours, "id": "theirs", "owner": "another", "visibility": visibility})
    another = cloud.add("images", **{**ours, "id": "another", "name": "next-amphora", "figlina_prefix": "next"})
    ours |= {"name": "renamed-by-an-operator", "visibility": visibility}
    assert _remove(tmp_path) == 0
    assert set(cloud.store["images"]) == {theirs["id"], another["id"]}


@pytest.mark.parametrize("user", ["booted-of-image", "booted-in-flavor", "on-network", "with-group"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["", "dry-run"])
def test_remove_deletes_nothing_while_something_is_in_use(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any, user: str, more: list[str]
) -> None:
    assert _prepare(tmp_path) == 0
    owner, network = cloud.named("projects", "load-balancing")["id"], cloud.named("networks", "figlina-mgmt")["id"]
    if user.startswith("booted"):
        word, kind = ("figlina_image", "images") if user == "booted-of-image" else ("figlina_flavor", "flavors")
        metadata = {word: cloud.named(kind, "figlina-amphora")["id"]}
        cloud.add("servers", name="user", tenant_id=owner, metadata=metadata, status="SHUTOFF", image="")
    else:
        where = network if user == "on-network" else cloud.add("networks", name="of-a-tenant", project_id="tenant")["id"]
        groups = [] if user == "on-network" else [cloud.named("security-groups", "figlina-mgmt")["id"]]
        cloud.add("ports", name="user", network_id=where, project_id=owner, security_groups=groups)
    before = cloud.inventory()
    assert _remove(tmp_path, *more) == 1
    assert cloud.inventory() == before
    told = capsys.readouterr().err
    assert f"in use by {'server' if user.startswith('booted') else 'port'} user (" in told
    assert "Nothing was deleted" in told


@pytest.fixture
def short(cloud: simulated.SimulatedCloud) -> simulated.SimulatedCloud:
    """A cloud whose services tell two of a list at once, as their operators may have it."""
    cloud.network.page = cloud.compute.most_per_page = cloud.images.most_per_page = 2
    return cloud


def test_what_is_there_is_found_however_short_lists_are(short: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    for place in range(5):
        short.add("flavors", name=f"theirs-{place}", ram=64, vcpus=1, disk=1)
    assert _prepare(tmp_path) == 0
    for place in range(5):
        owned = {"owner": short.named("projects", "load-balancing")["id"], "status": "active", "visibility": "private", "tags": []}
        short.add("images", name=f"ours-{place}", created_at=f"2999-01-01T00:00:0{place}Z", **owned)
    before = short.inventory()
    assert _prepare(tmp_path) == 0
    assert short.inventory() == before
    assert _remove(tmp_path) == 0
    left = {one["name"] for kind in ("images", "flavors") for one in short.store[kind].values()}
    assert left == {f"{whose}-{place}" for whose in ("ours", "theirs") for place in range(5)}


@pytest.mark.parametrize("user", ["on-network", "with-group"])
def test_a_user_is_found_however_short_lists_are(short: simulated.SimulatedCloud, tmp_path: pathlib.Path, user: str) -> None:
    assert _prepare(tmp_path) == 0
    owner, network = short.named("projects", "load-balancing")["id"], short.named("networks", "figlina-mgmt")["id"]
    if user == "with-group":
        network = short.add("networks", name="of-a-tenant", project_id="tenant")["id"]
    for place in range(5):
        others = {"project_id": owner, "security_groups": [], "device_owner": "network:dhcp"}
        short.add("ports", id=f"0-{place}", network_id=network, **others)
    groups = [] if user == "on-network" else [short.named("security-groups", "figlina-mgmt")["id"]]
    short.add("ports", id="z", network_id=network, project_id=owner, security_groups=groups)
    before = short.inventory()
    assert _remove(tmp_path) == 1
    assert short.inventory() == before


def test_what_is_none_of_ours_or_goes_with_the_network_is_in_no_ones_way(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    assert _prepare(tmp_path) == 0
    owner, flavor = cloud.named("projects", "load-balancing")["id"], cloud.named("flavors", "figlina-amphora")["id"]
    cloud.add("servers", name="s", tenant_id="another", metadata={"figlina_flavor": flavor}, status="ACTIVE", image="")
    cloud.add("servers", name="t", tenant_id=owner, metadata={"figlina_flavor": "another"}, status="ACTIVE", image="")
    other = cloud.add("networks", name="of-a-tenant", project_id="tenant")["id"]
    cloud.add("ports", name="u", network_id=other, project_id=owner, security_groups=[])
    network = cloud.named("networks", "figlina-mgmt")["id"]
    dhcp = cloud.add("ports", network_id=network, project_id=owner, device_owner="network:dhcp", security_groups=[])
    assert _remove(tmp_path, "--dry-run") == 0
    del cloud.network.ports[dhcp["id"]]  # as Neutron does by itself
    assert _remove(tmp_path) == 0
    assert network not in cloud.store["networks"]


def test_remove_leaves_what_is_another_projects(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any) -> None:
    """Two deployments with the same prefix share a flavor and the place in the catalogue: the last one takes them."""
    assert _prepare(tmp_path) == 0
    first = cloud.inventory()
    more = ["--project", "second", "--user", "second", "--write", str(tmp_path / "second.conf"), "--skip", "key"]
    assert _prepare(tmp_path, *more) == 0
    kinds = ("images", "flavors", "networks", "subnets", "security-groups", "services")
    both = {kind: set(cloud.store[kind]) for kind in kinds}
    shared = {kind: both[kind] & first[kind] for kind in ("flavors", "services")}
    assert shared == {kind: both[kind] for kind in shared}
    assert _remove(tmp_path) == 0
    told = capsys.readouterr().out
    assert "stays     flavor figlina-amphora" in told
    assert "stays     service figlina" in told
    left = {kind: set(cloud.store[kind]) for kind in kinds}
    assert left == {kind: shared.get(kind, both[kind] - first[kind]) for kind in kinds}
    assert cloud.named("flavors", "figlina-amphora")["access"] == [cloud.named("projects", "second")["id"]]
    assert _remove(tmp_path, project="admin") == 0
    assert "nothing   of figlina was made in the project" in capsys.readouterr().out
    assert {kind: set(cloud.store[kind]) for kind in kinds} == left
    assert _remove(tmp_path, project="no-such-project") == 1
    assert "There is no project no-such-project" in capsys.readouterr().err
    assert _remove(tmp_path, project="second") == 0
    assert [one["name"] for kind in kinds for one in cloud.store[kind].values() if one["name"].startswith("figlina")] == []


def test_a_file_of_somebody_else_is_not_written_over(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any) -> None:
    (tmp_path / "cloud.conf").write_text("[service_auth]\npassword = precious\n")
    assert _prepare(tmp_path) == 1
    assert "was not written by this command" in capsys.readouterr().err
    assert cloud.writes() == []


def _read(file: pathlib.Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    parser.read(file)
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.mark.slow
@pytest.mark.parametrize("makes", [False, True], ids=["reads", "writes"])
def test_a_rerun_that_fails_anywhere_leaves_what_a_former_run_wrote(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, makes: bool
) -> None:
    """The cloud goes away with each request in turn, Keystone's included; `makes`: of a run that has networks and groups to make."""
    monkeypatch.setattr(clouds, "_PAUSE", 0.0)
    assert _prepare(tmp_path) == 0
    file = tmp_path / "cloud.conf"
    first = _read(file)
    cloud.requests.clear()
    assert _prepare(tmp_path, *["--prefix", "all"] * makes) == 0
    expected, count = _read(file), len(cloud.requests)
    assert count > 20
    for answered in range(count):
        before = _read(file)
        cloud.away_after = answered
        assert _prepare(tmp_path, *["--prefix", f"run{answered}"] * makes) == 1
        cloud.away_after = None
        after = _read(file)
        assert {name: value for name, value in after.items() if name != "controller_worker"} == {
            name: value for name, value in first.items() if name != "controller_worker"
        }
        assert after["controller_worker"].keys() == expected["controller_worker"].keys()
        made = {one["id"] for found in cloud.store.values() for one in found.values()}
        changed = {value for name, value in after["controller_worker"].items() if value != before["controller_worker"][name]}
        assert changed <= made | {f"run{answered}-amphora"}
        assert makes or after == first
    assert Site(configuration.load(["--config-file", str(file)])).access.username == "balancer"


def test_wrong_credentials_of_an_administrator_leave_the_file_as_it_is(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    assert _prepare(tmp_path) == 0
    first = (tmp_path / "cloud.conf").read_text()
    known = (tmp_path / "clouds.yaml").read_text()
    (tmp_path / "clouds.yaml").write_text(known.replace(keystone.PASSWORD, "wrong"))
    assert _prepare(tmp_path) == 1
    words = ["cloud", "prepare", "--os-cloud", "admin", "--write", str(tmp_path / "cloud.conf")]
    assert figlina.main(words) == 1, "nor is the administrator put in the place of the service user"
    assert (tmp_path / "cloud.conf").read_text() == first


def test_what_an_operator_wrote_into_the_file_stays(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "cloud.conf"
    assert _prepare(tmp_path) == 0
    network = cloud.named("networks", "figlina-mgmt")["id"]
    text = file.read_text().replace("[controller_worker]\n", "[controller_worker]\n; of the night shift\nloadbalancer_topology = SINGLE\n")
    text += "cafile = /etc/ca.pem\n# why\n[nova]\navailability_zone = one,\n  two\n"
    file.write_text(text.replace(f"amp_boot_network_list = {network}", "amp_boot_network_list: gone,\n    too"))
    assert _prepare(tmp_path, "--tag", "other") == 0
    assert file.read_text() == text.replace("amp_image_tag = amphora", "amp_image_tag = other")


def test_the_administrator_written_for_want_of_a_user_makes_room_for_one(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "cloud.conf"
    assert figlina.main(["cloud", "prepare", "--os-cloud", "admin", "--write", str(file)]) == 0
    assert _read(file)["service_auth"] == {"cloud": "admin"}
    assert _prepare(tmp_path) == 0
    assert Site(configuration.load(["--config-file", str(file)])).access.username == "balancer"


@pytest.mark.parametrize("text", ["password = before any section\n", "[service_auth\n", "[service_auth]\nno assignment\n"])
def test_a_file_that_is_no_configuration_is_refused_before_anything_is_made(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any, text: str
) -> None:
    file = tmp_path / "cloud.conf"
    assert _prepare(tmp_path, "--skip", "image") == 0
    first = file.read_text().partition("\n")[0] + "\n" + text
    file.write_text(first)
    cloud.requests.clear()
    assert _prepare(tmp_path) == 1
    assert "can't be read (at line " in capsys.readouterr().err
    assert (cloud.requests, file.read_text()) == ([], first)


def test_a_folder_that_is_not_there_is_told_before_anything_is_made(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any
) -> None:
    assert _prepare(tmp_path, "--write", str(tmp_path / "none" / "cloud.conf")) == 1
    assert "make the folder" in capsys.readouterr().err
    assert cloud.writes() == []


def test_a_password_is_in_the_file_before_it_is_a_users(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that is ended without a word."""
    made = cloud.identity.made
    seen: list[dict[str, dict[str, str]]] = []

    def looks(word: str, row: dict[str, Any]) -> dict[str, Any]:
        seen.extend([_read(tmp_path / "cloud.conf")] * (word == "user"))
        return made(word, row)

    monkeypatch.setattr(cloud.identity, "made", looks)
    assert _prepare(tmp_path) == 0
    assert [one["service_auth"]["password"] for one in seen] == [cloud.named("users", "balancer")["password"]]


def test_a_password_that_can_not_be_written_at_the_end_is_printed(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert _prepare(tmp_path) == 0
    password = cloud.named("users", "balancer")["password"]

    def full(path: pathlib.Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write", full)
    assert _prepare(tmp_path) == 1
    told = capsys.readouterr()
    assert f"password = {password}\n" in told.out
    assert "No space left" in told.err


def test_a_password_that_is_written_is_not_replaced_by_one_that_nobody_has(
    cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any
) -> None:
    """`--password-file` is for a new user, and a password may have any characters."""
    (tmp_path / "password").write_text("'$ec$$ret'\n")
    assert _prepare(tmp_path, "--password-file", str(tmp_path / "password")) == 0
    first = (tmp_path / "cloud.conf").read_text()
    assert Site(configuration.load(["--config-file", str(tmp_path / "cloud.conf")])).access.username == "balancer"
    (tmp_path / "password").write_text("another\n")
    assert _prepare(tmp_path, "--password-file", str(tmp_path / "password")) == 0
    assert "is written already, and stays" in capsys.readouterr().out
    assert _prepare(tmp_path, "--user", "another") == 1
    assert "is of the user balancer: for another, name another file" in capsys.readouterr().err
    assert (tmp_path / "cloud.conf").read_text() == first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_written_file_stays_with_whom_it_was_given_to(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path) -> None:
    assert _prepare(tmp_path) == 0
    os.chown(tmp_path / "cloud.conf", 4321, 4322)
    assert _prepare(tmp_path) == 0
    found = (tmp_path / "cloud.conf").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4321, 4322, 0o600)


@pytest.mark.slow
@pytest.mark.parametrize("step", prepare.STEPS)
def test_a_step_can_be_left_out(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, step: str, capsys: Any) -> None:
    assert _prepare(tmp_path, "--skip", step) == 0
    assert f"skipped   {step}" in capsys.readouterr().out


def test_an_existing_endpoint_of_another_address_stays(cloud: simulated.SimulatedCloud, tmp_path: pathlib.Path, capsys: Any) -> None:
    assert _prepare(tmp_path) == 0
    assert _prepare(tmp_path, "--endpoint", "http://elsewhere.example") == 0
    assert "it is http://api.example:9876; for another one: openstack endpoint set" in capsys.readouterr().out
