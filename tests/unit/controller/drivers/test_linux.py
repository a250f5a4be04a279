"""Small facts about Linux that the embedded drivers rely on."""

from __future__ import annotations

import pytest

from controller.drivers import linux
from controller.drivers.network import interface

STAT = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615"


def test_a_process_is_known_by_its_id_and_start_even_if_its_name_has_brackets() -> None:
    assert linux.ProcessMark.parse(STAT) == linux.ProcessMark(4242, 987654)


@pytest.mark.parametrize("text", ["", "4242", "4242 (name) S 1", "x (name) " + STAT.rpartition(") ")[2]])
def test_what_is_not_a_processs_stat_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        linux.ProcessMark.parse(text)


def test_a_cables_name_fits_the_kernel_and_follows_from_the_port() -> None:
    name = linux.cable_name("6f2b8c54-9a0e-4f3a-8f0e-0c5d3c1a7f11")
    assert name == "tap6f2b8c549a0"
    assert len(name) <= 15


def test_a_port_without_a_bridge_can_not_be_plugged_here() -> None:
    port = interface.Port(id="p", name="", network_id="n", mac_address="02:00:00:00:00:01", mtu=1500, fixed_ips=())
    with pytest.raises(Exception, match="no bridge"):
        linux.cable_lines(port, "somewhere")
