"""Events (`event`), which only we write: what happened to a load balancer, in sentences."""

from __future__ import annotations

from controller.resources import kinds
from controller.resources.declare import Schema
from controller.resources.fields import read_only, timestamp

SCHEMA = Schema(
    name="event",
    collection="events",
    argument="event",
    shows_fault=False,
    fields=[
        read_only("id", kinds.integer(1), "The number of the event; later ones have higher numbers."),
        timestamp("occurred_at", "When it happened."),
        read_only("object_type", about="The kind of object that it happened to.", example="load_balancer"),
        read_only("object_id", about="The id of that object.", example=kinds.uuid.example),
        read_only("code", about="What happened, as a short word for programs.", example="requested"),
        read_only(
            "message", kinds.text(65535), "What happened, as a sentence for people.", example="it was asked to failover load balancer"
        ),
        read_only("step", about="What was being done.", example="failover-load-balancer"),
        read_only("request_id", about="The id of the request that asked for it.", example="req-3f0e0a5c-5a0e-4f0f-8a5c-0c5b8d1f2e3a"),
        timestamp("next_try_at", "When what has failed is tried again; null: it is not."),
    ],
)
