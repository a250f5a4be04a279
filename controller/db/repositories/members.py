"""Queries on members."""

from __future__ import annotations

from controller.db.repositories import base


class Members(base.Repository):
    """Queries on members."""
