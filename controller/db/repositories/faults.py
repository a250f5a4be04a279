"""Queries on faults."""

from __future__ import annotations

from controller.db.repositories import base


class Faults(base.Repository):
    """Queries on faults."""
