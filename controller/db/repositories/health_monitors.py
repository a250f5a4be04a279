"""Queries on health_monitors."""

from __future__ import annotations

from controller.db.repositories import base


class HealthMonitors(base.Repository):
    """Queries on health_monitors."""
