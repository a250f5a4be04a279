"""Queries on flow_records."""

from __future__ import annotations

from controller.db.repositories import base


class FlowRecords(base.Repository):
    """Queries on flow_records."""
