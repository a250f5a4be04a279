"""Amphorae (`amphora`), which only we write."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Schema

SCHEMA = Schema(
    name="amphora",
    collection="amphorae",
    argument="amphora_",
    shows_fault=False,
    fields=[
        declare.read_only("id", kinds.uuid),
        declare.read_only(
            "loadbalancer_id", kinds.uuid, column="load_balancer_id", attribute="load_balancer_id", filter_alias="load_balancer_id"
        ),
        declare.read_only("lb_network_ip", column="management_address", attribute="management_address"),
        declare.read_only("compute_id"),
        declare.read_only("vrrp_ip"),
        declare.read_only("ha_ip"),
        declare.read_only("vrrp_port_id"),
        declare.read_only("ha_port_id"),
        declare.timestamp("cert_expiration"),
        declare.read_only("cert_busy", kinds.boolean),
        declare.read_only("role"),
        declare.read_only("status"),
        declare.read_only("vrrp_interface"),
        declare.read_only("vrrp_id", kinds.integer(1, 255)),
        declare.read_only("vrrp_priority", kinds.integer(0, 255)),
        declare.read_only("cached_zone"),
        declare.read_only("image_id"),
        declare.read_only("compute_flavor"),
        declare.timestamp("created_at"),
        declare.timestamp("updated_at"),
    ],
)
