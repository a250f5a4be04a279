"""Members (`member`)."""

from __future__ import annotations

from controller.resources import fields, kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import also

SCHEMA = Schema(
    name="member",
    collection="members",
    argument="member_",
    fields=[
        *fields.common(description=False, project=False),
        Field("address", kinds.ip_address, "The address of the server.", required=True, put=False, lbaasv2=also()),
        Field("protocol_port", kinds.port, "The port of the server.", example=8080, required=True, put=False, lbaasv2=also()),
        Field(
            "weight",
            kinds.integer(0, 256),
            "Its share of new connections, in proportion to the weights of the others; 0: no new ones, while those that are open go on.",
            default=1,
            lbaasv2=also(),
        ),
        Field("backup", kinds.boolean, "Whether it is used only while no other member can serve.", default=False),
        Field(
            "subnet_id",
            kinds.uuid,
            "The subnet on which the server is reached; null: by the routes of the VIP's subnet.",
            put=False,
            lbaasv2=also(required=True),
        ),
        Field("monitor_address", kinds.ip_address, "The address to which health checks go, if it is not the server's.", blank=""),
        Field("monitor_port", kinds.port, "The port to which health checks go, if it is not the server's.", blank=0),
        Field(
            "request_sriov",
            kinds.boolean,
            "Whether the port to the member is a virtual function of the network card (SR-IOV).",
            default=False,
            put=False,
            column=None,
            attribute=None,
        ),
        fields.vnic_type("vnic_type", "How the port to the member is made: normal, or direct for SR-IOV."),
    ],
)

RESET_BY_BATCH = ("admin_state_up", "weight", "backup", "monitor_address", "monitor_port")
"""Fields that go back to their default when a batch names the member without them; others stay as they are."""
