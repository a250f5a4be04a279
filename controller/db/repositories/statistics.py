"""Queries on statistics."""

from __future__ import annotations

from controller.db.repositories import base


class Statistics(base.Repository):
    """Queries on statistics."""
