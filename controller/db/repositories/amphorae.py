"""Queries on amphorae."""

from __future__ import annotations

from controller.db.repositories import base


class Amphorae(base.Repository):
    """Queries on amphorae."""
