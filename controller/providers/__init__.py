"""Providers: who makes load balancers real. `interface` says what they are asked, `amphora` is ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from controller import exceptions
from controller.providers.interface import Provider

GROUP = "figlina.providers"
"""The group of entry points; a provider's name in the API is that of its entry point."""


def load(names: Iterable[str], conf: Any) -> Mapping[str, Provider]:
    """The providers that load balancers may name; two names of one class are one provider.

    :raises Misconfigured: one of them is not installed, or can't be loaded.
    """
    installed = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    made: dict[type[Provider], Provider] = {}
    found: dict[str, Provider] = {}
    for name in names:
        if name not in installed:
            raise exceptions.Misconfigured(
                f"[api_settings] enabled_provider_drivers names the provider {name!r}, which is not installed; these are: "
                f"{', '.join(sorted(installed)) or 'none'}"
            )
        try:
            kind = installed[name].load()
            found[name] = made.setdefault(kind, kind.from_conf(conf))
        except (ImportError, AttributeError) as error:
            raise exceptions.Misconfigured(f"the provider {name!r} ({installed[name].value}) can't be loaded: {error}") from error
    return found
