"""Queries on leases."""

from __future__ import annotations

from controller.db.repositories import base


class Leases(base.Repository):
    """Queries on leases."""
