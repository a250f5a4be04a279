"""Events (`event`), which only we write: what happened to a load balancer, in sentences."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Schema

SCHEMA = Schema(
    name="event",
    collection="events",
    argument="event",
    shows_fault=False,
    fields=[
        declare.read_only("id", kinds.integer(1)),
        declare.timestamp("occurred_at"),
        declare.read_only("object_type"),
        declare.read_only("object_id"),
        declare.read_only("code"),
        declare.read_only("message", kinds.text(65535)),
        declare.read_only("step"),
        declare.read_only("request_id"),
        declare.timestamp("next_try_at"),
    ],
)
