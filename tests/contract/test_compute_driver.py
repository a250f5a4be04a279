"""What every compute driver promises, on every cloud of `conftest.py`."""

from __future__ import annotations

import dataclasses

import pytest

from controller import exceptions
from controller.drivers.compute import interface
from controller.model.network import FixedIp, Port
from tests.contract.cloud import Cloud, new_id
from tests.contract.conftest import CLOUDS, OPENSTACKS

QEMU = pytest.param("qemu", marks=[pytest.mark.vm, pytest.mark.timeout(900)])  # the network is that of `embedded`
pytestmark = pytest.mark.parametrize("cloud", [*CLOUDS, *OPENSTACKS, QEMU], indirect=True)


@pytest.fixture
def amphora_id() -> str:
    return new_id()


def ours(cloud: Cloud, *amphora_ids: str) -> set[str]:
    """Of these, the amphorae that have a machine."""
    return {machine.amphora_id for machine in cloud.compute.list_ours()} & set(amphora_ids)


def test_a_booted_machine_is_found_by_its_id_and_by_its_amphora(cloud: Cloud, amphora_id: str) -> None:
    request = cloud.a_request(amphora_id)
    (port,) = request.ports
    both = dataclasses.replace(port, fixed_ips=(FixedIp("another subnet", "fd00:f1::5"), *port.fixed_ips))
    made = cloud.compute.boot(dataclasses.replace(request, ports=[both]))
    machine = cloud.running(amphora_id)
    assert (machine.id, machine.amphora_id, machine.zone) == (made.id, amphora_id, cloud.zone)
    assert made.management_address == machine.management_address == port.fixed_ips[0].ip_address, "agents are spoken to by IPv4"
    assert cloud.compute.get(machine.id) == machine
    assert [one for one in cloud.compute.list_ours() if one.amphora_id == amphora_id] == [machine]


def test_booting_twice_gives_the_first_machine(cloud: Cloud, amphora_id: str) -> None:
    request = cloud.a_request(amphora_id)
    first = cloud.compute.boot(request)
    assert cloud.compute.boot(request).id == first.id
    cloud.running(amphora_id)
    assert cloud.compute.boot(request).id == first.id
    assert len([one for one in cloud.compute.list_ours() if one.amphora_id == amphora_id]) == 1


def test_a_machine_that_nobody_made_is_not_found(cloud: Cloud, amphora_id: str) -> None:
    assert cloud.compute.find(amphora_id) is None
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(amphora_id)


def test_deleting_leaves_nothing_and_may_be_repeated(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.boot(amphora_id)
    cloud.compute.delete(amphora_id)
    cloud.compute.delete(amphora_id)
    cloud.eventually(lambda: cloud.compute.find(amphora_id) is None)
    assert ours(cloud, amphora_id) == set()
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(machine.id)


def test_deleting_one_machine_leaves_the_other(cloud: Cloud, amphora_id: str) -> None:
    other = new_id()
    cloud.boot(amphora_id)
    cloud.boot(other)
    cloud.compute.delete(amphora_id)
    cloud.eventually(lambda: ours(cloud, amphora_id, other) == {other})


def test_a_port_is_plugged_and_unplugged_any_number_of_times(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.boot(amphora_id)
    network = cloud.a_network("198.18.7.0/28")
    port = cloud.network.ensure_member_port(amphora_id, network.id, network.subnet_ids)
    for _ in range(2):
        cloud.eventually(lambda: _is_plugged(cloud, machine.id, port))
        cloud.compute.attach_port(machine.id, port)
        cloud.compute.detach_port(machine.id, port)
        cloud.compute.detach_port(machine.id, port)
    assert cloud.compute.get(machine.id).status == interface.InstanceStatus.ACTIVE
    assert cloud.network.get_port(port.id).fixed_ips == port.fixed_ips, "the port outlives its plug"


def _is_plugged(cloud: Cloud, machine_id: str, port: Port) -> bool:
    """Plug it. A guest that boots slowly lets go of the card that was unplugged before in its own time, and the caller tries again."""
    try:
        cloud.compute.attach_port(machine_id, port)
    except exceptions.Transient:
        return False
    return True


def test_unplugging_from_a_machine_that_is_gone_is_fine_but_plugging_is_not(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.boot(amphora_id)
    network = cloud.a_network("198.18.7.0/28")
    port = cloud.network.ensure_member_port(amphora_id, network.id, network.subnet_ids)
    cloud.compute.delete(amphora_id)
    cloud.eventually(lambda: cloud.compute.find(amphora_id) is None)
    cloud.compute.detach_port(machine.id, port)
    with pytest.raises(exceptions.NotFound):
        cloud.compute.attach_port(machine.id, port)


def test_what_exists_can_be_named_and_what_does_not_is_not_found(cloud: Cloud) -> None:
    cloud.compute.check_flavor(cloud.flavor)
    cloud.compute.check_image_tag(cloud.image_tag)
    cloud.compute.check_zone(cloud.zone)
    for check in (cloud.compute.check_flavor, cloud.compute.check_image_tag, cloud.compute.check_zone):
        with pytest.raises(exceptions.NotFound, match="no-such-thing not found"):
            check("no-such-thing")


def test_a_machine_that_somebody_deleted_is_not_found_by_its_amphora(cloud: Cloud, amphora_id: str) -> None:
    """What housekeeping's comparison asks; another one made in its place is found again."""
    machine, other = cloud.boot(amphora_id), cloud.boot(new_id())
    cloud.delete_machine(amphora_id)
    cloud.eventually(lambda: cloud.compute.find(amphora_id) is None)
    assert cloud.compute.find(other.amphora_id) == other
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(machine.id)
    assert ours(cloud, amphora_id, other.amphora_id) == {other.amphora_id}
    cloud.compute.delete(amphora_id)
    assert cloud.boot(amphora_id).amphora_id == amphora_id


def test_a_machine_that_somebody_stopped_exists_and_does_not_run(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.boot(amphora_id)
    cloud.stop_machine(amphora_id)
    cloud.eventually(lambda: cloud.compute.get(machine.id).status is interface.InstanceStatus.SHUTOFF)
    assert ours(cloud, amphora_id) == {amphora_id}
    cloud.compute.delete(amphora_id)
    cloud.eventually(lambda: cloud.compute.find(amphora_id) is None)


def test_a_load_balancer_has_one_group_of_machines_or_the_service_has_none(cloud: Cloud) -> None:
    load_balancer_id = new_id()
    made = cloud.compute.ensure_server_group(load_balancer_id)
    assert cloud.compute.ensure_server_group(load_balancer_id) == made
    listed = list(cloud.compute.list_server_groups())
    assert listed.count(load_balancer_id) == (made is not None)
    cloud.compute.delete_server_group(load_balancer_id)
    cloud.compute.delete_server_group(load_balancer_id)
    assert load_balancer_id not in list(cloud.compute.list_server_groups())


def test_machines_of_one_group_boot(cloud: Cloud, amphora_id: str) -> None:
    load_balancer_id = new_id()
    group = cloud.compute.ensure_server_group(load_balancer_id)
    try:
        cloud.compute.boot(dataclasses.replace(cloud.a_request(amphora_id), server_group_id=group))
        cloud.running(amphora_id)
    finally:
        cloud.compute.delete_server_group(load_balancer_id)
    assert cloud.compute.find(amphora_id) is not None, "a group's end is not that of its machines"
