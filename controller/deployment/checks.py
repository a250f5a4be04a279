"""The list of checks, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from controller.deployment import identity, machines, networks, own
from controller.deployment.report import Check, Finding
from controller.deployment.site import Site


def _nova(conf: Any) -> bool:
    return bool(conf.controller_worker.compute_driver == "nova")


def _neutron(conf: Any) -> bool:
    return bool(conf.controller_worker.network_driver == "neutron")


def _cloud(conf: Any) -> bool:
    return _nova(conf) or _neutron(conf)


def _check(
    run: Callable[[Site], Finding | Iterable[Finding]], applies: Callable[[Any], bool] = lambda conf: True, *needs: str
) -> Check[Site]:
    return Check(
        name=run.__name__.replace("_", "-"), question=(run.__doc__ or "").split("\n", maxsplit=1)[0], run=run, applies=applies, needs=needs
    )


CHECKS = (
    _check(own.options),
    _check(own.database),
    _check(own.heartbeat_key),
    _check(own.certificates),
    _check(own.secrets),
    _check(own.drivers),
    _check(own.callers),
    _check(identity.credentials, _cloud),
    _check(identity.endpoints, _cloud, "credentials"),
    _check(identity.extensions, _neutron, "credentials", "endpoints"),
    _check(machines.image, _nova, "credentials", "endpoints"),
    _check(machines.flavor, _nova, "credentials", "endpoints"),
    _check(machines.volume, _nova, "credentials", "endpoints"),
    _check(machines.zone, _nova, "credentials", "endpoints"),
    _check(networks.networks, _neutron, "credentials", "endpoints"),
    _check(networks.groups, _neutron, "credentials", "endpoints"),
    _check(networks.heartbeats, _neutron, "credentials", "endpoints"),
    _check(identity.rights, _cloud, "credentials", "endpoints"),
    _check(machines.quota, _cloud, "credentials", "endpoints"),
    _check(own.strangers, _nova, "database", "credentials", "endpoints"),
    _check(machines.ssh_key, _nova, "credentials", "endpoints"),
    _check(machines.affinity, _nova, "credentials", "endpoints"),
    _check(identity.catalogue, _cloud, "credentials"),
    _check(identity.roles, _cloud, "credentials"),
)


def chosen(names: Sequence[str]) -> Sequence[Check[Site]]:
    """These, and what they need; all of them if none is named."""
    wanted = set(names)
    for one in reversed(CHECKS):
        if one.name in wanted:
            wanted |= set(one.needs)
    return [one for one in CHECKS if not names or one.name in wanted]
