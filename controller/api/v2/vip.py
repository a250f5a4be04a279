"""The VIP of a new load balancer: what the deployment allows, then the network service's word, before anything is stored."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from controller import exceptions
from controller.api import current
from controller.api.v2 import rules
from controller.drivers.network import interface
from controller.model import load_balancer as model

LOG = logging.getLogger(__name__)


def check(wanted: Mapping[str, Any]) -> None:
    """What can be told without the network service.

    :raises InvalidRequest: the body names no place for the VIP, or one that this deployment does not let tenants name.
    """
    allowed = current.settings().allow_vip
    given = [name for name in allowed if wanted[name] is not None]
    if not given:
        raise rules.failure("VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.")
    for name in given:
        if not allowed[name]:
            raise _not_allowed(name, wanted[name])


@contextlib.contextmanager
def allocated(
    load_balancer_id: str, project_id: str, wanted: Mapping[str, Any], is_allowed_on: Callable[[str], bool]
) -> Iterator[model.Vip]:
    """The VIP port, which is given back if the load balancer is not stored after all, or `is_allowed_on` refuses its network.

    :raises InvalidRequest: the network service knows no such port, subnet or network, or they contradict each other.
    :raises Conflict: the address is taken.
    """
    network = current.services().network
    request = interface.VipRequest(
        port_id=wanted["vip_port_id"],
        network_id=wanted["vip_network_id"],
        subnet_id=wanted["vip_subnet_id"],
        address=wanted["vip_address"],
    )
    try:
        vip = network.allocate_vip(load_balancer_id, project_id, request)
    except exceptions.NotFound as error:  # named in a body, so it is the body that is wrong
        raise exceptions.InvalidRequest(str(error)) from error
    except exceptions.Conflict as error:
        raise exceptions.Conflict(f"The VIP IP address is already in use. {error}") from error
    try:
        if not is_allowed_on(vip.network_id):
            raise _not_allowed("vip_network_id", vip.network_id)
        yield vip
    except BaseException:
        _give_back(network, load_balancer_id, vip)
        raise


def columns(vip: model.Vip) -> dict[str, Any]:
    """A VIP as the columns of its load balancer."""
    return {
        "vip_address": vip.address,
        "vip_port_id": vip.port_id,
        "vip_subnet_id": vip.subnet_id,
        "vip_network_id": vip.network_id,
        "vip_qos_policy_id": vip.qos_policy_id,
        "vip_sg_ids": list(vip.sg_ids),
        "vip_vnic_type": vip.vnic_type,
        "vip_port_is_ours": vip.port_is_ours,
    }


def _not_allowed(option: str, value: str) -> exceptions.InvalidRequest:
    return exceptions.InvalidRequest(f"The selected {option} is not allowed in this deployment: {value}")


def _give_back(network: interface.NetworkDriver, load_balancer_id: str, vip: model.Vip) -> None:
    """Housekeeping finds what can't be given back now: no row explains the port."""
    try:
        network.deallocate_vip(load_balancer_id, vip)
    except exceptions.ControllerError:
        LOG.exception("The VIP port %s of load balancer %s, which was not stored, is left to housekeeping", vip.port_id, load_balancer_id)
