"""Queries on jobs."""

from __future__ import annotations

from controller.db.repositories import base


class Jobs(base.Repository):
    """Queries on jobs."""
