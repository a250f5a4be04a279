"""Amphorae (`amphora`), which only we write."""

from __future__ import annotations

from controller.model.status import AmphoraStatus, Role
from controller.resources import kinds
from controller.resources.declare import Schema
from controller.resources.fields import read_only, timestamp

SCHEMA = Schema(
    name="amphora",
    collection="amphorae",
    argument="amphora_",
    shows_fault=False,
    fields=[
        read_only("id", kinds.uuid, "The id of the amphora."),
        read_only(
            "loadbalancer_id",
            kinds.uuid,
            "The load balancer that it serves; null: none yet.",
            column="load_balancer_id",
            attribute="load_balancer_id",
            filter_alias="load_balancer_id",
        ),
        read_only(
            "lb_network_ip",
            about="Its address on the management network.",
            example="192.0.2.21",
            column="management_address",
            attribute="management_address",
        ),
        read_only("compute_id", about="The id of its machine in the compute service.", example=kinds.uuid.example),
        read_only("vrrp_ip", about="Its own address on the network of the VIP.", example="203.0.113.21"),
        read_only("ha_ip", about="The address of the VIP.", example="203.0.113.10"),
        read_only("vrrp_port_id", about="The port of its own address on the network of the VIP.", example=kinds.uuid.example),
        read_only("ha_port_id", about="The port of the VIP.", example=kinds.uuid.example),
        timestamp("cert_expiration", "When its certificate expires."),
        read_only("cert_busy", kinds.boolean, "Whether it is being given a new certificate.", default=False, example=False),
        read_only("role", about="What it is in its load balancer: alone, or one of a pair.", example=str(Role.STANDALONE)),
        read_only("status", about="What it is doing, or what is being done with it.", example=str(AmphoraStatus.ALLOCATED)),
        read_only("vrrp_interface", about="The name of its interface on the network of the VIP.", example="eth1"),
        read_only("vrrp_id", kinds.integer(1, 255, example=1), "The id of the virtual router, of a pair."),
        read_only("vrrp_priority", kinds.integer(0, 255, example=100), "Of a pair, the one with the higher priority has the VIP."),
        read_only("cached_zone", about="The availability zone of its machine.", example="nova"),
        read_only("image_id", about="The image that its machine was booted from.", example=kinds.uuid.example),
        read_only("compute_flavor", about="The flavor of its machine in the compute service.", example="m1.amphora"),
        timestamp("created_at", "When it was created."),
        timestamp("updated_at", "When it last changed; null: never."),
    ],
)
