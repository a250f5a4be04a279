"""`enable_plugin figlina`, by DevStack's own functions and libraries: everything is made, and goes again (see `stacked`)."""

from __future__ import annotations

import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from amphora_agent import system
from tests.cloud import catalogue, stacked
from tests.cloud.conftest import Cloud
from tests.ports import free_port

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.timeout(catalogue.WAIT)]

_UNITS = {"openstack-cli-server", "o-api", "o-cw", "o-hm", "o-hk"}
_ROLES = {f"load-balancer_{name}" for name in ("observer", "global_observer", "member", "quota_admin", "admin")}


@pytest.fixture(scope="module")
def without_machines(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Iterator[stacked.Site]:
    """Stacked with everything made, but for the port that would need an interface of this host; the last test takes it down."""
    folder = tmp_path_factory.mktemp("devstack")
    image = folder / "amphora.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    # The lines of a local.conf that has Octavia, with the plug-in exchanged.
    lines, sections = (
        ["enable_service octavia o-api o-cw o-hm o-hk o-da"],
        "[[post-config|$OCTAVIA_CONF]]\n[house_keeping]\nsweep_interval = 7.5",
    )
    addresses = {
        "OCTAVIA_MGMT_SUBNET": "198.18.7.0/24",
        "OCTAVIA_MGMT_SUBNET_START": "198.18.7.50",
        "OCTAVIA_MGMT_SUBNET_END": "198.18.7.99",
    }
    with stacked.stacked(
        folder,
        cloud,
        lines,
        sections,
        **addresses,
        OCTAVIA_AMP_IMAGE_FILE=image,
        FIGLINA_MGMT_HOST_IP="127.0.0.1",
        OCTAVIA_HM_LISTEN_PORT=free_port(),
        OCTAVIA_LB_TOPOLOGY="ACTIVE_STANDBY",
    ) as site:
        yield site


def test_the_units_run_and_the_api_is_found_in_the_catalogue(without_machines: stacked.Site) -> None:
    processes = without_machines.bed.processes()
    assert {name.removeprefix("devstack@") for name in processes} == _UNITS
    for name, pid in processes.items():
        assert {"figlina-", "openstack-"} & set(re.findall(r"figlina-|openstack-", pathlib.Path(f"/proc/{pid}/cmdline").read_text())), name
    assert without_machines.bed.openstack("devstack", "loadbalancer", "list", "-f", "value") == ""
    assert "amphora" in without_machines.bed.openstack("devstack", "loadbalancer", "provider", "list", "-f", "value", "-c", "name").split()


def test_what_amphorae_need_is_in_the_cloud_and_in_the_configuration(without_machines: stacked.Site) -> None:
    made = without_machines.left()
    names = {kind: {words.split(" ")[1] for words in made[kind]} for kind in ("networks", "flavors", "images", "users")}
    assert names == {
        "networks": {f"{stacked.PREFIX}-mgmt"},
        "flavors": {f"{stacked.PREFIX}-amphora"},
        "images": {f"{stacked.PREFIX}-amphora-x64-haproxy"},
        "users": {f"{stacked.PREFIX}-figlina"},
    }
    network = without_machines.cloud.admin.network.find_network(f"{stacked.PREFIX}-mgmt")
    assert network is not None
    (subnet,) = without_machines.cloud.admin.network.subnets(network_id=network.id)
    assert (subnet.cidr, subnet.allocation_pools) == ("198.18.7.0/24", [{"start": "198.18.7.50", "end": "198.18.7.99"}])
    conf = (without_machines.bed.conf / "figlina.conf").read_text()
    assert f"amp_boot_network_list = {network.id}" in conf
    assert "loadbalancer_topology = ACTIVE_STANDBY" in conf
    assert "sweep_interval = 7.5" in conf, "the section of an existing local.conf is heeded"
    roles = {role.name for role in without_machines.cloud.admin.identity.roles()}
    assert roles >= _ROLES


def test_stacking_again_makes_nothing_twice(without_machines: stacked.Site) -> None:
    made = without_machines.left()
    without_machines.bed.end()
    without_machines.run("stack")
    again = without_machines.left()
    assert again == made


def test_unstack_and_clean_leave_nothing_and_take_nothing_else(without_machines: stacked.Site) -> None:
    pids = without_machines.bed.processes().values()
    without_machines.run("unstack")
    assert without_machines.left() == {}
    assert without_machines.gone() == {}
    assert [pid for pid in pids if system.is_running(pid)] == []
    without_machines.run("clean")
    assert not without_machines.bed.conf.exists()
    assert not without_machines.bed.figlina.exists()
