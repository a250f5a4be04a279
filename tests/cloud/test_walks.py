"""openstacksdk, `openstack loadbalancer` and the guide of `neutron lbaas-*` in front of a real Nova and Neutron, with VMs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import openstack
import pytest

from tests.clients.days import PATHS, Client, Day
from tests.clients.python import OctaviaClient, Sdk
from tests.clients.recorder import Recorder
from tests.clients.shapes import Stage
from tests.cloud import catalogue
from tests.cloud.site import BOOT, Site
from tests.functional.api.test_clients_cli import Shell
from tests.neutron_command import Neutron
from tests.walks import clients, guide
from tests.walks.place import Place, printed

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(catalogue.WAIT + 1200)]


@pytest.fixture(scope="module")
def place(site: Site) -> Place:
    """Three web servers and a client on the tenant's network; outside of it is this host, where floating IPs answer."""
    private = site.network("private")
    client = site.machine(private)
    web = {name: site.machine(private, name=name).addresses[0] for name in ("web-1", "web-2", "web-3")}

    def run(where: str, command: Sequence[str]) -> str:
        return client.run(*command).stdout if where == "client" else printed(command)

    subnet_id = str(client.port.fixed_ips[0]["subnet_id"])
    return Place(subnet_id=subnet_id, web=web, run=run, patience=2 * BOOT, groups_take=90)


def test_openstacksdk_makes_everything_in_one_call_and_waits_until_it_serves(site: Site, place: Place) -> None:
    with catalogue.alone(), site.catalogued():
        clients.openstacksdk(_anew(site).load_balancer, place)


def test_the_command_line_waits_for_each_step(site: Site, place: Place) -> None:
    shell, operator = (Shell(cloud=user.config.name) for user in (site.users.tenant, site.users.admin))
    with catalogue.alone(), site.catalogued():
        clients.command_line(shell, operator, place)


@pytest.mark.parametrize("name", ["openstacksdk", "python-octaviaclient"])
def test_a_day_of_a_python_client(site: Site, place: Place, name: str) -> None:
    """With all that it can say; what it shows is what the API said."""
    recorder = Recorder()
    recorder.before(site.api_url)
    try:
        with catalogue.alone(), site.catalogued(recorder.url):
            connected = _anew(site)
            client: Client = Sdk(connected) if name == "openstacksdk" else OctaviaClient(connected, recorder.url)
            day = Day(client, recorder, place.subnet_id, place.web["web-1"], patience=place.patience)
            day.live(full=True)
    finally:
        recorder.close()
    assert not day.faults, "\n".join(day.faults)
    assert day.seen == {(noun, stage) for noun in PATHS for stage in Stage}


@pytest.fixture(scope="module")
def walk(site: Site, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[guide.Walk]:
    """We stand for the tenant's network service; an administrator has the commands of operators. What the guide leaves is taken away."""
    home, address = tmp_path_factory.mktemp("home"), f"{site.api_url}/network"
    token, admins = (str(user.session.get_token()) for user in (site.users.tenant, site.users.admin))
    hurried, operator = Neutron(address, home, hurry=True, token=token), Neutron(address, home, hurry=True, token=admins)
    network = site.users.tenant.network
    before = {one.id for one in network.ips()}
    try:
        yield guide.Walk(place, Neutron(address, home, token=token), hurried, operator)
    finally:
        hurried.close()
        operator.close()
        for floating in [one for one in network.ips() if one.id not in before]:
            network.delete_ip(floating)
        if group := network.find_security_group("lbaas"):
            _take_off(site, group.id)
            network.delete_security_group(group)


def test_every_command_of_the_guide_does_in_order_what_it_says(walk: guide.Walk) -> None:
    walk.every_command_of_the_guide()


def test_the_other_commands_of_lbaas_v2_work_too(walk: guide.Walk) -> None:
    walk.the_other_commands()


def _take_off(site: Site, group_id: str) -> None:
    """Where a walk ended too early, its load balancer still has the group."""
    for port in site.users.admin.network.ports(security_groups=[group_id]):
        left = [one for one in port.security_group_ids if one != group_id]
        site.users.admin.network.update_port(port, security_groups=left)


def _anew(site: Site) -> openstack.connection.Connection:
    """The tenant with a new token, whose catalogue is of now."""
    return openstack.connect(cloud=site.users.tenant.config.name)
