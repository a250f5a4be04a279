"""Queries on pools."""

from __future__ import annotations

from controller.db.repositories import base


class Pools(base.Repository):
    """Queries on pools."""
