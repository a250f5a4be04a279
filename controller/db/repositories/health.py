"""Queries on health."""

from __future__ import annotations

from controller.db.repositories import base


class Health(base.Repository):
    """Queries on health."""
