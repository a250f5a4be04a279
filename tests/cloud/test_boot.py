"""One amphora on a real cloud, without any process of ours: it comes up with two ports, beats, answers over TLS, and takes another port."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import socket
import time
from collections.abc import Iterator

import pytest

from amphora_agent.protocol import heartbeat
from controller import exceptions, render
from controller.dev.client import eventually
from controller.drivers.amphora import rest
from controller.drivers.ca import local
from controller.drivers.compute import nova
from controller.model.amphora import Amphora
from controller.model.network import VipRequest
from controller.model.status import AmphoraStatus
from controller.openstack import cloud as openstack
from tests import builders
from tests.cloud import tenant
from tests.cloud.site import Users
from tests.contract import openstack_cloud
from tests.contract.cloud import new_id

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(900)]

KEY = b"the deployment's key, of this test"
BOOT = 300.0


@pytest.fixture
def cloud() -> Iterator[openstack_cloud.Real]:
    if (reason := openstack_cloud.why_not()) is not None:
        pytest.skip(reason)
    made = openstack_cloud.Real()
    yield made
    made.close()


@pytest.fixture
def beats() -> Iterator[socket.socket]:
    """A health manager's ear, on the host's address in the management network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((openstack_cloud.ids()["MGMT_HOST_IP"], 0))
        made.settimeout(BOOT)
        yield made


def test_an_amphora_comes_up_beats_answers_and_takes_a_port(
    cloud: openstack_cloud.Real, beats: socket.socket, tmp_path: pathlib.Path
) -> None:
    amphora_id = new_id()
    authority = local.LocalCertificateAuthority(tmp_path / "ca", create=True)
    private, owner = cloud.a_network("198.18.76.0/28"), new_id()
    vip = cloud.network.allocate_vip(owner, cloud.project_id, VipRequest(subnet_id=private.subnet_ids[0]))
    request = cloud.a_request(amphora_id)
    request = dataclasses.replace(request, ports=[*request.ports, cloud.network.ensure_vrrp_port(amphora_id, owner, vip)])
    management = request.ports[0]
    subnet = cloud.network.get_subnet(management.fixed_ips[0].subnet_id)
    address = f"{management.fixed_ips[0].ip_address}/{ipaddress.ip_network(subnet.cidr).prefixlen}"
    nic = render.boot.ManagementNic(address=address, mac=management.mac_address, mtu=management.mtu, gateway=subnet.gateway_ip)
    config = render.boot.config(amphora_id, nic, health_managers=[beats.getsockname()], deployment_key=KEY, heartbeat_interval=2.0)
    pem = authority.issue_amphora_certificate(amphora_id).pem
    files = render.boot.files(config, pem, authority.client_roots(), authority.client_names())
    besides = cloud.a_network("198.18.78.0/28")
    settings = dataclasses.replace(nova.Settings.from_conf(cloud.conf), more_networks=(besides.id,))
    compute = nova.NovaCompute(openstack.Cloud.from_conf(cloud.conf).service, settings)

    begun = time.monotonic()
    made = compute.boot(dataclasses.replace(request, files=files))
    ordered = time.monotonic() - begun
    datagram, sender = beats.recvfrom(65536)
    heard = time.monotonic() - begun
    assert heartbeat.id_text(heartbeat.sender(datagram)) == amphora_id
    heartbeat.unpack(datagram, heartbeat.derive_key(KEY, amphora_id))
    assert sender[0] == management.fixed_ips[0].ip_address
    assert cloud.running(amphora_id).id == made.id

    agent = rest.RestAmphora(authority, port=9443)
    amphora: Amphora = dataclasses.replace(
        builders.an_amphora(status=AmphoraStatus.BOOTING), id=amphora_id, management_address=management.fixed_ips[0].ip_address
    )
    assert agent.info(amphora).amphora_id == amphora_id

    _is_on(cloud, besides.id, made.id)
    network = cloud.a_network("198.18.77.0/28")
    port = cloud.network.ensure_member_port(amphora_id, network.id, network.subnet_ids)
    begun = time.monotonic()
    cloud.compute.attach_port(made.id, port)
    plugged = time.monotonic() - begun
    cloud.compute.detach_port(made.id, port)
    begun = time.monotonic()
    cloud.compute.delete(amphora_id)
    eventually(lambda: _is_silent(agent, amphora), 60.0, "it goes on answering")
    ended = time.monotonic() - begun
    print(f"\nordered in {ordered:.2f} s, heard after {heard:.1f} s, plugged in {plugged:.1f} s, silent {ended:.1f} s after its end")
    agent.close()


def _is_on(cloud: openstack_cloud.Real, network_id: str, server_id: str) -> None:
    """It answers ARP on a network besides; its port's groups are Nova's, and let nothing else in."""
    users = Users.connect()
    assert users is not None
    (port,) = users.admin.network.ports(network_id=network_id, device_id=server_id)
    host = next(agent.host for agent in users.admin.network.agents() if agent.binary == "neutron-linuxbridge-agent")
    beside = tenant.Machine(users.admin, cloud.project_id, network_id, host, [])
    address = port.fixed_ips[0]["ip_address"]

    def answers() -> bool:
        beside.run("ping", "-c", "1", "-W", "1", address)
        return str(port.mac_address) in beside.run("ip", "neighbor", "show", address).stdout

    try:
        eventually(answers, 60.0, lambda: beside.run("ip", "neighbor").stdout)
    finally:
        beside.close()


def _is_silent(agent: rest.RestAmphora, amphora: Amphora) -> bool:
    try:
        agent.info(amphora, timeout=1.0)
    except exceptions.AmphoraUnreachable:
        return True
    return False
