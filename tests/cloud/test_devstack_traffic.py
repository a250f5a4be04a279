"""A load balancer by `openstack loadbalancer create` on a cloud that DevStack has put Figlina into (see `stacked`)."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

import pytest

from controller.dev.client import eventually
from tests.cloud import catalogue, stacked
from tests.cloud.conftest import Cloud
from tests.cloud.tenant import Machine
from tests.devstack.bed import ROOT, Bed
from tests.ports import free_port

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.timeout(catalogue.WAIT)]


@pytest.fixture(scope="module")
def with_machines(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Iterator[stacked.Site]:
    """Stacked with the real image, on the cloud's own management network, which this host is on."""
    image = pathlib.Path(os.environ.get("FIGLINA_TEST_IMAGE_FILE", ROOT / "build" / "image" / "amphora.qcow2"))
    if not image.is_file():
        pytest.skip(f"there is no amphora image {image}: make image, or name one in FIGLINA_TEST_IMAGE_FILE")
    network = os.environ.get("FIGLINA_TEST_MANAGEMENT_NETWORK", "lb-mgmt-net")
    address = os.environ.get("FIGLINA_TEST_MANAGEMENT_ADDRESS", "198.18.0.1")
    with stacked.stacked(
        tmp_path_factory.mktemp("machines"),
        cloud,
        [],
        OCTAVIA_AMP_IMAGE_FILE=image,
        OCTAVIA_AMP_IMAGE_SIZE=1,
        FIGLINA_MGMT_NETWORK=network,
        FIGLINA_MGMT_HOST_IP=address,
        OCTAVIA_HM_LISTEN_PORT=free_port(),
    ) as site:
        yield site


def _until_active(bed: Bed, kind: str, *words: str) -> None:
    """The client waits by itself; a VM that is emulated takes its time."""
    bed.openstack("devstack", *kind.split(), "create", "--wait", *words, timeout=600)


def test_a_load_balancer_of_the_command_line_serves_traffic_and_nothing_is_left(
    with_machines: stacked.Site, tmp_path: pathlib.Path
) -> None:
    bed = with_machines.bed
    with contextlib.ExitStack() as stack:
        backend, client = (stack.enter_context(contextlib.closing(_machine(with_machines.cloud))) for _ in range(2))
        backend.serve(backend.name, tmp_path)
        _until_active(bed, "loadbalancer", "--name", "ds-web", "--vip-subnet-id", "private-subnet")
        with_machines.ours.add(bed.openstack("devstack", "loadbalancer", "show", "ds-web", "-f", "value", "-c", "id"))
        _until_active(bed, "loadbalancer listener", "--name", "ds-http", "--protocol", "HTTP", "--protocol-port", "80", "ds-web")
        words = ["--name", "ds-pool", "--listener", "ds-http", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN"]
        _until_active(bed, "loadbalancer pool", *words)
        _until_active(bed, "loadbalancer member", "--address", backend.addresses[0], "--protocol-port", "80", "ds-pool")
        vip = bed.openstack("devstack", "loadbalancer", "show", "ds-web", "-f", "value", "-c", "vip_address")
        eventually(lambda: client.fetch(vip) == backend.name, 60, "the load balancer does not answer for its member", 1)
        assert _servers_of_our_image(with_machines)
    with_machines.run("unstack")
    assert with_machines.left() == {}
    assert with_machines.gone() == {}
    with_machines.run("clean")


def _servers_of_our_image(site: stacked.Site) -> list[str]:
    (image,) = site.left()["images"]
    return [one.name for one in site.cloud.admin.compute.servers(all_projects=True) if one.image.id == image.split(" ", 1)[0]]


def _machine(cloud: Cloud) -> Machine:
    network = cloud.tenant.network.find_network("private", ignore_missing=False)
    group = cloud.admin.network.find_security_group("allow-all", project_id=cloud.tenant.current_project_id, ignore_missing=False)
    host = next(agent.host for agent in cloud.admin.network.agents() if agent.binary == "neutron-linuxbridge-agent")
    return Machine(cloud.admin, str(cloud.tenant.current_project_id), network.id, host, [group.id])
