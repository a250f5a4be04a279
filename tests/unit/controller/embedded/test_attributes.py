"""Bodies of the Networking API: declared like the resources of load balancing, and refused in sentences of their own."""

from __future__ import annotations

from typing import Any

import pytest

from controller.embedded import attributes, networking

NETWORK_ID = "8f2a3c1e-5d64-4b1f-9c0a-7e6b2d9f4a10"


def _parsed(kind: str, given: Any, *, creating: bool = True, is_admin: bool = False) -> dict[str, Any]:
    return attributes.parsed(kind, given, creating=creating, is_admin=is_admin)


@pytest.mark.parametrize(
    ("kind", "given", "creating", "sentence"),
    [
        ("port", [], True, "The body has no object under the key port."),
        ("port", {"network_id": NETWORK_ID, "colour": 1, "size": 2}, True, "A port has no such attributes: colour, size."),
        ("port", {}, True, "A port needs the attribute network_id."),
        ("port", {"network_id": NETWORK_ID}, False, "The attribute network_id can't be changed."),
        ("port", {"network_id": None}, True, "The attribute network_id can not be so: None. Value should be UUID format."),
        (
            "port",
            {"dns_name": "a\nb"},
            False,
            "The attribute dns_name can not be so: 'a\\nb'. Value should not contain control characters.",
        ),
        ("port", {"binding:host_id": "here"}, False, "The attribute binding:host_id is for administrators."),
        (
            "port",
            {"fixed_ips": [{"ip_address": "192.0.2.1"}, {"ip_address": "nowhere"}]},
            False,
            "The attribute fixed_ips.ip_address can not be so: 'nowhere'. Value should be IPv4 or IPv6 format.",
        ),
        (
            "router",
            {"external_gateway_info": {"external_fixed_ips": [{"subnet_id": "x"}]}},
            False,
            "The attribute external_gateway_info.external_fixed_ips.subnet_id can not be so: 'x'. Value should be UUID format.",
        ),
    ],
)
def test_what_is_wrong_is_named(kind: str, given: Any, creating: bool, sentence: str) -> None:
    with pytest.raises(networking.NetworkInvalid) as refused:
        _parsed(kind, given, creating=creating)
    assert (str(refused.value), refused.value.type) == (sentence, "HTTPBadRequest")


def test_what_is_left_out_is_found_by_the_network_unless_it_has_a_default() -> None:
    assert _parsed("port", {"network_id": NETWORK_ID}) == {"network_id": NETWORK_ID, "name": "", "description": ""}
    assert _parsed("network", {})["mtu"] == 1500
    assert _parsed("port", {}, creating=False) == {}


def test_null_is_what_old_clients_mean_by_it() -> None:
    nothing = {"name": None, "description": None, "fixed_ips": None, "mac_address": None, "device_id": None}
    assert _parsed("port", nothing, creating=False) == {
        "name": "", "description": "", "fixed_ips": [], "mac_address": None, "device_id": "",
    }  # fmt: skip
    rule = {"security_group_id": NETWORK_ID, "direction": "INGRESS", "port_range_min": -1, "port_range_max": "", "protocol": "TCP"}
    found = _parsed("security_group_rule", rule)
    assert (found["direction"], found["port_range_min"], found["port_range_max"], found["protocol"]) == ("ingress", None, None, "tcp")
    assert _parsed("router", {"external_gateway_info": {"external_fixed_ips": None}}, creating=False) == {
        "external_gateway_info": {"external_fixed_ips": []}
    }


def test_everybody_may_say_that_they_do_not_ask_for_what_administrators_give() -> None:
    assert _parsed("network", {"shared": False}, creating=False) == {"shared": False}
    assert _parsed("network", {"shared": True}, creating=False, is_admin=True) == {"shared": True}
