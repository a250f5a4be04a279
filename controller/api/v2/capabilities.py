"""What routes that are not yet in `changes` take of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from controller import exceptions
from controller.api import current
from controller.api.v2 import foreign
from controller.providers.amphora_profiles import AVAILABILITY_ZONE, FLAVOR
from controller.providers.interface import Capability
from controller.resources import declare, kinds

__all__ = ["AVAILABILITY_ZONE", "FLAVOR", "Capability", "check", "enabled"]


def enabled(provider: str) -> None:
    """Load balancers may name this provider.

    :raises InvalidRequest: they may not.
    """
    current.asking().provider(provider)


def check(provider: str, text: str, option: str, known: Sequence[Capability]) -> None:
    """Whether the data of a profile, the value of `option`, says only what the provider can do and what exists.

    :raises InvalidRequest: the provider is not enabled, it is no JSON object, a value is not of its key's kind, or names nothing.
    :raises NotSupported: the provider does not know a key.
    """
    enabled(provider)
    names = [capability.name for capability in known]
    data = _object(text, option)
    for capability in known:
        if capability.name in data:
            _check(capability, data[capability.name])
    for name in data:
        if name not in names:
            raise exceptions.NotSupported(f"Provider '{provider}' does not support a requested option: {option} key {name[:255]}")


def _check(capability: Capability, value: Any) -> None:
    try:
        parsed = capability.kind(value)
    except kinds.Reject as reason:
        raise declare.invalid(capability.name, value, str(reason)) from None
    if capability.exists is not None:
        with foreign.in_a_body():
            capability.exists(current.services(), parsed)


def _object(text: str, option: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise exceptions.InvalidRequest(f"{text[:300]} is not a valid option for {option}")
    return found
