"""What this API takes from the configuration, read once."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import flask

EXTENSION = "figlina-lbaasv2"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Values of `[lbaasv2]`; `heartbeat_timeout` tells which agents are alive."""

    monitor_delay_over_timeout: bool
    passthrough_url: str | None
    passthrough_connect_timeout: float
    passthrough_timeout: float
    passthrough_max_body_size: int
    passthrough_max_answer_size: int
    passthrough_cafile: str | None
    passthrough_connections: int
    heartbeat_timeout: float


def load(conf: Any) -> Settings:
    """Read them from an oslo.config configuration with all our options."""
    section = conf.lbaasv2
    return Settings(
        monitor_delay_over_timeout=section.monitor_delay_over_timeout,
        passthrough_url=section.passthrough_url.rstrip("/") if section.passthrough_url else None,
        passthrough_connect_timeout=section.passthrough_connect_timeout,
        passthrough_timeout=section.passthrough_timeout,
        passthrough_max_body_size=section.passthrough_max_body_size,
        passthrough_max_answer_size=section.passthrough_max_answer_size,
        passthrough_cafile=section.passthrough_cafile,
        passthrough_connections=section.passthrough_connections,
        heartbeat_timeout=conf.health_manager.heartbeat_timeout,
    )


def current() -> Settings:
    """Those of the application in hand."""
    return cast("Settings", flask.current_app.extensions[EXTENSION])
