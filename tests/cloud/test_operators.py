"""What operators do before the first load balancer: the checks, and preparing the cloud; both on a real one, which is left as it was."""

from __future__ import annotations

import os
import pathlib
import uuid
from collections.abc import Iterator

import pytest
from oslo_config import cfg

from controller import conf as configuration
from controller.cmd import figlina
from controller.deployment import checks, report
from controller.deployment.site import Site
from controller.openstack import cloud
from tests.cloud import catalogue, inventory
from tests.cloud.site import NAMES, Users

pytestmark = pytest.mark.cloud

_OWN = {"database", "heartbeat-key", "certificates", "secrets", "callers"}
"""Checks of what is ours alone; `tests/functional/test_status_check.py` has them."""

BREAKS = {
    "credentials": ("credentials", "service_auth", "cloud", "no-such-cloud"),
    "endpoint": ("endpoints", "glance", "endpoint_override", "http://127.0.0.1:9/"),
    "image-missing": ("image", "controller_worker", "amp_image_tag", "no-such-tag"),
    "flavor-unset": ("flavor", "controller_worker", "amp_flavor_id", None),
    "flavor-missing": ("flavor", "controller_worker", "amp_flavor_id", "00000000-0000-0000-0000-000000000000"),
    "key-missing": ("ssh-key", "controller_worker", "amp_ssh_key_name", "no-such-key"),
    "network-unset": ("networks", "controller_worker", "amp_boot_network_list", []),
    "network-missing": ("networks", "controller_worker", "amp_boot_network_list", ["00000000-0000-0000-0000-000000000000"]),
    "group-unset": ("groups", "controller_worker", "amp_secgroup_list", []),
    "group-missing": ("groups", "controller_worker", "amp_secgroup_list", ["00000000-0000-0000-0000-000000000000"]),
    "group-agent": ("groups", "haproxy_amphora", "bind_port", 9444),
    "heartbeat-none": ("heartbeats", "health_manager", "controller_ip_port_list", []),
    "heartbeat-loopback": ("heartbeats", "health_manager", "controller_ip_port_list", ["127.0.0.1:5555"]),
    "heartbeat-astray": ("heartbeats", "health_manager", "controller_ip_port_list", ["203.0.113.9:5555"]),
    "heartbeat-deaf": ("heartbeats", "health_manager", "bind_ip", "127.0.0.1"),
}
"""What a configuration can have wrong, and the cloud has to tell."""


@pytest.fixture(scope="module")
def users() -> Users:
    found = Users.connect()
    if found is None:
        pytest.skip("OS_CLIENT_CONFIG_FILE names no clouds.yaml of a cloud to test with")
    return found


def _name(who: str) -> str:
    return os.environ.get(f"FIGLINA_TEST_CLOUD_{who.upper()}", NAMES[who])


@pytest.fixture(scope="module")
def conf_file(users: Users, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A configuration for the networks and groups that the cloud has for load balancing."""
    network = users.service.network.find_network("lb-mgmt-net", ignore_missing=False)
    subnet = users.service.network.get_subnet(network.subnet_ids[0])
    group = next(users.service.network.security_groups(name="lb-mgmt-sec-grp", project_id=users.service.current_project_id))
    flavor = users.service.compute.find_flavor("lb.tiny", ignore_missing=False)
    own = Site(configuration.load([])).host.source(subnet.allocation_pools[0]["start"])
    file = tmp_path_factory.mktemp("operator") / "figlina.conf"
    file.write_text(
        "[controller_worker]\ncompute_driver = nova\nnetwork_driver = neutron\n"
        f"amp_flavor_id = {flavor.id}\namp_boot_network_list = {network.id}\namp_secgroup_list = {group.id}\n"
        f"[nova]\nenable_anti_affinity = true\nanti_affinity_policy = soft-anti-affinity\n[service_auth]\ncloud = {_name('service')}\n"
        f"[health_manager]\nbind_ip = {own}\ncontroller_ip_port_list = {own}:5555\n"
    )
    return file


@pytest.fixture
def conf(conf_file: pathlib.Path) -> cfg.ConfigOpts:
    return configuration.load(["--config-file", str(conf_file)])


def _told(conf: cfg.ConfigOpts, *names: str) -> list[report.Told]:
    return [one for one in report.run(checks.chosen(names), Site(conf), conf) if one.check not in _OWN]


def test_a_cloud_that_has_everything_passes_and_keeps_nothing_of_it(users: Users, conf: cfg.ConfigOpts) -> None:
    before = inventory.of(users.admin)
    told = _told(conf)
    assert [one for one in told if one.finding.level is report.Level.FAILURE and one.check != "image"] == []
    assert {one.check for one in told} == {one.name for one in checks.CHECKS} - _OWN
    assert not [
        name for names in inventory.left(before, inventory.of(users.admin)).values() for name in names if "figlina-status-check" in name
    ]


@pytest.mark.parametrize("code", BREAKS)
def test_a_real_cloud_tells_what_is_wrong(conf: cfg.ConfigOpts, code: str) -> None:
    check, group, name, value = BREAKS[code]
    conf.set_override(name, value, group=group)
    told = [one.finding for one in _told(conf, check) if one.finding.code == code]
    assert told
    assert all(one.fix for one in told)


@pytest.fixture
def prefix(users: Users) -> Iterator[str]:
    """Names of our own, which are gone afterwards whatever happens."""
    name = f"t{uuid.uuid4().hex[:8]}"
    yield name
    figlina.main(["cloud", "remove", "--os-cloud", _name("admin"), "--prefix", name, "--project", name])
    identity = catalogue.identity(users.admin)
    for user in identity.users(name=name):
        identity.delete_user(user)
    for project in identity.projects(name=name):
        identity.delete_project(project)


def test_a_real_cloud_is_prepared_once_and_cleared(
    users: Users, prefix: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inventory.of(users.admin)
    (tmp_path / "image.raw").write_bytes(uuid.uuid4().bytes * 4096)
    who = ["--os-cloud", _name("admin"), "--prefix", prefix, "--project", prefix, "--user", prefix, "--network-type", "local"]
    words = ["cloud", "prepare", *who, "--cidr", "198.18.99.0/24", "--image", str(tmp_path / "image.raw"), "--tag", prefix]
    assert figlina.main([*words, "--write", str(tmp_path / "cloud.conf")]) == 0
    assert figlina.main([*words, "--write", str(tmp_path / "cloud.conf")]) == 0
    assert "\n0 made, 0 refused" in capsys.readouterr().out
    conf = configuration.load(["--config-file", str(tmp_path / "cloud.conf")])
    wanted = ("credentials", "image", "flavor", "groups", "rights")
    found = {one.check: one.finding.level for one in _told(conf, *wanted)}
    assert found == dict.fromkeys((*wanted, "endpoints"), report.Level.OK)
    assert figlina.main(["cloud", "remove", "--os-cloud", _name("admin"), "--prefix", prefix, "--project", prefix]) == 0
    left = inventory.left(before, inventory.of(users.admin))
    assert not [name for names in left.values() for name in names if prefix in name]


def test_a_token_that_keystone_forgot_is_replaced_within_the_call(conf: cfg.ConfigOpts) -> None:
    """As after a change of its keys; by each service that the drivers ask, all of them as the user of `[service_auth]`."""
    where = cloud.Cloud.from_conf(conf)
    identity = where.service("identity")
    for name, path in (("compute", "/flavors"), ("network", "/networks"), ("image", "/images")):
        access = Site(conf).access
        access._auth_token = "forgotten"
        assert where.service(name).get(path)
        assert identity.translated("our token", lambda proxy: proxy.session.get_token()) != "forgotten"
