"""What all steps share: what they work with, and a name that a person can read in a fault."""

from __future__ import annotations

from typing import Any

from taskflow import task

from controller.services import Services


class Step(task.Task):
    """A task named after its class; `of` tells it from others of its class in the same flow."""

    def __init__(self, services: Services, *, of: str = "", **kwargs: Any) -> None:
        super().__init__(name=named(type(self), of), **kwargs)
        self.services = services


def named(step: type, of: str = "") -> str:
    """`Boot`, or `Boot MASTER`."""
    return f"{step.__name__} {of}" if of else step.__name__
