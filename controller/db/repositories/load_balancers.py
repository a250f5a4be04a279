"""Queries on load_balancers."""

from __future__ import annotations

from controller.db.repositories import base


class LoadBalancers(base.Repository):
    """Queries on load_balancers."""
