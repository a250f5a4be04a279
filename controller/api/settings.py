"""What the API takes from the configuration, read once: looking an option up costs more than a SELECT."""

from __future__ import annotations

import dataclasses
from typing import Any

from controller.changes import settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Settings):
    """Values, not options: those of changes, and what only HTTP needs."""

    api_base_uri: str | None
    embedded_networking: bool
    healthcheck_enabled: bool
    allow_pagination: bool
    allow_sorting: bool
    allow_filtering: bool
    allow_field_selection: bool
    page_limit: int | None
    monitor_delay_over_timeout: bool  # of LBaaS v2
    heartbeat_timeout: float  # seconds; by it LBaaS v2 tells which agents are alive


_SWITCHES = ("allow_pagination", "allow_sorting", "allow_filtering", "allow_field_selection")
_OF_THE_API = ("api_base_uri", "embedded_networking", "healthcheck_enabled", *_SWITCHES)


def load(conf: Any) -> Settings:
    """Read them from an oslo.config configuration with all our options."""
    limit = conf.api_settings.pagination_max_limit
    return Settings(
        **settings.values(conf),
        **{name: conf.api_settings[name] for name in _OF_THE_API},
        page_limit=None if limit == "infinite" else int(limit),
        monitor_delay_over_timeout=conf.lbaasv2.monitor_delay_over_timeout,
        heartbeat_timeout=conf.health_manager.heartbeat_timeout,
    )
