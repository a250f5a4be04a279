"""What all steps share: what they work with, and a name that a person can read in a fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, dataclass_transform

from taskflow import task

from controller.services import Services


@dataclass_transform(eq_default=False, kw_only_default=False)
@dataclasses.dataclass(eq=False, repr=False)
class Step(task.Task):
    """A task named after its class; `of` tells it from others of its class in the same flow. What else it is given, a class declares as a
    dataclass does.
    """

    services: Services
    of: str = dataclasses.field(default="", kw_only=True)
    inject: Mapping[str, Any] | None = dataclasses.field(default=None, kw_only=True)

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        super().__init__(name=named(type(self), self.of), inject=self.inject)


def named(step: type, of: str = "") -> str:
    """`Boot`, or `Boot MASTER`."""
    return f"{step.__name__} {of}" if of else step.__name__
