"""Queries on leaders."""

from __future__ import annotations

from controller.db.repositories import base


class Leaders(base.Repository):
    """Queries on leaders."""
