"""Workers that stand still just before a write to the outside, for tests: which calls are writes follows from the drivers' contracts."""

from __future__ import annotations

import abc
import collections
import functools
import threading
from collections.abc import Callable
from typing import Any

from controller import services as services_module
from controller.drivers.amphora import interface as amphora
from controller.drivers.compute import interface as compute
from controller.drivers.network import interface as network
from controller.drivers.secrets import interface as secrets

CONTRACTS: dict[str, type[abc.ABC]] = {
    "amphora": amphora.AmphoraDriver,
    "compute": compute.ComputeDriver,
    "network": network.NetworkDriver,
    "secrets": secrets.SecretStore,
}
_LOOKING = (
    *("get", "find", "check", "has", "list", "info", "free", "member_ports", "compare", "vip_access"),
    *("security_groups_of", "floating_addresses", "is_shared_with", "stray_ports", "keeps_apart"),
)
"""How the names of methods begin that only look. All others write: a new method is a write until it is named here."""

Before = Callable[[str, int], None]
"""Called before a write, with its name and how often it came."""


def writes(kind: str) -> set[str]:
    """The writing methods of a kind of driver."""
    return {
        name
        for name, method in vars(CONTRACTS[kind]).items()
        if callable(method) and not name.startswith("_") and not name.startswith(_LOOKING)
    }


class Watched:
    """A driver whose writes are told of beforehand, or all its calls."""

    def __init__(self, driver: Any, kind: str, before: Before, also_looks: bool = False) -> None:
        self._driver, self._kind, self._before = driver, kind, before
        self._told = writes(kind) | ({name for name in vars(CONTRACTS[kind]) if not name.startswith("_")} if also_looks else set())
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name not in self._told or not callable(found):
            return found

        @functools.wraps(found)
        def told(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self._counts[name] += 1
                count = self._counts[name]
            self._before(f"{self._kind}.{name}", count)
            return found(*arguments, **named)

        return told


def watch(services: services_module.Services, before: Before, also_looks: bool = False) -> None:
    """From now on, writes of all drivers of these services are told of beforehand, also of drivers that are made later."""
    make = services.make

    def watched(kind: str) -> Any:
        made = make(kind)
        return Watched(made, kind, before, also_looks) if kind in CONTRACTS else made

    services.make = watched
    for kind in services.made.keys() & CONTRACTS.keys():
        services.made[kind] = Watched(services.made[kind], kind, before, also_looks)
