"""Pure: what is wanted (a snapshot) becomes what an amphora is told. No input, no output, no clock; equal snapshots give equal texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from amphora_agent.protocol import rest
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from controller.model.status import Topology
from controller.model.tls import Need
from controller.render import boot, datagrams, haproxy, keepalived, safe, tls
from controller.render.interfaces import MemberNetwork, Networks, VipSubnet, interfaces, ranges
from controller.render.settings import Settings

__all__ = ["MemberNetwork", "Networks", "Settings", "VipSubnet", "boot", "tls", "wanted_state"]

_DEFAULTS = Settings()
_NO_CERTIFICATES: Mapping[Need, str] = {}


def wanted_state(
    snapshot: model.Snapshot,
    amphora: Amphora,
    networks: Networks,
    settings: Settings = _DEFAULTS,
    certificates: Mapping[Need, str] = _NO_CERTIFICATES,
) -> rest.WantedState:
    """All that one amphora has to do for a load balancer. Members that are the load balancer itself are left out. `certificates` are the
    hashes (`<sha256>.pem`) of what it needs of the secret store (`tls.needs`).

    :raises UnsafeValue: a string of the snapshot can't be written into a configuration.
    :raises NotSupported: a protocol, algorithm, persistence or monitor type is not known here.
    """
    if loops := snapshot.loops(networks.floating):
        snapshot = dataclasses.replace(snapshot, members=tuple(member for member in snapshot.members if member.id not in loops))
    pair = snapshot.load_balancer.topology is Topology.ACTIVE_STANDBY
    files = tls.files(snapshot, certificates)
    subnets = [safe.network("cidr of the VIP's subnet", one.cidr) for one in networks.vips]
    programs = {
        "haproxy": haproxy.config(snapshot, amphora, settings),
        "datagrams": datagrams.config(snapshot, ranges(networks)),
        "keepalived": keepalived.config(snapshot, amphora, subnets, settings) if pair else None,
    }
    return rest.WantedState(
        load_balancer_id=safe.object_id("load balancer id", snapshot.load_balancer.id),
        generation=snapshot.generation,
        programs={name: text for name, text in programs.items() if text is not None},
        peer_name=haproxy.peer_name(amphora),
        interfaces=interfaces(snapshot, amphora, networks, settings.peer_port),
        certificates=tuple(sorted(set(files.names.values()))),
        names=files.names,
        lists=files.lists,
    )
