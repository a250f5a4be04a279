"""Queries on settlement."""

from __future__ import annotations

from controller.db.repositories import base


class Settlement(base.Repository):
    """Queries on settlement."""
