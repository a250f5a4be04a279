"""Members (`member`)."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

SCHEMA = Schema(
    name="member",
    collection="members",
    argument="member_",
    fields=[
        *declare.common(description=False, project=False),
        Field(name="address", kind=kinds.ip_address, required=True, put=False),
        Field(name="protocol_port", kind=kinds.port, required=True, put=False),
        Field(name="weight", kind=kinds.integer(0, 256), default=1),
        Field(name="backup", kind=kinds.boolean, default=False),
        Field(name="subnet_id", kind=kinds.uuid, put=False),
        Field(name="monitor_address", kind=kinds.ip_address, blank=""),
        Field(name="monitor_port", kind=kinds.port, blank=0),
        Field(name="request_sriov", kind=kinds.boolean, default=False, put=False, column=None, attribute=None, supported=(False,)),
        declare.read_only("vnic_type"),
    ],
)

RESET_BY_BATCH = ("admin_state_up", "weight", "backup", "monitor_address", "monitor_port")
"""Fields that go back to their default when a batch names the member without them; others stay as they are."""
