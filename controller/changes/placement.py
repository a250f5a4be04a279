"""Flavor and availability zone of a new load balancer: whether it may have them, and what they decide for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from controller.changes import visibility
from controller.changes.asking import Asking
from controller.changes.settings import Settings
from controller.db import database
from controller.exceptions import NotAllowed, RuleBroken
from controller.model import offering as model
from controller.model.network import DIRECT, NORMAL
from controller.model.status import Topology

_NO_MEANING: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen, and what follows."""

    flavor_id: str | None
    availability_zone: str | None
    provider: str
    placement: model.Placement
    topology: Topology  # the flavor's, or the deployment's

    @property
    def vip_vnic_type(self) -> str:
        """How the VIP's port is made."""
        return DIRECT if self.placement.sriov_vip else NORMAL

    def allows_vip_on(self, settings: Settings, network_id: str) -> bool:
        """Whether the VIP may be on this network: the zone's own list replaces the deployment's; a denied one is denied everywhere."""
        own = self.placement.valid_vip_networks
        valid = settings.valid_vip_networks if own is None else own
        return (not valid or network_id in valid) and network_id not in settings.denied_vip_networks

    def hold(self, tx: database.Transaction) -> None:
        """Let neither be deleted before this transaction, which stores the load balancer, has ended.

        :raises InvalidRequest: one of them was deleted meanwhile.
        """
        with visibility.in_a_body():
            if self.flavor_id is not None:
                tx.flavors.hold(self.flavor_id)
            if self.availability_zone is not None:
                tx.availability_zones.hold(self.availability_zone)


def choose(asking: Asking, wanted: Mapping[str, Any]) -> Choice:
    """Look at what the body of a new load balancer chooses.

    :raises InvalidRequest: no such flavor or zone, one that is disabled, or one that is not for the provider.
    """
    flavor_id, zone = wanted["flavor_id"], wanted["availability_zone"]
    flavor_meaning = zone_meaning = None
    if flavor_id is not None or zone is not None:
        with asking.read() as tx, visibility.in_a_body():
            flavor_meaning = None if flavor_id is None else tx.flavors.meaning(flavor_id)
            zone_meaning = None if zone is None else tx.availability_zones.meaning(zone)
    provider = wanted["provider"]
    for what, name, meaning in (("flavor", flavor_id, flavor_meaning), ("availability zone", zone, zone_meaning)):
        if meaning is not None:
            if not meaning.enabled:
                raise NotAllowed(what, name)
            provider = provider or meaning.provider_name
            if meaning.provider_name != provider:
                raise RuleBroken(f"{what} '{name}' is not compatible with provider '{provider}'")
    provider = provider or asking.settings.default_provider
    asking.provider(provider)
    placement = model.Placement.of(
        flavor_meaning.data if flavor_meaning else _NO_MEANING, zone_meaning.data if zone_meaning else _NO_MEANING
    )
    return Choice(
        flavor_id=flavor_id,
        availability_zone=zone,
        provider=provider,
        placement=placement,
        topology=placement.topology or asking.settings.topology,
    )
