"""Queries on listeners."""

from __future__ import annotations

from controller.db.repositories import base


class Listeners(base.Repository):
    """Queries on listeners."""
