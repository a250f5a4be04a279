"""What settings are where nobody says anything is what the options of the configuration say."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import pytest

from controller import conf as configuration
from controller import render, services
from controller.changes import settings as of_changes
from controller.drivers.compute import nova

FROM_CONF = {
    "render": (render.Settings, render.Settings.from_conf),
    "services": (services.Settings, services.Settings.from_conf),
    "nova": (nova.Settings, nova.Settings.from_conf),
    "changes": (of_changes.Settings, of_changes.load),
}
_NOT_THE_OPTIONS_ALONE = {("services", name) for name in ("deployment_key", "image_tag", "limits", "cert_first_pause")}
KEY = secrets.token_hex(32)


@pytest.mark.parametrize("name", FROM_CONF)
def test_a_setting_has_no_default_but_its_options(name: str) -> None:
    kind, load = FROM_CONF[name]
    conf = configuration.load([], [])
    conf.set_override("heartbeat_key", KEY, group="health_manager")  # there is no default for it
    found: Any = load(conf)
    for field in dataclasses.fields(kind):
        factory = field.default_factory
        default = factory() if factory is not dataclasses.MISSING else field.default
        if default is not dataclasses.MISSING and (name, field.name) not in _NOT_THE_OPTIONS_ALONE:
            assert getattr(found, field.name) == default, f"{name}: {field.name}"
