"""Whether networks let amphorae send in the name of clients, which `preserve_client_ip` of a pool is about.

Port security drops what a port sends from an address that is not its own. We do not open it behind a tenant's back: they make the VIP's
port, and the networks of members elsewhere, without it.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.changes.asking import Asking
from controller.exceptions import RuleBroken
from controller.model import load_balancer as model
from controller.model.network import DIRECT


def check_vip(asking: Asking, vip: model.Vip) -> None:
    """Amphorae send as the VIP's port may.

    :raises InvalidRequest: it has port security.
    """
    if vip.vnic_type != DIRECT and asking.network.get_port(vip.port_id).port_security_enabled:
        raise RuleBroken(
            f"preserve_client_ip: port security of the VIP's port {vip.port_id} drops what is sent in a client's name. Create the load "
            "balancer with a vip_port_id, or on a network, that has none (port_security_enabled is false)."
        )


def check_subnets(asking: Asking, subnet_ids: Iterable[str | None], vip_network_id: str) -> None:
    """Amphorae send as new ports of a network may, but on the VIP's.

    :raises InvalidRequest: those of one have port security.
    """
    named = [one for one in dict.fromkeys(subnet_ids) if one is not None]
    for network_id in dict.fromkeys(asking.network.get_subnet(one).network_id for one in named):
        if network_id != vip_network_id and asking.network.get_network(network_id).port_security_enabled:
            raise RuleBroken(
                f"preserve_client_ip: port security of network {network_id} drops what is sent to members there in a client's name. "
                "Have members on the VIP's network, or on one that has none (port_security_enabled is false)."
            )
